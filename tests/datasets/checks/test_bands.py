"""Images of any number of bands and any type: headers, pixels, statistics, augmentation."""

import re
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from network.commands.measure_bands import config_text
from network.datasets import segmentation
from network.datasets.checks import bands as checks
from network.datasets.checks.bands import measure_bands
from network.datasets.files import fitting_size, read_image, read_mask, read_photo, write_image
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth.files import AreaFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import PIXEL_TYPES, DatasetInfo, Folder, MaskFolder
from network.datasets.segmentation import SegmentationDataset, find_samples
from network.datasets.transforms import TrainTransform
from network.errors import InputError
from network.rasters.header import Header, read_header
from network.settings import Data
from tests.commands import error_of, succeed
from tests.datasets.on_earth.scenes import box, by_class, write_features, write_regions
from tests.rasters.earth import CLASSES, ORIGIN, PALETTE, UTM, blocks
from tests.scenes import make_dataset, write_bands


def dataset(bands: int, bits: int, **options) -> DatasetInfo:
    return DatasetInfo(
        name="fields",
        root="data/fields",
        classes=("bare", "crop"),
        palette=((200, 150, 100), (0, 200, 0)),
        ignore_index=255,
        splits={"train": (Folder(images="images", masks=(MaskFolder(folder="masks"),)),)},
        bands=bands,
        bits=bits,
        **options,
    )


def pixels(seed: int, *shape: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(100, 30, shape).astype(dtype)
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max, shape, dtype=dtype, endpoint=True)


