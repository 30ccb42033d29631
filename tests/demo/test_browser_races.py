"""Changes in quick succession in a real browser: nothing is shown that was chosen before.

The lines are slow, or requests are held back, so that answers come in the worst order.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import (
    Open,
    answered,
    checked,
    clear,
    held_back,
    slow_line,
    upload,
    upload_several,
)

pytestmark = pytest.mark.browser

ANY = "**/gradio_api/run/**"
"""Requests outside the queue: an example, a row of the table, figures."""


@pytest.fixture
def page(open_page: Open) -> Any:
    """The page as a desktop shows it."""
    return open_page()


def name_of(page: Any) -> str:
    """Return the name of the image that the page says it shows."""
    return str(page.evaluate("window.dermhub.image.name"))


def test_of_two_examples_on_a_slow_line_the_last_is_answered(page: Any) -> None:
    slow_line(page, 500)
    page.get_by_role("button", name="Mole", exact=True).click()
    page.get_by_role("button", name="Keratosis", exact=True).click()
    answered(page).wait_for()
    assert name_of(page) == "4-keratosis.jpg"


def test_an_example_that_comes_after_the_one_that_was_chosen_later_is_put_back(page: Any) -> None:
    waiting: list[Any] = []
    page.route(ANY, lambda route: waiting.append(route))
    page.get_by_role("button", name="Mole", exact=True).click()
    page.get_by_role("button", name="Keratosis", exact=True).click()
    while len(waiting) < 2:
        page.wait_for_timeout(50)
    for route in reversed(waiting[:2]):
        route.continue_()
        page.wait_for_timeout(400)
    page.unroute(ANY)
    assert "standard model" in answered(page).get_attribute("data-text")
    assert name_of(page) == "4-keratosis.jpg"
    # It is also the one that another model is asked about.
    page.get_by_label("Larger").check()
    page.locator("html[data-check=busy]").wait_for(state="attached")
    assert "larger model" in answered(page).get_attribute("data-text")
    assert name_of(page) == "4-keratosis.jpg"


def test_a_model_that_is_chosen_while_an_example_is_loaded_is_asked_about_that_example(
    page: Any,
) -> None:
    page.get_by_role("button", name="Mole", exact=True).click()
    first = answered(page).get_attribute("data-record")
    asked: list[str] = []
    with held_back(page, ANY):
        page.get_by_role("button", name="Keratosis", exact=True).click()
        page.on("request", lambda one: asked.append(one.post_data or ""))
        page.get_by_label("Larger").check()
        page.wait_for_timeout(400)
        assert page.locator(".derm-answer:visible").count() == 0
        # The picture that went is not sent once more.
        assert not any("2-mole" in text for text in asked)
    answer = answered(page)
    answer.wait_for()
    assert "larger model" in answer.get_attribute("data-text")
    assert answer.get_attribute("data-record") != first
    assert name_of(page) == "4-keratosis.jpg"


def test_of_two_rows_the_last_is_opened_and_a_row_can_be_opened_again(
    page: Any, images: dict[str, Path], tmp_path: Path
) -> None:
    # The server keeps this file under a plainer name.
    odd = Path(shutil.copy(images["suspicious"], tmp_path / "Ünï %20#1 (a)&b.png"))
    upload_several(page, [images["low"], odd])
    page.get_by_role("button", name="Check 2 images").click()
    rows = checked(page)
    with held_back(page, ANY):
        rows.get_by_role("button", name=images["low"].name).click()
        page.get_by_role("tab", name="Many images").click()
        rows.get_by_role("button", name=odd.name).click()
        assert page.locator("#busy img").get_attribute("src").startswith("data:image/")
    for _ in range(2):
        assert "Suspicious" in answered(page).locator(".derm-verdict h2").inner_text()
        assert name_of(page) == odd.name
        page.get_by_role("tab", name="Many images").click()
        rows.get_by_role("button", name=odd.name).click()
    answered(page).wait_for()


def test_an_upload_that_was_given_up_brings_no_answer(page: Any, images: dict[str, Path]) -> None:
    with held_back(page, "**/upload?*"):
        upload(page, images["low"])
        page.get_by_text("Checking …").wait_for()
        # The models may be changed meanwhile.
        page.get_by_label("Larger").check()
        page.wait_for_timeout(200)
        assert page.locator("html[data-check=busy]").count() == 1
        page.locator("#busy [data-do=another]").click()
    page.wait_for_timeout(1000)
    assert page.locator("html[data-check=empty]").count() == 1
    assert page.locator("#image input[type=file]").count() == 1
    # The same file can be chosen again.
    page.get_by_label("Standard").check()
    upload(page, images["low"])
    assert "standard model" in answered(page).get_attribute("data-text")


DROP = """async () => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 80;
    canvas.getContext("2d").fillRect(20, 20, 40, 40);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
    const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector("#answer .derm-verdict").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def test_an_image_that_is_dropped_on_an_answer_replaces_it(
    page: Any, images: dict[str, Path]
) -> None:
    upload(page, images["low"])
    first = answered(page).get_attribute("data-record")
    # Else the browser would leave the page and show the file.
    assert page.evaluate(DROP)
    page.locator("html[data-check=busy]").wait_for(state="attached")
    assert answered(page).get_attribute("data-record") != first
    assert name_of(page) == "dropped.png"


