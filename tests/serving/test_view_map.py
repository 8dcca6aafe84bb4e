"""The command line as real processes: the page it serves, pictures, signals and errors."""

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from PIL import Image
from rasterio.transform import from_origin

from network.commands.view_map import main
from network.datasets.files import write_image
from network.errors import InputError
from network.serving.web import HEADERS
from tests.commands import Command, error_of, succeed
from tests.conftest import ROOT
from tests.scenes import write_bands
from tests.serving.scene import COLORS, PLACE, Scene

pytestmark = pytest.mark.slow

TOOL = "tools/view_map.py"
STATIC = ROOT / "network/serving/static"


def start(cwd: Path, *args: str | Path) -> tuple[Command, str]:
    """Start the command without a browser, and wait for the address of its page."""
    command = Command(TOOL, *args, "--no-browser", cwd=cwd)
    for _ in range(1200):
        found = re.search(r"http://127\.0\.0\.1:\d+/", command.stdout)
        if found:
            return command, found[0]
        assert command.poll() is None, command.stderr
        time.sleep(0.05)
    raise AssertionError(command.stderr)


@pytest.fixture(scope="module")
def page(scene: Scene, tmp_path_factory) -> Iterator[str]:
    """The address of a page on the map and its image."""
    cwd = tmp_path_factory.mktemp("page")
    command, address = start(cwd, scene.map, scene.image)
    yield address
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130
    assert command.stderr == "interrupted\n"
    assert list(cwd.iterdir()) == []


def get(address: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urlopen(Request(address, headers=headers)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except HTTPError as error:
        return error.code, error.read(), dict(error.headers)


# The page ---------------------------------------------------------------------------------------


def test_tiles_and_answers(page, scene):
    about = json.loads(get(f"{page}about")[1])
    assert (about["name"], about["image"]) == ("town.tif", "town.tif")
    status, png, headers = get(f"{page}tiles/classes/2/1/1?hidden=0,2&version={about['version']}")
    assert (status, headers["content-type"]) == (200, "image/png")
    tile = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    labels = scene.labels[256:512, 256:512]
    seen = np.isin(labels, [1, 3])
    np.testing.assert_array_equal(tile[..., 3] == 255, seen)
    np.testing.assert_array_equal(tile[seen][:, 2::-1], np.array(COLORS)[labels[seen]])
    found = json.loads(get(f"{page}at?row=300&column=400")[1])
    assert found["label"] == scene.labels[300, 400]
    assert found["image"] == scene.pixels[300, 400].tolist()


@pytest.mark.parametrize(
    "path",
    [
        *("docs", "openapi.json", "redoc", "favicon.ico", "static/", "static/vendored.json"),
        *("static/LICENSE", "static/..%2f..%2fapp.py", "static/%2e%2e/%2e%2e/app.py"),
        *("static/leaflet/leaflet.js", "etc/passwd", "tiles/classes/0/0/1", "tiles/photo/0/0/0"),
        *("tiles/classes/2/0/99", "at?row=700&column=0", "polygons?left=0&top=0&right=1"),
        *("tiles/..%2f..%2fetc%2fpasswd/0/0/0", "at?row=x&column=0", "tiles/classes/a/0/0"),
        *("polygons?left=0&top=0&right=1&bottom=1&pixel=1",),
    ],
)
def test_nothing_else_is_served(page, path):
    assert get(page + path)[0] in (404, 422)


@pytest.mark.parametrize(
    "path", ["/../app.py", "/static/../app.py", "//etc/passwd", "/static//etc"]
)
def test_no_path_is_resolved(page, path):
    """As a browser would never send it."""
    connection = http.client.HTTPConnection("127.0.0.1", int(page.rsplit(":")[-1].strip("/")))
    connection.request("GET", path)
    assert connection.getresponse().status == 404


def test_it_reads_only(page):
    for method in ("POST", "PUT", "DELETE"):
        request = Request(f"{page}about", data=b"{}", method=method)
        with pytest.raises(HTTPError) as error:
            urlopen(request)
        assert error.value.code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_other_names_of_this_machine_are_refused(page, host):
    """A page from elsewhere that lets its own name point to this machine (DNS rebinding)."""
    assert get(f"{page}about", Host=host)[0] == 400


def test_names_of_this_machine(page):
    port = page.rsplit(":")[-1].strip("/")
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST"):
        assert get(f"{page}about", Host=host)[0] == 200


def test_headers(page):
    for path in ("", "about", "static/viewer.js", "tiles/image/0/0/0", "nothing"):
        headers = {name.lower(): value for name, value in get(page + path)[2].items()}
        for name, value in HEADERS.items():
            if name != "Cache-Control":
                assert headers[name.lower()] == value
        assert "access-control-allow-origin" not in headers
        # A tile is another one after the next start, which its address says.
        kept = "private, max-age=86400" if path.startswith("tiles") else "no-cache"
        assert headers["cache-control"] == kept


def test_all_files_of_the_page(page):
    """All that the pages of the room name, and all that these name."""
    names, todo = set(), ["index.html", "drop.html", "docs.html"]
    while todo:
        name = todo.pop()
        path = page if name == "index.html" else f"{page}static/{name}"
        status, content, _ = get(path)
        assert status == 200, name
        names.add(name)
        text = "" if name.startswith("leaflet") else content.decode()
        found = re.findall(r"""(?:static/|from "\./)([\w.]+)""", text)
        todo += sorted(set(found) - names)
    paths = [*STATIC.glob("*.*"), *STATIC.glob("leaflet/leaflet.*")]
    assert names == {path.name for path in paths}


# Signals and ports ------------------------------------------------------------------------------


def test_only_this_machine_can_ask(page):
    port = int(page.rsplit(":")[-1].strip("/"))
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port)}
    for address in {a for a in addresses if "." in a and not a.startswith("127.")}:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=5)


