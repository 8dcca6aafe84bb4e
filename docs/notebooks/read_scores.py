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
# # Read the numbers of a test with pandas
#
# A test script writes its scores as `scores.json` and `scores.csv`, and what each image counts for
# as `images.jsonl`. This notebook reads all three from `fig_results/demo`, which `make demo`
# writes. Change the folder to read a test of your own.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

folder = Path("fig_results/demo")

# %% [markdown]
# ## The scores of each class
#
# `scores.csv` has a row for each class and kind of labels, and one for each mean. The first columns
# say how it was measured. All scores run from 0 to 1.

# %%
table = pd.read_csv(folder / "scores.csv")
classes = table[table["in_mean"].notna()]
scores = classes.pivot_table(index="class", columns="labels", values=["IoU", "F1"], sort=False)
(100 * scores).round(1)

# %% [markdown]
# ## How it was measured
#
# Two results may only be compared if they were measured alike. `tools/compare_runs.py` checks that.

# %%
document = json.loads((folder / "scores.json").read_text())
protocol = document["protocol"]
pd.Series({key: protocol[key] for key in ("data_set", "split", "images", "tta", "views", "seed")})

# %% [markdown]
# ## The images one by one
#
# Each line of `images.jsonl` holds the confusion matrix of one image; its rows are the truth. From
# it comes the share of the pixels that are right. The matrix leaves out pixels without a class.

# %%
records = [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
kind = protocol["label_kinds"][0]
matrices = {r["name"]: np.array(r["counts"][kind]["matrix"]) for r in records}
images = pd.DataFrame(
    {
        "pixels": {name: matrix.sum() for name, matrix in matrices.items()},
        "right": {name: matrix.trace() for name, matrix in matrices.items()},
    }
)
images["accuracy"] = images["right"] / images["pixels"]
images.sort_values("accuracy").head()

# %% [markdown]
# ## What is taken for what
#
# The sum of the matrices, each row divided by the pixels of its class.

# %%
total = sum(matrices.values())
share = total / np.maximum(1, total.sum(axis=1, keepdims=True))
confusion = pd.DataFrame(share, index=protocol["classes"], columns=protocol["classes"])
figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
axis.imshow(confusion, vmin=0, vmax=1, cmap="Blues")
axis.set_xticks(range(len(confusion)), confusion.columns, rotation=90)
axis.set_yticks(range(len(confusion)), confusion.index)
axis.set(xlabel="prediction", ylabel="truth")
plt.show()
confusion.round(2)