TIFF_OPTIONS = [
    {},
    {"compress": "deflate", "predictor": 2},
    {"compress": "lzw", "interleave": "band"},
    {"compress": "zstd"},
    {"tiled": True, "blockxsize": 16, "blockysize": 32},
    {"BIGTIFF": "YES"},
    {"ENDIANNESS": "BIG"},
    {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
]


@settings(max_examples=40, deadline=None)
@given(
    bands=st.integers(1, 14),
    kind=st.sampled_from(list(PIXEL_TYPES)),
    options=st.sampled_from(TIFF_OPTIONS),
)
@example(3, ("unsigned", 8), {})
@example(3, ("unsigned", 8), {"photometric": "MINISBLACK"})
@example(3, ("unsigned", 8), {"photometric": "MINISBLACK", "interleave": "band"})
@example(4, ("unsigned", 8), {"photometric": "RGB"})
@example(3, ("unsigned", 8), {"photometric": "RGB", "compress": "zstd"})
@example(3, ("unsigned", 8), {"photometric": "RGB", "compress": "lzma", "interleave": "band"})
@example(1, ("float", 32), {"compress": "deflate", "predictor": 3})
def test_any_tiff(tmp_path_factory, bands, kind, options):
    path, (values, bits) = tmp_path_factory.mktemp("tiff") / "image.tif", kind
    image = pixels(bands, 37, 53, bands, dtype=PIXEL_TYPES[kind])
    info = dataset(bands, bits, values=values)
    write_bands(path, image, **options)
    header = read_header(path)
    assert (header.height, header.width) == (37, 53)
    assert (header.bands, header.dtype) == (bands, PIXEL_TYPES[kind])
    assert fitting_size(path, info) == (37, 53)
    np.testing.assert_array_equal(read_image(path, info), image)


def test_twelve_bits(tmp_path):
    """As sensors have them; readers widen them."""
    image = pixels(0, 20, 30, 4, dtype="uint16") % 4096
    write_bands(tmp_path / "image.tif", image, NBITS=12)
    info = dataset(4, 16)
    assert fitting_size(tmp_path / "image.tif", info) == (20, 30)
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif", info), image)


def test_colored_masks_in_gray_bands(tmp_path):
    """OpenCV would read the first band three times: three of four classes would be lost."""
    labels = np.arange(36, dtype=np.uint8).reshape(6, 6) % 6
    for photometric in ("RGB", "MINISBLACK"):
        write_bands(tmp_path / "mask.tif", VAIHINGEN.to_rgb(labels), photometric=photometric)
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", VAIHINGEN), labels)


def test_other_headers(tmp_path):
    rgb = pixels(0, 5, 7, 3, dtype="uint8")
    Image.fromarray(rgb).save(tmp_path / "rgb.jpg")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "gray.png")
    cv2.imwrite(str(tmp_path / "gray16.png"), rgb[..., 0].astype(np.uint16))
    cv2.imwrite(str(tmp_path / "rgb16.png"), rgb.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "float.tif"), rgb[..., 0].astype(np.float32))
    Image.fromarray(rgb).save(tmp_path / "cmyk.jpg")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(rgb).quantize(8).save(tmp_path / "table.png")
    Image.fromarray(rgb).quantize(8).save(tmp_path / "table.tif")
    Image.fromarray(rgb[..., 0] > 99).save(tmp_path / "bits.png")
    for name, bands, dtype, color in (
        ("rgb.jpg", 3, "uint8", "RGB"),
        ("gray.png", 1, "uint8", "gray"),
        ("gray16.png", 1, "uint16", "gray"),
        ("rgb16.png", 3, "uint16", "RGB"),
        ("float.tif", 1, "float32", "gray"),
        ("cmyk.jpg", 3, "uint8", "CMYK"),
        ("table.png", 1, "uint8", "color-table"),
        ("table.tif", 1, "uint8", "color-table"),
        ("bits.png", 1, "uint8", "1-bit"),
    ):
        expected = Header(5, 7, bands, dtype, color, is_lossy=name.endswith("jpg"))
        assert read_header(tmp_path / name) == expected, name
        if color not in ("RGB", "gray"):
            with pytest.raises(InputError, match=f"a {color} image; convert it"):
                fitting_size(tmp_path / name, dataset(bands, 8))
    rgb16 = cv2.cvtColor(rgb, cv2.COLOR_BGR2RGB).astype(np.uint16)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb16.png", dataset(3, 16)), rgb16)


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_truncated(tmp_path, share):
    path = tmp_path / "image.tif"
    write_bands(path, pixels(0, 64, 64, 6, dtype="uint16"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"image\.tif: truncated image"):
        read_header(path)
    with pytest.raises(InputError, match=r"image\.tif: truncated image"):
        read_image(path, dataset(6, 16))


def test_truncated_anywhere(tmp_path):
    """Our own TIFFs end with their directory."""
    path = tmp_path / "image.tif"
    write_image(path, pixels(0, 8, 8, 3, dtype="uint8"))
    whole = path.read_bytes()
    accepted = []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with suppress(InputError):
            read_header(path)
            accepted.append(length)
    # Only the place of a next directory, which there is not, can be missing.
    assert all(length >= len(whole) - 4 for length in accepted)


@pytest.mark.parametrize(
    ("bands", "bits", "words"),
    [(4, 16, "5 bands of uint16, fields has 4 bands of uint16"), (5, 8, "has 5 bands of uint8")],
)
def test_other_bands_than_the_data_set(tmp_path, bands, bits, words):
    path = tmp_path / "image.tif"
    write_bands(path, pixels(0, 8, 8, 5, dtype="uint16"))
    for read in (fitting_size, read_image):
        with pytest.raises(InputError, match=words):
            read(path, dataset(bands, bits))


@pytest.mark.parametrize(
    ("dtype", "info", "words"),
    [
        ("int16", dataset(2, 8), "2 bands of int16, .* 2 bands of uint8; convert it, or set values="
         "'signed', bits=16 in"),
        ("float32", dataset(1, 16), "convert it, or set bands=2, values='float', bits=32 in"),
        ("uint8", dataset(2, 32, values="float"), "or set values='unsigned', bits=8 in the config"),
        ("uint16", dataset(3, 8), "convert it to RGB, or set bands=2, bits=16 in the config's Dat"),
        ("float64", dataset(2, 32, values="float"), "2 bands of float64, .* -ot Float32"),
        ("uint64", dataset(2, 16), "2 bands of uint64, .* at most 32 bits"),
    ],
)  # fmt: skip
def test_another_type_than_the_data_set(tmp_path, dtype, info, words):
    """What came, what is expected, and what to write into the config."""
    write_bands(tmp_path / "image.tif", np.zeros((8, 8, 2), dtype))
    for read in (fitting_size, read_image):
        with pytest.raises(InputError, match=f"image.tif: .*{words}"):
            read(tmp_path / "image.tif", info)


def test_measurements_are_shown_where_they_have_data(tmp_path):
    """Neither NaN nor a no-data value moves the percentiles, and small ranges are stretched too."""
    ramp = np.linspace(0.02, 0.03, 101, dtype=np.float32).reshape(1, 101, 1)
    image = np.concatenate([ramp, 0 * ramp - 7], axis=2).repeat(3, axis=0)
    image[1], image[2, :50, 1], image[2, 50:, 0] = -3.4e38, np.nan, np.inf
    write_bands(tmp_path / "image.tif", image, nodata=-3.4e38)
    info = dataset(2, 32, values="float", rgb_bands=(0, 1, 1))
    shown = read_photo(tmp_path / "image.tif", info)
    assert shown[0, [0, 2, 50, 98, 100], 0].tolist() == [0, 0, 127, 255, 255]
    assert not shown[1:].any()
    assert not shown[..., 1].any()  # one value everywhere
    write_bands(tmp_path / "image.tif", np.full((3, 4, 2), np.nan, np.float32))
    assert not read_photo(tmp_path / "image.tif", info).any()


def test_shown(tmp_path):
    """Eight bits as they are; sixteen between the percentiles of each band."""
    path, image = tmp_path / "image.tif", pixels(0, 8, 8, 4, dtype="uint8")
    write_bands(path, image)
    shown = read_photo(path, dataset(4, 8, rgb_bands=(3, 0, 0)))
    np.testing.assert_array_equal(shown, image[..., [3, 0, 0]])

    ramp = np.arange(101, dtype=np.uint16).reshape(1, 101, 1)
    write_bands(path, np.concatenate([100 * ramp, 7 + 0 * ramp], axis=2))
    shown = read_photo(path, dataset(2, 16, rgb_bands=(0, 1, 1)))
    assert shown[0, [0, 2, 50, 98, 100], 0].tolist() == [0, 0, 127, 255, 255]
    assert not shown[..., 1].any()  # one value everywhere
    assert dataset(2, 16).rgb_bands == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": 0}, "bands=0, bits=8"),
        ({"bits": 12}, "bands=3, bits=12"),
        ({"values": "float"}, "bits=8, values='float'; expected .*, 32 if 'float'"),
        ({"values": "float", "bits": 16}, "bits=16, values='float'"),
        ({"values": "signed"}, "bits=8, values='signed'; expected .*, 16 or 32 if 'signed'"),
        ({"values": "int"}, "values='int'; expected"),
        ({"bands": 2, "rgb_bands": (0, 1, 2)}, "are not three of 0 to 1"),
    ],
)
def test_wrong_facts(options, words):
    with pytest.raises(ValueError, match=words):
        dataset(**{"bands": 3, "bits": 8, **options})
    with pytest.raises(ValueError, match="ignore_index=254; it must be 2 to 253, or 255"):
        replace(dataset(3, 8), ignore_index=254)


