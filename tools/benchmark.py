"""Measure speed and memory, mostly as ratios to the shortest possible time, which is measured too.

python tools/benchmark.py                                    # a model and its bare encoder
python tools/benchmark.py -c config/loveda/bicor.py --size 256 512 --batch 1 4 model.layers=3
python tools/benchmark.py --each                             # a row for every switch alone
python tools/benchmark.py models                             # every network in one table
python tools/benchmark.py models --encoders resnet18 deit_small_patch16_224  # a config with each
python tools/benchmark.py gpu --batch 8                      # every precision, within 10 minutes
python tools/benchmark.py parts                              # where a step's time goes
python tools/benchmark.py loading -c config/potsdam/bicor.py # samples a second
python tools/benchmark.py patches                            # cutting two 6000 x 6000 tiles
python tools/benchmark.py testing -t d4                      # a test with its augmentation
python tools/benchmark.py engines --files best.onnx          # exported files, by each program
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.benchmark:main", __doc__)