def test_the_same_sentence_is_said_again_for_the_next_image(page: Any) -> None:
    page.evaluate(
        """() => {
            window.heard = [];
            const line = document.getElementById("derm-live");
            new MutationObserver(() => window.heard.push(line.textContent))
                .observe(line, { childList: true, characterData: true, subtree: true });
        }"""
    )
    for _ in range(2):
        page.get_by_role("button", name="Mole", exact=True).click()
        answered(page).wait_for()
    busy, said = "The image is being checked.", answered(page).get_attribute("data-say")
    assert page.evaluate("window.heard") == [busy, said, busy, said]


def test_an_image_right_after_a_cleared_one_is_answered_and_none_is_asked_for(page: Any) -> None:
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.post_data or ""))
    for number in range(5):
        name = ("Mole", "Keratosis")[number % 2]
        page.get_by_role("button", name=name, exact=True).click()
        answered(page).wait_for()
        assert name.lower() in name_of(page)
        clear(page)
        page.wait_for_function("!document.querySelector('#answer .derm-answer')")
    asked = [text for text in sent if '"fn_index"' in text and '"fast"' in text]
    assert len(asked) == 5
    assert all("/gradio_api/" in text or '"path"' in text for text in asked)


def test_a_lost_connection_is_told_in_place_of_the_answer(
    page: Any, images: dict[str, Path]
) -> None:
    upload(page, images["low"])
    answered(page)
    clear(page)
    page.context.set_offline(True)
    page.get_by_role("button", name="Mole", exact=True).click()
    page.get_by_role("heading", name="The connection to the server was lost").wait_for()
    assert page.locator("#image:visible, .derm-answer:visible, .derm-busy-box:visible").count() == 0
    assert "was lost" in page.locator("#derm-live").text_content()
    page.context.set_offline(False)
    page.locator("html[data-check=empty]").wait_for(state="attached")
    page.locator("#image input[type=file]").wait_for(state="attached")


def test_figures_are_those_of_the_chosen_models_at_every_moment(page: Any) -> None:
    page.get_by_role("tab", name="How good is it?").click()
    links = page.locator("#more-figures a:visible")
    links.first.wait_for()
    people = page.locator("#means .derm-call")
    page.locator("#means").get_by_text("Of 1,000 people, 20 have skin cancer").wait_for()
    with held_back(page, ANY):
        page.get_by_label("Larger").check()
        # Nothing of the standard models is seen from here on.
        page.wait_for_timeout(100)
        assert links.count() == 0
        assert page.locator("#figures table:visible").count() == 0
        assert not people.is_visible()
        page.get_by_label("Standard").check()
        page.wait_for_timeout(100)
    page.get_by_role("link", name="lesion", exact=True).wait_for()
    page.wait_for_timeout(500)
    assert links.first.inner_text() == "lesion"
    assert people.is_visible()
    slider = page.locator("#prevalence input[type=range]")
    with held_back(page, ANY):
        slider.focus()
        slider.press("End")
        page.wait_for_timeout(100)
        assert not people.is_visible()
    page.locator("#means").get_by_text("Of 1,000 people, 500 have skin cancer").wait_for()
