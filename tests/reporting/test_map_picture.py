"""Pictures of maps: what is measured in them is what the files hold."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rasterio.transform import from_origin

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps.read import read_image, read_map
from network.rasters.legend_files import write_attribute_table
from network.rasters.tiles import Legend
from network.reporting import map_picture
from network.reporting.map_picture import round_length, write_map_picture
from tests.scenes import write_bands

COLORS = ((250, 10, 20), (30, 240, 40), (50, 60, 230))
NAMES = ("road", "森林", "$water$")
PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}


@pytest.fixture
def make(tmp_path):
    """Write a map of three classes and read it again."""

    def write(labels: np.ndarray, **options):
        path = tmp_path / "map.tif"
        write_bands(path, labels[..., None], nodata=255, **options)
        counts = [int((labels == label).sum()) for label in range(3)]
        write_attribute_table(path, Legend(["class"], NAMES, COLORS), counts)
        return read_map(path)

    return write


def random_labels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, (height, width), dtype=np.uint8)


def drawn(map_, tmp_path, width: int = 700, **options) -> np.ndarray:
    write_map_picture(map_, tmp_path / "a.png", width=width, **options)
    with Image.open(tmp_path / "a.png") as picture:
        return np.array(picture.convert("RGB"))


def panel(picture: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the panel of the map: the first rows with colors of classes."""
    colored = (picture[..., None, :] == np.array(COLORS)).all(axis=-1).any(axis=-1)
    rows = colored.sum(axis=1) > 0.2 * picture.shape[1]
    top = rows.argmax()
    bottom = top + (~rows[top:]).argmax()
    columns = np.flatnonzero(colored[top:bottom].any(axis=0))
    return slice(top, bottom), slice(columns[0], columns[-1] + 1)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (31, 17), (10, 45)])
def test_each_pixel_has_the_color_of_its_class(make, tmp_path, height, width):
    labels = random_labels(height, width)
    picture = drawn(make(labels, **PLACE), tmp_path, width=1200)
    assert picture.shape[1] == 1200
    rows, columns = panel(picture)
    down = rows.start + (np.arange(height) + 0.5) * (rows.stop - rows.start) / height
    across = columns.start + (np.arange(width) + 0.5) * (columns.stop - columns.start) / width
    found = picture[np.ix_(down.astype(int), across.astype(int))]
    np.testing.assert_array_equal(found, np.array(COLORS, np.uint8)[labels])


def test_a_large_map_is_shrunk_to_the_most_frequent_class(make, tmp_path):
    """And the picture has no color that is none of a class."""
    labels = np.kron(random_labels(12, 15), np.ones((160, 160), np.uint8))
    noise = np.random.default_rng(1).random(labels.shape) < 0.1
    labels[noise] = (labels[noise] + 1) % 3
    picture = drawn(make(labels, **PLACE), tmp_path, width=400)
    rows, columns = panel(picture)
    inside = picture[rows, columns][1:-1, 1:-1]
    known = (inside[..., None, :] == np.array(COLORS)).all(axis=-1)
    assert known.any(axis=-1).all()
    side = inside.shape[0] / 12
    middle = ((np.arange(12) + 0.5) * side).astype(int)
    found = known.argmax(axis=-1)[middle][:, ((np.arange(15) + 0.5) * side).astype(int)]
    np.testing.assert_array_equal(found, random_labels(12, 15))


def test_the_image_stands_beside_it(make, tmp_path):
    labels = random_labels(20, 30)
    map_ = make(labels, **PLACE)
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_bands(tmp_path / "image.tif", pixels, photometric="RGB", **PLACE)
    image = read_image(tmp_path / "image.tif", map_)
    picture = drawn(map_, tmp_path, image=image, width=1000)
    rows, columns = panel(picture)
    width = columns.stop - columns.start
    assert width < 500
    down = (rows.start + (np.arange(20) + 0.5) * (rows.stop - rows.start) / 20).astype(int)
    left = 1000 - columns.stop  # as far from the left as the map is from the right
    across = (left + (np.arange(30) + 0.5) * width / 30).astype(int)
    np.testing.assert_array_equal(picture[np.ix_(down, across)], pixels)


def test_panels_of_a_wide_map_stand_one_below_the_other(make, tmp_path):
    map_ = make(random_labels(10, 60), **PLACE)
    write_bands(tmp_path / "image.tif", np.zeros((10, 60, 3), np.uint8), **PLACE)
    image = read_image(tmp_path / "image.tif", map_)
    picture = drawn(map_, tmp_path, image=image, width=1000)
    _, columns = panel(picture)
    assert columns.stop - columns.start > 900


