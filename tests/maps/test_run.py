"""Maps: equal to whole-image prediction, resumed to the same bytes, shared, refused."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import from_origin

from network.datasets.files import read_mask, read_rgb, read_valid_image, write_image
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps import work
from network.maps.inputs import find_inputs, find_outputs
from network.maps.layers import CONFIDENCE, ENTROPY, LABELS, PROBABILITIES
from network.maps.options import MapOptions
from network.maps.plan import Plan
from network.maps.predict import _Blended
from network.maps.run import SomeFailed, make_tasks, predict_maps
from network.predictor import Predictor
from network.rasters.pixels import network_values
from network.rasters.source import UnreadableImage
from tests.maps.local import (
    IDENTITY,
    OF_ONE_VIEW,
    PLACE,
    SMALL,
    Local,
    contents,
    heights,
    predict,
    random_image,
    whole,
)
from tests.scenes import write_bands

pytestmark = pytest.mark.slow


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    batch=st.integers(1, 5),
    cores=st.sampled_from([(1, 1), (2, 3), (4, 4)]),
)
def test_windows_give_the_labels_of_the_whole_image(
    predictor, tmp_path_factory, size, batch, cores
):
    """With a halo that is larger than the receptive field, bit for bit."""
    folder = tmp_path_factory.mktemp("exact")
    pixels = random_image(*size)
    write_image(folder / "a.png", pixels)
    p = predictor.predict(pixels, probabilities=True).probabilities
    options = replace(SMALL, batch_size=batch, rgb=False, layers=OF_ONE_VIEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "plan_of", lambda s, o: work.Plan(*s.size, o.window, o.halo, cores))
        predict(predictor, folder / "a.png", out=folder / "out", options=options)
    labels = read_mask(folder / "out/a.png", VAIHINGEN)
    np.testing.assert_array_equal(labels, whole(predictor, pixels))
    found = {layer.name: read_layer(folder / f"out/a_{layer.name}.tif") for layer in OF_ONE_VIEW}
    np.testing.assert_allclose(found["probabilities"], p, atol=0.5 / 250 + 1e-6)
    np.testing.assert_allclose(found["confidence"][0], p.max(axis=0), atol=0.5 / 250 + 1e-6)
    entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=0) / np.log(6)
    np.testing.assert_allclose(found["entropy"][0], entropy, atol=0.5 / 250 + 1e-5)


def test_rational_polynomials_are_told_of(predictor, tmp_path, capsys):
    """Once, however many images have them."""
    terms = (1.0, *(0.0,) * 19)
    rpcs = RPC(0, 1, 40, 1, terms, terms, 20, 20, 10, 1, terms, terms, 20, 20)
    images = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for image in images:
        write_bands(image, random_image(40, 40), photometric="RGB")
        with rasterio.open(image, "r+") as file:
            file.rpcs = rpcs
    predict(predictor, *images, out=tmp_path / "maps")
    told = capsys.readouterr().err
    assert "a.tif: its map does not keep the rational polynomials" in told
    assert told.count("warning") == 1


def test_systems_that_maps_cannot_keep_are_told_of(predictor, tmp_path, capsys):
    """A rotated pole, as of a weather model; a system without a code is kept."""
    write_bands(tmp_path / "a.tif", random_image(40, 40), photometric="RGB")
    for name, crs in {
        "kept": CRS.from_string("+proj=aeqd +lat_0=50 +lon_0=9"),
        "lost": CRS.from_string("+proj=ob_tran +o_proj=longlat +o_lat_p=39 +lon_0=18 +o_lon_p=0"),
    }.items():
        vrt = tmp_path / f"{name}.vrt"
        rasterio.shutil.copy(tmp_path / "a.tif", vrt, driver="VRT")
        with rasterio.open(vrt, "r+") as file:
            file.crs, file.transform = crs, from_origin(0, 0, 0.01, 0.01)
        predict(predictor, vrt, out=tmp_path / "maps")
        with rasterio.open(tmp_path / f"maps/{name}.tif") as file:
            assert (file.crs == crs) == (name == "kept")
        told = "lost.vrt: a GeoTIFF cannot keep its reference system" in capsys.readouterr().err
        assert told == (name == "lost")


def test_values_that_want_a_scale_are_told_of(predictor, tmp_path, capsys):
    write_bands(tmp_path / "a.tif", random_image(40, 40), photometric="RGB")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.scales = (0.5,) * 3
    predict(predictor, tmp_path / "a.tif", out=tmp_path / "maps")
    words = "a.tif: has a band scale of 0.5; its values are used as stored"
    assert words in capsys.readouterr().err


@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    halo=st.sampled_from([0, 32]),
    batch=st.integers(1, 3),
    cores=st.sampled_from([(1, 1), (2, 3), (9, 9)]),
)
def test_blended_windows(predictor, tmp_path_factory, size, halo, batch, cores):
    """The weighted mean of the logits of all windows, whatever the blocks are."""
    folder = tmp_path_factory.mktemp("blended")
    pixels = random_image(*size)
    write_image(folder / "a.png", pixels)
    options = replace(SMALL, halo=halo, batch_size=batch, rgb=False, blend="hann")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            work, "plan_of", lambda s, o: work.Plan(*s.size, o.window, o.halo, cores, o.blend)
        )
        predict(predictor, folder / "a.png", out=folder / "out", options=options)
    logits, weights = np.zeros((6, *size)), np.zeros(size)
    plan = Plan(*size, options.window, halo)
    for part in (part for block in plan.blocks() for part in block.parts):
        batch = torch.from_numpy(pixels[part.window].transpose(2, 0, 1))[None]
        with torch.inference_mode():
            scores = predictor.logits(batch)[0].numpy()
        weight = np.outer(*(weights_of(s, n, halo) for s, n in zip(part.window, size, strict=True)))
        logits[:, *part.window] += weight * scores
        weights[part.window] += weight
    labels = read_mask(folder / "out/a.png", VAIHINGEN)
    best = np.sort(logits / weights, axis=0)
    sure = best[-1] - best[-2] > 1e-5  # float32 against float64
    np.testing.assert_array_equal(labels[sure], logits.argmax(0)[sure])
    assert sure.mean() > 0.99


def weights_of(side: slice, length: int, halo: int) -> np.ndarray:
    """Half a period of a sine, squared, over the pixels that windows share."""
    weights = np.ones(side.stop - side.start)
    for number in range(len(weights)):
        for distance, is_edge in (
            (number, side.start == 0),
            (len(weights) - 1 - number, side.stop == length),
        ):
            if distance < 2 * halo and not is_edge:
                weights[number] *= np.sin(np.pi * (distance + 0.5) / (4 * halo)) ** 2
    return weights


@pytest.mark.filterwarnings("error")
def test_scores_without_a_window(predictor):
    """Exported files give scores of NumPy, which must not divide 0 by 0."""
    plan = Plan(64, 160, 96, 32, (1, 4), "hann")
    block = plan.block(0, 0)
    canvas = _Blended(block, [LABELS, CONFIDENCE], 6)
    part = block.parts[0]
    rows, columns = part.window
    shape = 6, rows.stop - rows.start, columns.stop - columns.start
    scores = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    canvas.add(part, None, scores)
    found = canvas.result()
    seen = part.core[1].stop
    assert 0 < seen < block.shape[1]
    np.testing.assert_array_equal(found[""][0, :, :seen], scores[:, :, :seen].argmax(0))
    assert all((layer[..., seen:] == 255).all() for layer in found.values())


def test_blended_maps_have_their_own_name_in_the_record(predictor, image, tmp_path):
    """And no data where the image has none."""
    predict(predictor, image, out=tmp_path / "out", options=replace(SMALL, blend="hann"))
    with rasterio.open(tmp_path / "out/a.tif") as file:
        labels = file.read(1)
    assert (labels[:200, :200] == 255).all()
    assert (labels == 255).sum() == 200 * 200
    with pytest.raises(InputError, match='its blend is "hann", not none'):
        predict(predictor, image, out=tmp_path / "out")
    with pytest.raises(InputError, match="blend=mean: must be one of crop, hann"):
        replace(SMALL, blend="mean")


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    kind=st.sampled_from([("float", 32), ("signed", 16), ("signed", 32)]),
)
def test_maps_of_measurements(tmp_path_factory, size, kind):
    """The labels of the whole image, and none where a band has no data, is NaN or infinite."""
    folder = tmp_path_factory.mktemp("heights")
    info = replace(VAIHINGEN, values=kind[0], bits=kind[1])
    predictor = Predictor(Local(), info, ((500,) * 3, (100,) * 3), patch=None, device="cpu")
    write_bands(folder / "a.tif", heights(*size, info.dtype), nodata=-9999, **PLACE)
    image, valid = read_valid_image(folder / "a.tif", info)
    predict(predictor, folder / "a.tif", out=folder / "out")
    with rasterio.open(folder / "out/a.tif") as file:
        found = file.read(1)
    labels = whole(predictor, network_values(image, valid))
    np.testing.assert_array_equal(found, np.where(valid, labels, 255))
    np.testing.assert_array_equal(predictor.predict(image, valid=valid).valid, valid)


def test_another_type_of_pixels(predictor, tmp_path):
    write_bands(tmp_path / "a.tif", heights(50, 50), photometric="RGB")
    with pytest.raises(
        UnreadableImage, match=r"3 bands of float32, vaihingen has 3 bands of uint8"
    ):
        predict(predictor, tmp_path / "a.tif", out=tmp_path / "out")


def read_layer(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        assert file.scales == (1 / 250,) * file.count
        return file.read() * file.scales[0]


def test_the_file_of_a_map(predictor, image, tmp_path):
    assert predict(predictor, image, out=tmp_path / "out") == 1
    with rasterio.open(image) as source, rasterio.open(tmp_path / "out/a.tif") as file:
        pixels = source.read().transpose(1, 2, 0)
        labels = whole(predictor, pixels)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.crs, file.transform) == (source.crs, source.transform)
        assert (file.dtypes, file.nodata, file.block_shapes) == (("uint8",), 255, [(512, 512)])
        assert file.tags()["TIFFTAG_SOFTWARE"] == "BiCoR-Seg"
        assert "checkpoint_sha256 0123" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
        found, table = file.read(1), file.colormap(1)
        assert [table[n][:3] for n in range(6)] == list(VAIHINGEN.palette)
        assert (found[:200, :200] == 255).all()
        inside = np.ones(found.shape, bool)
        inside[:200, :200] = False
        np.testing.assert_array_equal(found[inside], labels[inside])
        assert file.statistics(1).max == found[inside].max()
    root = ElementTree.parse(tmp_path / "out/a.tif.aux.xml").getroot()
    assert [e.text for e in root.iter("Category")] == list(VAIHINGEN.classes)
    counts = [int(row[-1].text) for row in root.iter("Row")]
    assert counts == np.bincount(found[inside], minlength=6).tolist()
    style = ElementTree.parse(tmp_path / "out/a.qml").getroot()
    assert [e.get("label") for e in style.iter("paletteEntry")] == list(VAIHINGEN.classes)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.qml", "a.tif", "a.tif.aux.xml", "maps.jsonl",
    ]  # fmt: skip


def test_overviews_show_the_most_frequent_class(predictor, tmp_path):
    write_bands(tmp_path / "a.tif", random_image(1100, 1100), photometric="RGB", **PLACE)
    predict(predictor, tmp_path / "a.tif", out=tmp_path / "out", options=MapOptions())
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.overviews(1) == [2, 4]
        labels = file.read(1)
    with rasterio.open(tmp_path / "out/a.tif", overview_level=0) as file:
        small = file.read(1)
    squares = labels.reshape(550, 2, 550, 2).transpose(0, 2, 1, 3).reshape(550, 550, 4)
    times = (squares[..., None] == np.arange(6)).sum(axis=2)
    chosen = np.take_along_axis(times, small[..., None].astype(int), axis=2)[..., 0]
    assert (chosen == times.max(axis=2)).all()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 7, 11])
def test_what_is_done_is_not_done_again(predictor, image, tmp_path, monkeypatch, after):
    """And the map of a run that was stopped after some blocks has the same bytes."""
    predict(predictor, image, out=tmp_path / "whole")
    predictor.model.passes = 0
    predict(predictor, image, out=tmp_path / "again")
    all_passes, written = predictor.model.passes, []

    def stop(path: Path, *args) -> None:
        if len(written) == after:
            raise Stopped
        written.append(path)
        write_tile(path, *args)

    from network.maps import job

    write_tile = job.write_tile
    with monkeypatch.context() as patch:
        patch.setattr(job, "write_tile", stop)
        with pytest.raises(Stopped):
            predict(predictor, image, out=tmp_path / "out")
    assert not (tmp_path / "out/a.tif").exists()
    predictor.model.passes = 0
    predict(predictor, image, out=tmp_path / "out")
    assert predictor.model.passes < all_passes or after == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    predictor.model.passes = 0
    predict(predictor, image, out=tmp_path / "out")
    assert predictor.model.passes == 0


def test_windows_without_a_valid_pixel_are_skipped(predictor, image, tmp_path):
    predictor.model.passes = 0
    predict(predictor, image, out=tmp_path / "out")
    with_corner = predictor.model.passes
    with rasterio.open(image) as file:
        pixels = np.maximum(file.read(), 1).transpose(1, 2, 0)
    write_bands(image, pixels, nodata=0, photometric="RGB", **PLACE)
    predictor.model.passes = 0
    predict(predictor, image, out=tmp_path / "full")
    # Cores of the corner: 64 pixels, and 32 each; their windows touch valid pixels all the same.
    assert predictor.model.passes - with_corner == 5 * 5


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_share_the_work(predictor, image, tmp_path, count):
    """In any order; the last one finishes the map."""
    predict(predictor, image, out=tmp_path / "whole")
    out = tmp_path / "out"
    for number in range(count - 1, -1, -1):
        finished = predict(predictor, image, out=out, options=replace(SMALL, shard=(number, count)))
        assert finished == (number == 0)
    assert contents(out) == contents(tmp_path / "whole")
    assert predict(predictor, image, out=out, options=replace(SMALL, shard=(1, count))) == 1


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("large", [[], [(200, 150), (40, 40), (150, 300)]])
def test_processes_share_small_images(predictor, tmp_path, count, large):
    """One process does each block, and all do about as many, whether images have one or several."""
    sizes = [*[(40, 40)] * 12, *large]
    images = [tmp_path / f"in/{number}.tif" for number in range(len(sizes))]
    for number, (path, size) in enumerate(zip(images, sizes, strict=True)):
        write_bands(path, random_image(*size, number), photometric="RGB", **PLACE)
    predictor.model.passes = 0
    predict(predictor, *images, out=tmp_path / "whole")
    all_passes = predictor.model.passes
    out, passes, finished = tmp_path / "out", [], 0
    for number in range(count):
        predictor.model.passes = 0
        options = replace(SMALL, shard=(number, count))
        finished = predict(predictor, *images, out=out, options=options)
        passes.append(predictor.model.passes)
    assert finished == len(images)
    assert sum(passes) == all_passes
    assert contents(out) == contents(tmp_path / "whole")
    if not large:
        assert passes == [12 // count] * count
    assert min(passes) >= 12 // count


@pytest.mark.parametrize("done", [(), (1, 2), (0, 3)])
def test_shares_do_not_depend_on_what_is_finished(predictor, tmp_path, done):
    images = [tmp_path / f"in/{number}.tif" for number in range(4)]
    for number, path in enumerate(images):
        write_bands(path, random_image(40, 40, number), photometric="RGB", **PLACE)
    out = tmp_path / "out"
    if done:
        predict(predictor, *(images[number] for number in done), out=out)
    predictor.model.passes = 0
    predict(predictor, *images, out=out, options=replace(SMALL, shard=(1, 4)))
    assert {path.stem for path in out.glob("*.tif")} == {str(n) for n in {1, *done}}
    assert predictor.model.passes == (1 not in done)


@pytest.mark.parametrize(
    ("options", "identity", "words"),
    [
        ({"halo": 0}, {}, "its halo is 32, not 0"),
        ({"window": 128}, {}, "its window is 96, not 128"),
        ({"layers": (ENTROPY,)}, {}, 'its layers is ..labels.., not ..labels", "entropy'),
        ({"bands": (3, 2, 1)}, {}, r"its bands is \[1, 2, 3\], not \[3, 2, 1\]"),
        ({}, {"tta": "lr"}, 'its tta is "none", not "lr"'),
        ({}, {"checkpoint_sha256": "4"}, "its checkpoint_sha256 is"),
    ],
)
def test_other_means_are_refused(predictor, image, tmp_path, options, identity, words):
    """For a finished map and for one that was begun, until told to delete it."""
    out, other = tmp_path / "out", replace(SMALL, **options)
    predict(predictor, image, out=out, options=replace(SMALL, shard=(0, 2)))
    for _ in range(2):
        before = contents(out)
        with pytest.raises(InputError, match=rf"a\.tif: was made with other settings .{words}"):
            predict(predictor, image, out=out, options=other, **identity)
        assert contents(out) == before
        predict(predictor, image, out=out)
    predict(predictor, image, out=out, options=replace(other, overwrite=True), **identity)
    predict(predictor, image, out=tmp_path / "new", options=other, **identity)
    assert contents(out) == contents(tmp_path / "new")


def test_a_changed_image_is_predicted_again(predictor, image, tmp_path):
    out = tmp_path / "out"
    predict(predictor, image, out=out, options=replace(SMALL, shard=(0, 2)))
    write_bands(image, random_image(300, 300, seed=1), photometric="RGB", **PLACE)
    for seed in (1, 2):
        write_bands(image, random_image(300, 300, seed), photometric="RGB", **PLACE)
        predict(predictor, image, out=out)
        with rasterio.open(out / "a.tif") as file:
            expected = whole(predictor, random_image(300, 300, seed))
            np.testing.assert_array_equal(file.read(1), expected)


def test_files_of_others_are_not_replaced(predictor, image, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.tif").write_bytes(b"mine")
    with pytest.raises(InputError, match="no record says how it was made"):
        predict(predictor, image, out=tmp_path / "out")
    assert (tmp_path / "out/a.tif").read_bytes() == b"mine"


def test_a_damaged_record(predictor, image, tmp_path):
    """A line that a kill cut off costs its map alone."""
    out = tmp_path / "out"
    predict(predictor, image, out=out)
    lines = (out / "maps.jsonl").read_bytes()
    (out / "maps.jsonl").write_bytes(lines[:-20])
    with pytest.raises(InputError, match="no record says how it was made"):
        predict(predictor, image, out=out)
    for path in out.iterdir():
        path.unlink()
    predict(predictor, image, out=out)
    record = json.loads((out / "maps.jsonl").read_bytes().splitlines()[-1])
    assert record["map"] == "a.tif"
    assert sum(record["pixels"].values()) == 500 * 460 - 200 * 200
    assert record["megapixels_a_second"] > 0
    assert set(record["seconds"]) == {
        "reading", "network", "merging", "writing", "finishing", "all",
    }  # fmt: skip


def test_an_image_that_cannot_be_read_is_left_out(predictor, image, tmp_path):
    images = [tmp_path / f"in/{name}.tif" for name in ("0", "a", "b", "c")]
    write_bands(images[0], random_image(50, 50)[..., :1], **PLACE)
    images[2].write_bytes(image.read_bytes()[:-50_000])
    write_bands(images[3], random_image(50, 50), photometric="RGB", **PLACE)
    with pytest.raises(SomeFailed, match="2 of 4 images could not be predicted") as error:
        predict(predictor, *images, out=tmp_path / "out")
    assert error.value.exit_code == 3
    failed = (tmp_path / "out/failed.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["image"]).name for line in failed] == ["0.tif", "b.tif"]
    assert "1 band of uint8" in failed[0]
    images[2].write_bytes(image.read_bytes())
    write_bands(images[0], random_image(50, 50), photometric="RGB", **PLACE)
    assert predict(predictor, *images, out=tmp_path / "out") == 4
    assert not (tmp_path / "out/failed.jsonl").exists()


def test_nothing_is_written_if_no_image_can_be_read(predictor, tmp_path):
    images = [tmp_path / f"{name}.tif" for name in "ab"]
    for path in images:
        write_bands(path, random_image(50, 50)[..., :1])
    with pytest.raises(UnreadableImage, match=r"a.tif: 1 band .*1 more images cannot be predicted"):
        predict(predictor, *images, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_photos_become_masks(predictor, tmp_path):
    """PNG, as the other commands write them; with a place on Earth only if asked for."""
    pixels = random_image(200, 150)
    write_image(tmp_path / "in/a.png", pixels)
    write_bands(tmp_path / "in/b.tif", pixels, photometric="RGB", **PLACE)
    images = sorted((tmp_path / "in").iterdir())
    predict(predictor, *images, out=tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").glob("[ab]*")} == {
        "a.png", "b.tif", "b.tif.aux.xml", "b.qml",
    }  # fmt: skip
    labels = whole(predictor, pixels)
    np.testing.assert_array_equal(read_rgb(tmp_path / "out/a.png"), VAIHINGEN.to_rgb(labels))
    predict(predictor, images[1], out=tmp_path / "png", options=replace(SMALL, format="png"))
    with rasterio.open(tmp_path / "png/b.png") as file:
        assert (file.crs, file.transform) == (PLACE["crs"], PLACE["transform"])
    assert (tmp_path / "png/b.png").read_bytes() == (tmp_path / "out/a.png").read_bytes()


def test_rasters_of_one_file(predictor, tmp_path, monkeypatch):
    """Each is an image by the name that GDAL has for it, and its map has a name of its own."""
    monkeypatch.chdir(tmp_path)
    pages = [random_image(60, 50, seed) for seed in range(2)]
    first, *others = [Image.fromarray(page) for page in pages]
    first.save("a.tif", save_all=True, append_images=others)
    images = ["GTIFF_DIR:1:a.tif", f"GTIFF_DIR:2:{tmp_path}/a.tif"]
    assert [find_inputs(image) for image in images] == [[image] for image in images]
    tasks = make_tasks(images, tmp_path / "out")
    options = replace(SMALL, format="png")
    assert predict_maps(predictor, tasks, IDENTITY, options) == 2
    for number, page in enumerate(pages, 1):
        found = read_rgb(tmp_path / f"out/a_{number}.png")
        np.testing.assert_array_equal(found, VAIHINGEN.to_rgb(whole(predictor, page)))
    first.save("a.tif", save_all=True, append_images=others[:1] * 2)
    predictor.model.passes = 0
    assert predict_maps(predictor, tasks, IDENTITY, options) == 2  # since the file has changed
    assert predictor.model.passes == 2


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ('NETCDF:"/data/x.nc":water', "x_water"),
        ("NETCDF:x.nc:water", "x_water"),
        ('HDF5:"in/x.h5"://group/water', "x_group_water"),
        ("GTIFF_DIR:off:1234:in/a.b.tif", "a.b_off_1234"),
        ('HDF4_EOS:EOS_GRID:"x.hdf":Grid 1:water', "x_EOS_GRID_Grid_1_water"),
        ("WMS:server", "server"),
        ("a:b.tif", "a:b"),
    ],
)
def test_names_of_maps_of_one_raster_of_a_file(tmp_path, image, name):
    assert find_outputs([image], tmp_path / "out") == [tmp_path / "out" / name]


def test_a_file_with_a_name_as_gdal_has_for_parts(predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bands(Path("NETCDF:a.tif"), random_image(40, 40), photometric="RGB", **PLACE)
    tasks = make_tasks(["NETCDF:a.tif"], tmp_path / "out")
    assert predict_maps(predictor, tasks, IDENTITY, SMALL) == 1
    assert (tmp_path / "out/NETCDF:a.tif").is_file()
    with pytest.raises(InputError, match=r"NETCDF:b.tif: unreadable image"):
        predict_maps(predictor, make_tasks(["NETCDF:b.tif"], tmp_path / "o"), IDENTITY, SMALL)


def test_control_points_and_bands(predictor, tmp_path):
    """An image of infrared, red, green, blue, alpha, whose place is known by control points."""
    pixels = random_image(120, 100)
    stacked = np.dstack([pixels[..., 0] // 2, pixels, np.full((120, 100), 255, np.uint8)])
    stacked[:40, :, 4] = 0
    points = [
        GroundControlPoint(row, column, 9 + column / 1e5, 50 - row / 1e5, 0)
        for row, column in ((0, 0), (0, 100), (120, 0), (120, 100))
    ]
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=120, width=100, count=5, dtype="uint8",
        gcps=points, crs="EPSG:4326",
    ) as file:  # fmt: skip
        file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
        file.write(stacked.transpose(2, 0, 1))
    options = replace(SMALL, bands=(2, 3, 4), layers=(CONFIDENCE, PROBABILITIES))
    predict(predictor, tmp_path / "a.tif", out=tmp_path / "out", options=options)
    with rasterio.open(tmp_path / "out/a.tif") as file:
        found, (gcps, crs) = file.read(1), file.gcps
    assert crs.to_epsg() == 4326
    assert [(p.row, p.col, p.x, p.y) for p in gcps] == [(p.row, p.col, p.x, p.y) for p in points]
    assert (found[:40] == 255).all()
    np.testing.assert_array_equal(found[40:], whole(predictor, pixels)[40:])
    with rasterio.open(tmp_path / "out/a_probabilities.tif") as file:
        assert file.descriptions[1] == "probability of Building"
        assert (file.read()[:, :40] == 255).all()


def test_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a.tif", "in/deep/c.tif"):
        write_image(tmp_path / name, random_image(4, 4))
    (tmp_path / "list.txt").write_text("# two of them\nin/a.tif\n\n/vsizip/z.zip/x.tif\n")
    assert find_inputs("in") == ["in/a.tif", "in/b.png"]
    assert find_inputs("in/*.tif") == ["in/a.tif"]
    assert find_inputs("in/**/*.tif") == ["in/a.tif", "in/deep/c.tif"]
    assert find_inputs("list.txt") == ["in/a.tif", "/vsizip/z.zip/x.tif"]
    assert find_inputs("in/a.tif") == ["in/a.tif"]
    assert find_inputs("/vsizip/z.zip/x.tif") == ["/vsizip/z.zip/x.tif"]
    with pytest.raises(InputError, match="matches no file"):
        find_inputs("in/*.jpg")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="names no image"):
        find_inputs("list.txt")