def test_a_dim_band_stays_what_it_is(tmp_path):
    """Brightness of 16 bits is a factor: nothing is added to a band that another one outshines."""
    info = dataset(2, 16)
    image = np.stack([np.full((40, 40), 300), np.full((40, 40), 4500)], axis=2).astype(np.uint16)
    data = Data(crop=40, scales=(1.0,), mosaic=0, max_class_share=1.0, brighten=1.0)
    transform = TrainTransform(data, 255)
    factors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed, _ = transform(lambda _: (image, np.zeros((40, 40), np.uint8)), 0, 1, rng)
        low, high = changed.reshape(-1, 2).mean(0)
        assert high / low == pytest.approx(15, rel=0.01)
        factors.append(low / 300)
    assert 0.74 < min(factors) < 0.9
    assert 1.1 < max(factors) < 1.26
    assert info.dtype == str(image.dtype)


def test_any_number_of_classes(tmp_path):
    """As many as labels of 8 bits can tell, in indices or in colors."""
    colors = tuple((n, 255 - n, 7) for n in range(254))
    names = tuple(map(str, range(254)))
    info = replace(dataset(3, 8), classes=names, palette=colors, scored=())
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    labels[labels == 254] = 255
    np.testing.assert_array_equal(info.from_rgb(info.to_rgb(labels), "mask"), labels)
    with pytest.raises(ValueError, match="255 classes, at most 254"):
        replace(info, classes=(*names, "254"), palette=(*colors, (1, 1, 1)))


