"""The prediction service over real connections: its answers equal the files of predict.py."""

import http.client
import io
import json
import os
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import geopandas
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.features import rasterize

from network.datasets.files import encode
from network.datasets.info import VAIHINGEN
from network.errors import InputError
from network.maps.layers import CONFIDENCE, ENTROPY, PROBABILITIES
from network.maps.options import MapOptions
from network.serving import server as server_module
from network.serving.answers import LAYERS, TYPES
from network.serving.limits import Limits
from network.serving.service_app import Layer, is_allowed
from network.writing import beside
from tests.maps.local import PLACE, predict, random_image
from tests.scenes import write_bands
from tests.serving.served import Served, local_predictor, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images of all formats, one of several windows, and what predict.py makes of them."""
    folder = tmp_path_factory.mktemp("service")
    blocky = np.kron(random_image(9, 12, 1), np.ones((10, 10, 1), np.uint8))
    (folder / "in").mkdir()
    (folder / "in/photo.png").write_bytes(encode(blocky, ".png"))
    Image.fromarray(random_image(70, 45, 2)).save(folder / "in/photo2.jpg")
    alpha = np.full((90, 120, 1), 255, np.uint8)
    alpha[:40, :30] = 0
    Image.fromarray(np.dstack([blocky, alpha])).save(folder / "in/alpha.png")
    hole = np.maximum(blocky, 1)
    hole[:30, :50] = 0
    write_bands(folder / "in/town.tif", hole, nodata=0, photometric="RGB", **PLACE)
    wide = np.kron(random_image(21, 130, 3), np.ones((10, 10, 1), np.uint8))
    (folder / "in/wide.png").write_bytes(encode(wide, ".png"))
    predictor, images = local_predictor(), sorted((folder / "in").iterdir())
    layers = (CONFIDENCE, PROBABILITIES, ENTROPY)
    for out, options in (
        ("labels", MapOptions(format="png", rgb=False)),
        ("colors", MapOptions(format="png")),
        ("tif", MapOptions(format="tif", layers=layers)),
    ):
        predict(predictor, *images, out=folder / out, options=options)
    return folder


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    limits = Limits(max_megabytes=1, max_megapixels=0.5, body_seconds=1, wait_ms=20)
    with served(limits) as found:
        yield found


IMAGES = ("photo.png", "photo2.jpg", "alpha.png", "town.tif", "wide.png")


def bands(content: bytes) -> np.ndarray:
    with rasterio.MemoryFile(content) as memory, memory.open() as file:
        return file.read()


# Answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGES)
def test_answers_are_the_files_of_predict(running, folder, name):
    image, stem = folder / "in" / name, Path(name).stem
    assert running.post(image, "image/png").body == (folder / f"labels/{stem}.png").read_bytes()
    colored = running.post(image, query="?colors=true")
    assert colored.body == (folder / f"colors/{stem}.png").read_bytes()
    assert (colored.status, colored.headers["content-type"]) == (200, "image/png")
    assert colored.headers["link"] == '</classes>; rel="describedby"'
    for layer in LAYERS:
        ending = "" if layer == "labels" else f"_{layer}"
        found = running.post(image, "image/tiff", f"?layer={layer}").body
        assert found == (folder / f"tif/{stem}{ending}.tif").read_bytes(), layer
    arrays = np.load(io.BytesIO(running.post(image, "application/x-npz").body))
    labels = bands((folder / f"tif/{stem}.tif").read_bytes())[0]
    shares = bands((folder / f"tif/{stem}_probabilities.tif").read_bytes())
    np.testing.assert_array_equal(arrays["labels"], labels)
    np.testing.assert_array_equal(arrays["probabilities"], shares)
    assert arrays["classes"].tolist() == list(VAIHINGEN.classes)
    assert arrays["scale"] == pytest.approx(1 / 250)


def test_many_at_once_are_the_same(running, folder):
    """Also in batches with others: each answer is that of its own image."""
    names = [*IMAGES] * 6
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda name: running.post(folder / "in" / name), names))
    for name, answer in zip(names, found, strict=True):
        assert answer.body == (folder / f"labels/{Path(name).stem}.png").read_bytes()


def test_polygons_of_a_photo_are_its_regions(running, folder):
    found = json.loads(running.post(folder / "in/alpha.png", "application/geo+json").body)
    labels = bands((folder / "tif/alpha.tif").read_bytes())[0]
    shapes = [(one["geometry"], one["properties"]["class"]) for one in found["features"]]
    np.testing.assert_array_equal(rasterize(shapes, labels.shape, fill=255), labels)
    counted = np.bincount(labels.ravel(), minlength=256)
    for label, name in enumerate(VAIHINGEN.classes):
        own = [o["properties"] for o in found["features"] if o["properties"]["name"] == name]
        assert sum(one["pixels"] for one in own) == counted[label]


@pytest.mark.parametrize("place", ["transform", "points"])
def test_polygons_of_an_image_whose_areas_are_not_known(running, folder, tmp_path, place):
    """With a transform of no reference system, or with control points alone: as of a photo."""
    pixels = np.kron(random_image(9, 12, 1), np.ones((10, 10, 1), np.uint8))
    known = {"transform": PLACE["transform"]} if place == "transform" else {}
    write_bands(tmp_path / "a.tif", pixels, photometric="RGB", **known)
    if place == "points":
        corners = ((0, 0), (0, 120), (90, 0), (90, 120))
        points = [GroundControlPoint(r, c, 500_000 + c, 5_400_000 - r) for r, c in corners]
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.gcps = points, CRS.from_string(PLACE["crs"])
    found = running.post(tmp_path / "a.tif", "application/geo+json")
    assert found.status == 200, found.body
    assert found.body == running.post(folder / "in/photo.png", "application/geo+json").body
    refused = running.post(tmp_path / "a.tif", "application/geo+json", "?min_area=1")
    assert refused.status == 422
    assert "does not say where it lies" in json.loads(refused.body)["detail"]


def test_polygons_on_earth(running, folder):
    """In longitude and latitude; back in the image's system they are the regions again."""
    answer = running.post(folder / "in/town.tif", "application/geo+json")
    assert float(answer.headers["pixel-area"]) == pytest.approx(0.01, rel=1e-3)
    frame = geopandas.read_file(io.BytesIO(answer.body))
    assert frame.crs.to_epsg() == 4326
    assert list(frame.columns) == ["class", "name", "area_m2", "confidence", "geometry"]
    labels = bands((folder / "tif/town.tif").read_bytes())[0]
    shapes = zip(frame.to_crs(PLACE["crs"]).geometry, frame["class"], strict=True)
    again = rasterize(shapes, labels.shape, fill=255, transform=PLACE["transform"])
    assert np.mean(again == labels) > 0.999
    assert frame["area_m2"].sum() == pytest.approx(0.01 * (labels != 255).sum())
    fewer = running.post(folder / "in/town.tif", "application/geo+json", "?min_area=3&simplify=0.2")
    assert 0 < len(json.loads(fewer.body)["features"]) < len(frame)


