"""Augmentation: images and labels stay aligned, padding is ignored, seeds decide everything."""

from dataclasses import replace

import albumentations
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

from network.datasets.resize import resize_image
from network.datasets.transforms import Normalize, TrainTransform, mosaic, pad, random_window
from network.settings import IMAGENET_MEAN, IMAGENET_STD, Data

IGNORE = 6


def coded_pair(index: int, height: int = 96, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """An image whose channels hold its labels times 40: alignment can be read off."""
    rng = np.random.default_rng(index)
    labels = np.kron(rng.integers(0, 6, (height // 8, width // 8)), np.ones((8, 8), int))
    labels = labels.astype(np.uint8)
    return np.repeat(40 * labels[..., None] + 10, 3, axis=2), labels


def aligned(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where the image's own code agrees with the labels; padding is black and ignored."""
    codes = np.where(labels == IGNORE, 0, 40 * labels.astype(int) + 10)
    return np.abs(image[..., 0].astype(int) - codes) < 20


def inside(labels: np.ndarray) -> np.ndarray:
    """Off the class boundaries, and off the edges, which may hide one.

    An image is resized bilinearly there, its labels are not.
    """
    inner = maximum_filter(labels, 3) == minimum_filter(labels, 3)
    inner[[0, -1]] = inner[:, [0, -1]] = False
    return inner


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    crop=st.sampled_from([16, 48, 100]),
    scale=st.sampled_from([0.5, 1.0, 1.5]),
    mosaic_probability=st.sampled_from([0.0, 1.0]),
)
def test_image_and_labels_stay_aligned(seed, crop, scale, mosaic_probability):
    data = Data(crop=crop, scales=(scale,), mosaic=mosaic_probability)
    transform = TrainTransform(data, IGNORE)
    image, labels = transform(coded_pair, 0, 5, np.random.default_rng(seed))
    assert image.shape == (crop, crop, 3)
    assert labels.shape == (crop, crop)
    right = aligned(image, labels)
    if scale == 1:
        assert right.all()
    else:
        # A resized mosaic's seams are edges too, and may lie between equal classes.
        assert right[inside(labels)].mean() > (0.8 if mosaic_probability else 0.9999)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 1.5])
def test_resizing_does_not_shift_labels(scale):
    """Of a ramp: where a label lies is, on average, where the image says it does."""
    ramp = np.tile(np.arange(120, dtype=np.uint8), (120, 1))
    data = Data(crop=60, scales=(scale,), mosaic=0, rotate=0, flip=0)
    transform = TrainTransform(data, ignore_index=255)
    pair = np.repeat(ramp[..., None], 3, axis=2), ramp
    image, labels = transform.scaled_crop(*pair, np.random.default_rng(0))
    offset = (labels.astype(float) - image[..., 0])[:, 5:-5].mean()
    assert abs(offset) < 0.25  # plain nearest: 0.33 and more


def test_nothing_random_without_augmentation():
    data = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0, max_class_share=1.0)
    image, labels = coded_pair(3, 32, 32)
    result = TrainTransform(data, IGNORE)(lambda _: (image, labels), 0, 1, np.random.default_rng(0))
    np.testing.assert_array_equal(result[0], image)
    np.testing.assert_array_equal(result[1], labels)


def test_equal_seeds_give_equal_crops():
    transform = TrainTransform(Data(crop=48), IGNORE)
    first, again, other = (
        transform(coded_pair, 1, 5, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def composed(transform: TrainTransform, image, labels, rng) -> tuple[np.ndarray, np.ndarray]:
    """A crop as it was made when every sample composed its transforms anew."""
    data = transform.data
    rng.random()  # no mosaic
    image, labels = transform.scaled_crop(image, labels, rng)
    chosen = [
        albumentations.RandomRotate90(p=data.rotate),
        albumentations.HorizontalFlip(p=data.flip),
        albumentations.VerticalFlip(p=data.flip),
    ]
    if data.brighten:
        added = 0.25 if image.dtype == np.uint8 else 0.0
        chosen.append(
            albumentations.RandomBrightnessContrast(
                brightness_limit=added, contrast_limit=0.25, p=data.brighten
            )
        )
    if data.sharpen:
        chosen.append(albumentations.Sharpen(p=data.sharpen))
    augment = albumentations.Compose(chosen)
    for one in augment.transforms:
        one.set_random_seed(int(rng.integers(2**31)))
    result = augment(image=image, mask=labels)
    return result["image"], result["mask"]


@pytest.mark.parametrize(
    ("dtype", "bands", "colors"),
    [("uint8", 3, 0.7), ("uint8", 1, 0.0), ("uint16", 4, 0.7), ("float32", 2, 0.0)],
)
def test_crops_are_those_of_older_versions(dtype, bands, colors):
    """Bit for bit, so runs can be repeated."""
    data = Data(crop=32, mosaic=0, rotate=0.7, brighten=colors, sharpen=colors)
    transform = TrainTransform(data, IGNORE)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 255, (48, 40, bands)).astype(dtype)
        labels = rng.integers(0, 7, (48, 40), dtype=np.uint8)
        pair = image, labels
        expected = composed(transform, *pair, np.random.default_rng([1, seed]))
        found = transform(lambda _, pair=pair: pair, 0, 1, np.random.default_rng([1, seed]))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_every_flip_and_turn_occurs():
    """All 8 elements of the dihedral group, of one asymmetric image."""
    data = Data(crop=2, scales=(1.0,), mosaic=0, max_class_share=1.0)
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    pair = np.zeros((2, 2, 3), np.uint8), labels
    transform = TrainTransform(data, IGNORE)
    seen = {
        transform(lambda _: pair, 0, 1, np.random.default_rng(seed))[1].tobytes()
        for seed in range(200)
    }
    assert len(seen) == 8


def test_small_images_are_padded_with_ignore():
    image, labels = np.full((10, 20, 3), 9, np.uint8), np.ones((10, 20), np.uint8)
    data = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0)
    result = TrainTransform(data, IGNORE)(lambda _: (image, labels), 0, 1, np.random.default_rng(0))
    assert (result[1] == 1).sum() == 200
    assert (result[1] == IGNORE).sum() == 32 * 32 - 200
    assert (result[0][result[1] == IGNORE] == 0).all()


def test_crops_of_one_class_are_drawn_again():
    """Two halves: one draw in four is varied enough, eleven nearly always hold such a one."""
    labels = np.zeros((200, 200), np.uint8)
    labels[:, 100:] = 1
    pair = np.zeros((200, 200, 3), np.uint8), labels
    data = Data(crop=64, scales=(1.0,), mosaic=0, max_class_share=0.75)
    transform = TrainTransform(data, IGNORE)
    crops = [transform(lambda _: pair, 0, 1, np.random.default_rng(s))[1] for s in range(60)]
    assert sum(0.25 < crop.mean() < 0.75 for crop in crops) > 48


def test_labels_are_thinned_anew_for_each_crop():
    """The original of points: so many labeled pixels of each crop keep their label."""
    data = Data(crop=32, scales=(1.0,), mosaic=0, rotate=0, flip=0, max_class_share=1.0)
    labels = np.random.default_rng(0).integers(0, 3, (32, 32)).astype(np.uint8)
    labels[0] = 255  # not labeled: 992 pixels are
    image = np.zeros((32, 32, 3), np.uint8)
    thin = TrainTransform(replace(data, label_share=0.222), 255)
    crops = [thin(lambda i: (image, labels), 0, 1, np.random.default_rng(n))[1] for n in range(40)]
    for crop in crops:
        kept = crop != 255
        assert kept.sum() == round(0.222 * 992)
        assert (crop[kept] == labels[kept]).all()
    again = thin(lambda i: (image, labels), 0, 1, np.random.default_rng(0))[1]
    assert (again == crops[0]).all()
    # Of 5 crops 71.5 % of all labels are seen, of 20 99.3 % (the spec's figures).
    for count, expected in ((5, 0.715), (20, 0.993)):
        seen = np.mean(np.any([crop != 255 for crop in crops[:count]], axis=0)[1:])
        assert abs(seen - expected) < 0.03


def test_mosaic_is_four_images_around_a_center_in_the_middle_half():
    pairs = [
        (np.full((40, 60, 3), value, np.uint8), np.full((40, 60), value, np.uint8))
        for value in range(4)
    ]
    for seed in range(20):
        image, labels = (p[:, :] for p in mosaic(pairs, IGNORE, np.random.default_rng(seed)))
        np.testing.assert_array_equal(image[..., 0], labels)
        row, column = int((labels[:, 0] == 0).sum()), int((labels[0] == 0).sum())
        assert 10 <= row <= 30
        assert 15 <= column <= 45
        expected = np.block(
            [
                [np.full((row, column), 0), np.full((row, 60 - column), 1)],
                [np.full((40 - row, column), 2), np.full((40 - row, 60 - column), 3)],
            ]
        )
        np.testing.assert_array_equal(labels, expected)


def test_windows_reach_every_place():
    seen = {random_window((5, 9), 4, 9, np.random.default_rng(seed))[0].start for seed in range(30)}
    assert seen == {0, 1}


def slope(bands: int) -> np.ndarray:
    """An image of 60 x 60, of heights that rise down and to the right, in each band otherwise."""
    rows, columns = np.mgrid[:60, :60].astype(np.float32)
    return np.stack([1000 + rows + band * columns for band in range(bands)], axis=2)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(30, 90), width=st.integers(30, 90), bands=st.integers(1, 5))
