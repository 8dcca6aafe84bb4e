"""Maps that other runs, other files and damage get in the way of."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio.shutil
from rasterio.transform import from_origin

from network.errors import InputError
from network.evaluation.results import PROTOCOL_FILE
from network.maps.inputs import find_inputs, find_outputs
from network.maps.layers import CONFIDENCE, PROBABILITIES
from network.maps.records import MapRecords
from network.maps.run import SomeFailed, predict_maps
from network.maps.work import Task
from network.rasters.source import Source
from tests.maps.local import IDENTITY, PLACE, SMALL, Local, contents, predict, random_image
from tests.rasters.test_source import set_orientation
from tests.scenes import write_bands

pytestmark = pytest.mark.slow

HALF, REST = (replace(SMALL, shard=(n, 2)) for n in (0, 1))


def write(path: Path, seed: int = 0, size: int = 300) -> Path:
    write_bands(path, random_image(size, size, seed), photometric="RGB", **PLACE)
    return path


@pytest.mark.parametrize("damage", [0, 200, -40])
def test_a_damaged_block_is_predicted_again(predictor, image, tmp_path, damage):
    predict(predictor, image, out=tmp_path / "whole")
    predict(predictor, image, out=tmp_path / "out", options=HALF)
    block = next((tmp_path / "out").glob("a.tif.parts/*/r0000_c0000.tif"))
    block.write_bytes(block.read_bytes()[:damage])
    predict(predictor, image, out=tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_blocks_of_two_runs_do_not_mix(predictor, tmp_path):
    """A run goes on after another one has deleted its blocks, and after the image has changed."""
    path, out = write(tmp_path / "in/a.tif"), tmp_path / "out"
    predict(predictor, path, out=out, options=HALF)
    other = replace(SMALL, halo=0, overwrite=True)
    predict(predictor, path, out=out, options=replace(other, shard=(0, 2)))
    predict(predictor, path, out=out, options=replace(REST, overwrite=True))
    assert not (out / "a.tif").exists()  # the first half is gone, and its place is not taken
    write(path, seed=1)
    predict(predictor, path, out=out, options=replace(SMALL, overwrite=True))
    predict(predictor, path, out=tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_blocks_of_another_size_do_not_count(predictor, tmp_path, monkeypatch):
    """Blocks with a band for each class are smaller; those of an older version were not."""
    options, out, image = (
        replace(SMALL, layers=(PROBABILITIES,)),
        tmp_path / "out",
        tmp_path / "a.tif",
    )
    stored = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    write_bands(image, random_image(300, 300), photometric="RGB", **stored, **PLACE)
    with monkeypatch.context() as patch:
        patch.setattr("network.maps.work.SMALL_BLOCK", (4, 4))
        predict(predictor, image, out=out, options=replace(options, shard=(0, 2)))
        predict(predictor, image, out=tmp_path / "large", options=options)
    predict(predictor, image, out=out, options=replace(options, shard=(1, 2)))
    assert not (out / "a.tif").exists()  # the blocks of the first half do not count
    predict(predictor, image, out=out, options=replace(options, shard=(0, 2)))
    assert contents(out) == contents(tmp_path / "large")


def test_the_newest_record_counts(predictor, tmp_path):
    path, out = write(tmp_path / "in/a.tif"), tmp_path / "out"
    predict(predictor, path, out=out)
    for shard in ((0, 2), (1, 2)):
        options = replace(SMALL, halo=0, overwrite=not shard[0], shard=shard)
        predict(predictor, path, out=out, options=options)
    assert predict(predictor, path, out=out, options=replace(SMALL, halo=0)) == 1
    with pytest.raises(InputError, match="its halo is 0, not 32"):
        predict(predictor, path, out=out)


def test_another_image_of_the_same_name(predictor, tmp_path):
    one, other = write(tmp_path / "one/a.tif"), write(tmp_path / "two/a.tif", seed=1)
    predict(predictor, one, out=tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"is the map of another image, .*one/a\.tif"):
        predict(predictor, other, out=tmp_path / "out")
    assert contents(tmp_path / "out") == before
    one.parent.rename(tmp_path / "moved")  # the same file elsewhere
    predict(predictor, tmp_path / "moved/a.tif", out=tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_versions_of_images_of_several_files(tmp_path):
    """A VRT, an archive, and a photo with a world file."""
    write(tmp_path / "part.tif")
    rasterio.shutil.copy(tmp_path / "part.tif", tmp_path / "a.vrt", driver="VRT")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "part.tif", "deep/a.tif")
    write_bands(tmp_path / "w.tif", random_image(20, 20))
    (tmp_path / "w.tfw").write_text("1\n0\n0\n-1\n5\n9\n")
    paths = [tmp_path / "a.vrt", f"/vsizip/{tmp_path}/a.zip/deep/a.tif", tmp_path / "w.tif"]

    def versions() -> list[str]:
        found = []
        for path in paths:
            with Source(path) as source:
                found.append(source.version())
        return found

    before = versions()
    assert before == versions()
    write(tmp_path / "part.tif", seed=2, size=301)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "part.tif", "deep/a.tif")
    (tmp_path / "w.tfw").write_text("1\n0\n0\n-1\n50\n90\n")
    write(tmp_path / "part.tif", seed=2)
    assert all(a != b for a, b in zip(before, versions(), strict=True))


def test_a_viewer_beside_the_image_changes_nothing(predictor, tmp_path):
    """QGIS writes statistics and overviews: what is finished stays, also blocks of other shards."""
    path, out = write(tmp_path / "in/a.tif"), tmp_path / "out"
    predict(predictor, path, out=tmp_path / "whole")
    predict(predictor, path, out=out, options=HALF)
    Path(f"{path}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">9</MDI>'
        "</Metadata></PAMRasterBand></PAMDataset>"
    )
    write(tmp_path / "small.tif", size=150).rename(f"{path}.ovr")
    assert predict(predictor, path, out=out, options=REST) == 1
    assert contents(out) == contents(tmp_path / "whole")
    Path(f"{path}.aux.xml").unlink()
    predictor.model.passes = 0
    assert predict(predictor, path, out=out) == 1
    assert predictor.model.passes == 0


def test_a_finished_map_of_an_older_version_counts(predictor, tmp_path):
    """Its record has size and time of the files that viewers write, too."""
    path, out = write(tmp_path / "in/a.tif"), tmp_path / "out"
    Path(f"{path}.aux.xml").write_text("<PAMDataset/>")
    predict(predictor, path, out=out)
    record = MapRecords(out).find(out / "a.tif")
    with Source(path) as source:
        assert record.image == source.version()
        older = replace(record, image=source.version(with_side_files=True))
    assert older != record
    MapRecords(out).add(out / "a.tif", older, {})
    predictor.model.passes = 0
    assert predict(predictor, path, out=out) == 1
    assert predictor.model.passes == 0
    write(path, seed=1)
    assert predict(predictor, path, out=out) == 1
    assert predictor.model.passes > 0


def test_a_moved_image_keeps_its_blocks(predictor, tmp_path):
    path, out = write(tmp_path / "in/a.tif"), tmp_path / "out"
    predict(predictor, path, out=out, options=HALF)
    blocks = {p: p.stat().st_mtime_ns for p in out.glob("a.tif.parts/*/*.tif")}
    path.parent.rename(tmp_path / "moved")
    predict(predictor, tmp_path / "moved/a.tif", out=out, options=HALF)
    assert {p: p.stat().st_mtime_ns for p in blocks} == blocks


def test_an_output_folder_above_the_images(predictor, tmp_path):
    write(tmp_path / "in/a.tif")
    assert find_outputs([tmp_path / "in/a.tif"], tmp_path) == [tmp_path / "a"]
    with pytest.raises(InputError, match="is the folder of the image"):
        find_outputs([tmp_path / "in/a.tif"], tmp_path / "in")


def test_the_output_folder_of_a_test_is_refused(tmp_path):
    (tmp_path / PROTOCOL_FILE).write_text("{}")
    with pytest.raises(InputError, match="holds the results of a test script"):
        find_outputs(["in/a.tif"], tmp_path)
    assert find_outputs(["in/a.tif"], tmp_path / "maps") == [tmp_path / "maps/a"]


@pytest.mark.parametrize("name", ["a_confidence.tif", "a.qml", "a.tif.aux.xml"])
def test_files_of_the_user_are_kept(predictor, image, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    options = replace(SMALL, layers=(CONFIDENCE,), overwrite=True)
    with pytest.raises(InputError, match=f"{name}: is there already"):
        predict(predictor, image, out=tmp_path / "out", options=options)
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_an_image_that_is_an_output(predictor, tmp_path):
    path = write(tmp_path / "a_confidence.tif")
    before, options = path.read_bytes(), replace(SMALL, layers=(CONFIDENCE,), overwrite=True)
    with pytest.raises(InputError, match=r"a_confidence.tif: would be overwritten"):
        predict_maps(predictor, [Task(str(path), tmp_path / "a")], IDENTITY, options)
    assert path.read_bytes() == before


def test_what_cannot_be_predicted_rightly(predictor, tmp_path):
    """Names that are too long, and turned pixels that lie on Earth."""
    long = write(tmp_path / f"{'x' * 240}.tif", size=40)
    with pytest.raises(InputError, match="its name is too long"):
        predict(predictor, long, out=tmp_path / "out")
    turned = tmp_path / "turned.tif"
    place = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5e6, 1, 1)}
    write_bands(turned, random_image(40, 50), photometric="RGB", **place)
    set_orientation(turned, 6)
    other = predictor.with_network(predictor.model)
    other.info = replace(predictor.info, exif_orientation="shown")
    with pytest.raises(InputError, match="it lies on Earth"):
        predict(other, turned, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lists_in_other_encodings(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa.tif\n".encode())
    assert find_inputs(str(tmp_path / "list.txt")) == ["a.tif"]
    (tmp_path / "list.txt").write_bytes("ä.tif\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"list.txt: is not UTF-8"):
        find_inputs(str(tmp_path / "list.txt"))


def damage(path: Path, number: int) -> None:
    """Overwrite what the first band's tile of a number holds."""
    with rasterio.open(path) as file:
        down, across = divmod(number, -(-file.width // file.block_shapes[0][1]))
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_{across}_{down}", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = b"x" * 40
    path.write_bytes(content)


def test_a_block_that_cannot_be_read(predictor, tmp_path, capsys):
    """It is tried three times and named, and the rest goes on; later only this block is done."""
    path, out = tmp_path / "in/a.tif", tmp_path / "out"
    tiled = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    write_bands(path, random_image(512, 512), photometric="RGB", **tiled, **PLACE)
    options = replace(SMALL, halo=0)  # so the windows of other blocks end before the damage
    predict(predictor, path, out=tmp_path / "whole", options=options)
    whole_file, times = path.read_bytes(), path.stat()
    damage(path, 15)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(SomeFailed, match="1 blocks of images could not be predicted"):
        predict(predictor, path, out=out, options=options)
    (failed,) = map(json.loads, (out / "failed.jsonl").read_text().splitlines())
    assert (failed["rows"], failed["columns"]) == ([384, 512], [384, 512])
    assert "unreadable at rows" in failed["error"]
    assert "blocks failed, the first one" in capsys.readouterr().err
    path.write_bytes(whole_file)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    predictor.model.passes = 0
    assert predict(predictor, path, out=out, options=options) == 1
    assert predictor.model.passes == 4
    assert contents(out) == contents(tmp_path / "whole")


def test_a_network_that_fails(predictor, image, tmp_path, monkeypatch):
    """At once if it never works; otherwise the block is tried again after the others."""
    calls, forward = [], Local.forward

    def fail(self, batch):
        calls.append(1)
        if fails(len(calls)):
            raise RuntimeError("no kernel image\nis available")
        return forward(self, batch)

    monkeypatch.setattr(Local, "forward", fail)
    fails = bool
    with pytest.raises(RuntimeError, match="no kernel image"):
        predict(predictor, image, out=tmp_path / "out")
    assert len(calls) == 3
    fails = [5, 60].__contains__
    assert predict(predictor, image, out=tmp_path / "out") == 1
    monkeypatch.undo()
    predict(predictor, image, out=tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