@settings(max_examples=20, deadline=None)
@given(bands=st.integers(1, 5), kind=st.sampled_from(list(PIXEL_TYPES)), count=st.integers(1, 3))
def test_statistics(tmp_path_factory, bands, kind, count):
    values, bits = kind
    root, info = tmp_path_factory.mktemp("data"), dataset(bands, bits, values=values)
    images = [pixels(n, 9, 5 + n, bands, dtype=info.dtype) for n in range(count)]
    masks = [pixels(n + 9, 9, 5 + n, dtype="uint8") % 2 for n in range(count)]
    masks[-1][:, 1:] = 255
    for n, (image, mask) in enumerate(zip(images, masks, strict=True)):
        write_bands(root / f"images/{n}.tif", image)
        write_image(root / f"masks/{n}.png", mask)
    samples = find_samples(info, root, "train")
    for all_pixels in (False, True):
        kept = [
            image[(mask != 255) | all_pixels] for image, mask in zip(images, masks, strict=True)
        ]
        kept = np.concatenate(kept).astype(np.float64)
        found = measure_bands(samples, info, all_pixels=all_pixels)
        # The mean of numbers of both signs is known as well as the numbers are.
        means, exact = [band.mean for band in found], np.abs(kept).max() * 1e-15
        np.testing.assert_allclose(means, kept.mean(0), rtol=1e-12, atol=exact)
        np.testing.assert_allclose([band.std for band in found], kept.std(0), rtol=1e-9)
        assert [(band.low, band.high) for band in found] == [
            *zip(kept.min(0), kept.max(0), strict=True)
        ]


def test_statistics_of_heights(tmp_path):
    """Centimeters on a plateau of 4000 m, in two images; holes do not count."""
    info = dataset(1, 32, values="float")
    rng = np.random.default_rng(0)
    images = [rng.normal(4000, 0.02, (50, 60, 1)).astype(np.float32) for _ in range(2)]
    for n, image in enumerate(images):
        holes = image.copy()
        holes[n, :20], holes[5, :3], holes[6, :2] = -9999, np.nan, -np.inf
        write_bands(tmp_path / f"images/{n}.tif", holes, nodata=-9999)
        write_image(tmp_path / f"masks/{n}.png", np.zeros((50, 60), np.uint8))
        images[n] = holes[(holes > 0) & (holes < 9999)]
    kept = np.concatenate(images).astype(np.float64)
    (band,) = measure_bands(find_samples(info, tmp_path, "train"), info)
    assert band.count == len(kept) == 2 * (3000 - 25)
    assert band.std == pytest.approx(kept.std(), rel=1e-6)
    assert (band.low, band.high) == (kept.min(), kept.max())
    # The text keeps what matters: the deviation is small beside the mean.
    values = dict(re.findall(r"(\w+)=\(([^,]+),\)", config_text([band], info)))
    assert float(values["mean"]) == pytest.approx(kept.mean(), abs=1e-5 * kept.std())
    assert float(values["std"]) == pytest.approx(kept.std(), rel=1e-4)


def test_statistics_of_nothing(tmp_path):
    info = dataset(2, 8)
    write_bands(tmp_path / "images/0.tif", pixels(0, 4, 4, 2, dtype="uint8"))
    write_image(tmp_path / "masks/0.png", np.full((4, 4), 255, np.uint8))
    with pytest.raises(InputError, match="no pixel has a class"):
        measure_bands(find_samples(info, tmp_path, "train"), info)


