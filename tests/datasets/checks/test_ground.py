"""The doctor on scenes, and on what splits share on Earth, with areas and distances by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network import extras
from network.datasets.checks.contact_sheet import write_contact_sheet
from network.datasets.checks.doctor import Diagnosis, examine
from network.datasets.files import write_image
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.schema import DatasetInfo, Folder, MaskFolder
from tests.datasets.on_earth.scenes import (
    box,
    by_class,
    dataset,
    write_features,
    write_regions,
    write_scene,
)
from tests.rasters.earth import CLASSES, ORIGIN, PALETTE, UTM, blocks
from tests.scenes import write_bands

PATCHES = DatasetInfo(
    name="patches",
    root="",
    classes=CLASSES,
    palette=PALETTE,
    ignore_index=255,
    splits={
        split: (Folder(images=f"{split}/images", masks=(MaskFolder(folder=f"{split}/masks"),)),)
        for split in ("train", "val")
    },
)

LABELS = blocks(3, 100, 120)


def in_areas(**extra) -> DatasetInfo:
    """Two splits that are areas of the same images."""
    common = {"images": ("images/*.tif",), "labels": (by_class(),), **extra}
    return dataset(
        **{
            split: {
                **common,
                "areas": AreaFile(path=Path("areas.gpkg"), attribute="split", only=(split,)),
            }
            for split in ("train", "val")
        }
    )


@pytest.fixture
def root(tmp_path) -> Path:
    write_scene(tmp_path / "images/a.tif", LABELS)
    write_regions(tmp_path / "labels.gpkg", LABELS)
    return tmp_path


def write_areas(root: Path, train: tuple[slice, slice], val: tuple[slice, slice]) -> None:
    write_features(root / "areas.gpkg", [box(*train), box(*val)], split=["train", "val"])


def looked_at(info: DatasetInfo, root: Path) -> Diagnosis:
    return examine(info, root, tuple(info.splits))


def distances(diagnosis: Diagnosis) -> list[tuple[str, str, float]]:
    return [(d.one, d.other, pytest.approx(d.meters)) for d in diagnosis.distances]


def test_sound_scenes(root):
    """Areas are 10 columns of half a meter apart."""
    write_areas(root, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    found = looked_at(in_areas(), root)
    assert found.findings == ()
    assert distances(found) == [("train", "val", 5.0)]
    for split, columns in (("train", slice(0, 60)), ("val", slice(70, 120))):
        counts = np.bincount(LABELS[:, columns].ravel(), minlength=3).tolist()
        assert found.pixels(split).tolist() == [*counts, 100 * 120 - sum(counts)]


def test_areas_that_overlap(root):
    """By 20 columns and 100 rows of half a meter, which is 500 of the 1500 square meters of val."""
    write_areas(root, (slice(0, 100), slice(0, 80)), (slice(0, 100), slice(60, 120)))
    found = looked_at(in_areas(), root)
    (finding,) = found.findings
    assert finding.where == "train and val splits"
    assert "500 m², which is 33 % of val, in 1 pair of images; most (500 m²) in" in finding.problem
    assert finding.problem.count("a.tif") == 1
    longitude, latitude = (
        float(finding.problem.split(f"{name} ")[1].split(" ")[0].strip(","))
        for name in ("longitude", "latitude")
    )
    x, y = pyproj.Transformer.from_crs(4326, UTM, always_xy=True).transform(longitude, latitude)
    column, row = ~ORIGIN @ (x, y)
    assert (60 < column < 80, 0 < row < 100) == (True, True)
    assert distances(found) == [("train", "val", 0.0)]


def test_scenes_in_two_splits(root):
    """Without areas, all of the image is in both."""
    scenes = {"images": ("images/a.tif",), "labels": (by_class(),)}
    (finding,) = looked_at(dataset(train=scenes, val=scenes), root).findings
    assert "3,000 m², which is 100 % of val" in finding.problem


def write_patch(root: Path, split: str, name: str, place: Affine, crs: CRS | str = UTM) -> None:
    labels = blocks(len(name) + 10 * len(split), 96, 96)
    write_scene(root / f"{split}/images/{name}.tif", labels, place, crs=crs)
    write_image(root / f"{split}/masks/{name}.png", labels)


@pytest.mark.parametrize(
    ("columns", "rows", "area", "apart"),
    [(48, 0, 24 * 48, 0), (96, 0, 0, 0), (106, 96 + 24, 0, 13), (0, 200, 0, 52)],
)
def test_patches_on_earth(tmp_path, columns, rows, area, apart):
    """Two patches of 48 m; the other one is moved by columns and rows of half a meter."""
    write_patch(tmp_path, "train", "a", ORIGIN)
    write_patch(tmp_path, "train", "far", ORIGIN @ Affine.translation(-1000, 0))
    write_patch(tmp_path, "val", "b", ORIGIN @ Affine.translation(columns, rows))
    found = looked_at(PATCHES, tmp_path)
    assert distances(found) == [("train", "val", apart)]
    if area:
        (finding,) = found.findings
        assert f"{area:,} m², which is 50 % of val, in 1 pair of images" in finding.problem
        assert "a.tif and " in finding.problem
    else:
        assert found.findings == ()


def test_patches_in_two_systems(tmp_path):
    """The other patch is 20 m to the east, in another zone, and overlaps by 28 of 48 m."""
    other = CRS.from_epsg(32631)
    at = pyproj.Transformer.from_crs(UTM, other, always_xy=True)
    # That zone is turned against this one, so the patch is given by the course of its sides.
    corner, right, down = (
        np.array(at.transform(500_000 + x, 5_400_000 - y)) for x, y in ((20, 0), (68, 0), (20, 48))
    )
    across, along = (right - corner) / 96, (down - corner) / 96
    place = Affine(across[0], along[0], corner[0], across[1], along[1], corner[1])
    write_patch(tmp_path, "train", "a", ORIGIN)
    write_patch(tmp_path, "val", "b", place, other)
    (finding,) = looked_at(PATCHES, tmp_path).findings
    # The scale of a zone is 0.9996 in its middle, and areas are in the zone between the two.
    area = float(finding.problem.split(": ")[1].split(" ")[0].replace(",", ""))
    assert area == pytest.approx(28 * 48, rel=0.002)


def test_images_that_do_not_lie_on_earth_have_no_distance(tmp_path):
    for split, name in (("train", "a"), ("val", "b")):
        labels = blocks(len(split), 96, 96)
        write_bands(tmp_path / f"{split}/images/{name}.tif", np.dstack([labels] * 3))
        write_image(tmp_path / f"{split}/masks/{name}.png", labels)
    found = looked_at(PATCHES, tmp_path)
    assert (found.findings, found.distances) == ((), ())


def test_without_the_libraries(tmp_path, monkeypatch, capsys):
    """The doctor does the rest of its work, and says what it cannot know."""
    write_patch(tmp_path, "train", "a", ORIGIN)
    write_patch(tmp_path, "val", "b", ORIGIN)
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    found = looked_at(PATCHES, tmp_path)
    assert (found.findings, found.distances) == ((), ())
    assert "so nobody knows whether they overlap" in capsys.readouterr().err


def test_far_apart(tmp_path):
    """On two continents, no plane is right; the distance is that on the ellipsoid."""
    write_patch(tmp_path, "train", "a", from_origin(10, 50, 1e-5, 1e-5), "EPSG:4326")
    write_patch(tmp_path, "val", "b", from_origin(110, -20, 1e-5, 1e-5), "EPSG:4326")
    found = looked_at(PATCHES, tmp_path)
    _, _, meters = pyproj.Geod(ellps="WGS84").inv(10, 50, 110, -20)
    assert found.distances[0].meters == pytest.approx(meters, rel=1e-3)


def test_copies_of_a_scene(root):
    """Other files with the same pixels are copies; the same file in two splits is not."""
    write_areas(root, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    write_scene(root / "images/b.tif", LABELS, ORIGIN @ Affine.translation(0, 5000))
    info = in_areas()
    other = replace(info.scenes("train")[0], images=("images/b.tif",), labels=(), areas=None)
    info = replace(info, splits={**info.splits, "test": (other,)})
    (finding,) = (f for f in looked_at(info, root).findings if "same pixels" in f.problem)
    assert finding.where == str(root / "images/b.tif")
    assert f"the same pixels as the train image {root}/images/a.tif (leakage)" in finding.problem


def test_faults_of_scenes_are_told_once(root):
    write_areas(root, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    good = (root / "images/a.tif").read_bytes()
    (root / "images/b.tif").write_bytes(good[: len(good) // 2])
    findings = looked_at(in_areas(), root).findings
    assert [Path(f.where).name for f in findings] == ["b.tif"]

    (root / "images/b.tif").unlink()
    missing = looked_at(in_areas(labels=(LabelFile(path=Path("none.gpkg")),)), root).findings
    assert {str(f) for f in missing} == {
        f"{root}/none.gpkg: no such file; correct or remove the file"
    }

    wrong = in_areas(labels=(by_class(values={"road": "street"}),))
    (finding, *_) = looked_at(wrong, root).findings
    assert "no such class" in finding.problem


def test_values_of_scenes_that_mean_no_data(tmp_path):
    """A tenth of the heights is a number that the file does not call its no-data value."""
    heights = 100 + np.random.default_rng(0).random((100, 120, 1)).astype(np.float32)
    heights[:10] = -9999
    write_bands(tmp_path / "images/a.tif", heights, crs=UTM, transform=ORIGIN)
    write_regions(tmp_path / "labels.gpkg", LABELS)
    write_areas(tmp_path, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    info = replace(in_areas(), bands=1, bits=32, values="float", rgb_bands=())
    (finding,) = looked_at(info, tmp_path).findings  # told once, though two splits have the image
    assert finding.where == str(tmp_path / "images/a.tif")
    assert finding.problem.startswith("band 1 is -9999.0 in 10.00% of its pixels, all others are 1")


def test_a_split_without_images(root):
    write_areas(root, (slice(0, 100), slice(0, 60)), (slice(500, 600), slice(0, 60)))
    findings = looked_at(in_areas(), root).findings
    assert [(f.where, f.problem) for f in findings] == [
        ("val split", "no label and no area touches any of its 1 images")
    ]


def test_contact_sheet_of_scenes(root, tmp_path):
    write_areas(root, (slice(0, 100), slice(0, 60)), (slice(0, 100), slice(70, 120)))
    diagnosis = looked_at(in_areas(), root)
    write_contact_sheet(diagnosis, ["train", "val"], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/webp") == 4
