# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a network and look at what it sees
#
# This notebook trains a small network on the synthetic scenes of the demo, and shows its mask and
# its heatmaps of one test image. `make demo` makes the scenes. Start the notebook in the folder of
# the repository. On two CPU cores it takes about two minutes.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from network.config import load_experiment
from network.datasets.files import read_image, read_mask
from network.datasets.segmentation import find_samples
from network.predictor import Predictor
from network.training.train import train

# %% [markdown]
# ## Train
#
# A config says what is trained. Words like those of the command line change its settings. Here the
# network is smaller than that of the demo, and sees each image once.

# %%
experiment = load_experiment(
    "config/demo/bicor.py", ["name=notebook", "optim.epochs=1", "model.dim=64", "data.workers=0"]
)
run = train(experiment, accelerator="cpu")
sorted(path.name for path in run.iterdir())

# %% [markdown]
# `best.ckpt` holds the weights of the epoch that was best on the validation images, `last.ckpt`
# all that is needed to go on. `train(experiment, resume="latest")` goes on.
#
# ## Predict
#
# The checkpoint says how its network is built and what its classes are. A predictor needs nothing
# else.

# %%
predictor = Predictor.load(run / "best.ckpt", device="cpu")
sample = find_samples(experiment.dataset, experiment.root, "test")[0]
image = read_image(sample.image, experiment.dataset)
prediction = predictor.predict(image, probabilities=True, heatmaps=True)
prediction.labels.shape, prediction.probabilities.shape, [h.shape for h in prediction.heatmaps]

# %% [markdown]
# ## Look
#
# The first row shows the image, the truth and the mask; black pixels of the truth are not scored.
# The second row shows where the last HBIS layer sees the first three classes.

# %%
info = experiment.dataset
truth = read_mask(next(iter(sample.masks.values())), info)
figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
pictures = {"image": image, "truth": info.to_rgb(truth), "mask": prediction.to_rgb()}
for axis, (title, picture) in zip(axes[0], pictures.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(title)
for axis, name, heat in zip(axes[1], info.classes, prediction.heatmaps[-1], strict=False):
    axis.imshow(heat, vmin=0, vmax=1)
    axis.set_title(name)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ## Keep the mask

# %%
Path("fig_results").mkdir(exist_ok=True)
prediction.save("fig_results/notebook_mask.png", rgb=True)
