"""Descriptions of the known data sets; all palettes are RGB.

Sources: ISPRS 2D semantic labeling contest (Vaihingen, Potsdam), LoveDA (Wang et al., NeurIPS
2021 Datasets and Benchmarks), UAVid (Lyu et al., ISPRS Journal 2020), the Grass and Cloud sets of
KTDA as D2LS uses them, a part of DroneDeploy's segmentation sample, UUAD (satellite images of
Mumbai) and "Semantic segmentation of aerial imagery" of Dubai (Humans in the Loop). The folder
names are those of GeoSeg, since many published commands use them, or those of the archives.
"""

from network.datasets.schema import (
    MAX_CLASSES,
    RGB,
    SPLITS,
    D4Views,
    DatasetInfo,
    Folder,
    MaskCoding,
    MaskFolder,
    TileNames,
)

# Configs that describe other data sets import from here what they need.
__all__ = [
    "BUILDING",
    "CLOUD",
    "DRONE",
    "DUBAI",
    "GRASS",
    "LOVEDA",
    "MAX_CLASSES",
    "POTSDAM",
    "RGB",
    "SPLITS",
    "UAVID",
    "UUAD",
    "VAIHINGEN",
    "D4Views",
    "DatasetInfo",
    "Folder",
    "MaskCoding",
    "MaskFolder",
    "TileNames",
    "patch_splits",
]


def patch_splits(patch: int) -> dict[str, tuple[Folder, ...]]:
    """Describe the splits of a data set that is cut into patches, in GeoSeg's folders.

    Train and val have full masks. Test has eroded masks, and also full ones if the patch tools
    wrote RGB masks with ``--gt``.

    Args:
        patch: side of the patches in pixels, which is a part of the folder names.
    """
    full = MaskFolder(folder=f"test/masks_{patch}_rgb", kind="full", optional=True)
    eroded = MaskFolder(folder=f"test/masks_{patch}", kind="eroded")
    return {
        "train": (_patches("train", patch),),
        "val": (_patches("val", patch),),
        "train_val": (_patches("train", patch), _patches("val", patch)),
        "test": (Folder(images=f"test/images_{patch}", masks=(eroded, full)),),
    }


def _patches(split: str, patch: int) -> Folder:
    masks = MaskFolder(folder=f"{split}/masks_{patch}")
    return Folder(images=f"{split}/images_{patch}", masks=(masks,))


def _loveda(split: str) -> tuple[Folder, ...]:
    return tuple(
        Folder(
            images=f"{split}/{domain}/images_png",
            masks=(MaskFolder(folder=f"{split}/{domain}/masks_png_convert"),),
        )
        for domain in ("Rural", "Urban")
    )


def _annotated(split: str) -> tuple[Folder, ...]:
    """Describe a split in the folders of mmsegmentation."""
    masks = MaskFolder(folder=f"ann_dir/{split}")
    return (Folder(images=f"img_dir/{split}", masks=(masks,)),)


_ISPRS_CLASSES = ("ImSurf", "Building", "LowVeg", "Tree", "Car", "Clutter")
_ISPRS_PALETTE = (
    (255, 255, 255),
    (0, 0, 255),
    (0, 255, 255),
    (0, 255, 0),
    (255, 255, 0),
    (255, 0, 0),
)


def _areas(*numbers: int) -> tuple[str, ...]:
    return tuple(f"top_mosaic_09cm_area{number}" for number in numbers)


def _potsdam_tiles(*names: str) -> tuple[str, ...]:
    return tuple(f"top_potsdam_{name}" for name in names)


VAIHINGEN = DatasetInfo(
    name="vaihingen",
    root="data/vaihingen",
    classes=_ISPRS_CLASSES,
    palette=_ISPRS_PALETTE,
    ignore_index=6,
    splits=patch_splits(1024),
    scored=(0, 1, 2, 3, 4),
    d4=D4Views(vertical_flip=True, rotations=(0, 90), scales=(0.5, 0.75, 1.0, 1.25, 1.5)),
    tiles=TileNames(image=".tif", mask=".tif", eroded_mask="_noBoundary.tif"),
    tile_splits={
        "train": _areas(1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 32, 34, 37),
        "val": _areas(30),
        "test": _areas(2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38),
    },
    tile_sizes={
        f"top_mosaic_09cm_area{area}": size
        for area, size in {
            2: (2767, 2428),
            **dict.fromkeys((4, 6, 8, 10), (2557, 1887)),
            12: (2575, 1922),
            **dict.fromkeys((14, 16), (2565, 1919)),
            20: (2315, 1866),
            **dict.fromkeys((22, 24), (2546, 1903)),
            27: (3313, 1917),
            29: (2563, 1917),
            31: (2555, 1980),
            33: (2555, 1581),
            35: (1884, 2805),
            38: (2550, 3816),
        }.items()
    },
    train_stride=512,
    car_zoom=True,
)

_POTSDAM_TEST = _potsdam_tiles(
    *("2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15"),
    *("5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13"),
)