def test_the_layers_of_the_description():
    assert tuple(LAYERS) == Layer.__args__


# Errors -----------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, packed: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


GOOD = encode(random_image(8, 8), ".png")
GRAY = encode(random_image(8, 8)[..., 0], ".png")
DEEP = cv2.imencode(".png", random_image(8, 8).astype(np.uint16))[1].tobytes()
MANY = b"II*\0\x08\0\0\0\x01\0\x00\x01\x04\0\xff\xff\xff\x00\x08\0\0\0" + bytes(900_000)
"""A TIFF whose first tag lists 16 million widths."""

REFUSED = {
    "truncated": ({}, GOOD[:60], 422, "truncated image"),
    "damaged": ({}, GOOD[:50] + b"\0\0" + GOOD[52:], 422, "checksum"),
    "one band": ({}, GRAY, 422, "1 band"),
    "16 bits": ({}, DEEP, 422, "uint16"),
    "text": ({}, b"hello", 415, "no PNG, JPEG or TIFF"),
    "claims": ({}, png_file(60000, 60000, zlib.compress(b"\0" * 9999)), 422, "claims"),
    "large": ({}, png_file(900, 900, zlib.compress(bytes(900 * 2701))), 413, "900 x 900"),
    "tags": ({}, MANY, 422, "header is damaged"),
    "too many bytes": ({}, bytes(1_000_001), 413, "at most 1 MB"),
    "type": ({"Content_Type": "text/plain"}, GOOD, 415, "type text/plain"),
    "form": ({"Content_Type": "application/x-www-form-urlencoded"}, GOOD, 415, "as Content-Type"),
    "packed": ({"Content_Encoding": "gzip"}, GOOD, 415, "compressed"),
    "accept": ({"Accept": "text/html"}, GOOD, 406, "image/png, image/tiff"),
    "empty": ({}, b"", 411, "empty"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(running, kind):
    headers, body, status, words = REFUSED[kind]
    start = time.monotonic()
    answer = running.ask("POST", "/predict", body, **{"Content_Type": "image/png", **headers})
    assert answer.status == status, answer.body
    sentence = json.loads(answer.body)["detail"]
    assert words in sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert str(running.service.folder) not in sentence
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?layer=heat", "layer=heat"),
        ("?min_area=-1", "min_area=-1"),
        ("?simplify=nan", "simplify=nan"),
        ("?colors=perhaps", "colors=perhaps"),
        ("?min_area=5", "does not say where it lies"),
    ],
)
def test_settings_that_do_not_fit(running, query, words):
    answer = running.post(GOOD, "application/geo+json", query)
    assert answer.status == 422
    assert words in json.loads(answer.body)["detail"]


