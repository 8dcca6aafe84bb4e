"""The page on a map in a real browser: by mouse and keyboard, in both schemes, on small screens."""

import io
import re
import signal
from collections.abc import Iterator

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image
from playwright.sync_api import Page, expect

from network.datasets.files import write_image
from tests.scenes import write_bands
from tests.serving.scene import COLORS, NAMES, PLACE, Scene, make_scene
from tests.serving.test_view_map import start

pytestmark = pytest.mark.browser

SIZE = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    """A map whose building blocks are polygons, too."""
    made = make_scene(tmp_path_factory.mktemp("scene"))
    boxes = [shapely.box(x, y, x + 20, y + 20) for x in range(300, 900, 40) for y in (100, 300)]
    shapes = shapely.transform(
        np.array(boxes), lambda xy: np.column_stack(PLACE.transform @ tuple(xy.T))
    )
    frame = geopandas.GeoDataFrame({"class": [1] * len(shapes)}, geometry=shapes, crs=PLACE.crs)
    frame.to_file(made.map.with_suffix(".gpkg"))
    return made


@pytest.fixture(scope="module")
def address(scene, tmp_path_factory) -> Iterator[str]:
    command, found = start(tmp_path_factory.mktemp("page"), scene.map, scene.image)
    yield found
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def page(browser, address, problems) -> Iterator[Page]:
    """The opened page; it must ask no other machine for anything, and report no error."""
    yield from opened(browser, address, problems)


