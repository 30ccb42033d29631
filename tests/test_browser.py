"""The page in a real browser: the main flow, what replaces an answer, both widths, and what it asks of the network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Demo

import dermhub
from dermhub.drawings import draw
from dermhub.labels import plain_name

pytestmark = pytest.mark.browser

PATIENCE = 90_000
"""Milliseconds that a loaded machine gets for an answer."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by playwright."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here: install it to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, chromium: Any, demo: Demo) -> Iterator[Any]:
    """The demo, opened at the width of a desktop and of a phone; errors and foreign requests fail the test."""
    width, height = request.param
    tab = chromium.new_page(viewport={"width": width, "height": height})
    tab.set_default_timeout(PATIENCE)
    asked: list[str] = []
    errors: list[str] = []
    tab.on("request", lambda one: asked.append(one.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(demo.url)
    tab.get_by_text("The answer appears here.").wait_for()
    yield tab
    tab.close()
    own = re.compile(rf"({re.escape(demo.url)}/|data:|blob:)")
    assert asked
    assert [url for url in asked if not own.match(url)] == []
    assert errors == []


def upload(page: Any, path: Path) -> None:
    """Choose a file, as a click on the upload area does."""
    page.locator("input[type=file]").first.set_input_files(path)


def draw_to(path: Path, seed: int) -> Path:
    """A drawn lesion as a file."""
    draw(seed, (300, 200), 0.7).save(path)
    return path


def test_upload_answer_and_maps(page: Any, trained: dict[str, Path], tmp_path: Path) -> None:
    path = draw_to(tmp_path / "lesion.png", 5)
    upload(page, path)
    answer = page.locator("#answer")
    answer.get_by_text("Probability of malignancy").wait_for()
    binary, lesion = (dermhub.load(trained[name]).predict(path) for name in ("binary", "lesion"))
    assert f"Probability of malignancy: {binary.malignancy:.1%}" in answer.inner_text()
    assert f"{max(lesion.probabilities.values()):.1%}" in answer.inner_text()
    # The map of the most probable class is shown, and a click shows another one instead.
    assert answer.locator(f'input[value="{lesion.label}"]').is_checked()
    for name in lesion.probabilities:
        answer.locator(f'input[value="{name}"]').check()
        shown = answer.locator(f".of-{name}")
        assert shown.is_visible()
        if shown.get_attribute("class").startswith("heat"):
            share = f"{lesion.probabilities[name]:.0%}"
            assert shown.get_attribute("alt") == f"Heat map of the evidence for {plain_name(name)}, probability {share}"
        assert sum(answer.locator(f".of-{other}").is_visible() for other in lesion.probabilities) == 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_opacity_of_a_map_can_be_changed_with_the_keyboard(page: Any, tmp_path: Path) -> None:
    upload(page, draw_to(tmp_path / "lesion.png", 5))
    slider = page.locator("#answer input[type=range]").first
    slider.wait_for()
    heat = "document.querySelector('#answer .derm-map').style.getPropertyValue('--heat')"
    slider.focus()
    slider.press("End")
    assert page.evaluate(heat) == "1"
    slider.press("Home")
    assert page.evaluate(heat) == "0"


def test_a_bad_file_leaves_no_old_answer(page: Any, tmp_path: Path) -> None:
    upload(page, draw_to(tmp_path / "lesion.png", 5))
    page.locator("#answer").get_by_text("Probability of malignancy").wait_for()
    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    page.get_by_text("The answer appears here.").wait_for()
    (tmp_path / "text.png").write_text("not an image")
    upload(page, tmp_path / "text.png")
    page.get_by_role("alert").get_by_text("is a text file").wait_for()
    assert "Probability" not in page.locator("#answer").inner_text()
    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    upload(page, draw_to(tmp_path / "other.png", 6))
    page.locator("#answer").get_by_text("Probability of malignancy").wait_for()
    assert page.locator("#answer").get_by_role("alert").get_by_text("No answer").count() == 0


def test_a_failure_of_the_server_is_told(page: Any, tmp_path: Path) -> None:
    # A request that Gradio refuses before it reaches us, as it would for a file that was deleted meanwhile.
    def elsewhere(route: Any) -> None:
        data = re.sub(r'"path":"[^"]*"', '"path":"/nowhere/lesion.png"', route.request.post_data)
        route.continue_(post_data=data)

    page.route("**/queue/join*", elsewhere)
    upload(page, draw_to(tmp_path / "lesion.png", 5))
    page.get_by_role("alert").get_by_text("The server could not take this file").wait_for()
    assert "Probability" not in page.locator("#answer").inner_text()


def test_a_drawn_example_is_answered(page: Any) -> None:
    assert page.get_by_text("Drawings to try (no photographs, no patients)").is_visible()
    page.locator("button.gallery-item, .gallery-item").first.click()
    page.locator("#answer").get_by_text("Probability of malignancy").wait_for()


def test_the_page_says_what_it_is_and_shows_the_card(page: Any) -> None:
    assert page.get_by_text("Research software, not a medical device.").first.is_visible()
    assert page.get_by_text("is deleted within minutes").is_visible()
    page.get_by_role("tab", name="Figures: model").last.click()
    page.get_by_text("Operating points for malignancy, on test").last.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
