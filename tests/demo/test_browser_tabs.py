"""The other parts of the page in a real browser: the stability check, many images, and figures."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import (
    SIZES,
    Open,
    answered,
    checked,
    fits,
    upload,
    upload_several,
)

pytestmark = pytest.mark.browser


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, open_page: Open) -> Any:
    """The page at both widths."""
    return open_page(request.param)


def test_stability_is_checked_on_demand(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["suspicious"])
    answer = answered(page)
    assert answer.locator(".derm-slot").inner_text().strip() == ""
    answer.get_by_role("button", name="How stable is this? Try 10 altered copies").click()
    said = answer.locator(".derm-slot .derm-call")
    said.wait_for()
    pattern = r"(Stable|Not stable): flagged in (all|none of the|\d+ of) 10 copies \(\d+-\d+%\)\."
    assert re.match(pattern, said.inner_text())
    assert page.locator("#derm-live").text_content() == said.inner_text()
    answer.locator(".derm-slot summary").click()
    assert answer.locator(".derm-slot tbody tr").count() == 11
    assert "turned by 90°" in answer.locator(".derm-slot").inner_text()
    assert fits(page)


def test_many_images_give_a_table_and_a_csv(
    page: Any, images: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "=text.png").write_text("not an image")
    paths = [images["low"], images["highly suspicious"], tmp_path / "=text.png", images["refused"]]
    upload_several(page, paths)
    page.get_by_role("button", name="Check 4 images").click()
    table = checked(page)
    said = table.locator(".derm-many-said").inner_text()
    assert said.startswith(
        "4 images done: 1 highly suspicious, 1 low, 1 not dermatoscopic, 1 not opened."
    )
    rows = table.locator("tbody tr")
    expected = [images["highly suspicious"].name, images["low"].name, images["refused"].name]
    assert [row.split("\n")[0] for row in rows.all_inner_texts()][:3] == expected
    assert "=text.png" in rows.nth(3).inner_text()
    assert "is a text file" in rows.nth(3).inner_text()
    assert table.locator("img").count() == 3
    assert table.locator(".derm-percent").count() == 3
    assert fits(page)
    with page.expect_download() as download:
        table.get_by_role("button", name="Save the table as CSV").click()
    assert download.value.suggested_filename == "dermhub.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        content = list(csv.DictReader(file))
    assert [row["zone"] for row in content][:3] == ["low", "highly suspicious", ""]
    assert content[0]["file"] == images["low"].name
    # A spreadsheet would take it for a formula.
    assert content[2]["file"] == "'=text.png"
    # A row opens its image on the first tab.
    table.get_by_role("button", name=images["highly suspicious"].name).click()
    assert "Highly suspicious" in answered(page).locator(".derm-verdict h2").inner_text()
    assert page.evaluate("window.dermhub.image.name") == images["highly suspicious"].name


def copies(image: Path, number: int, folder: Path) -> list[Path]:
    """Copies of an image under names of their own: one file several times is refused."""
    return [Path(shutil.copy(image, folder / f"{n}{image.suffix}")) for n in range(number)]


def test_the_progress_of_many_images_is_shown(
    open_page: Open, images: dict[str, Path], tmp_path: Path
) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            window.progress = [];
            new MutationObserver(() => {
                const bar = document.querySelector("#table progress");
                if (!bar || bar.offsetParent === null) return;
                window.progress.push([bar.value, bar.max, bar.getAttribute("aria-label")]);
            }).observe(document.body, { childList: true, subtree: true, attributes: true });
        }"""
    )
    upload_several(page, copies(images["low"], 6, tmp_path))
    page.get_by_role("button", name="Check 6 images").click()
    checked(page).get_by_text("6 images done: 6 low.").wait_for()
    seen = page.evaluate("window.progress")
    assert [0, 6, "Images that are done"] in seen
    assert len({value for value, *_ in seen}) > 1
    assert page.locator("#table progress").count() == 0


def test_other_files_take_the_old_table_away(
    open_page: Open, images: dict[str, Path], tmp_path: Path
) -> None:
    page = open_page()
    page.get_by_role("tab", name="Many images").click()
    page.get_by_role("button", name="Check the images").click()
    page.get_by_role("alert").get_by_text("Choose one or more images first").wait_for()
    upload_several(page, copies(images["low"], 30, tmp_path))
    page.get_by_role("button", name="Check 30 images").click()
    page.locator("#table progress").wait_for()
    page.locator("#files").get_by_label("Clear").first.click()
    page.locator("#table [data-current]").wait_for(state="hidden")
    # The rest of the thirty is not read on.
    upload_several(page, [images["suspicious"]])
    page.get_by_role("button", name="Check 1 image").click()
    checked(page).get_by_text("1 image done: 1 suspicious.").wait_for()
    assert page.locator("#table tbody tr").count() == 1


def test_how_good_it_is_and_how_often_an_alarm_is_right(page: Any) -> None:
    page.get_by_role("tab", name="How good is it?").click()
    page.locator("#figures table").first.wait_for()
    words = page.locator("#figures").inner_text()
    assert re.search(r"Of \d+ cancers \d+ were flagged, of \d+ harmless lesions \d+", words)
    shown = page.locator("#means")
    shown.get_by_text("Of 1,000 people, 20 have skin cancer").wait_for()
    slider = page.locator("#prevalence input[type=range]")
    slider.focus()
    slider.press("End")
    shown.get_by_text("Of 1,000 people, 500 have skin cancer").wait_for()
    assert re.search(r"Of 100 alarms, \d+ (is|are) cancer\.", shown.inner_text())
    assert not re.search(r"\d\.\d", shown.inner_text())
    assert fits(page)
    more = page.locator("#more-figures")
    more.get_by_text("Figures for researchers").click()
    plots = more.locator("img")
    assert plots.count() == 2
    assert all(
        plots.evaluate_all(
            "images => images.map((img) => img.complete && img.naturalWidth > 100 && img.alt)"
        )
    )
    heights = plots.evaluate_all("images => images.map((img) => img.clientHeight)")
    assert len(set(heights)) == 1
    assert more.get_by_role("link", name="lesion").get_attribute("download") == "dermhub-lesion.md"
    assert fits(page)
    # The figures are those of the chosen models.
    page.get_by_label("Larger").check()
    more.get_by_role("link", name="lesion-accurate").wait_for()
