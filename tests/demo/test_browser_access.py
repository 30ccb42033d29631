"""The page for everybody: axe-core finds nothing serious in any state, and the keyboard alone is
enough.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from tests.support.browser import SIZES, Open, answered, confirm, fits, upload, upload_several

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


def refused(page: Any, images: dict[str, Path]) -> None:
    """A file that is no image."""
    path = images[""].with_name("text.png")
    path.write_text("not an image")
    upload(page, path)
    page.get_by_role("alert").get_by_text("No answer").wait_for()


def checked(page: Any, images: dict[str, Path]) -> None:
    """An answer with its stability check."""
    upload(page, images[""])
    answered(page)
    page.locator("#check").click()
    page.locator("#stability .derm").wait_for()


def unfolded(page: Any, images: dict[str, Path]) -> None:
    """No confident answer, and what was computed all the same."""
    upload(page, images["disagreement"])
    answered(page)
    page.get_by_text("What the models computed all the same").click()


def several(page: Any, images: dict[str, Path]) -> None:
    """A table of several images."""
    upload_several(page, [images[""], images["seen"]])
    page.get_by_role("button", name="Read all images").click()
    page.locator("#table").get_by_text("2 of 2 images are read.").wait_for()


def prevalence(page: Any, _: dict[str, Path]) -> None:
    """The tab that tells what a call means."""
    page.get_by_role("tab", name="Prevalence").click()
    page.locator("#means .derm").wait_for()


def figures(page: Any, _: dict[str, Path]) -> None:
    """The figures of the models, with a whole card."""
    page.get_by_role("tab", name="Figures").click()
    page.locator("#figures table").first.wait_for()
    page.get_by_text("The whole model card: benign or malignant").click()
    page.get_by_text("Intended use").first.wait_for()


STATES: dict[str, Callable[[Any, dict[str, Path]], None]] = {
    "refused": refused,
    "checked": checked,
    "unfolded": unfolded,
    "several": several,
    "prevalence": prevalence,
    "figures": figures,
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(
    open_page: Open, images: dict[str, Path], size: str, scheme: str
) -> None:
    page = open_page(size, scheme)
    assert findings(page) == []
    upload(page, images[""])
    page.get_by_text("One thing first.").wait_for()
    assert findings(page) == []
    confirm(page)
    for name, state in STATES.items():
        state(page, images)
        assert (name, findings(page)) == (name, [])
        assert fits(page), name


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
    tab_to(page, "#understood input")
    page.keyboard.press("Space")
    with page.expect_file_chooser() as chooser:
        tab_to(page, "#image button.upload-container")
        page.keyboard.press("Enter")
    chooser.value.set_files(images[""])
    answered(page)
    tab_to(page, "#answer .derm-for")
    page.keyboard.press("End")
    assert page.locator("#answer .derm-for").input_value() in ("benign", "malignant")
    tab_to(page, "#answer .derm-opacity")
    page.keyboard.press("Home")
    tab_to(page, "#check")
    page.keyboard.press("Enter")
    page.locator("#stability .derm").wait_for()


def test_an_example_and_a_tab_by_keyboard(open_page: Open) -> None:
    page = open_page()
    confirm(page)
    tab_to(page, "#examples .gallery-item")
    page.keyboard.press("Enter")
    answered(page)
    tab_to(page, "[role=tab]:nth-of-type(3)")
    page.keyboard.press("Enter")
    page.locator("#means .derm").wait_for()
    tab_to(page, "#prevalence input[type=range]")
    page.keyboard.press("End")
    page.locator("#means").get_by_text("Of 1,000 images, 500 are malignant").wait_for()
