"""The report in a real browser: it opens offline, sorts, slides, and can be used by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.reporting.test_report import make_test

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("report")
    return make_test(cwd, images=6).write(cwd / "report.html")


@pytest.fixture
def page(browser, report) -> Iterator[Page]:
    """The page, opened without a network; it must neither ask for one nor report an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: problems.append(r.url) if r.url.startswith("http") else None)
    page.goto(report.as_uri())
    yield page
    context.close()
    assert not problems


def column(page: Page, table: str, number: int) -> list[str]:
    return page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()


def test_every_picture_shows(page):
    widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
    # 6 images with 4 layers; 4 of them with 2 HBIS layers of 6 classes.
    assert len(widths) == 6 * 4 + 4 * 2 * 6
    assert min(widths) > 0


def test_tables_sort_by_keyboard(page):
    table = "#scores table >> nth=0"
    page.locator(f"{table} >> thead button >> nth=1").focus()
    for order, sign in (("ascending", 1), ("descending", -1), ("ascending", 1)):
        page.keyboard.press("Enter")
        assert page.locator(f"{table} >> th[aria-sort]").get_attribute("aria-sort") == order
        values = page.locator(f"{table} >> td.bar:nth-child(2)").all_inner_texts()
        numbers = [float(value) for value in values if value.strip() != "–"]  # noqa: RUF001
        assert numbers == sorted(numbers, key=lambda n: sign * n)
        assert len(numbers) > 2
        # Without a score is last in either order.
        assert all(value.strip() != "–" for value in values[: len(numbers)])  # noqa: RUF001
    page.locator(f"{table} >> thead button >> nth=0").click()
    names = [name.split()[0] for name in column(page, "#scores table >> nth=0 >>", 1)]
    assert names == sorted(names, key=str.lower)


def shown(page: Page, side: str) -> set[str]:
    return set(
        page.eval_on_selector_all(
            f".stage img.{side}",
            "images => images.filter(i => getComputedStyle(i).visibility === 'visible')"
            ".map(i => i.dataset.layer)",
        )
    )


def test_layers(page):
    assert (shown(page, "left"), shown(page, "right")) == ({"image"}, {"prediction"})
    page.get_by_role("radio", name="truth").first.check()
    assert (shown(page, "left"), shown(page, "right")) == ({"truth"}, {"prediction"})
    page.keyboard.press("4")
    assert (shown(page, "left"), shown(page, "right")) == ({"truth"}, {"errors"})
    visible = page.locator(".stage >> nth=0 >> img:visible")
    assert visible.count() == 2


def clip(page: Page) -> str:
    return page.eval_on_selector(".stage img.left", "image => getComputedStyle(image).clipPath")


def test_slider(page):
    """Arrow keys and the mouse move the edge between the two sides, of this image alone."""
    slider = page.locator(".stage input").first
    slider.focus()
    assert "50%" in clip(page)
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert "40%" in clip(page)  # cut off at the right
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    assert int(slider.input_value()) == pytest.approx(25, abs=4)
    assert page.locator(".stage input").nth(1).input_value() == "50"


def test_everything_is_reached_by_tab(page):
    controls = "a[href], button, summary, input[type=range], input[type=radio]:checked"
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
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


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_light_and_dark(page):
    page.emulate_media(color_scheme="light")
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    button = page.locator("#scheme")
    assert button.inner_text() == "Light"
    button.click()
    assert (background(page), button.inner_text()) == (light, "Dark")


def test_narrow_screen(page):
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
