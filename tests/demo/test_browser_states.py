"""States of the page in a real browser: words in place of an answer, and no old answer stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.reading import TITLES
from dermhub.concern import NOT_DERMATOSCOPIC
from tests.support.browser import Open, answered, clear, confirm, held_back, upload

pytestmark = pytest.mark.browser

READ = "**/queue/join*"
"""The request that asks for an answer."""


@pytest.fixture
def page(open_page: Open) -> Any:
    """The page, with the box ticked."""
    tab = open_page()
    confirm(tab)
    return tab


def withheld(page: Any, code: str) -> None:
    """The headline says why there is no answer, is announced, and no figure can be seen before it
    is asked for.
    """
    head = page.locator("#answer .derm-withheld")
    head.wait_for()
    assert head.get_attribute("role") == "alert"
    assert head.locator("h2").inner_text() == TITLES[code]
    assert page.locator("#derm-live").text_content().startswith(TITLES[code])
    visible = page.locator("#answer").inner_text()
    assert "Probability of malignancy" not in visible
    assert "called" not in visible
    assert page.locator("#answer table:visible, #answer .stage:visible").count() == 0
    page.get_by_text("What the models computed all the same").click()
    page.locator("#answer").get_by_text("Probability of malignancy:").wait_for()
    assert page.locator("#answer .stage").is_visible()


@pytest.mark.parametrize(
    "code", [NOT_DERMATOSCOPIC, "quality", "seen", "disagreement", "elsewhere"]
)
def test_a_worded_state_replaces_the_answer(page: Any, images: dict[str, Path], code: str) -> None:
    upload(page, images[code])
    withheld(page, code)


def test_a_set_too_wide_replaces_the_answer(page: Any, images: dict[str, Path]) -> None:
    upload(page, images[""])
    assert "called" in answered(page).inner_text()
    page.get_by_label("accurate").check()
    withheld(page, "undecided")


def nothing_of_it(page: Any) -> None:
    """No figure and no picture of an answer is in the page, seen or unseen."""
    assert "%" not in page.locator("#answer").inner_text()
    assert (
        page.locator(
            "#answer .derm:visible, #answer .stage:visible, #stability .derm:visible"
        ).count()
        == 0
    )
    assert not page.locator("#check").is_visible()


def test_a_cleared_image_takes_its_answer_along(page: Any, images: dict[str, Path]) -> None:
    upload(page, images[""])
    answered(page)
    page.locator("#check").click()
    page.locator("#stability .derm").wait_for()
    clear(page)
    page.get_by_text("The answer appears here.").wait_for()
    nothing_of_it(page)


def test_a_bad_file_leaves_no_old_answer(
    page: Any, images: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    upload(page, images[""])
    answered(page)
    upload(page, tmp_path / "text.png")
    page.get_by_role("alert").get_by_text("is a text file").wait_for()
    nothing_of_it(page)
    upload(page, images[""])
    assert "No answer" not in answered(page).inner_text()


@pytest.mark.parametrize("change", ["image", "model", "box"])
def test_nothing_old_is_seen_while_the_new_answer_is_waited_for(
    page: Any, images: dict[str, Path], change: str
) -> None:
    upload(page, images[""])
    answered(page)
    with held_back(page, READ):
        if change == "image":
            upload(page, images["disagreement"])
        elif change == "model":
            page.get_by_label("accurate").check()
        else:
            page.locator("#understood input").uncheck()
        page.locator("#answer").get_by_text("Reading the image").or_(
            page.get_by_text("Loading the models")
        ).or_(page.get_by_text("One thing first.")).first.wait_for()
        nothing_of_it(page)
    if change != "box":
        page.locator("#answer .derm-withheld").wait_for()


def test_an_answer_that_comes_after_its_image_went_is_not_shown(
    page: Any, images: dict[str, Path]
) -> None:
    with held_back(page, READ):
        upload(page, images[""])
        page.get_by_text("Reading the image").wait_for()
        clear(page)
        page.get_by_text("The answer appears here.").wait_for()
    page.wait_for_timeout(1500)
    nothing_of_it(page)


@pytest.mark.parametrize("pause", [0, 60, 120, 250])
def test_of_images_in_quick_succession_the_last_is_answered(page: Any, pause: int) -> None:
    # Gradio drops a request of a step that still runs, unless it is told not to.
    buttons = page.locator("#examples .gallery-item")
    buttons.nth(0).click()
    page.locator("#image img").wait_for()
    for at in (1, 2):
        page.wait_for_timeout(pause)
        buttons.nth(at).click()
    answered(page)
    page.wait_for_timeout(1000)
    assert page.locator("#answer .derm").is_visible()


def test_a_check_of_another_image_is_not_shown(page: Any, images: dict[str, Path]) -> None:
    upload(page, images[""])
    answered(page)
    with held_back(page, READ):
        page.locator("#check").click()
        page.get_by_text("Reading eleven variants of the image").wait_for()
        clear(page)
        page.get_by_text("The answer appears here.").wait_for()
    page.wait_for_timeout(2500)
    nothing_of_it(page)
