"""Tiles in Web Mercator: each pixel has the label that lies at its place on Earth."""

import io
import json

import numpy as np
import pytest
import rasterio
import rasterio.warp
from PIL import Image
from rasterio.transform import from_origin

from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps.options import MapOptions
from network.maps.read import read_map
from network.serving import earth_tiles as module
from network.serving.earth_tiles import EarthTiles, ImageLabels, MapLabels
from network.serving.viewer import MapViewer
from tests.maps.local import predict, random_image
from tests.scenes import write_bands
from tests.serving.served import local_predictor, served

PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}
HALF = 20037508.342789244


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An image of 2 x 3 windows, and its map."""
    folder = tmp_path_factory.mktemp("tiles")
    pixels = np.kron(random_image(120, 210, 5), np.ones((10, 10, 1), np.uint8))
    pixels = np.maximum(pixels, 1)
    pixels[:100, :300] = 0
    write_bands(
        *(folder / "town.tif", pixels),
        **{"nodata": 0, "photometric": "RGB", "tiled": True, **PLACE},
    )
    predict(local_predictor(), folder / "town.tif", out=folder / "map", options=MapOptions())
    return folder


def expected(path, zoom: int, x: int, y: int) -> np.ndarray:
    """Colors (256, 256, 4) of the labels in the middles of a tile's pixels."""
    with rasterio.open(path) as file:
        labels, crs, transform = file.read(1), file.crs, file.transform
    side = 2 * HALF / 2**zoom / 256
    columns, rows = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
    east = x * 256 * side + columns * side - HALF
    north = HALF - y * 256 * side - rows * side
    there = rasterio.warp.transform("EPSG:3857", crs, east.ravel(), north.ravel())
    columns, rows = (np.floor(v).astype(int) for v in ~transform @ tuple(map(np.array, there)))
    inside = (rows >= 0) & (rows < labels.shape[0]) & (columns >= 0) & (columns < labels.shape[1])
    found = np.full(256 * 256, 255, np.uint8)
    found[inside] = labels[rows[inside], columns[inside]]
    colors = np.zeros((256, 4), np.uint8)
    colors[:6] = [(*color, 255) for color in VAIHINGEN.palette]
    return colors[found].reshape(256, 256, 4)


def tile_at(zoom: int, east: float, north: float) -> tuple[int, int, int]:
    """The tile in which a place of the image's reference system lies."""
    (x,), (y,) = rasterio.warp.transform(PLACE["crs"], "EPSG:3857", [east], [north])
    side = 2 * HALF / 2**zoom
    return zoom, int((x + HALF) // side), int((HALF - y) // side)


def of_map(service) -> EarthTiles:
    return EarthTiles(MapLabels(read_map(of_map.path)))


def test_tiles_on_demand_and_of_the_map_agree(folder):
    path = folder / "map/town.tif"
    of_map.path = path

    def on_demand(service) -> EarthTiles:
        image = folder / "town.tif"
        return EarthTiles(ImageLabels(image, service.info, service.folder, service.options))

    places = [tile_at(18, 500_100 + 80 * n, 5_399_900 - 40 * n) for n in range(8)]
    for make in (of_map, on_demand):
        with served(tiles=make) as running:
            about = json.loads(running.ask("GET", "/tiles").body)
            assert about["tiles"] == [f"http://127.0.0.1:{running.port}/tiles/{{z}}/{{x}}/{{y}}"]
            assert about["maxzoom"] == 18
            west, south, east, north = about["bounds"]
            assert (west, north) == (pytest.approx(9, abs=1e-4), pytest.approx(48.75, abs=0.01))
            assert (east > west, north > south) == (True, True)
            for z, x, y in dict.fromkeys(places):
                answer = running.ask("GET", f"/tiles/{z}/{x}/{y}")
                assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
                found = np.array(Image.open(io.BytesIO(answer.body)).convert("RGBA"))
                # GDAL approximates the way between the systems by an eighth of a pixel.
                assert np.mean((found == expected(path, z, x, y)).all(axis=2)) > 0.9
            for z, x, y in ((18, 0, 0), (3, 9, 0), (31, 0, 0), (-1, 0, 0), (3, -1, 2)):
                assert running.ask("GET", f"/tiles/{z}/{x}/{y}").status == 404
            assert running.ask("GET", "/tiles/a/0/0").status == 422
            assert running.service._accepted == 0


def test_a_full_disk_refuses_a_tile(folder, full_disk, monkeypatch):
    """The labels of the image have more bytes than the disk, and the service goes on."""
    image = full_disk.parent / "noise.tif"
    write_bands(image, random_image(300, 400), photometric="RGB", **PLACE)
    monkeypatch.setattr("tempfile.tempdir", str(full_disk))

    def on_demand(service) -> EarthTiles:
        return EarthTiles(ImageLabels(image, service.info, service.folder, service.options))

    z, x, y = tile_at(18, 500_100, 5_399_900)
    with served(tiles=on_demand) as running:
        answer = running.ask("GET", f"/tiles/{z}/{x}/{y}")
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
        assert running.ask("GET", "/health").status == 200


def test_windows_are_predicted_once_and_never_too_many(folder, monkeypatch):
    def on_demand(service) -> EarthTiles:
        image = folder / "town.tif"
        return EarthTiles(ImageLabels(image, service.info, service.folder, service.options))

    small, whole = (tile_at(zoom, 500_100, 5_399_900) for zoom in (18, 11))
    with served(tiles=on_demand) as running:
        network = running.predictor.model

        def passes(tile: tuple[int, int, int]) -> int:
            assert running.ask("GET", "/tiles/{}/{}/{}".format(*tile)).status == 200
            return network.passes

        assert [passes(small), passes(small)] == [1, 1]
        monkeypatch.setattr(module, "MOST_WINDOWS", 5)
        assert passes(whole) == 1
        monkeypatch.setattr(module, "MOST_WINDOWS", 6)
        assert passes(whole) == 6


def test_a_raster_without_a_place(tmp_path):
    write_bands(tmp_path / "a.tif", random_image(20, 30), photometric="RGB")
    with pytest.raises(InputError, match=r"a.tif: does not say where it lies on Earth"):
        ImageLabels(tmp_path / "a.tif", VAIHINGEN, tmp_path, MapOptions())


def test_the_page_of_the_map_is_beside_the_service(folder):
    with served(viewer=MapViewer(read_map(folder / "map/town.tif"))) as running:
        assert b"viewer.js" in running.ask("GET", "/map/").body
        about = json.loads(running.ask("GET", "/map/about").body)
        assert about["name"] == "town.tif"
        assert running.ask("GET", "/map/static/viewer.js").status == 200
        assert running.ask("GET", "/map/tiles/classes/0/0/0").status == 200
        assert b"Drop an image" in running.ask("GET", "/").body
