"""The page for images of the prediction service in a real browser."""

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from network.datasets.files import encode, write_image
from network.datasets.info import VAIHINGEN
from network.serving.limits import Limits
from tests.maps.local import PLACE, random_image
from tests.scenes import write_bands
from tests.serving.served import Served, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(Limits(max_megapixels=0.5)) as found:
        yield found


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A photo, one with a transparent corner, a GeoTIFF, a too large one and a text."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.kron(random_image(8, 10, 1), np.ones((20, 20, 1), np.uint8))
    write_image(folder / "photo.png", pixels)
    alpha = np.full((160, 200, 1), 255, np.uint8)
    alpha[:80, :100] = 0
    Image.fromarray(np.dstack([pixels, alpha])).save(folder / "corner.png")
    write_bands(folder / "town.tif", pixels, photometric="RGB", **PLACE)
    write_image(folder / "large.png", np.zeros((800, 800, 3), np.uint8))
    (folder / "text.png").write_text("no image")
    return folder


@pytest.fixture
def page(browser, running) -> Iterator[Page]:
    """The opened page; it must ask no other machine for anything, and report no error."""
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1180, "height": 760}, reduced_motion="reduce")
    page = context.new_page()
    address = f"http://127.0.0.1:{running.port}/"
    page.on("pageerror", lambda error: problems.append(str(error)))
    local = (address, "data:", f"blob:{address}")
    page.on("request", lambda r: None if r.url.startswith(local) else problems.append(r.url))
    page.goto(address)
    expect(page.locator("#legend li")).to_have_count(6)
    yield page
    context.close()
    assert not problems


def choose(page: Page, image: Path) -> None:
    page.set_input_files("#file", image)
    page.locator("#downloads").wait_for()


def canvas(page: Page) -> np.ndarray:
    """The mask that is drawn, (h, w, 4)."""
    data = page.evaluate(
        """() => {
          const { width, height } = document.getElementById("mask");
          const context = document.getElementById("mask").getContext("2d");
          return [width, height, [...context.getImageData(0, 0, width, height).data]];
        }"""
    )
    return np.array(data[2], np.uint8).reshape(data[1], data[0], 4)


def mask_of(running: Served, image: Path) -> np.ndarray:
    """Colors (h, w, 4) of the service's mask."""
    found = np.array(Image.open(io.BytesIO(running.post(image, query="?colors=true").body)))
    opaque = np.full((*found.shape[:2], 1), 255, np.uint8)
    return found if found.shape[2] == 4 else np.dstack([found, opaque])


@pytest.mark.parametrize("name", ["photo.png", "corner.png", "town.tif"])
def test_the_mask_is_that_of_the_service(page, running, images, name):
    choose(page, images / name)
    mask = mask_of(running, images / name)
    np.testing.assert_array_equal(canvas(page), mask)
    shown = page.locator("#image").is_visible()
    assert shown is (name != "town.tif")  # a browser cannot show it
    labels = VAIHINGEN.from_rgb(mask[..., :3], "mask", unknown="ignore")
    for label, entry in enumerate(page.locator("#legend li").all()):
        share = np.mean(labels[mask[..., 3] == 255] == label)
        text = entry.locator(".share").inner_text()
        assert float(text.split(" %")[0]) == pytest.approx(100 * share, abs=0.051)
        assert ("m²" in text) is (name == "town.tif")
    if name == "town.tif":
        assert "0.1 m a pixel" in page.locator("#facts").inner_text()
        building = page.locator("#legend li").nth(1).locator(".share").inner_text()
        area = float(building.split("·")[1].split()[0].replace(",", ""))
        assert area == pytest.approx(0.01 * (labels == 1).sum(), rel=0.01)


def test_classes_can_be_hidden_and_the_mask_made_clear(page, images):
    choose(page, images / "photo.png")
    before = canvas(page)
    page.locator("#legend li").nth(1).locator("input").uncheck()
    building = (before[..., :3] == VAIHINGEN.palette[1]).all(axis=2)
    after = canvas(page)
    assert building.any()
    assert not after[building].any()
    np.testing.assert_array_equal(after[~building], before[~building])
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    assert page.locator("#mask").evaluate("mask => getComputedStyle(mask).opacity") == "0"
    expect(page.locator("output[for=opacity]")).to_have_text("0 %")


def test_a_dropped_image(page, running, images):
    content = (images / "photo.png").read_bytes()
    transfer = page.evaluate_handle(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
          return transfer;
        }""",
        list(content),
    )
    page.dispatch_event("#invitation", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#invitation", "drop", {"dataTransfer": transfer})
    page.locator("#downloads").wait_for()
    expect(page.locator("h1")).to_have_text("dropped.png")
    np.testing.assert_array_equal(canvas(page), mask_of(running, images / "photo.png"))


def test_downloads_are_the_answers_of_the_service(page, running, images):
    choose(page, images / "town.tif")
    for name, kind in (("town.png", "image/png"), ("town.geojson", "application/geo+json")):
        with page.expect_download() as download:
            page.locator(f"#downloads [data-type='{kind}']").first.click()
        assert download.value.suggested_filename == name
        content = Path(download.value.path()).read_bytes()
        assert content == running.post(images / "town.tif", kind).body


def test_problems_are_told_and_the_next_image_works(page, images):
    for name, words in (("text.png", "no PNG, JPEG or TIFF"), ("large.png", "800 x 800 pixels")):
        page.set_input_files("#file", images / name)
        expect(page.locator("#problem")).to_contain_text(words)
        expect(page.locator("#downloads")).to_be_hidden()
    choose(page, images / "photo.png")
    expect(page.locator("#problem")).to_be_hidden()


def test_the_list_of_addresses(page):
    page.get_by_role("link", name="For programs").click()
    expect(page.locator("section h2 code").first).to_have_text("POST /predict")
    expect(page.locator("article")).to_contain_text("min_area")


def test_a_png_of_labels_keeps_its_values_in_the_browser():
    """The page reads gray values as labels, so the file must not hold a color profile."""
    content = encode(np.arange(6, dtype=np.uint8).reshape(2, 3), ".png")
    assert not any(kind in content for kind in (b"gAMA", b"iCCP", b"sRGB", b"cHRM"))
    assert cv2.imdecode(np.frombuffer(content, np.uint8), -1).max() == 5
