"""The page in a real browser: an image goes in, the answer comes out, and why; at the widths of
desktop and phone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from demo.models import Pair
from demo.reading import record
from dermhub import load
from tests.support.browser import SIZES, Open, answered, clear, fits, upload
from tests.support.demo_process import Demo

pytestmark = pytest.mark.browser


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, open_page: Open) -> Any:
    """The page at both widths."""
    return open_page(request.param)


@pytest.fixture(scope="module")
def pair(models: Path) -> Pair:
    """The standard models of the page."""
    return Pair(load(models / "binary"), load(models / "lesion"))


BOX = "(box => [box.top, box.bottom, box.left, box.right])(one.getBoundingClientRect())"


@pytest.mark.parametrize("zone", ["low", "suspicious", "highly suspicious"])
def test_an_upload_is_answered_in_one_glance(
    page: Any, pair: Pair, images: dict[str, Path], zone: str
) -> None:
    upload(page, images[zone])
    answer = answered(page)
    expected: Any = record(pair, images[zone].read_bytes())
    verdict = answer.locator(f".derm-verdict.derm-zone-{zone.replace(' ', '-')}")
    assert verdict.locator("h2").inner_text() == expected["title"]
    assert expected["summary"] in verdict.inner_text()
    assert verdict.locator("h2 svg").is_visible()
    # Photograph and verdict can be seen without scrolling on.
    top = answer.locator(".derm-stage").evaluate(f"one => {BOX}")[0]
    bottom = verdict.evaluate(f"one => {BOX}")[1]
    assert top >= 0
    assert bottom <= page.viewport_size["height"]
    assert fits(page)
    # What the page says to a screen reader, and where the keyboard goes on.
    live = page.locator("#derm-live")
    assert live.get_attribute("aria-live") == "polite"
    assert live.text_content() == f"{expected['title']}. {expected['summary']}"
    assert page.evaluate("document.activeElement.matches('.derm-answer')")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Result"


def test_a_higher_probability_is_never_shown_as_less_suspicious(
    open_page: Open, images: dict[str, Path]
) -> None:
    page = open_page()
    order = ["low", "suspicious", "highly-suspicious"]
    seen = []
    for path in {images[state] for state in images}:
        upload(page, path)
        answer = answered(page)
        shown = json.loads(answer.get_attribute("data-record"))
        kinds = answer.locator(".derm-verdict").get_attribute("class").split()
        (zone,) = [kind.removeprefix("derm-zone-") for kind in kinds if "-zone-" in kind]
        if zone == "none":
            # A refused image in the low zone: nothing is said of it.
            assert path == images["refused"]
            clear(page)
            continue
        seen.append((shown["malignancy"], order.index(zone)))
        title = answer.locator(".derm-verdict h2").text_content()
        if zone != "low":
            # No benign class stands as the answer: it is followed by the cancer that is possible.
            assert "Looks like" not in answer.inner_text()
            tags = answer.locator(".derm-diagnoses > ol .derm-tag")
            assert tags.count() >= 1
        assert ("Low suspicion" in title) == (zone == "low")
        clear(page)
    assert len(seen) >= 3
    places = [place for _, place in sorted(seen)]
    assert places == sorted(places)


def test_an_example_is_answered_at_a_click(page: Any) -> None:
    labels = page.locator("#examples button").all_inner_texts()
    assert [label.strip() for label in labels] == [
        "Melanoma",
        "Mole",
        "Basal cell carcinoma",
        "Keratosis",
        "Blurred melanoma",
        "Not skin",
    ]
    page.get_by_role("button", name="Mole", exact=True).click()
    answered(page)
    # The same one once more is there at once, and no change waits for ever.
    page.get_by_role("button", name="Mole", exact=True).click()
    answered(page)
    # One that was removed can be chosen again.
    page.get_by_role("button", name="Try another image").last.click()
    page.get_by_role("button", name="Mole", exact=True).click()
    answered(page)


def test_photo_and_maps_change_by_button_and_list(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["suspicious"])
    answer = answered(page)
    buttons = answer.locator(".derm-views button")
    pressed = answer.locator(".derm-views [aria-pressed=true]")
    assert pressed.inner_text() == "Why suspicious?"
    assert answer.locator(".derm-said p:visible").count() == 1
    buttons.get_by_text("Photo").or_(buttons.nth(0)).first.click()
    assert pressed.inner_text() == "Photo"
    assert answer.locator(".heat:visible, .derm-outline:visible").count() == 0
    buttons.nth(1).click()
    said = answer.locator(".derm-said p:visible")
    assert said.inner_text().startswith(("Yellow: what counted most for", "Nothing in this image"))
    # The folded list has all others.
    answer.get_by_text("Maps of other diagnoses").click()
    chosen, against = answer.locator(".derm-for"), answer.locator(".derm-against")
    chosen.select_option("mel")
    against.select_option("nv")
    assert re.search("for melanoma (and against|rather than) a mole", said.inner_text())
    assert pressed.count() == 0
    # A class is not held against itself, and there is no third one beside benign and malignant.
    assert against.locator('option[value="mel"]').is_disabled()
    chosen.select_option("nv")
    assert against.input_value() == ""
    chosen.select_option("malignant")
    assert against.locator('option[value="nv"]').is_disabled()
    assert said.count() == 1


def test_a_result_to_keep(page: Any, images: dict[str, Path], tmp_path: Path) -> None:
    photo = tmp_path / "Anna (left arm).png"
    photo.write_bytes(images["suspicious"].read_bytes())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload(page, photo)
    answer = answered(page)
    today = page.evaluate("new Date().toISOString().slice(0, 10)")
    answer.get_by_role("button", name="Copy result").click()
    answer.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0] == f"Anna (left arm).png, {today}"
    assert copied[1].startswith("Suspicious: cancer can't be ruled out.")
    assert "standard model" in copied[-1]
    with page.expect_download() as download:
        answer.get_by_role("button", name="Save as JSON").click()
    assert download.value.suggested_filename == "dermhub-Anna (left arm).json"
    saved = json.loads(Path(download.value.path()).read_text())
    assert (saved["file"], saved["date"], saved["zone"]) == (photo.name, today, "suspicious")
    # The sheet: image, map, zone, model, day, file and notice, and nothing of the page around.
    page.evaluate("window.print = () => window.dispatchEvent(new Event('beforeprint'))")
    answer.get_by_role("button", name="Print").click()
    page.emulate_media(media="print")
    head = answer.locator(".derm-head").inner_text()
    assert re.fullmatch(rf"dermhub [\d.]+ · standard model · {today} · Anna \(left arm\).png", head)
    assert answer.locator(".derm-alone").is_visible()
    assert answer.locator(".heat:visible").count() <= 1
    assert answer.locator(".derm-verdict h2").is_visible()
    assert "not a medical device" in answer.locator(".derm-notice").inner_text()
    for other in ("#banner", "#examples", "#image", "#foot", "[role=tablist]", ".derm-actions"):
        assert page.locator(f"{other}:visible").count() == 0, other


def test_a_failure_of_the_server_is_told(open_page: Open, images: dict[str, Path]) -> None:
    # A request that Gradio refuses before it reaches us, as it would for a file that was deleted
    # meanwhile.
    def elsewhere(route: Any) -> None:
        data = re.sub(r'"path":"[^"]*"', '"path":"/nowhere/lesion.png"', route.request.post_data)
        route.continue_(post_data=data)

    page = open_page()
    page.route("**/queue/join*", elsewhere)
    upload(page, images["low"])
    page.get_by_role("alert").get_by_text(
        "A path came that is no upload of yours, or no longer"
    ).wait_for()
    assert page.locator(".derm-verdict:visible").count() == 0


def test_the_page_says_what_it_is_and_keeps_nothing(
    page: Any, site: Demo, images: dict[str, Path]
) -> None:
    assert page.title() == "dermhub"
    assert page.evaluate("document.documentElement.lang") == "en"
    # The words are there before the first result, and stay.
    banner = page.locator("#banner")
    for _ in range(2):
        assert "Research demo, not a medical device." in banner.inner_text()
        assert "are deleted within minutes" in banner.inner_text()
        upload(page, images["low"])
        answered(page)
    assert page.get_by_role("checkbox").count() == 0
    assert "CC BY-NC 4.0" in page.locator("#foot").inner_text()
    assert page.context.cookies(site.url) == []
    assert "lesion" not in page.evaluate(
        "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)])"
    )