def test_holes_neither_grow_nor_change_what_is_around_them(height, width, bands):
    image = slope(bands)
    is_hole = np.zeros((60, 60), bool)
    is_hole[5::20, 10::20] = True
    is_hole = maximum_filter(is_hole, 6)
    image[is_hole] = np.nan
    plain, resized = resize_image(slope(bands), height, width), resize_image(image, height, width)
    assert (resized.shape, resized.dtype) == ((height, width, bands), np.float32)
    remains = np.isnan(resized)
    assert (remains == remains[..., :1]).all()
    sides = 6 * height / 60, 6 * width / 60
    least, most = (9 * (sides[0] + off) * (sides[1] + off) for off in (-1, 1))
    assert least <= remains[..., 0].sum() <= most
    # Beside a hole, the mean of the pixels that have data is that of a place within two pixels.
    assert np.nanmax(np.abs(resized - plain)) <= 2 * bands


def test_measurements_are_filled_up_with_no_data():
    """Since a height of 0 m may be far below all others."""

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (20, 30) if index == 0 else (3, 4)
        return np.full((*shape, 2), 900, np.float32), np.ones(shape, np.uint8)

    for probability in (0, 1):
        data = Data(crop=32, scales=(1.0,), mosaic=probability)
        image, labels = TrainTransform(data, IGNORE)(read, 0, 5, np.random.default_rng(0))
        np.testing.assert_array_equal(np.isnan(image[..., 0]), labels == IGNORE)
        assert (image[labels != IGNORE] == 900).all()
        assert (labels != IGNORE).sum() == 20 * 30 or probability