def foot(picture: np.ndarray) -> np.ndarray:
    """Dark pixels of the strip below the panel."""
    rows, columns = panel(picture)
    below = picture[rows.stop + 8 : rows.stop + round(0.24 * picture.shape[1] / 7.2), columns]
    return below.max(axis=-1) < 60


def runs(row: np.ndarray) -> list[int]:
    """Lengths of the runs of true values."""
    return [len(run) for run in "".join("01"[value] for value in row.astype(int)).split("0") if run]


@pytest.mark.parametrize("step", [0.5, 3.7, 1200])
def test_the_scale_bar_has_a_round_length(make, tmp_path, step):
    transform = from_origin(500_000, 5_400_000, step, step)
    picture = drawn(make(random_labels(20, 30), **PLACE | {"transform": transform}), tmp_path)
    _, columns = panel(picture)
    bar = foot(picture)
    longest = max(run for row in bar for run in runs(row))
    pixels = (columns.stop - columns.start) / 30
    meters = longest / pixels * step
    nearest = round_length(meters * 1.02)
    assert meters == pytest.approx(nearest, abs=3 * step / pixels + 0.001 * meters)
    assert 0.1 < longest / bar.shape[1] < 0.34


def test_photos_have_no_scale_bar(make, tmp_path):
    labels = random_labels(20, 30)
    with_place = drawn(make(labels, **PLACE), tmp_path).shape[0]
    assert drawn(make(labels), tmp_path).shape[0] < with_place


def test_an_arrow_shows_north_where_it_is_not_at_the_top(make, tmp_path):
    labels, dark = random_labels(20, 30), []
    for degrees in (0, 3, 40):
        turned = Affine.translation(5e5, 5.4e6) @ Affine.rotation(degrees) @ Affine.scale(1, -1)
        strip = foot(drawn(make(labels, **PLACE | {"transform": turned}), tmp_path))
        dark.append(strip[:, -strip.shape[1] // 4 :].sum())
    assert dark[:2] == [0, 0]
    assert dark[2] > 0


def test_the_legend_has_names_and_shares(make):
    labels = np.array([[0, 0, 0, 1], [255, 255, 255, 255]], np.uint8)
    figure = Figure(figsize=(7.2, 7.2))
    FigureCanvasAgg(figure)
    legend, _ = map_picture._add_legend(figure, make(labels))
    assert [text.get_text() for text in legend.get_texts()] == [
        "road  75.0 %", "森林  25.0 %", "$water$  0.0 %",
    ]  # fmt: skip


def test_a_map_without_a_class(tmp_path):
    Image.fromarray(np.zeros((4, 5, 4), np.uint8)).save(tmp_path / "mask.png")
    write_map_picture(read_map(tmp_path / "mask.png"), tmp_path / "a.png", width=300)
    assert (tmp_path / "a.png").is_file()


def test_many_classes_fit_below_the_map(tmp_path):
    """In rows that are no wider than the picture; and without a warning of Matplotlib."""
    labels = np.arange(40, dtype=np.uint8).reshape(5, 8)
    info = replace(
        VAIHINGEN,
        classes=tuple(f"class {number} 森林 $x$" for number in range(40)),
        palette=tuple((number, 100, 255 - number) for number in range(40)),
        ignore_index=255,
    )
    Image.fromarray(labels).save(tmp_path / "mask.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph", UserWarning)
        write_map_picture(read_map(tmp_path / "mask.png", info), tmp_path / "a.png", width=720)
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.array(picture.convert("L"))
    assert (pixels[:, :3] > 250).all()
    assert (pixels[:, -3:] > 250).all()


@given(st.floats(1e-6, 1e9))
def test_round_lengths(longest):
    found = round_length(longest)
    assert longest / 2.5 - 1e-12 <= found <= longest * (1 + 1e-9)
    assert f"{found:.3e}"[:5] in ("1.000", "2.000", "5.000")


@pytest.mark.parametrize("width", [299, 20_001])
def test_a_width_that_is_none(make, tmp_path, width):
    with pytest.raises(InputError, match=f"width={width}: must be 300 to 20000"):
        write_map_picture(make(random_labels(5, 5)), tmp_path / "a.png", width=width)


def test_only_png(make, tmp_path):
    with pytest.raises(InputError, match=r"a\.pdf: is no name of a PNG file"):
        write_map_picture(make(random_labels(5, 5)), tmp_path / "a.pdf")