@pytest.mark.parametrize(
    ("accept", "query", "sentence"),
    [
        ("*/*", "layer=labels", "The setting layer is for image/tiff; send Accept: image/tiff."),
        (
            "image/tiff",
            "colors=true",
            "The setting colors is for image/png; send Accept: image/png.",
        ),
        (
            "image/png",
            "min_area=5",
            f"The setting min_area is for {TYPES[2]}; send Accept: {TYPES[2]}.",
        ),
        (
            "image/tiff",
            "simplify=1",
            f"The setting simplify is for {TYPES[2]}; send Accept: {TYPES[2]}.",
        ),
        (TYPES[3], "colors=true", "The setting colors is for image/png; send Accept: image/png."),
        (
            "image/png",
            "colour=true",
            "There is no setting 'colour'; there are colors, layer, min_area, simplify.",
        ),
    ],
)
def test_settings_that_would_change_nothing(running, accept, query, sentence):
    answer = running.post(GOOD, accept, f"?{query}")
    assert (answer.status, json.loads(answer.body)["detail"]) == (422, sentence)


def test_a_png_that_inflates_further_than_its_rows(running):
    """libpng refuses it, and before that no more than the rows is inflated."""
    bomb = png_file(8, 8, zlib.compress(bytes(50_000_000), 1))
    assert running.post(bomb).status == 422


def test_other_addresses_and_methods(running):
    for path in ("/etc/passwd", "/static/../app.py", "/static/%2e%2e/app.py", "/redoc", "/about"):
        answer = running.ask("GET", path)
        assert answer.status == 404
        assert "There is nothing at this address" in json.loads(answer.body)["detail"]
    assert running.ask("GET", "/predict").status == 405
    assert running.ask("PUT", "/classes", b"{}").status == 405
    refused = running.ask("GET", "/classes", Host="evil.example")
    assert refused.status == 400
    assert json.loads(refused.body)["detail"] == "Call the service by 127.0.0.1 or localhost."
    for host in ("localhost", "[::1]:8000", "127.1.2.3:80"):
        assert running.ask("GET", "/classes", Host=host).status == 200


# Slow and lost senders --------------------------------------------------------------------------


def head(length: int) -> bytes:
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def is_idle(running: Served) -> bool:
    for _ in range(200):
        if not running.service._accepted:
            return True
        time.sleep(0.02)
    return False


def test_a_slow_body_is_given_up(running):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sender:
        sender.sendall(head(len(GOOD)) + GOOD[:20])
        assert sender.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert is_idle(running)