@pytest.mark.parametrize(
    ("bands", "values", "bits"),
    [
        (1, "unsigned", 8),
        (2, "unsigned", 16),
        (7, "unsigned", 16),
        (2, "unsigned", 32),
        (3, "signed", 16),
        (1, "signed", 32),
        (5, "float", 32),
    ],
)
def test_bands_stay_on_their_labels(tmp_path, bands, values, bits):
    """Through mosaic, crop, turns and flips."""
    info = dataset(bands, bits, values=values)
    make_dataset(tmp_path, info, {"train": 3}, ((40, 48),))
    factors = np.arange(1, bands + 1) * (9 if bits == 8 else 900)
    if values != "unsigned":
        factors *= -1
    for path in (tmp_path / "images").iterdir():
        labels = pixels(len(path.name), 40, 48, dtype="uint8") % 2
        write_bands(path, (labels[..., None] * factors).astype(info.dtype))
        write_image(tmp_path / f"masks/{path.stem}.png", labels)
    data = Data(crop=32, scales=(1.0,), mosaic=0.5, max_class_share=1.0)
    samples = find_samples(info, tmp_path, "train")
    transform = TrainTransform(data, info.ignore_index)
    items = SegmentationDataset(samples, info, transform)
    for index in range(12):
        item = items[0, index]
        assert item["image"].shape == (bands, 32, 32)
        expected = item["labels"].numpy() * factors[:, None, None]
        np.testing.assert_array_equal(item["image"].numpy(), expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_colors_of_bands(tmp_path, bits):
    """Brightness and sharpness change within the range of the type, on all bands."""
    info = dataset(5, bits)
    make_dataset(tmp_path, info, {"train": 1}, ((40, 40),))
    samples = find_samples(info, tmp_path, "train")
    data = Data(crop=40, scales=(1.0,), mosaic=0, rotate=0, flip=0, max_class_share=1.0)
    plain, changed = (
        SegmentationDataset(samples, info, TrainTransform(d, info.ignore_index))[0, 0]["image"]
        for d in (data, replace(data, brighten=1.0, sharpen=1.0))
    )
    plain, changed = plain.numpy().astype(float), changed.numpy().astype(float)
    assert (plain != changed).mean(axis=(1, 2)).min() > 0.5


def holes(kind: str, seed: int, height: int, width: int):
    """An image (h, w, 3 or 4), rasterio's options for it, and the pixels that have data."""
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width)) < 0.7
    if kind == "NaN":
        image = rng.normal(5, 3, (height, width, 3)).astype(np.float32)
        image[~valid, rng.integers(3)] = np.nan
        return image, {"nodata": np.nan}, valid
    image = rng.integers(1, 255, (height, width, 3), np.uint8)
    if kind == "no-data value":
        image[~valid] = 0
        return image, {"nodata": 0}, valid
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    image[~valid] = 77
    return np.dstack([image, alpha]), {"photometric": "RGB", "ALPHA": "YES"}, valid


@pytest.mark.parametrize("side", [2048, 48])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 32}])
@pytest.mark.parametrize("kind", ["alpha", "no-data value", "NaN"])
def test_statistics_where_there_is_data(tmp_path, monkeypatch, kind, layout, side):
    """Of a folder and of a scene: labeled pixels with data, inside the areas of the split alone."""
    monkeypatch.setattr("network.datasets.checks.bands._SIDE", side)
    image, options, valid = holes(kind, 0, 100, 170)
    options = {**options, **layout, "crs": UTM, "transform": ORIGIN}
    write_bands(tmp_path / "images/0.tif", image, **options)
    labels = blocks(0, 100, 170)
    labels[:9] = 255
    write_image(tmp_path / "masks/0.png", np.where(labels == 255, labels, labels % 2))
    values = {"values": "float", "bits": 32} if kind == "NaN" else {"bits": 8}
    info = dataset(bands=3, **values)
    agrees(info, tmp_path, image[(labels != 255) & valid][:, :3])

    write_regions(tmp_path / "labels.gpkg", labels)
    squares = [box(slice(20, 80), slice(10, 90)), box(slice(0, 100), slice(100, 170))]
    write_features(tmp_path / "areas.gpkg", squares, split=["train", "val"])
    areas = AreaFile(path="areas.gpkg", attribute="split", only=("train",))
    scenes = Scenes(images=("images/0.tif",), labels=(by_class(),), areas=areas)
    info = replace(
        info, classes=CLASSES, palette=PALETTE, splits={"train": (scenes,)}, scored=CLASSES
    )
    inside = np.zeros(valid.shape, bool)
    inside[20:80, 10:90] = True
    agrees(info, tmp_path, image[inside & (labels != 255) & valid][:, :3])
    samples = find_samples(info, tmp_path, "train")
    with pytest.raises(InputError, match="all_pixels=True: the scenes of fields are only measured"):
        measure_bands(samples, info, all_pixels=True)


def agrees(info: DatasetInfo, root, kept: np.ndarray) -> None:
    """The statistics are those of these pixels (n, bands)."""
    found = measure_bands(find_samples(info, root, "train"), info)
    doubles = kept.astype(np.float64)
    assert {band.count for band in found} == {len(kept)}
    np.testing.assert_allclose([band.mean for band in found], doubles.mean(0), rtol=1e-9)
    np.testing.assert_allclose([band.std for band in found], doubles.std(0), rtol=1e-9)
    expected = [*zip(kept.min(0), kept.max(0), strict=True)]
    assert [(band.low, band.high) for band in found] == expected


