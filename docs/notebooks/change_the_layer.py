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
# # Change the HBIS layer
#
# An HBIS layer lets class embeddings and pixel features refine each other. This notebook replaces
# one step of it, checks the new layer on random tensors, and trains a network with it for one
# epoch on the scenes of the demo. `make demo` makes these.
#
# Notation: b images, k classes, d channels, s pixels of the feature map.

# %%
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from network.config import load_experiment
from network.models.bicor import BiCoRSeg, HBISLayer
from network.training.train import train

# %% [markdown]
# ## The layer
#
# The context of a class is a mean of pixel features. `HBISLayer.pool` takes those pixels in which
# the class is seen most clearly. The layer below takes all pixels, weighted by a softmax over them.


# %%
class SoftLayer(HBISLayer):
    """An HBIS layer whose class context is a weighted mean over all pixels."""

    def pool(self, score: Tensor, features_n: Tensor) -> Tensor:
        """score (b, k, s), features_n (b, s, d) -> context of each class (b, k, d)."""
        return self.value((score / self.tau).softmax(dim=-1) @ features_n)


# %% [markdown]
# The shapes stay, and every pixel now has a gradient through the context.

# %%
torch.manual_seed(0)
layer = SoftLayer(dim=32)
classes, features = torch.randn(2, 6, 32), torch.randn(2, 64, 32, requires_grad=True)
refined_classes, refined_features, heatmap = layer(classes, features)
refined_classes.sum().backward()
assert refined_classes.shape == (2, 6, 32)
assert refined_features.shape == (2, 64, 32)
assert heatmap.shape == (2, 6, 64)
assert (features.grad.abs().sum(dim=-1) > 0).all()

# %% [markdown]
# ## The network
#
# `BiCoRSeg.make_layer` builds each layer. Its settings are those of the config.


# %%
class SoftBiCoRSeg(BiCoRSeg):
    """BiCoR-Seg with such layers."""

    def make_layer(self, *settings) -> SoftLayer:
        """One of the layers; the settings are those of an HBIS layer."""
        return SoftLayer(*settings)


# %% [markdown]
# ## Train it
#
# The experiment of the demo, with another model. To train it with `train.py`, write the two classes
# and the experiment into a config, as `config/demo/bicor_layer.py` does.

# %%
words = ["name=notebook/soft", "optim.epochs=1", "model.dim=64", "data.workers=0"]
experiment = load_experiment("config/demo/bicor.py", words)
settings = experiment.model.keywords
model = partial(SoftBiCoRSeg, experiment.dataset.num_classes, **settings)
run = train(replace(experiment, model=model), accelerator="cpu")
print(run)
