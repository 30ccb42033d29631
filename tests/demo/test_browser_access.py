"""The page for everybody: axe-core finds nothing serious in any state, and the keyboard alone is
enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from tests.support.browser import Open, answered, checked, fits, upload, upload_several

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def findings(page: Any) -> list[str]:
    """Every serious or critical finding of axe-core: rule, element, and what is wrong with it."""
    page.evaluate(AXE)
    # Nothing is judged while it fades in.
    page.wait_for_timeout(400)
    violations = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return [
        f"{rule['id']} {node['target']}: {node['failureSummary']}"
        for rule in violations
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def broken(page: Any, images: dict[str, Path]) -> None:
    """A file that is no image."""
    path = images["low"].with_name("text.png")
    path.write_text("not an image")
    upload(page, path)
    page.get_by_role("alert").get_by_text("is a text file").wait_for()


def refused(page: Any, images: dict[str, Path]) -> None:
    """A refusal, and the result all the same."""
    upload(page, images["refused"])
    answered(page)
    page.get_by_role("button", name="Show the result anyway").click()


def unfolded(page: Any, images: dict[str, Path]) -> None:
    """An answer with its stability check and everything unfolded."""
    upload(page, images["suspicious"])
    answer = answered(page)
    page.get_by_text("How stable is this?").click()
    answer.locator(".derm-slot .derm-call").wait_for()
    for fold in answer.locator("details > summary").all():
        fold.click()


def low(page: Any, images: dict[str, Path]) -> None:
    """A harmless lesion."""
    upload(page, images["low"])
    answered(page)


def high(page: Any, images: dict[str, Path]) -> None:
    """A highly suspicious lesion."""
    upload(page, images["highly suspicious"])
    answered(page)


def many(page: Any, images: dict[str, Path]) -> None:
    """A table of many images."""
    upload_several(page, [images[zone] for zone in ("low", "suspicious", "refused")])
    page.get_by_role("button", name="Check 3 images").click()
    checked(page)


def figures(page: Any, _: dict[str, Path]) -> None:
    """The figures of the models, unfolded."""
    page.get_by_role("tab", name="How good is it?").click()
    page.locator("#more-figures summary").first.wait_for()
    for fold in page.locator("#more-figures summary").all():
        fold.click()


STATES: dict[str, Callable[[Any, dict[str, Path]], None]] = {
    "broken": broken,
    "refused": refused,
    "low": low,
    "high": high,
    "unfolded": unfolded,
    "many": many,
    "figures": figures,
}

SMALL = """() => [...document.querySelectorAll("button, a, input, select, summary")]
    .filter((one) => one.offsetParent && !one.disabled && getComputedStyle(one).opacity !== "0")
    .map((one) => [one.getBoundingClientRect(), one])
    // Gradio measures its tabs with copies of them that nobody sees.
    .filter(([box, one]) => Math.min(box.width, box.height) > 1)
    .filter(([box, one]) => Math.min(box.width, box.height) < 23.5)
    // A link in a sentence, and an input that its label makes larger.
    .filter(([_, one]) => !one.closest("p, dd, label") && one.type !== "range")
    .map(([box, one]) => `${one.tagName} ${one.className} ${box.width}x${box.height}`)"""
"""Things to press that are smaller than 24 pixels (WCAG 2.2, 2.5.8)."""


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_axe_finds_nothing_serious(
    open_page: Open, images: dict[str, Path], size: str, scheme: str
) -> None:
    page = open_page(size, scheme)
    assert findings(page) == []
    for name, state in STATES.items():
        state(page, images)
        assert (name, findings(page)) == (name, [])
        assert (name, page.evaluate(SMALL)) == (name, [])
        assert fits(page), name


def test_all_fits_on_the_narrowest_screen(open_page: Open, images: dict[str, Path]) -> None:
    page = open_page("narrow")
    assert page.get_by_role("tab").count() == 3
    for name, state in STATES.items():
        state(page, images)
        assert fits(page), name


def test_zones_bars_and_marks_are_seen_in_forced_colours(
    open_page: Open, images: dict[str, Path]
) -> None:
    page = open_page(forced_colors="active")
    upload(page, images["suspicious"])
    answer = answered(page)
    colour = "one => getComputedStyle(one).backgroundColor"
    bar = answer.locator(".derm-diagnoses .bar").first
    assert bar.evaluate(colour) != bar.locator("i").evaluate(colour)
    zones = answer.locator(".derm-zones i").evaluate_all(f"ones => ones.map({colour})")
    assert len(set(zones)) == 3
    mark = answer.locator(".derm-mark").evaluate(
        "one => getComputedStyle(one, '::after').backgroundColor"
    )
    assert mark not in (*zones, "rgba(0, 0, 0, 0)")
    # A box or a dot shows whether it is chosen.
    chosen = page.locator("#kind input:checked")
    assert chosen.evaluate("one => getComputedStyle(one).appearance") == "auto"


def test_a_german_browser_sees_one_language(open_page: Open) -> None:
    page = open_page(locale="de-DE")
    assert page.evaluate("document.documentElement.lang") == "en"
    page.get_by_role("tab", name="Many images").click()
    words = page.locator("body").inner_text()
    assert "Drop File Here" in words
    assert not re.search("hier|Datei|hochladen", words)


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until an element has the focus, which must be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            seen = "getComputedStyle(document.activeElement)"
            assert page.evaluate(
                f"{seen}.outlineStyle !== 'none' || {seen}.boxShadow !== 'none'"
            ), selector
            return
    raise AssertionError(f"{selector} can't be reached with Tab")


def test_the_keyboard_is_enough(open_page: Open, images: dict[str, Path]) -> None:
    page = open_page()
    with page.expect_file_chooser() as chooser:
        tab_to(page, "#image button.upload-container")
        page.keyboard.press("Enter")
    chooser.value.set_files(images["suspicious"])
    answer = answered(page)
    tab_to(page, ".derm-views [data-show='']")
    page.keyboard.press("Enter")
    assert answer.locator(".heat:visible").count() == 0
    tab_to(page, "[data-do=check]")
    page.keyboard.press("Enter")
    answer.locator(".derm-slot .derm-call").wait_for()
    tab_to(page, ".derm-more-maps summary")
    page.keyboard.press("Enter")
    tab_to(page, ".derm-for")
    page.keyboard.press("End")
    assert answer.locator(".derm-for").input_value() in ("benign", "malignant")
    tab_to(page, "[data-do=another]")
    page.keyboard.press("Enter")
    page.get_by_text("Which diagnoses fit").wait_for()
    # From there a key chooses the next image.
    page.wait_for_function("document.activeElement.closest('#image') !== null")


def test_an_example_and_a_tab_by_keyboard(open_page: Open) -> None:
    page = open_page()
    tab_to(page, "#examples button")
    page.keyboard.press("Enter")
    answered(page)
    page.get_by_role("tab").first.focus()
    tab_to(page, "[role=tab]:nth-of-type(3)")
    page.keyboard.press("Enter")
    page.locator("#means .derm").wait_for()
    tab_to(page, "#prevalence input[type=range]")
    page.keyboard.press("End")
    page.locator("#means").get_by_text("Of 1,000 people, 500 have skin cancer").wait_for()