@pytest.mark.slow
def test_statistics_of_a_large_scene_need_little_memory(tmp_path):
    """Windows without labels are not read, and the memory does not grow with the scene."""
    labels = np.full((6000, 2500), 255, np.uint8)
    labels[5000:5400, 100:2400] = 1
    image = np.random.default_rng(0).integers(0, 255, (6000, 2500, 3), np.uint8)
    options = {"crs": UTM, "transform": ORIGIN, "tiled": True, "blockxsize": 256}
    write_bands(tmp_path / "a.tif", image, **options, blockysize=256)
    write_regions(tmp_path / "labels.gpkg", labels)
    scenes = Scenes(images=("a.tif",), labels=(by_class(),))
    info = replace(
        dataset(3, 8), classes=CLASSES, palette=PALETTE, splits={"train": (scenes,)}, scored=CLASSES
    )
    samples = find_samples(info, tmp_path, "train")
    tracemalloc.start()
    bands = measure_bands(samples, info)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bands[0].count == 400 * 2300
    assert bands[1].mean == pytest.approx(image[labels == 1][:, 1].mean())
    assert peak < image.nbytes


@pytest.mark.slow
def test_the_command_measures_scenes(tmp_path):
    """Splits of one scene have areas of their own, so both count."""
    labels = blocks(0, 100, 170)
    image = pixels(0, 100, 170, 3, dtype="uint8")
    write_bands(tmp_path / "a.tif", image, crs=UTM, transform=ORIGIN)
    write_regions(tmp_path / "labels.gpkg", labels)
    squares = [box(slice(20, 80), slice(10, 90)), box(slice(0, 100), slice(100, 170))]
    write_features(tmp_path / "areas.gpkg", squares, split=["train", "val"])
    (tmp_path / "scenes.py").write_text(SCENES)
    tool = "tools/measure_bands.py", "-c", "scenes.py", "--workers", "1"
    out = succeed(*tool, "--splits", "train", "val", cwd=tmp_path)
    kept = [part.reshape(-1, 3) for part in (image[20:80, 10:90], image[:, 100:])]
    kept = np.concatenate(kept) / 255
    values = dict(re.findall(r"(mean|std)=\(([^)]+)\)", out))
    for name, expected in (("mean", kept.mean(0)), ("std", kept.std(0))):
        found = [float(word) for word in values[name].split(",")]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    line = error_of(*tool, "--all-pixels", cwd=tmp_path)
    assert "--all-pixels: the scenes of fields are only measured where they have labels" in line


SCENES = """
from functools import partial
from network.config import Experiment
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo
from network.losses.joint import JointLoss
from network.models.bicor import BiCoRSeg

def scenes(split):
    return (Scenes(
        images=("a.tif",),
        labels=(LabelFile(path="labels.gpkg", attribute="class"),),
        areas=AreaFile(path="areas.gpkg", attribute="split", only=(split,)),
    ),)

experiment = Experiment(
    dataset=DatasetInfo(
        name="fields",
        root=".",
        classes=("road", "house", "field"),
        palette=((200, 200, 200), (200, 0, 0), (240, 220, 80)),
        ignore_index=255,
        splits={name: scenes(name) for name in ("train", "val")} | {"test": scenes("val")},
    ),
    model=partial(BiCoRSeg, 3),
    loss=partial(JointLoss, 255),
)
"""


def test_large_images_are_measured_in_windows(tmp_path, monkeypatch):
    info = replace(VAIHINGEN, tiles=None, patched=False)
    make_dataset(tmp_path, info, {"train": 2}, ((130, 200), (64, 64)))
    samples = find_samples(info, tmp_path, "train")
    found = [*measure_bands(samples, info), *measure_bands(samples, info, all_pixels=True)]
    monkeypatch.setattr(segmentation, "READ_WHOLE", 100 * 100)
    monkeypatch.setattr(checks, "_SIDE", 50)
    windows = [*measure_bands(samples, info), *measure_bands(samples, info, all_pixels=True)]
    for one, other in zip(found, windows, strict=True):
        assert (one.count, one.low, one.high) == (other.count, other.low, other.high)
        assert other.mean == pytest.approx(one.mean, rel=1e-12)
        assert other.std == pytest.approx(one.std, rel=1e-12)