POTSDAM = DatasetInfo(
    name="potsdam",
    root="data/potsdam",
    classes=_ISPRS_CLASSES,
    palette=_ISPRS_PALETTE,
    ignore_index=6,
    splits=patch_splits(1024),
    scored=(0, 1, 2, 3, 4),
    d4=D4Views(vertical_flip=True, rotations=(0,), scales=(0.75, 1.0, 1.25, 1.5)),
    tiles=TileNames(
        image="_RGB.tif",
        infrared_image="_IRRG.tif",
        mask="_label.tif",
        eroded_mask="_label_noBoundary.tif",
    ),
    tile_splits={
        "train": _potsdam_tiles(
            *("2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12"),
            *("5_10", "5_11", "5_12", "6_7", "6_8", "6_9", "6_10", "6_11", "6_12"),
            *("7_7", "7_8", "7_9", "7_11", "7_12"),
        ),
        "val": _potsdam_tiles("2_10"),
        "test": _POTSDAM_TEST,
    },
    tile_sizes=dict.fromkeys(_POTSDAM_TEST, (6000, 6000)),
    left_out=_potsdam_tiles("7_10"),
)

LOVEDA = DatasetInfo(
    name="loveda",
    root="data/LoveDA",
    classes=("background", "building", "road", "water", "barren", "forest", "agricultural"),
    palette=(
        (255, 255, 255),
        (255, 0, 0),
        (255, 255, 0),
        (0, 0, 255),
        (159, 129, 183),
        (0, 255, 0),
        (255, 195, 128),
    ),
    ignore_index=7,
    splits={
        "train": _loveda("Train"),
        "val": _loveda("Val"),
        "train_val": _loveda("Train") + _loveda("Val"),
        "test": tuple(Folder(images=f"Test/{domain}/images_png") for domain in ("Rural", "Urban")),
    },
    image_counts={"train": 2522, "val": 1669, "test": 1796},
)

GRASS = DatasetInfo(
    name="grass",
    root="data/grass",
    classes=("low", "middle-low", "middle", "middle-high", "high"),
    palette=(
        (185, 101, 71),
        (248, 202, 155),
        (211, 232, 158),
        (138, 191, 104),
        (92, 144, 77),
    ),
    ignore_index=255,
    splits={"train": _annotated("train"), "val": _annotated("val")},
)

CLOUD = DatasetInfo(
    name="cloud",
    root="data/cloud",
    classes=("Clear", "Cloud Shadow", "Thin Cloud", "Cloud"),
    palette=((79, 253, 199), (221, 53, 223), (251, 255, 41), (77, 2, 115)),
    ignore_index=255,
    splits={split: _annotated(split) for split in SPLITS},
)

UAVID = DatasetInfo(
    name="uavid",
    root="data/uavid",
    classes=("Building", "Road", "Tree", "LowVeg", "Moving_Car", "Static_Car", "Human", "Clutter"),
    palette=(
        (128, 0, 0),
        (128, 64, 128),
        (0, 128, 0),
        (128, 128, 0),
        (64, 0, 128),
        (192, 0, 192),
        (64, 64, 0),
        (0, 0, 0),
    ),
    ignore_index=255,
    patched=True,
    splits={
        split: tuple(
            Folder(images=f"{part}/images", masks=(MaskFolder(folder=f"{part}/masks"),))
            for part in parts
        )
        for split, parts in {
            "train": ("train",),
            "val": ("val",),
            "train_val": ("train", "val"),
        }.items()
    },
    d4=D4Views(vertical_flip=False, rotations=(0,), scales=(0.75, 1.0, 1.25, 1.5, 1.75)),
)

DRONE = DatasetInfo(
    name="drone",
    root="data/drone",
    classes=("ground", "building", "vegetation", "clutter", "car"),
    palette=((255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in SPLITS
    },
)

UUAD = DatasetInfo(
    name="uuad",
    root="data/uuad",
    classes=("unplanned urban", "built-up", "impervious", "vegetation", "barren", "water"),
    palette=(
        (250, 235, 185),
        (200, 200, 200),
        (100, 100, 150),
        (80, 140, 50),
        (200, 160, 40),
        (40, 120, 240),
    ),
    ignore_index=255,
    # Nine patches of each image of 598 x 598 pixels, which overlap.
    patch_names="(?P<tile>.+)_[0-9]+",
    splits={
        split: (Folder(images=f"images/{split}", masks=(MaskFolder(folder=f"masks/{split}"),)),)
        for split in SPLITS
    },
    image_counts={"train": 693, "val": 144, "test": 153},
)


def _dubai(*tiles: int) -> tuple[Folder, ...]:
    return tuple(
        Folder(
            images=f"Tile {tile}/images",
            masks=(MaskFolder(folder=f"Tile {tile}/masks"),),
            prefix=f"tile{tile}_",
        )
        for tile in tiles
    )


DUBAI = DatasetInfo(
    name="dubai",
    root="data/dubai",
    classes=("land", "water", "building", "vegetation", "road"),
    # The colors in the masks; classes.json of the data set lists others.
    palette=((132, 41, 246), (226, 169, 41), (60, 16, 152), (254, 221, 58), (110, 193, 228)),
    ignore_index=255,
    # The masks of two tiles have color tables, whose indices are no labels.
    mask_coding=MaskCoding(ignored=((155, 155, 155),), color_tables="colors"),
    # Nine parts of each tile.
    patch_names="(?P<tile>tile[0-9]+)_.+",
    splits={"train": _dubai(1, 3, 4, 5, 7), "val": _dubai(6), "test": _dubai(2, 8)},
    image_counts={"train": 45, "val": 9, "test": 18},
)

BUILDING = DatasetInfo(
    name="building",
    root="data/building",
    classes=("background", "building"),
    palette=((0, 0, 0), (255, 255, 255)),
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in SPLITS
    },
)