def opened(browser, address: str, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    local = (address, "data:")
    page.on("request", lambda r: None if r.url.startswith(local) else problems.append(r.url))
    page.goto(address)
    page.locator("#legend li").first.wait_for()
    page.wait_for_load_state("networkidle")
    yield page
    context.close()
    assert not problems


def center(page: Page, share: float = 0.5) -> tuple[float, float]:
    """A point of the screen in the middle row of the map, at a share of its width."""
    box = page.locator("#map").bounding_box()
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def settle(page: Page) -> None:
    """Wait until all tiles are there and have faded in."""
    page.wait_for_function(
        """() => [...document.querySelectorAll("img.leaflet-tile")].every(
          (tile) => tile.classList.contains("leaflet-tile-loaded") && tile.style.opacity === "1")"""
    )


def shot(page: Page) -> np.ndarray:
    settle(page)
    return np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def readout(page: Page, x: float, y: float) -> tuple[int, int]:
    """Row and column of the map below a point of the screen, as the page tells them."""
    page.mouse.move(x, y)
    text = page.locator("#readout").inner_text()
    row, column = re.match(r"row (\d+), column (\d+)", text).groups()
    return int(row), int(column)


def clip(page: Page) -> float:
    """Where the prediction begins, as a share of the width of the map."""
    handle, box = page.locator("#divider").bounding_box(), page.locator("#map").bounding_box()
    middle = handle["x"] + handle["width"] / 2 - box["x"]
    shape = page.locator(".leaflet-prediction-pane").evaluate("p => getComputedStyle(p).clipPath")
    pane = page.locator(".leaflet-map-pane").evaluate("p => L.DomUtil.getPosition(p).x")
    assert float(re.search(r"polygon\(([-\d.]+)px", shape)[1]) + pane == pytest.approx(
        middle, abs=1
    )
    return middle / box["width"]


# The looks of the page --------------------------------------------------------------------------


def test_pixels_of_the_screen_are_those_of_the_files(page, scene):
    """To the left of the divider the image, to the right the colors of the classes."""
    page.locator("#opacity").focus()
    page.keyboard.press("End")
    page.locator("#map").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    screen = shot(page)
    seen = 0
    for share in np.linspace(0.1, 0.9, 9):
        for dy in (-200, -90, 110, 210):
            x, y = center(page, share)
            x, y = round(x), round(y + dy)
            if abs(share - 0.5) < 0.05:
                continue  # below the divider
            row, column = readout(page, x + 0.5, y + 0.5)
            label = scene.labels[row, column]
            expected = scene.pixels[row, column] if share < 0.5 else COLORS[label]
            np.testing.assert_array_equal(screen[y, x], expected)
            seen += 1
    assert seen == 32


def test_hidden_classes_show_the_image(page, scene):
    page.locator("#opacity").focus()
    page.keyboard.press("End")
    page.locator("#divider").focus()
    page.keyboard.press("Home")
    for name in NAMES[:2]:
        page.get_by_role("checkbox", name=name).uncheck()
    screen = shot(page)
    for share in np.linspace(0.3, 0.7, 15):
        x, y = (round(value) for value in center(page, share))
        row, column = readout(page, x + 0.5, y + 0.5)
        label = scene.labels[row, column]
        is_class = (screen[y, x] == COLORS[label]).all()
        assert is_class == (label >= 2)


def test_opacity(page):
    slider = page.locator("#opacity")
    pane = page.locator(".leaflet-prediction-pane")
    assert pane.evaluate("p => getComputedStyle(p).opacity") == "0.6"
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert pane.evaluate("p => getComputedStyle(p).opacity") == "0.4"
    assert page.locator("output[for=opacity]").inner_text() == "40 %"
    slider.fill("0")
    assert pane.evaluate("p => getComputedStyle(p).opacity") == "0"


# The divider ------------------------------------------------------------------------------------


def test_divider_by_mouse(page):
    assert clip(page) == pytest.approx(0.5, abs=0.01)
    page.mouse.move(*center(page))
    page.mouse.down()
    for share in (0.45, 0.3, 0.25):
        page.mouse.move(*center(page, share))
    page.mouse.up()
    assert clip(page) == pytest.approx(0.25, abs=0.01)
    page.mouse.move(*center(page, 0.8))  # released, so it stays
    assert clip(page) == pytest.approx(0.25, abs=0.01)
    assert page.locator(".leaflet-popup").count() == 0


def test_divider_by_keyboard(page):
    handle = page.get_by_role("slider", name="Divider")
    handle.focus()
    for key, value in (
        ("ArrowLeft", 49), ("Shift+ArrowRight", 59), ("PageDown", 49), ("PageUp", 59),
        ("Home", 0), ("ArrowLeft", 0), ("ArrowUp", 1), ("End", 100), ("ArrowDown", 99),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert handle.get_attribute("aria-valuenow") == str(value)
        assert clip(page) == pytest.approx(value / 100, abs=0.01)


def test_the_divider_stays_while_the_map_moves(page):
    before = readout(page, *center(page, 0.7))
    page.mouse.down()
    page.mouse.move(*center(page, 0.6))
    page.mouse.move(*center(page, 0.55))
    assert clip(page) == pytest.approx(0.5, abs=0.01)
    page.mouse.up()
    after = readout(page, *center(page, 0.7))
    assert after[1] - before[1] == pytest.approx(
        0.15 * page.locator("#map").bounding_box()["width"], abs=3
    )
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(500)
    assert clip(page) == pytest.approx(0.5, abs=0.01)
    page.set_viewport_size({"width": 1000, "height": 700})
    page.wait_for_timeout(300)
    assert clip(page) == pytest.approx(0.5, abs=0.01)


# Answers ----------------------------------------------------------------------------------------


def check_answer(page: Page, scene: Scene, row: int, column: int) -> None:
    """Compare what the popup tells with the files."""
    label = scene.labels[row, column]
    popup = page.locator(".leaflet-popup")
    expect(popup.locator("h2")).to_have_text(NAMES[label])
    shares = dict(zip(NAMES, scene.probabilities[row, column] / 250, strict=True))
    order = sorted(shares, key=lambda name: -shares[name])
    rows = popup.locator("tr")
    expect(rows).to_have_count(4)
    assert rows.nth(0).locator("td").first.inner_text() == order[0]
    for text in rows.all_inner_texts():
        name, share = text.split()[0], float(text.split()[-2])
        assert share == pytest.approx(100 * shares[name], abs=0.051)
    facts = dict(
        zip(
            popup.locator("dt").all_inner_texts(),
            popup.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert facts["Row, column"] == f"{row}, {column}"
    x, y = (float(value) for value in facts["Coordinates"].split(", "))
    expected = (500_000 + 0.5 * (column + 0.5), 5_400_000 - 0.5 * (row + 0.5))
    assert (x, y) == pytest.approx(expected, abs=0.06)
    assert facts["Image"] == ", ".join(map(str, scene.pixels[row, column]))


def test_a_click_tells_what_is_there(page, scene):
    for share in (0.35, 0.7):
        at = center(page, share)
        row, column = readout(page, *at)
        page.mouse.click(*at)
        check_answer(page, scene, row, column)
        page.keyboard.press("Escape")
        expect(page.locator(".leaflet-popup")).to_have_count(0)


def test_without_data(page):
    row, column = readout(page, *center(page, 0.5))
    box = page.locator("#map").bounding_box()
    # The upper left corner of the map has no data.
    x = center(page)[0] - (column - 5)
    y = box["y"] + box["height"] / 2 - (row - 5)
    page.mouse.click(x, y)
    expect(page.locator(".leaflet-popup h2")).to_have_text("No data")
    page.mouse.click(x - 20, y)  # outside the map
    page.wait_for_timeout(300)
    assert "row" not in page.locator("#readout").inner_text()


def test_the_map_by_keyboard(page, scene):
    """Pan, zoom, and ask for the middle, which a cross marks."""
    cross = page.locator("#cross")
    expect(cross).to_be_hidden()
    page.keyboard.press("Tab")
    expect(page.locator("#map")).to_be_focused()
    expect(cross).to_be_visible()
    page.keyboard.press("+")
    page.wait_for_timeout(300)
    before = readout(page, *center(page, 0.75))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert readout(page, 0.5 + center(page, 0.75)[0], center(page)[1])[1] > before[1]
    x, y = center(page)
    page.keyboard.press("Enter")
    page.locator(".leaflet-popup h2").wait_for()
    expect(cross).to_be_hidden()
    fact = page.locator(".leaflet-popup dd").first.inner_text()
    row, column = (int(number) for number in fact.split(", "))
    check_answer(page, scene, row, column)
    page.keyboard.press("Escape")
    expect(cross).to_be_visible()
    page.mouse.click(x + 300, y)
    expect(cross).to_be_hidden()


# Layers -----------------------------------------------------------------------------------------


def tiles(page: Page) -> set[str]:
    """Addresses of the tiles of the prediction, without their numbers."""
    settle(page)
    images = page.locator(".leaflet-prediction-pane img.leaflet-tile")
    sources = images.evaluate_all("all => all.map(i => [i.src, i.naturalWidth])")
    assert {width for _, width in sources} == {256}
    short = {re.sub(r"/\d+/\d+/\d+\?version=\w+", "", source) for source, _ in sources}
    return {source.split("/tiles/")[1] for source in short}


def test_layers(page):
    assert tiles(page) == {"classes"}
    expect(page.locator("#scale")).to_be_hidden()
    page.get_by_role("radio", name="Confidence").check()
    assert tiles(page) == {"confidence"}
    expect(page.locator("#scale .bar")).to_be_visible()
    expect(page.locator("#divider .right")).to_have_text("Confidence")
    assert page.locator("#legend input").first.is_disabled()
    page.get_by_role("radio", name="Probabilities").check()
    assert tiles(page) == {"probabilities&number=0"}
    page.get_by_label("of the class").select_option("tree")
    assert tiles(page) == {"probabilities&number=3"}
    page.get_by_role("radio", name="Classes").check()
    page.get_by_role("checkbox", name="lawn").uncheck()
    assert tiles(page) == {"classes&hidden=2"}


def test_legend(page, scene):
    counts = np.bincount(scene.labels[scene.labels < 255], minlength=4)
    shares = [f"{100 * count / counts.sum():.1f} %" for count in counts]
    assert page.locator("#legend .name").all_inner_texts() == list(NAMES)
    assert page.locator("#legend .share").all_inner_texts() == shares
    swatches = page.locator("#legend .swatch")
    colors = swatches.evaluate_all("all => all.map(s => getComputedStyle(s).backgroundColor)")
    assert colors == [f"rgb({r}, {g}, {b})" for r, g, b in COLORS]


def test_polygons(page):
    """Found beside the map, they are shown when they are wanted."""
    box = page.get_by_role("checkbox", name="Polygons")
    expect(box).not_to_be_checked()
    before = shot(page)
    box.check()
    expect(page.locator("#outlines small")).to_have_text("30 in view")
    after = shot(page)
    lines = (after == COLORS[1]).all(axis=2) & ~(before == COLORS[1]).all(axis=2)
    assert lines.sum() > 30 * 20
    page.get_by_role("checkbox", name="building").uncheck()
    page.wait_for_timeout(300)
    assert ((shot(page) == COLORS[1]).all(axis=2)).sum() < lines.sum() / 10
    box.uncheck()
    expect(page.locator("#outlines small")).to_have_text("")


# The whole page ---------------------------------------------------------------------------------


def test_everything_is_reached_by_tab(page):
    page.locator("details").evaluate("one => one.open = true")
    controls = "#map, a[role=button], #divider, input:not([type=radio]), input:checked, summary"
    wanted = page.locator(controls).count()
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                f"[...document.querySelectorAll('{controls}')].indexOf(document.activeElement)"
            )
        )
    assert reached >= set(range(wanted))


def test_every_control_has_a_name(page):
    tree = page.locator("body").aria_snapshot()
    for line in tree.splitlines():
        if re.match(r"\s*- (slider|checkbox|radio|button|combobox)", line):
            assert '"' in line, line


def test_light_and_dark(page):
    def ground() -> list[str]:
        return [
            page.locator(part).evaluate("e => getComputedStyle(e).backgroundColor")
            for part in ("body", "#map", ".leaflet-control-zoom-in")
        ]

    page.emulate_media(color_scheme="light")
    light = ground()
    page.emulate_media(color_scheme="dark")
    assert light[0] == "rgb(255, 255, 255)"
    assert all(one != other for one, other in zip(light, ground(), strict=True))


def test_narrow_screen(page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.documentElement.scrollHeight") <= 800
    map_, panel = page.locator("#map").bounding_box(), page.locator("aside").bounding_box()
    assert map_["height"] > 400
    assert panel["y"] == pytest.approx(map_["y"] + map_["height"])
    page.mouse.click(*center(page, 0.6))
    page.locator(".leaflet-popup h2").wait_for()
    # The answer lies above the divider.
    answer = page.locator(".leaflet-popup-content").bounding_box()
    x, y = center(page)[0], answer["y"] + 5
    inside = "([x, y]) => document.elementFromPoint(x, y).closest('.leaflet-popup') !== null"
    assert page.evaluate(inside, [x, y])


def test_the_browser_forbids_other_machines(page, problems):
    ask = "address => fetch(address, {mode: 'no-cors'}).then(() => 'answered', () => 'refused')"
    assert page.evaluate(ask, "https://example.org/") == "refused"
    assert any("Content Security Policy" in problem for problem in problems)
    problems.clear()


def test_a_photo_has_no_coordinates(browser, tmp_path):
    write_image(tmp_path / "mask.png", np.random.default_rng(0).integers(0, 3, (40, 50), np.uint8))
    command, address = start(tmp_path, "mask.png")
    for page in opened(browser, address, []):
        expect(page.locator("#divider")).to_be_hidden()
        expect(page.locator("#layers")).to_be_hidden()
        assert page.locator(".leaflet-control-scale").count() == 0
        page.mouse.click(*center(page))
        page.locator(".leaflet-popup h2").wait_for()
        assert page.locator(".leaflet-popup dt").all_inner_texts() == ["Row, column"]
    command.send_signal(signal.SIGINT)
    command.wait(20)


def test_the_page_tells_when_the_viewer_has_ended(browser, scene, tmp_path):
    command, address = start(tmp_path, scene.map)
    problems: list[str] = []
    for page in opened(browser, address, problems):
        command.send_signal(signal.SIGINT)
        command.wait(20)
        page.mouse.click(*center(page))
        expect(page.get_by_role("alert")).to_have_text(re.compile("does not answer"))
        problems.clear()


def test_the_page_tells_what_is_wrong_with_a_file(browser, scene, tmp_path):
    image = tmp_path / "image.tif"
    place = {"crs": PLACE.crs, "transform": PLACE.transform}
    write_bands(image, scene.pixels, compress="deflate", **place)
    command, address = start(tmp_path, scene.map, image)
    with image.open("r+b") as file:
        file.seek(image.stat().st_size // 2)
        file.write(bytes(10_000))
    problems: list[str] = []
    for page in opened(browser, address, problems):
        told = re.compile(r"image\.tif: unreadable image; copy or extract it again")
        expect(page.get_by_role("alert")).to_have_text(told)
        assert set(problems) == {
            "Failed to load resource: the server responded with a status of 500 "
            "(Internal Server Error)"
        }
        problems.clear()
    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 130
    assert "Traceback" not in command.stderr