def test_slow_headers_are_given_up(running, monkeypatch):
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.3)
    for words in (b"", b"POST /predict HTTP/1.1\r\nHost: loc"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sender:
            sender.sendall(words)
            assert sender.recv(1000) == b""
    # A connection that is kept open has the same limit for its next request.
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sender:
        sender.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"live" not in answer:
            answer += sender.recv(4000)
        sender.sendall(b"GET /hea")
        assert sender.recv(1000) == b""


def test_huge_headers(running):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sender:
        sender.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000)
        assert sender.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_sender_that_goes_away_frees_its_place(running):
    running.predictor.model.open.clear()
    try:
        for body in (GOOD[:20], GOOD):
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sender:
                sender.sendall(head(len(GOOD)) + body)
                time.sleep(0.2)
                assert running.service._accepted
    finally:
        running.predictor.model.open.set()
    assert is_idle(running)
    assert running.post(GOOD).status == 200


# The queue --------------------------------------------------------------------------------------


def test_a_full_queue_and_a_late_answer():
    limits = Limits(queue=2, seconds=0.5, batch=1)
    with served(limits) as running, ThreadPoolExecutor(4) as pool:
        running.predictor.model.open.clear()
        waiting = [pool.submit(running.post, GOOD) for _ in range(2)]
        while running.service._accepted < 2:
            time.sleep(0.01)
        refused = running.post(GOOD)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "2 requests wait already" in json.loads(refused.body)["detail"]
        for late in waiting:
            assert late.result().status == 504
            assert "0.5 seconds" in json.loads(late.result().body)["detail"]
        # One window is in the network, which cannot be stopped; the other has left the queue.
        while running.service._accepted > 1:
            time.sleep(0.01)
        running.predictor.model.open.set()
        assert is_idle(running)
        assert running.post(GOOD).status == 200


def test_draining():
    """Accepted requests are answered, others refused, also those that only begin to arrive."""
    with served() as running, ThreadPoolExecutor(4) as pool:
        running.predictor.model.open.clear()
        accepted = pool.submit(running.post, GOOD)
        while not running.service._accepted:
            time.sleep(0.01)
        drained = pool.submit(running.service.drain)
        while not running.service.is_draining:
            time.sleep(0.01)
        refused = running.post(GOOD)
        assert refused.status == 503
        assert refused.headers["retry-after"]
        assert json.loads(running.ask("GET", "/health/ready").body)["status"] == "draining"
        assert running.ask("GET", "/health").status == 503
        assert running.ask("GET", "/health/live").status == 200
        assert not drained.done()
        running.predictor.model.open.set()
        assert accepted.result(10).status == 200
        drained.result(10)


def test_small_answers_are_sent_at_once(running):
    """Without a wait of 40 ms for more bytes, by the algorithm of Nagle."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    times = []
    for _ in range(60):  # Linux confirms the first packets of a connection at once
        start = time.perf_counter()
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    assert np.median(times[-20:]) < 0.035


def test_a_full_disk(full_disk, monkeypatch):
    """The status is 503, and smaller images are still answered."""
    monkeypatch.setattr("tempfile.tempdir", str(full_disk))
    with served() as running:
        refused = running.post(encode(random_image(200, 200), ".png"))
        assert refused.status == 503
        assert (
            "cannot store images now (No space left on device)"
            in json.loads(refused.body)["detail"]
        )
        noise = encode(random_image(110, 140), ".png")  # 46 KB, so its map has no room
        assert running.post(noise).status == 200
        refused = running.post(noise, "image/tiff")
        assert refused.status == 503
        assert str(full_disk) not in refused.body.decode()
        assert refused.headers["retry-after"] == "10"


def test_the_folder_of_the_service_is_gone(tmp_path, monkeypatch):
    """As when a system cleans old folders."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with served() as running:
        running.service.folder.rmdir()
        assert running.post(GOOD).status == 200


