"""Study of how scores change if padding is ignored, or labeled as ImSurf, in training and in test.

The tiles of ISPRS Vaihingen and Potsdam are padded to whole patches. GeoSeg's tools label this
padding as ImSurf; the tools of this project ignore it (docs/protocol.md). One model is trained
under each policy, and each model is scored under both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from network.config import Experiment, load_experiment
from network.datasets.folder_jobs import replacing_folders
from network.datasets.info import POTSDAM, VAIHINGEN
from network.datasets.preparation.patches import (
    PAD_POLICIES,
    PatchSplit,
    is_cut,
    read_provenance,
    split_tiles,
)
from network.datasets.schema import DatasetInfo
from network.datasets.synthetic.town_files import SceneTile, write_scene
from network.datasets.windows import padding
from network.datasets.workers import available_cores, map_parallel
from network.errors import InputError
from network.evaluation.evaluate import evaluate
from network.evaluation.figure_fonts import save_figure
from network.evaluation.records import read_records
from network.evaluation.scores import MAIN, Scores
from network.evaluation.summary import Summary
from network.training.train import train_once
from network.writing import replacing

PATCH = 1024

_AREA = "top_mosaic_09cm_area{}"

SCENES = (
    *(("train", area, (2557, 1887)) for area in (1, 3, 5)),
    ("val", 30, (2563, 1934)),
    *(("test", n, VAIHINGEN.tile_sizes[_AREA.format(n)]) for n in (4, 12, 24, 35)),
)
"""Split, area and size of the synthetic tiles."""

CROP_PATCH = 288
"""Patch size for crops of 512 pixels: padded to 576, they have about Vaihingen's share of padding.

