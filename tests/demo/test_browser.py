"""The page in a real browser: an image goes in, the answer comes out, and why; at the widths of
desktop and phone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import dermhub
from dermhub.tasks import plain_name
from tests.support.browser import SIZES, Open, answered, confirm, fits, upload
from tests.support.demo_process import Demo

pytestmark = pytest.mark.browser


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, open_page: Open) -> Any:
    """The page at both widths."""
    return open_page(request.param)


def test_nothing_is_answered_before_the_visitor_has_confirmed(
    page: Any, images: dict[str, Path]
) -> None:
    upload(page, images[""])
    page.get_by_role("alert").get_by_text("One thing first.").wait_for()
    assert "%" not in page.locator("#answer").inner_text()
    assert not page.locator("#check").is_visible()
    confirm(page)
    assert "Probability of malignancy" in answered(page).inner_text()
    page.locator("#understood input").uncheck()
    page.get_by_role("alert").get_by_text("One thing first.").wait_for()
    assert "%" not in page.locator("#answer").inner_text()


def test_an_upload_is_answered_in_one_glance(
    page: Any, models: Path, images: dict[str, Path]
) -> None:
    confirm(page)
    upload(page, images[""])
    text = answered(page).inner_text()
    binary, lesion = (
        dermhub.load(models / name).predict(images[""]) for name in ("binary", "lesion")
    )
    assert f"Probability of malignancy: {binary.malignancy:.1%}" in text
    assert (
        f"operating threshold of {binary.threshold:.1%}: called {binary_call(binary.malignant)}."
        in text
    )
    names = " or ".join(plain_name(name) for name in lesion.conformal)
    assert f"What remains possible: {names} ({' or '.join(lesion.conformal)})." in text
    ranked = sorted(lesion.probabilities, key=lambda name: -lesion.probabilities[name])
    assert page.locator("#answer tbody code").all_inner_texts() == ranked
    assert page.locator("#answer tbody td:last-child").all_inner_texts() == [
        f"{lesion.probabilities[name]:.1%}" for name in ranked
    ]
    assert "Research software, not a medical device." in text
    assert fits(page)
    # What the page says to a screen reader.
    said = page.locator("#derm-live")
    assert said.get_attribute("aria-live") == "polite"
    assert said.text_content().startswith(f"Probability of malignancy {binary.malignancy:.1%}.")


def binary_call(malignant: bool) -> str:
    return "malignant" if malignant else "benign"


def test_a_drawing_is_answered_and_named_a_drawing(page: Any) -> None:
    assert page.get_by_text("Drawings to try: no photographs, no patients").is_visible()
    confirm(page)
    page.get_by_role("button", name="Drawings to try: no photographs, no patients: 3 of 3").click()
    assert "%" in answered(page).inner_text() or page.locator("#answer summary").is_visible()


def test_a_map_for_every_class_and_every_contrast(page: Any, images: dict[str, Path]) -> None:
    confirm(page)
    upload(page, images[""])
    answered(page)
    chosen, against = page.get_by_label("Evidence for"), page.get_by_label("and against")
    shown = page.locator("#answer .derm-said .derm-of:visible")
    for name in ("mel", "nv", "malignant", "benign", "df"):
        chosen.select_option(name)
        assert shown.count() == 1
        assert plain_name(name) in shown.inner_text()
        heat = page.locator("#answer .stage .heat:visible")
        assert heat.count() == (0 if "Nothing in this image" in shown.inner_text() else 1)
        assert all(
            plain_name(name) in alt
            for alt in heat.evaluate_all("images => images.map(image => image.alt)")
        )
    chosen.select_option("mel")
    against.select_option("nv")
    assert re.search(
        "speaks for melanoma (and against|rather than) melanocytic nevus", shown.inner_text()
    )
    # A class is not held against itself, and there is no third one beside benign and malignant.
    assert against.locator('option[value="mel"]').is_disabled()
    chosen.select_option("nv")
    assert against.input_value() == ""
    chosen.select_option("malignant")
    assert against.locator('option[value="nv"]').is_disabled()
    assert shown.count() == 1


def test_the_opacity_of_a_map_can_be_changed_with_the_keyboard(
    page: Any, images: dict[str, Path]
) -> None:
    confirm(page)
    upload(page, images[""])
    slider = answered(page).get_by_label("Opacity of the map")
    opacity = "Number(getComputedStyle(document.querySelector('#answer .heat.on')).opacity)"
    assert page.evaluate(opacity) == pytest.approx(0.6)
    slider.focus()
    for key, value in (("End", 1), ("ArrowLeft", 0.95), ("Home", 0), ("ArrowRight", 0.05)):
        slider.press(key)
        assert page.evaluate(opacity) == pytest.approx(value)


def test_a_failure_of_the_server_is_told(page: Any, images: dict[str, Path]) -> None:
    # A request that Gradio refuses before it reaches us, as it would for a file that was deleted
    # meanwhile.
    def elsewhere(route: Any) -> None:
        data = re.sub(r'"path":"[^"]*"', '"path":"/nowhere/lesion.png"', route.request.post_data)
        route.continue_(post_data=data)

    confirm(page)
    page.route("**/queue/join*", elsewhere)
    upload(page, images[""])
    page.get_by_role("alert").get_by_text(
        "A path came that is no upload of yours, or no longer"
    ).wait_for()
    assert "Probability" not in page.locator("#answer").inner_text()


def test_the_page_says_what_it_is_and_keeps_nothing(
    page: Any, site: Demo, images: dict[str, Path]
) -> None:
    assert page.title() == "dermhub"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.get_by_text("this is research software, not a medical device").is_visible()
    assert page.get_by_text("are deleted within minutes").is_visible()
    confirm(page)
    upload(page, images[""])
    answered(page)
    assert page.context.cookies(site.url) == []
    assert "lesion" not in page.evaluate(
        "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)])"
    )
