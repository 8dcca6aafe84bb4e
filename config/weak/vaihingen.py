"""ISPRS Vaihingen, buildings from image-level labels: RepVGG-B1g2, the released settings.

Run      python tools/weak/run_chain.py -c config/weak/vaihingen.py \\
             --work fig_results/weak/vaihingen
Source   BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248) and its released scripts. The whole
         images in data/vaihingen/{train,test}_{images,masks} are cut into tiles of 256. Save
         RepVGG's weights, RepVGG-B1g2-train.pth, as model_weights/pretrained/repvgg_b1g2.pth; or
         use a RepVGG with weights in timm: classifier.encoder=repvgg_b1g4.rvgg_in1k
         refiner.encoder=repvgg_b1g4.rvgg_in1k
Expects  not measured here. The paper uses this data set, but its score is not in the abstract
"""

from network.buildings.settings import Chain
from network.datasets.info import VAIHINGEN

chain = Chain(dataset=VAIHINGEN, building="Building")