def test_no_data_is_the_mean_after_normalization():
    normalize = Normalize([1000.0, -5.0], [10.0, 0.5])
    image = torch.tensor([[1010.0, -5.5], [float("nan"), float("nan")]]).T.reshape(1, 2, 1, 2)
    torch.testing.assert_close(normalize(image).flatten(), torch.tensor([1.0, 0.0, -1.0, 0.0]))


def test_pad():
    padded = pad(np.ones((2, 3), np.uint8), 4, 4, 7)
    assert padded.tolist() == [[1, 1, 1, 7], [1, 1, 1, 7], [7] * 4, [7] * 4]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize(dtype):
    normalize = Normalize(*(255 * np.array([IMAGENET_MEAN, IMAGENET_STD])).tolist())
    image = torch.tensor([0, 128, 255]).view(1, 3, 1, 1).to(dtype)
    expected = [
        (value / 255 - mean) / std
        for value, mean, std in zip((0, 128, 255), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    ]
    torch.testing.assert_close(normalize(image).flatten(), torch.tensor(expected))
    assert not normalize.state_dict()


def test_colors_change_only_when_asked():
    """Brightness and sharpening leave the labels alone, and are repeatable."""
    image, labels = coded_pair(0, 64, 64)
    geometry = {"crop": 64, "scales": (1.0,), "max_class_share": 1.0, "mosaic": 0.0}
    still = {**geometry, "rotate": 0.0, "flip": 0.0}

    def augment(**options) -> tuple[np.ndarray, np.ndarray]:
        transform = TrainTransform(Data(**still, **options), IGNORE)
        return transform(lambda index: (image, labels), 0, 1, np.random.default_rng(3))

    np.testing.assert_array_equal(augment()[0], image)
    for options in ({"brighten": 1.0}, {"sharpen": 1.0}):
        changed, same = augment(**options)
        np.testing.assert_array_equal(same, labels)
        assert (changed != image).any()
        np.testing.assert_array_equal(augment(**options)[0], changed)