def test_folders_of_killed_services_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    foreign = tmp_path / "bicor-seg-mine"
    with subprocess.Popen(["true"]) as process:
        process.wait()
    own = beside(tmp_path / "bicor-seg", "service").name
    dead = tmp_path / (own.removesuffix(str(os.getpid())) + f"{process.pid}.abc")
    living = tmp_path / f"{own}.abc"
    for folder in (dead, living, foreign):
        (folder / "3").mkdir(parents=True)
    with served():
        assert not dead.exists()
        assert living.exists()
        assert foreign.exists()


# State, token, description ----------------------------------------------------------------------


def test_state(running):
    health = json.loads(running.ask("GET", "/health").body)
    assert (health["status"], health["version"]) == ("ready", "1.2.3")
    assert health["limits"]["max_megapixels"] == 0.5
    classes = json.loads(running.ask("GET", "/classes").body)
    assert [entry["name"] for entry in classes["classes"]] == list(VAIHINGEN.classes)
    assert classes["classes"][1]["color"] == "#0000ff"
    assert (classes["bands"], classes["dtype"]) == (3, "uint8")


def test_metrics(running):
    def value(name: str, **labels: str) -> float:
        text = running.ask("GET", "/metrics").body.decode()
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        return sum(
            s.value for s in samples if s.name == name and labels.items() <= s.labels.items()
        )

    path = {"path": "/predict", "status": "200"}
    before = value("bicor_requests_total", **path), value("bicor_pixels_total")
    assert running.post(GOOD).status == 200
    assert value("bicor_requests_total", **path) == before[0] + 1
    assert value("bicor_pixels_total") == before[1] + 64
    assert value("bicor_service_info", version="1.2.3") == 1
    assert value("bicor_queue_requests") == 0


def test_a_token():
    token = "0123456789abcdef"
    with served(token=token) as running:
        for path in ("/", "/classes", "/openapi.json", "/metrics", "/static/drop.js"):
            refused = running.ask("GET", path)
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Basic ")
            assert running.ask("GET", path, Authorization=f"Bearer {token}").status == 200
        assert running.post(GOOD).status == 401
        assert running.ask("GET", "/health").status == 200
        # The token says enough, so a service may have any name.
        name = {"Host": "maps.example", "Authorization": f"Bearer {token}"}
        assert running.ask("GET", "/classes", **name).status == 200
        described = json.loads(running.ask("GET", "/openapi.json", **name).body)
        assert described["paths"]["/predict"]["post"]["security"] == [{"token": []}]
        assert "security" not in described["paths"]["/health"]["get"]


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (b"Bearer secret", True),
        (b"bearer  secret ", True),
        (b"Basic bWU6c2VjcmV0", True),  # me:secret
        (b"Basic c2VjcmV0", False),
        (b"Basic \xff\xfe", False),
        (b"Bearer secret2", False),
        (b"Bearer ", False),
        (b"secret", False),
        (b"", False),
        (b"Bearer s\xc3\xa9cret", False),
    ],
)
def test_the_header_of_a_token(header, allowed):
    assert is_allowed(header, "secret") is allowed


def test_the_page_names_only_what_is_there(running):
    assert b"Drop an image" in running.ask("GET", "/").body
    assert b"openapi.json" in running.ask("GET", "/docs").body
    described = json.loads(running.ask("GET", "/openapi.json").body)
    assert set(described["paths"]["/predict"]["post"]["responses"]["200"]["content"]) == set(TYPES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_megabytes": 0},
        {"seconds": float("nan")},
        {"queue": 0},
        {"batch": 0},
        {"wait_ms": -1},
    ],
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}=.*must be"):
        Limits(**wrong)


@pytest.mark.parametrize(
    "accept", ["image/png", "image/tiff", "application/geo+json", "application/x-npz"]
)
def test_a_network_without_numbers_is_no_fault_of_the_image(accept):
    predictor = local_predictor()
    torch.nn.init.constant_(predictor.model.out.bias, float("nan"))
    with served(predictor=predictor) as running:
        answer = running.post(encode(random_image(32, 32), ".png"), accept)
        assert answer.status == 500
        assert "outputs are no numbers" in answer.body.decode()
        assert running.ask("GET", "/health").status == 200
