"""serve.py as a real process: its address, signals, and errors in one line."""

import json
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from network.commands.arguments import parse_with_overrides
from network.commands.serve import TOKEN_VARIABLE, check_host, load, main, read_token
from network.datasets.files import encode
from network.errors import InputError
from network.models.bicor import BiCoRSeg
from network.serving.batches import Ticket
from network.writing import file_hash
from tests.commands import Command
from tests.export.test_export import checkpoint
from tests.exported.tiny import export_tiny
from tests.maps.local import random_image
from tests.scenes import write_bands
from tests.serving.scene import Scene

IMAGE = encode(random_image(40, 60), ".png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    model = partial(BiCoRSeg, 6, "test_convnext", weights=None, dim=32)
    return checkpoint(tmp_path_factory.mktemp("trained"), model)


def start(cwd: Path, *args: str | Path) -> tuple[Command, int]:
    """Start the command; return it with its port."""
    command = Command("serve.py", *args, "--port", "0", "--device", "cpu", cwd=cwd)
    for _ in range(1200):
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", command.stdout)
        if found:
            return command, int(found[1])
        assert command.poll() is None, command.stderr
        time.sleep(0.05)
    raise AssertionError(command.stderr)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "image/png"})
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, content


@pytest.fixture
def running(trained, scene: Scene, tmp_path) -> Iterator[tuple[Command, int]]:
    command, port = start(tmp_path, trained, "--map", scene.map, "--image", scene.image)
    yield command, port
    command.kill()


def test_flags_choose_how_the_network_computes(trained, monkeypatch):
    monkeypatch.setattr("network.commands.serve.execute", lambda parser, run: parsed.append(parser))
    parsed = []
    main("Serve a network.")
    words = [str(trained), "--device", "cpu", "--precision", "bf16-mixed", "-t", "lr"]
    predictor, facts = load(parse_with_overrides(parsed[0], words), batch_size=3)
    assert facts == {
        "checkpoint_sha256": file_hash(trained),
        "tta": "lr",
        "precision": "bf16-mixed",
    }
    assert len(predictor.views) == 4  # two flips
    assert predictor.patch is None
    assert predictor.batch_size == 3


@pytest.mark.slow
@pytest.mark.parametrize("is_file", [False, True])
def test_windows_of_several_requests_go_through_the_network_at_once(
    trained, tmp_path, monkeypatch, is_file
):
    network = export_tiny(tmp_path / "net.pt2", (64, 64), batch=4) if is_file else trained
    images_at_once, services = [], []

    def counted(run):
        def forward(images):
            images_at_once.append(len(images))
            return run(images)

        return forward

    def watched(args, batch_size):
        predictor, facts = load(args, batch_size)
        owner, name = (predictor.engine, "_run") if is_file else (predictor.model, "forward")
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        return predictor, facts

    def ask(app, opened, drain):
        with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
            tickets = [stack.enter_context(Ticket(services[0]._batches)) for _ in range(4)]
            window = np.zeros((1, 3, 64, 64), np.uint8)
            list(pool.map(lambda ticket: ticket.logits(window), tickets))

    monkeypatch.setattr("network.commands.serve.load", watched)
    monkeypatch.setattr(
        "network.serving.service_app.make_service_app", lambda one, **_: services.append(one)
    )
    monkeypatch.setattr("network.serving.server.serve_and_drain", ask)
    flags = ["--batch", "4", "--wait-ms", "1000", "--port", "0", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["serve.py", str(network), *flags])
    main("Serve a network.")
    assert images_at_once == [4]


@pytest.mark.slow
def test_sigterm_lets_accepted_images_be_answered(running, trained, tmp_path):
    """Half of an image has arrived when the signal comes."""
    command, port = running
    facts = json.loads(ask(port, "GET", "/health")[1])
    assert (facts["status"], facts["precision"]) == ("ready", "32-true")
    assert facts["checkpoint_sha256"] == file_hash(trained)
    assert ask(port, "GET", "/map/about")[0] == ask(port, "GET", "/tiles")[0] == 200
    idle = HTTPConnection("127.0.0.1", port)  # as a browser keeps its connections
    idle.request("GET", "/health/live")
    idle.getresponse().read()
    slow = HTTPConnection("127.0.0.1", port, timeout=30)
    slow.putrequest("POST", "/predict")
    slow.putheader("Content-Type", "image/png")
    slow.putheader("Content-Length", str(len(IMAGE)))
    slow.endheaders(IMAGE[:100])
    while b"bicor_queue_requests 1.0" not in ask(port, "GET", "/metrics")[1]:
        time.sleep(0.02)
    command.send_signal(signal.SIGTERM)
    while ask(port, "GET", "/health/ready")[0] == 200:
        time.sleep(0.02)
    assert ask(port, "POST", "/predict", IMAGE)[0] == 503
    assert command.poll() is None
    slow.send(IMAGE[100:])
    answer = slow.getresponse()
    assert (answer.status, answer.read()[:4]) == (200, b"\x89PNG")
    assert command.wait(20) == 0
    assert command.stderr == ""
    assert list(tmp_path.iterdir()) == []


ERRORS = (
    (["none.ckpt"], "none.ckpt: no such file"),
    (["CKPT", "--port", "70000"], "--port 70000: must be 0 to 65535"),
    (["CKPT", "--host", "here"], "--host here: is no address"),
    (["CKPT", "--host", "0.0.0.0"], "there is no token; give --token-file FILE"),
    (["CKPT", "--queue", "0"], "--queue 0: must be at least 1"),
    (["CKPT", "--max-megapixels", "nan"], "--max-megapixels nan: must be a finite number above 0"),
    (["CKPT", "--token-file", "short.txt"], "short.txt: is no token of at least 16 letters"),
    (["CKPT", "--token-file", "none.txt"], "none.txt: cannot be read as a token"),
    (["CKPT", "--image", "photo.tif"], "photo.tif: does not say where it lies on Earth"),
    (["CKPT", "model.dim=32"], "overrides: change the settings of a config; give -c"),
    (["photo.tif"], "photo.tif: "),
)


@pytest.mark.parametrize(("words", "line"), ERRORS)
def test_errors(trained, tmp_path, monkeypatch, words, line):
    write_bands(tmp_path / "photo.tif", random_image(20, 30), photometric="RGB")
    (tmp_path / "short.txt").write_text("secret\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    words = [str(trained) if word == "CKPT" else word for word in words]
    port = [] if "--port" in words else ["--port", "0"]
    monkeypatch.setattr("sys.argv", ["serve.py", *words, *port, "--device", "cpu"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as error:
        main("Serve a network.")
    assert line in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
    assert read_token(None) == "0123456789abcdef"
    (tmp_path / "token").write_text("fedcba9876543210\n")
    assert read_token(tmp_path / "token") == "fedcba9876543210"
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(InputError, match=f"{TOKEN_VARIABLE}: is no token"):
        read_token(None)


def test_only_with_a_token_can_other_machines_ask():
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        check_host(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        check_host(host, "0123456789abcdef")
        with pytest.raises(InputError, match="there is no token"):
            check_host(host, None)


def test_a_library_is_missing(trained, monkeypatch):
    monkeypatch.setattr("network.extras.find_spec", lambda module: None)
    monkeypatch.setattr("sys.argv", ["serve.py", str(trained)])
    with pytest.raises(InputError, match=r"the service: needs the library .*\[serve\]"):
        main("Serve a network.")
