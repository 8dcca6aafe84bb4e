"""Classes from values and colors of masks, with and without files that name them."""

import json

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image

from network.datasets.discovery import mask_classes
from network.datasets.discovery.legends import find_legend
from network.datasets.discovery.mask_classes import class_counts, count_values, propose_classes
from network.datasets.files import write_image
from network.errors import InputError
from network.rasters.legend_files import write_attribute_table
from network.rasters.tiles import Legend as MapLegend
from tests.datasets.discovery.found import COLORS, labels_of
from tests.scenes import write_bands


def proposed(folder, *, legend=True):
    masks = [path for path in sorted(folder.iterdir()) if path.suffix in (".png", ".jpg", ".tif")]
    found = find_legend([folder], masks) if legend else None
    return propose_classes(count_values(masks, 1), found)


def names(proposal):
    return [one.name for one in proposal.classes]


def test_labels(tmp_path):
    labels = labels_of(0)
    labels[:4] = 255
    write_image(tmp_path / "a.png", labels)
    found = proposed(tmp_path)
    assert names(found) == ["class_0", "class_1", "class_2"]
    assert found.coding == {}
    counts = np.bincount(labels.ravel(), minlength=256)
    assert [one.amount for one in found.classes] == counts[:3].tolist()
    assert found.ignored[255].amount == counts[255] == 256
    assert "rename class_0" in found.notes[0]


def test_other_values(tmp_path):
    """Gaps, rare values and values that are no label."""
    values = np.array([10, 20, 90], np.int16)[labels_of(0, 512)]
    values[0, :5] = (-9999, 7, 300, 255, 10)
    write_bands(tmp_path / "a.tif", values[..., None])
    found = proposed(tmp_path)
    assert names(found) == ["class_10", "class_20", "class_90"]
    assert found.coding["values"] == (10, 20, 90)
    assert set(found.coding["ignored"]) == {-9999, 7, 300}
    assert found.ignored[7].why == "rare"
    assert found.ignored[7].amount == 1


@pytest.mark.parametrize("kind", ["values", "table", "colors"])
def test_a_large_mask_is_counted_in_parts(tmp_path, monkeypatch, kind):
    labels = labels_of(0, 128)
    pixels = COLORS[labels] if kind == "colors" else labels[..., None]
    write_bands(tmp_path / "a.tif", pixels, nodata=2 if kind == "values" else None)
    if kind == "table":
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_colormap(1, {n: (*map(int, color), 255) for n, color in enumerate(COLORS)})
    whole = count_values([tmp_path / "a.tif"], 1)
    assert len(whole[0].counts) == (2 if kind == "values" else 3)
    monkeypatch.setattr(mask_classes, "_WHOLE", 1000)
    monkeypatch.setattr(mask_classes, "_ROWS", 50)
    assert count_values([tmp_path / "a.tif"], 1) == whole


