"""Cut whole tiles into patches.

For the arguments, see ``tools/vaihingen_patch_split.py`` and ``tools/potsdam_patch_split.py``.
"""

import argparse
import time
from functools import partial
from pathlib import Path

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.datasets.info import POTSDAM, VAIHINGEN
from network.datasets.preparation.patches import (
    MODES,
    PAD_POLICIES,
    UNKNOWN_COLORS,
    PatchSplit,
    split_tiles,
)
from network.datasets.schema import DatasetInfo


def vaihingen(description: str) -> None:
    """Parse the command line and cut Vaihingen tiles."""
    parser = split_parser(description, stride=VAIHINGEN.train_stride)
    execute(parser, partial(run_split, VAIHINGEN), overrides=False)


def potsdam(description: str) -> None:
    """Parse the command line and cut Potsdam tiles."""
    parser = split_parser(description, stride=POTSDAM.train_stride)
    parser.add_argument(
        "--rgb-image", action="store_true", help="images end in _RGB.tif, otherwise _IRRG.tif"
    )
    execute(parser, partial(run_split, POTSDAM), overrides=False)


def split_parser(description: str, *, stride: int) -> argparse.ArgumentParser:
    """Make the parser of a patch tool with GeoSeg's flags and ours.

    Args:
        description: text of the help.
        stride: default of ``--stride`` in pixels.
    """
    parser = command_parser(description)
    add = parser.add_argument
    add("--img-dir", type=Path, required=True, help="folder of the whole images")
    add("--mask-dir", type=Path, required=True, help="folder of the whole RGB masks")
    add("--output-img-dir", type=Path, required=True, help="folder to write image patches to")
    add("--output-mask-dir", type=Path, required=True, help="folder to write mask patches to")
    add("--mode", choices=MODES, default="train", help="train also stores flips")
    add("--split-size", type=int, default=1024, help="patch size in pixels (default %(default)s)")
    add(
        "--stride",
        type=int,
        default=stride,
        help="pixels from the start of a patch to the start of the next one (default %(default)s)",
    )
    add("--eroded", action="store_true", help="the masks have black class boundaries")
    add("--gt", action="store_true", help="write RGB masks, and whole ones under origin/")
    add("--val-scale", type=float, default=1.0, help="resize tiles by this factor in val mode")
    add(
        "--pad-policy",
        choices=PAD_POLICIES,
        default="ignore",
        help="label of padding: ignored, or ImSurf as in published numbers (default ignore)",
    )
    add(
        "--unknown-color",
        choices=UNKNOWN_COLORS,
        default="error",
        help="mask colors that are no class: stop, take the nearest, or ignore (default error)",
    )
    add_workers_flags(parser)
    add("--seed", type=int, default=42, help="seed of random crops (default %(default)s)")
    parser.set_defaults(rgb_image=False)  # for a data set with images of one kind
    return parser


def run_split(info: DatasetInfo, options: argparse.Namespace) -> None:
    """Cut tiles and print what was done.

    Args:
        info: description of the data set.
        options: arguments that :func:`split_parser` has parsed.

    Raises:
        InputError: the options or files cannot be used.
    """
    split = PatchSplit(
        info=info,
        img_dir=options.img_dir,
        mask_dir=options.mask_dir,
        output_img_dir=options.output_img_dir,
        output_mask_dir=options.output_mask_dir,
        mode=options.mode,
        split_size=options.split_size,
        stride=options.stride,
        eroded=options.eroded,
        gt=options.gt,
        val_scale=options.val_scale,
        rgb_image=options.rgb_image,
        car_zoom=info.car_zoom,
        pad_policy=options.pad_policy,
        unknown_color=options.unknown_color,
        seed=options.seed,
    )
    start = time.perf_counter()
    done = split_tiles(split, workers=chosen_workers(options))
    print(
        f"tiles {done.tiles}, patches {done.patches}, padding {done.padding_share:.1%} "
        f"of the pixels; written to {split.output_img_dir} and {split.output_mask_dir} "
        f"in {time.perf_counter() - start:.1f} s"
    )