The folders of these patches are still named ``..._1024``, since the config looks there. The stamp
states the real size.
"""


def padding_share(sizes: Sequence[tuple[int, int]], patch: int = PATCH) -> float:
    """Compute the share of padding in all pixels of padded tiles, 0 to 1.

    Args:
        sizes: heights and widths of the tiles.
        patch: side of the patches in pixels, which is also the stride.
    """
    total = sum(math.prod(side + padding(side, patch, patch) for side in size) for size in sizes)
    return 1 - sum(math.prod(size) for size in sizes) / total


@dataclass(frozen=True)
class Row:
    """The result of one model on one test set.

    Attributes:
        data: name of the test set.
        trained: padding policy in training.
        ignored: scores without padding.
        scored: scores with padding as ImSurf.
        share: share of padding in all pixels of the test set.
        called_first: share of the padding that the model calls ImSurf.
    """

    data: str
    trained: str
    ignored: Scores
    scored: Scores
    share: float
    called_first: float


def run_study(work: Path, config: Path, real: Path | None, overrides: Sequence[str]) -> list[Row]:
    """Run the study: make and cut tiles, train, and test on eroded masks.

    Finished steps are not repeated.

    Args:
        work: folder for tiles, patches and masks.
        config: config of the study.
        real: folder with real crops, ``{vaihingen,potsdam}/{images,masks_eroded}``; or None.
        overrides: overrides of the config.
    """
    make_tiles(work / "tiles")
    test_sets = {"synthetic tiles": work / "ignore"}
    for policy in PAD_POLICIES:
        for split in ("train", "val", "test"):
            _cut_tiles(work, split, policy)
    if real:
        for info in (VAIHINGEN, POTSDAM):
            root = work / f"{info.name}_crop"
            _cut_crop(real / info.name, root, info)
            test_sets[f"real {info.name.capitalize()} crop"] = root
    rows = []
    for policy in PAD_POLICIES:
        own = [f"name=padding_study/{policy}", f"data.root={work / policy}"]
        experiment = load_experiment(config, [*overrides, *own])
        checkpoint = train_once(experiment) / "best.ckpt"
        for name, root in test_sets.items():
            other = replace(experiment, data=replace(experiment.data, root=str(root)))
            output = work / "results" / f"{policy}_on_{root.name}"
            print(f"{name}, trained with padding policy '{policy}'")
            found = evaluate(other, checkpoint=checkpoint, output=output, split="test")
            rows.append(_row(name, policy, other, output, found["eroded"]))
    return rows


def make_tiles(folder: Path) -> None:
    """Write all synthetic tiles, or none if an error occurs. If all are there, they are kept.

    Raises:
        InputError: tiles are missing, and the folder holds files that are not of the study.
    """
    tiles = [SceneTile(split, area, area, *size) for split, area, size in SCENES]
    names = {name for tile in tiles for name in tile.names.values()}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if names <= there:
        return
    if there - names:
        raise InputError(
            folder,
            f"holds other files than the study's, such as {min(there - names)}",
            "choose another work folder",
        )
    with replacing_folders(folder) as (partial_folder,):
        write = partial(write_scene, partial_folder)
        map_parallel(write, tiles, workers=available_cores(), unit="scene")


def _cut_tiles(work: Path, split: str, policy: str) -> None:
    is_train, is_test = split == "train", split == "test"
    folder = VAIHINGEN.folders(split)[0]
    _cut(
        PatchSplit(
            info=VAIHINGEN,
            img_dir=work / "tiles" / f"{split}_images",
            mask_dir=work / "tiles" / (f"{split}_masks_eroded" if is_test else f"{split}_masks"),
            output_img_dir=work / policy / folder.images,
            output_mask_dir=work / policy / folder.masks[0].folder,
            mode="train" if is_train else "val",
            split_size=PATCH,
            stride=PATCH // 2 if is_train else PATCH,
            eroded=is_test,
            pad_policy=policy,
        )
    )


def _cut_crop(source: Path, root: Path, info: DatasetInfo) -> None:
    folder = info.folders("test")[0]
    _cut(
        PatchSplit(
            info=info,
            img_dir=source / "images",
            mask_dir=source / "masks_eroded",
            output_img_dir=root / folder.images,
            output_mask_dir=root / folder.masks[0].folder,
            mode="val",
            split_size=CROP_PATCH,
            stride=CROP_PATCH,
            eroded=True,
            rgb_image=info is POTSDAM,
        )
    )


def _cut(split: PatchSplit) -> None:
    if not is_cut(split):
        split_tiles(split, workers=available_cores())


def _row(data: str, trained: str, experiment: Experiment, output: Path, summary: Summary) -> Row:
    counts = [record.counts["eroded"] for record in read_records(output).values()]
    called = np.sum([c.padding for c in counts], axis=0)
    mask_folder = experiment.dataset.folders("test")[0].masks[0].folder
    return Row(
        data=data,
        trained=trained,
        ignored=summary.scores,
        scored=summary.other_padding or summary.scores,
        share=_padding_share(experiment.root / mask_folder),
        called_first=float(called[0] / max(1, called.sum())),
    )


def _padding_share(folder: Path) -> float:
    """Read the share of padding in the patches of a folder that this study has cut."""
    provenance = read_provenance(folder)
    if provenance is None or provenance.padding_share is None:
        raise InputError(folder, "does not say how it was cut", "delete it; it is cut again")
    return provenance.padding_share


def geometry_table() -> str:
    """Make a Markdown table of the share of padding in the official test tiles."""
    lines = [
        "| test tiles | patches of 1024 | padding, % of their pixels |",
        "| --- | ---: | ---: |",
    ]
    for info in (VAIHINGEN, POTSDAM):
        sizes = list(info.tile_sizes.values())
        patches = sum(math.prod(math.ceil(side / PATCH) for side in size) for size in sizes)
        share = 100 * padding_share(sizes)
        lines.append(f"| {len(sizes)} of {info.name.capitalize()} | {patches} | {share:.1f} |")
    return "\n".join(lines) + "\n"


def results_table(rows: Sequence[Row]) -> str:
    """Make a Markdown table of all models on all test sets under both policies, in percent."""
    lines = [
        "| test set (padding) | padding in training | in test | mIoU | mF1 | OA | ImSurf F1 | "
        "padding called ImSurf |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        for test, scores in (("ignored", row.ignored), ("ImSurf", row.scored)):
            means = [*(scores.overall[name] for name in MAIN), scores.by_class["F1"][0]]
            cells = " | ".join("-" if v is None else f"{100 * v:.1f}" for v in means)
            lines.append(
                f"| {row.data} ({100 * row.share:.1f} %) | {_TRAINED[row.trained]} | {test} | "
                f"{cells} | {100 * row.called_first:.1f} |"
            )
    return "\n".join(lines) + "\n"


_TRAINED = {"ignore": "ignored", "geoseg": "ImSurf"}


def write_study(rows: Sequence[Row], folder: Path) -> None:
    """Write the results of the study as ``padding_study.md`` and ``padding_study.png``."""
    with replacing(folder / "padding_study.md") as file:
        file.write_text(f"{geometry_table()}\n{results_table(rows)}", encoding="utf-8")
    tests = list(dict.fromkeys(row.data for row in rows))
    figure = Figure(figsize=(4.2 * len(tests), 3.8), layout="constrained")
    axes = figure.subplots(1, len(tests), sharey=True, squeeze=False)[0]
    scores = {
        "mIoU": lambda s: s.overall["mIoU"],
        "OA": lambda s: s.overall["OA"],
        "ImSurf F1": lambda s: s.by_class["F1"][0],
    }
    for axis, test in zip(axes, tests, strict=True):
        bars = [
            (row.trained, scored, values)
            for row in rows
            if row.data == test
            for scored, values in (("ignored", row.ignored), ("ImSurf", row.scored))
        ]
        for number, (trained, scored, values) in enumerate(bars):
            axis.bar(
                np.arange(len(scores)) + (number - 1.5) * 0.2,
                [100 * score(values) for score in scores.values()],
                width=0.19,
                color="tab:blue" if trained == "ignore" else "tab:orange",
                alpha=0.45 if scored == "ignored" else 1,
                label=f"trained: {_TRAINED[trained]}; scored: {scored}",
            )
        share = next(100 * row.share for row in rows if row.data == test)
        axis.set_title(f"{test}\n{share:.1f} % padding", fontsize=10)
        axis.set_xticks(range(len(scores)), scores)
    axes[0].set(ylabel="percent", ylim=(0, 100))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, title="padding")
    save_figure(figure, folder / "padding_study.png")