def test_sigterm_ends_it_and_frees_the_port(scene, tmp_path):
    command, address = start(tmp_path, scene.map)
    port = int(address.rsplit(":")[-1].strip("/"))
    kept = http.client.HTTPConnection("127.0.0.1", port)  # as a browser keeps its connections
    kept.request("GET", "/about")
    assert kept.getresponse().read()
    command.terminate()
    assert command.wait(20) == 130
    assert "Traceback" not in command.stderr
    command, again = start(tmp_path, scene.map, "--port", str(port))
    assert again == address
    line = error_of(TOOL, scene.map, "--no-browser", "--port", str(port), cwd=tmp_path)
    assert line == f"error: --port {port}: cannot be used (Address already in use); " + (
        "choose another, or --port 0"
    )
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130


def test_interrupted_while_tiles_are_asked_for(scene, tmp_path):
    command, address = start(tmp_path, scene.map, scene.image)
    connections = []
    for number in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", int(address.rsplit(":")[-1][:-1]))
        connection.request("GET", f"/tiles/image/2/{number % 4}/{number // 4}")
        connections.append(connection)
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130
    assert "Traceback" not in command.stderr


# Pictures ---------------------------------------------------------------------------------------


def test_a_picture(scene, tmp_path):
    told = succeed(
        TOOL, scene.map, scene.image, "--picture", "a.png", "--width", "640", cwd=tmp_path
    )
    assert told == "a.png\n"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 640
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# Errors -----------------------------------------------------------------------------------------


def test_an_error_is_one_line(tmp_path):
    line = error_of(TOOL, "none.tif", "--no-browser", cwd=tmp_path)
    assert line == "error: none.tif: no such file"


ERRORS = (
    (["text.tif"], "text.tif: not an image, or its header is damaged"),
    (["photo.png"], "has more than 64 colors; a map has one band of labels"),
    (["MAP", "none.tif"], "none.tif: no such file"),
    (["MAP", "photo.png"], "photo.png: has 50 x 60 pixels, its map 700 x 900, and photo.png does"),
    (["MAP", "elsewhere.tif"], "elsewhere.tif: does not overlap the map"),
    (["MAP", "IMAGE", "--bands", "4"], "--bands 4: "),
    (["MAP", "--polygons", "none.gpkg"], "none.gpkg: no such file"),
    (["MAP", "--port", "70000"], "--port 70000: must be 0 to 65535"),
    (["MAP", "--picture", "a.jpg"], "a.jpg: is no name of a PNG file"),
    (["MAP", "--picture", "a.png", "--width", "5"], "--width 5: must be 300 to 20000"),
    (["MAP", "--picture", "a.png", "--polygons", "a.gpkg"], "--polygons a.gpkg: only the page"),
    (["MAP", "photo.png", "--picture", "photo.png"], "photo.png: is an input; choose another"),
)


@pytest.mark.parametrize(("words", "line"), ERRORS)
def test_errors(scene, tmp_path, monkeypatch, words, line):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", pixels)
    place = {"crs": PLACE.crs, "transform": from_origin(0, 0, 1, 1)}
    write_bands(tmp_path / "elsewhere.tif", pixels, **place)
    (tmp_path / "text.tif").write_text("no image")
    files = {"MAP": str(scene.map), "IMAGE": str(scene.image)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["view_map", *(files.get(word, word) for word in words)])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as error:
        main("Look at a map.")
    assert line in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_library_is_missing(scene, tmp_path, monkeypatch):
    """The page needs an extra, the picture does not."""
    monkeypatch.setattr("network.extras.find_spec", lambda module: None)
    monkeypatch.setattr("sys.argv", ["view_map", str(scene.map)])
    with pytest.raises(InputError, match=r"the page: needs the library rio-tiler.*\[viewer\]"):
        main("Look at a map.")
    picture = tmp_path / "a.png"
    monkeypatch.setattr("sys.argv", ["view_map", str(scene.map), "--picture", str(picture)])
    main("Look at a map.")
    assert picture.is_file()


def test_only_this_room_imports_the_libraries_of_the_page():
    name = "(fastapi|starlette|uvicorn|rio_tiler|prometheus_client)"
    for path in (ROOT / "network").rglob("*.py"):
        if path.parent.name != "serving":
            code = path.read_text()
            assert not re.search(rf"^\s*(import|from) {name}\b", code, re.MULTILINE), path
            assert not re.search(r"^from network\.serving", code, re.MULTILINE), path


def test_polygons_beside_the_map_that_cannot_be_drawn(scene, tmp_path):
    """The page comes all the same."""
    (tmp_path / "mask.gpkg").write_bytes(b"nonsense")
    write_image(tmp_path / "mask.png", np.zeros((20, 30), np.uint8))
    command, address = start(tmp_path, "mask.png")
    about = json.loads(get(f"{address}about")[1])
    assert (about["polygons"], about["place"], about["meters"]) == (None, None, None)
    assert "mask.gpkg: cannot be drawn" in command.stderr
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130