def test_two_values(tmp_path):
    write_image(tmp_path / "a.png", 255 * (labels_of(0) // 2))
    found = proposed(tmp_path)
    assert names(found) == ["background", "foreground"]
    assert found.coding == {"values": (0, 255)}
    assert [one.color for one in found.classes] == [(0, 0, 0), (255, 255, 255)]


def test_colors(tmp_path):
    """Black is unlabeled beside other colors, and few pixels of a color are no class."""
    rgb = COLORS[labels_of(0, 512)]
    rgb[:2] = 0
    rgb[5, 5] = (1, 2, 3)
    write_image(tmp_path / "a.png", rgb)
    found = proposed(tmp_path)
    assert {one.color for one in found.classes} == {tuple(color) for color in COLORS.tolist()}
    assert sorted(names(found)) == ["forestgreen", "gold", "royalblue"]
    assert found.ignored[0, 0, 0].amount == 1024
    assert found.ignored[1, 2, 3].why == "rare"
    assert found.coding == {"ignored": ((1, 2, 3),)}
    amounts = [one.amount for one in found.classes]
    assert amounts == sorted(amounts, reverse=True)


def test_black_and_white(tmp_path):
    write_image(tmp_path / "a.png", np.uint8(255) * np.dstack([labels_of(0) // 2] * 3))
    found = proposed(tmp_path)
    assert names(found) == ["background", "foreground"]
    assert [one.color for one in found.classes] == [(0, 0, 0), (255, 255, 255)]
    assert found.coding == {}


@pytest.mark.parametrize("quality", [95, 75])
def test_lossy_colors(tmp_path, quality):
    for seed in range(3):
        labels = np.kron(labels_of(seed, 128), np.ones((5, 3), np.uint8))
        image = Image.fromarray(COLORS[labels])
        image.save(tmp_path / f"{seed}.jpg", quality=quality)
    found = proposed(tmp_path)
    assert len(found.classes) == 3
    for one in found.classes:
        assert np.abs(COLORS.astype(int) - one.color).max(axis=1).min() <= 4
    assert found.coding["tolerance"] == 40
    assert "lossy" in found.notes[0] or "lossy" in found.notes[-1]


def test_color_tables(tmp_path):
    """Tables that agree show labels in their colors; tables that do not are colors."""
    labels = labels_of(0)

    def write(name, order):
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[labels])
        image.putpalette(COLORS[order].tobytes())
        image.save(tmp_path / name)

    write("a.png", [0, 1, 2])
    found = proposed(tmp_path)
    assert [one.color for one in found.classes] == [tuple(color) for color in COLORS.tolist()]
    assert found.coding == {}
    write("b.png", [2, 0, 1])
    found = proposed(tmp_path)
    assert found.coding["color_tables"] == "colors"
    assert "2 masks have a color table whose indices are no labels" in found.notes[0]
    assert {one.color for one in found.classes} == {tuple(color) for color in COLORS.tolist()}
    # The same labels in other indices are the same classes.
    one, other = class_counts(count_values([tmp_path / "a.png", tmp_path / "b.png"], 1), found)
    np.testing.assert_array_equal(one, other)
    assert one.sum() == labels.size


# Legends ----------------------------------------------------------------------------------------

NAMED = {"water": (0, 90, 200), "crop": (240, 200, 20), "tree": (30, 160, 60), "void": (9, 9, 9)}
FORMS = {
    "classes.json": json.dumps(
        {
            "classes": [
                {"title": k, "color": "#{:02x}{:02x}{:02x}".format(*c)} for k, c in NAMED.items()
            ]
        }
    ),
    "label_colors.json": json.dumps({name: list(color) for name, color in NAMED.items()}),
    "class_dict.csv": "name,r,g,b\n"
    + "".join(f"{k},{r},{g},{b}\n" for k, (r, g, b) in NAMED.items()),
    "legend.csv": "Value;Class;Red;Green;Blue\n"
    + "".join(f"{n};{k};{r};{g};{b}\n" for n, (k, (r, g, b)) in enumerate(NAMED.items())),
    # Tables with gaps have whole numbers as floats.
    "classes.csv": "value,name,r,g,b\n9.0,other,,,\n"
    + "".join(f"{n}.0,{k},{r},{g},{b}\n" for n, (k, (r, g, b)) in enumerate(NAMED.items())),
}


@pytest.mark.parametrize("name", FORMS)
def test_files_that_name_colors(tmp_path, name):
    rgb = COLORS[labels_of(0)]
    rgb[:1] = NAMED["void"]
    write_image(tmp_path / "a.png", rgb)
    (tmp_path / name).write_text(FORMS[name])
    found = proposed(tmp_path)
    assert names(found) == ["water", "crop", "tree"]
    assert [one.color for one in found.classes] == [tuple(color) for color in COLORS.tolist()]
    assert found.ignored[9, 9, 9].why == f"'void' in {name}"
    assert found.coding == {"ignored": ((9, 9, 9),)}
    assert found.notes == []


@pytest.mark.parametrize("name", FORMS)
def test_files_that_name_labels(tmp_path, name):
    """By their values, or by their place in the file."""
    labels = labels_of(0)
    labels[:1] = 3
    write_image(tmp_path / "a.png", labels)
    (tmp_path / name).write_text(FORMS[name])
    found = proposed(tmp_path)
    assert names(found) == ["water", "crop", "tree"]
    assert [one.color for one in found.classes] == [tuple(color) for color in COLORS.tolist()]
    assert found.coding == {"ignored": (3,)}


HEADS = ("label,name", "class,name", "class,label", "category_id,name", "Pixel value,name")
VALUED = [
    *(("csv", f"{head}\n2,tree\n0,water\n1,crop\n") for head in HEADS),
    *(
        ("csv", f"{head}\ntree,2\nwater,0\ncrop,1\n")
        for head in ("name,#value", "class,label", "label,class", "name,gray")
    ),
    *(
        (
            "json",
            json.dumps(
                [{key: 2, "name": "tree"}, {key: 0, "name": "water"}, {key: 1, "name": "crop"}]
            ),
        )
        for key in ("label", "class", "idx", "category_id")
    ),
    ("csv", "code,name,label\nT,tree,2\nW,water,0\nC,crop,1\n"),
    ("csv", "class_id,name,number\n0,water,512\n1,crop,30\n2,tree,9\n"),
    (
        "json",
        '[{"id": 2, "name": null, "title": "tree"}, {"id": 0, "name": "water"}, '
        '{"id": 1, "title": "crop"}]',
    ),
]


@pytest.mark.parametrize(("suffix", "text"), VALUED)
def test_columns_of_values(tmp_path, suffix, text):
    """The order of the lines does not matter if a column has the values."""
    write_image(tmp_path / "a.png", labels_of(0))
    (tmp_path / f"legend.{suffix}").write_text(text)
    found = proposed(tmp_path)
    assert names(found) == ["water", "crop", "tree"]
    assert found.notes == []


def test_names_that_are_numbers(tmp_path):
    write_image(tmp_path / "a.png", labels_of(0))
    (tmp_path / "classes.csv").write_text("value,name\n0,10\n1,20\n2,30\n")
    assert names(proposed(tmp_path)) == ["10", "20", "30"]
    (tmp_path / "classes.csv").write_text("label,name\n2,30\n0,10\n1,20\n")
    assert names(proposed(tmp_path)) == ["10", "20", "30"]


def test_names_without_values_are_told(tmp_path):
    write_image(tmp_path / "a.png", labels_of(0))
    (tmp_path / "classes.csv").write_text("name\nwater\ncrop\ntree\n")
    found = proposed(tmp_path)
    assert names(found) == ["water", "crop", "tree"]
    assert "does not say which values its classes have" in found.notes[0]


def test_a_legend_of_an_unclear_encoding(tmp_path):
    """Excel's plain CSV of a German system could be Chinese."""
    write_image(tmp_path / "a.png", labels_of(0))
    path = tmp_path / "classes.csv"
    path.write_text("value,name\n0,Wälder\n1,See\n2,Feld\n", encoding="cp1252")
    with pytest.raises(InputError, match=r"is not UTF-8, so its classes may be .*save it as UTF-8"):
        proposed(tmp_path)
    path.write_text("value,name\n0,Wälder\n1,See\n2,Feld\n", encoding="utf-8")
    assert names(proposed(tmp_path)) == ["Wälder", "See", "Feld"]


def test_companions_of_macos_are_no_legends(tmp_path, capsys):
    write_image(tmp_path / "a.png", labels_of(0))
    (tmp_path / "._classes.json").write_bytes(b"\0\5\x16\7")
    assert names(proposed(tmp_path))[0] == "class_0"
    assert "cannot be read" not in capsys.readouterr().err


def test_a_raster_attribute_table(tmp_path):
    write_image(tmp_path / "a.png", labels_of(0))
    colors = tuple((int(r), int(g), int(b)) for r, g, b in COLORS)
    legend = MapLegend(["class"], ("water", "crop", "tree"), colors)
    write_attribute_table(tmp_path / "a.png", legend, [1, 2, 3])
    assert names(proposed(tmp_path)) == ["water", "crop", "tree"]


def test_a_file_with_other_colors_than_the_masks(tmp_path):
    """It is said, and only the color that agrees gets its name."""
    write_image(tmp_path / "a.png", COLORS[labels_of(0)])
    classes = [{"title": "Water", "color": "#50E3C2"}, {"title": "Field", "color": "#F0C814"}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    found = proposed(tmp_path)
    assert names(found)[0] == "Field"
    (note,) = found.notes
    assert "classes.json: its colors are not those of the masks. No mask has Water (80, 227" in note
    assert "(0, 90, 200)" in note


def test_a_damaged_file_is_told(tmp_path, capsys):
    write_image(tmp_path / "a.png", labels_of(0))
    (tmp_path / "classes.json").write_text('{"classes": [')
    assert names(proposed(tmp_path))[0] == "class_0"
    assert (
        "classes.json: looks like names of classes, but cannot be read" in capsys.readouterr().err
    )


# Errors -----------------------------------------------------------------------------------------


def test_photos_instead_of_masks(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", photo)
    with pytest.raises(InputError, match=r"different colors, .*are these images"):
        proposed(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", photo)
    with pytest.raises(
        InputError, match=r"a\.png: has more than 262144 different values or colors; is it"
    ):
        proposed(tmp_path)


def test_numbers_of_objects(tmp_path):
    # One of the 400 values is 255, which marks pixels without a label.
    values = np.kron(np.arange(400, dtype=np.uint16).reshape(20, 20), np.ones((4, 4), np.uint16))
    write_bands(tmp_path / "a.tif", values[..., None])
    with pytest.raises(InputError, match=r"have 399 different values, at most 254 can"):
        proposed(tmp_path)


def test_one_class(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(InputError, match=r"have 1 class \(values: 0\); there must be two"):
        proposed(tmp_path)


def test_labels_in_three_equal_bands(tmp_path):
    """Black is the class 0 then."""
    labels = labels_of(0)
    write_image(tmp_path / "a.png", np.repeat(labels[..., None], 3, axis=2))
    found = proposed(tmp_path)
    assert names(found) == ["class_0", "class_1", "class_2"]
    assert [one.color for one in found.classes] == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert [one.amount for one in found.classes] == np.bincount(labels.ravel()).tolist()


@pytest.mark.parametrize("smooth", ["resized", "blurred"])
@pytest.mark.parametrize("kind", ["values", "colors"])
def test_mixtures_at_borders_are_no_classes(tmp_path, smooth, kind):
    """Colors have the nearest class, or none. Mixtures of values may be other classes."""
    labels = np.kron(labels_of(0, 64), np.ones((8, 8), np.uint8))
    pixels = COLORS[labels] if kind == "colors" else 100 * labels
    if smooth == "resized":
        pixels = cv2.resize(cv2.resize(pixels, (400, 400)), (512, 512))
    else:
        pixels = cv2.GaussianBlur(pixels, (3, 3), 0)
    write_image(tmp_path / "a.png", pixels)
    if kind == "values":
        words = r"different values, most of them only at borders, as smoothing makes them; make"
        with pytest.raises(InputError, match=words):
            proposed(tmp_path)
        (tmp_path / "classes.json").write_text(json.dumps({"0": "a", "100": "b", "200": "c"}))
        assert "does not name the values" in proposed(tmp_path).notes[0]
        return
    found = proposed(tmp_path)
    assert {one.color for one in found.classes} == {tuple(color) for color in COLORS.tolist()}
    amounts = {one.color: one.amount for one in found.classes}
    for color, count in zip(COLORS.tolist(), np.bincount(labels.ravel()), strict=True):
        assert amounts[tuple(color)] == pytest.approx(count, rel=0.1)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int16", 2**15 - 1), ("uint64", 2**64 - 1), ("float32", np.finfo(np.float32).min)],
)
def test_values_at_the_end_of_a_type_are_no_label(tmp_path, dtype, value):
    """Also those that do not fit into 64 bits with a sign."""
    values = labels_of(0).astype(dtype)
    values[:4] = value
    write_bands(tmp_path / "a.tif", values[..., None])
    found = proposed(tmp_path)
    assert names(found) == ["class_0", "class_1", "class_2"]
    assert found.coding == {"ignored": (int(value),)}
    (counts,) = class_counts(count_values([tmp_path / "a.tif"], 1), found)
    assert counts.tolist() == np.bincount(labels_of(0)[4:].ravel()).tolist()


def test_transparent_colors_are_told(tmp_path):
    labels = labels_of(0)
    image = Image.fromarray(labels)
    image.putpalette(COLORS.ravel().tolist())
    image.save(tmp_path / "a.png", transparency=0)
    found = proposed(tmp_path)
    assert names(found) == ["class_1", "class_2"]
    share = f"{(labels == 0).mean():.2%}"
    assert found.notes[0].startswith(f"{share} of the pixels of the masks have no data")


def test_labels_beside_colors(tmp_path):
    write_image(tmp_path / "a.png", labels_of(0))
    write_image(tmp_path / "b.png", COLORS[labels_of(0)])
    with pytest.raises(InputError, match=r"a\.png: has values, while .*b\.png has colors"):
        proposed(tmp_path)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_values_that_are_not_whole(tmp_path, value):
    values = labels_of(0).astype(np.float32)
    write_bands(tmp_path / "a.tif", values[..., None])
    assert names(proposed(tmp_path)) == ["class_0", "class_1", "class_2"]
    values[5, 5] = value
    write_bands(tmp_path / "a.tif", values[..., None])
    with pytest.raises(InputError, match=r"a\.tif: has values that are not whole"):
        proposed(tmp_path)


def test_gray_masks_with_loss_and_one_class(tmp_path):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="make them anew, without lossy compression"):
        proposed(tmp_path)
