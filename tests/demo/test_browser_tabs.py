"""The other parts of the page in a real browser: the stability check, several images, prevalence
and figures.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from demo.reading import TITLES
from tests.support.browser import SIZES, Open, answered, confirm, fits, upload, upload_several

pytestmark = pytest.mark.browser


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, open_page: Open) -> Any:
    """The page at both widths, with the box ticked."""
    tab = open_page(request.param)
    confirm(tab)
    return tab


def test_stability_is_checked_on_demand(page: Any, images: dict[str, Path]) -> None:
    upload(page, images[""])
    answered(page)
    assert page.locator("#stability").inner_text().strip() == ""
    page.get_by_role("button", name="Does the answer hold?").click()
    shown = page.locator("#stability")
    shown.get_by_text(
        re.compile("The answer (holds in all 10 variants|does not hold, do not rely on it)")
    ).wait_for()
    assert shown.locator("tbody tr").count() == 11
    assert "turned by 90°" in shown.inner_text()
    assert fits(page)


def test_several_images_give_a_table_and_a_csv(
    page: Any, images: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "=text.png").write_text("not an image")
    upload_several(page, [images[""], images["disagreement"], tmp_path / "=text.png"])
    page.get_by_role("button", name="Read all images").click()
    page.locator("#table").get_by_text("3 of 3 images are read.").wait_for()
    rows = page.locator("#table tbody tr")
    assert rows.count() == 3
    assert "called" in rows.nth(0).inner_text()
    assert TITLES["disagreement"] in rows.nth(1).inner_text()
    assert "is a text file" in rows.nth(2).inner_text()
    assert fits(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the table as CSV").click()
    assert download.value.suggested_filename == "dermhub.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["confident"] for row in table] == ["yes", "no", ""]
    assert table[0]["file"] == images[""].name
    # A spreadsheet would take it for a formula.
    assert table[2]["file"] == "'=text.png"


def test_the_progress_of_several_images_is_shown(page: Any, images: dict[str, Path]) -> None:
    page.evaluate(
        """() => {
            window.progress = [];
            new MutationObserver(() => {
                const bar = document.querySelector("#table progress");
                if (bar) window.progress.push([bar.value, bar.max, bar.getAttribute("aria-label")]);
            }).observe(document.body, { childList: true, subtree: true });
        }"""
    )
    upload_several(page, [images[""]] * 6)
    page.get_by_role("button", name="Read all images").click()
    page.locator("#table").get_by_text("6 of 6 images are read.").wait_for()
    seen = page.evaluate("window.progress")
    assert [0, 6, "Images that are read"] in seen
    assert len({value for value, *_ in seen}) > 1
    assert page.locator("#table progress").count() == 0


def test_other_files_take_the_old_table_away(page: Any, images: dict[str, Path]) -> None:
    page.get_by_role("tab", name="Several").click()
    for _ in range(10):
        # The tick of the box, which the page still works on, may take the first message away again.
        page.get_by_role("button", name="Read all images").click()
        page.wait_for_timeout(1500)
        if page.get_by_role("alert").get_by_text("No image was chosen").is_visible():
            break
    assert page.get_by_role("alert").get_by_text("No image was chosen").is_visible()
    upload_several(page, [images[""]] * 30)
    page.get_by_role("button", name="Read all images").click()
    page.locator("#table tbody tr").first.wait_for()
    page.locator("#files").get_by_label("Clear").first.click()
    page.locator("#table .derm").wait_for(state="hidden")
    # The rest of the thirty is not read on.
    upload_several(page, [images["disagreement"]])
    page.get_by_role("button", name="Read all images").click()
    page.locator("#table").get_by_text("1 of 1 image is read.").wait_for()
    assert page.locator("#table tbody tr").count() == 1


def test_prevalence_follows_the_slider(page: Any) -> None:
    page.get_by_role("tab", name="Prevalence").click()
    shown = page.locator("#means")
    shown.get_by_text("Of 1,000 images, 50 are malignant").wait_for()
    slider = page.locator("#prevalence input[type=range]")
    slider.focus()
    slider.press("End")
    shown.get_by_text("Of 1,000 images, 500 are malignant").wait_for()
    for words in (
        "(PPV)",
        "(NPV)",
        "Cancers missed, of 1,000 images",
        "False alarms, of 1,000 images",
    ):
        assert words in shown.inner_text()
    assert fits(page)


def test_figures_and_plots_of_the_model_cards(page: Any) -> None:
    page.get_by_role("tab", name="Figures").click()
    shown = page.locator("#figures")
    shown.get_by_text("AUROC of malignancy").first.wait_for()
    assert shown.locator("table").count() == 2
    plots = shown.locator("img")
    assert plots.count() == 6
    assert all(
        plots.evaluate_all(
            "images => images.map((img) => img.complete && img.naturalWidth > 100 && img.alt)"
        )
    )
    page.get_by_text("The whole model card: the seven classes").click()
    page.get_by_text("Intended use").first.wait_for()
    assert fits(page)
