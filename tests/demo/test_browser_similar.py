"""Similar cases in a real browser: unfolded and enlarged by mouse and keyboard, at every width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import SIZES, Open, answered, fits, upload

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("size", [*SIZES, "narrow"])
def test_a_click_enlarges_a_case(open_page: Open, images: dict[str, Path], size: str) -> None:
    page = open_page(size)
    upload(page, images["suspicious"])
    similar = answered(page).locator(".derm-similar")
    assert not similar.locator(".derm-cases").is_visible()
    similar.locator("summary").click()
    buttons = similar.locator("[data-case]")
    assert buttons.count() == 6
    width = buttons.nth(1).bounding_box()["width"]
    buttons.nth(1).click()
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    assert buttons.nth(1).bounding_box()["width"] > 1.3 * width
    assert fits(page)
    page.keyboard.press("Enter")
    assert buttons.nth(1).get_attribute("aria-pressed") == "false"
    assert buttons.nth(1).bounding_box()["width"] == width


def test_a_refused_image_shows_them_anyway_alone(open_page: Open, images: dict[str, Path]) -> None:
    page: Any = open_page("phone")
    upload(page, images["refused"])
    answer = answered(page)
    assert not answer.locator(".derm-similar").is_visible()
    answer.get_by_role("button", name="Show the result anyway").click()
    assert answer.locator(".derm-similar summary").is_visible()
