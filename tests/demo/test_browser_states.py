"""States of the page in a real browser: refusals, notes, and no old answer beside a new image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Open, answered, clear, held_back, slow_line, upload

pytestmark = pytest.mark.browser

READ = "**/queue/join*"
"""The request that asks for an answer."""


@pytest.fixture
def page(open_page: Open) -> Any:
    """The page as a desktop shows it."""
    return open_page()


def test_a_refusal_can_be_passed_over(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["refused"])
    answer = answered(page)
    head = answer.get_by_role("alert")
    assert head.locator("h2").inner_text() == "This doesn't look like a dermatoscopic image"
    assert page.locator("#derm-live").text_content().startswith("This doesn't look like")
    assert answer.locator(".derm-verdict:visible, .heat:visible, .derm-views:visible").count() == 0
    page.get_by_role("button", name="Show the result anyway").click()
    assert answer.locator(".derm-verdict").is_visible()
    assert head.is_visible()
    # It would say the same eleven times.
    assert page.get_by_text("How stable is this?").count() == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("quality", "The image is blurred"),
        ("seen", "used to train the model"),
    ],
)
def test_doubt_is_a_note_above_the_zone(
    page: Any, images: dict[str, Path], code: str, words: str
) -> None:
    upload(page, images[code])
    answer = answered(page)
    if answer.locator(".derm-refusal").count():
        page.get_by_role("button", name="Show the result anyway").click()
    assert words in " ".join(answer.locator(".derm-aside").all_inner_texts())
    assert answer.locator(".derm-verdict").is_visible()
    assert 1 <= answer.locator(".derm-aside").count() <= 2


def nothing_of_it(page: Any) -> None:
    """No figure and no picture of an answer can be seen."""
    assert (
        page.locator(".derm-verdict:visible, .derm-answer:visible, .derm-slot:visible").count() == 0
    )


def test_a_cleared_image_takes_its_answer_along(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["low"])
    answered(page)
    page.get_by_text("How stable is this?").click()
    page.locator(".derm-slot .derm-call").wait_for()
    clear(page)
    nothing_of_it(page)
    page.get_by_text("Which diagnoses fit").wait_for()


def test_a_file_that_can_not_be_opened_is_told_and_another_can_be_chosen(
    page: Any, images: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    # After an example, Gradio answers with a new component of its own for this visit.
    page.get_by_role("button", name="Mole", exact=True).click()
    answered(page)
    upload(page, tmp_path / "text.png")
    alert = page.get_by_role("alert").filter(has_text="We couldn't open this file")
    alert.get_by_text("is a text file").wait_for()
    nothing_of_it(page)
    page.wait_for_timeout(500)
    assert alert.is_visible()
    upload(page, images["low"])
    answered(page)
    assert alert.count() == 0 or not alert.is_visible()


WATCH = """() => {
  window.stale = 0;
  const look = () => {
    const shown = document.querySelector('.derm-answer');
    const seen = shown && shown.offsetParent !== null;
    if (seen && document.documentElement.dataset.check !== 'answer') window.stale += 1;
    if (seen && window.first && shown.dataset.record === window.first) window.stale += 1;
    requestAnimationFrame(look);
  };
  look();
}"""
"""Counts the frames in which an answer is seen that is not the one to the latest image."""


@pytest.mark.parametrize("way", ["example", "upload"])
def test_no_old_answer_is_seen_beside_a_new_image_on_a_slow_line(
    page: Any, images: dict[str, Path], way: str
) -> None:
    page.get_by_role("button", name="Mole", exact=True).click()
    first = answered(page).get_attribute("data-record")
    slow_line(page, 1500)
    page.evaluate("first => { window.first = first; }", first)
    if way == "example":
        page.get_by_role("button", name="Keratosis").click()
    else:
        clear(page)
        page.locator("#image input[type=file]").set_input_files(images["suspicious"])
    # At once, before an answer of the server can have come.
    page.wait_for_function("document.documentElement.dataset.check === 'busy'", timeout=1000)
    nothing_of_it(page)
    page.evaluate(WATCH)
    answered(page).wait_for()
    assert answered(page).get_attribute("data-record") != first
    assert page.evaluate("window.stale") == 0


def test_an_example_that_was_loaded_late_does_not_bring_its_answer_back(page: Any) -> None:
    page.get_by_role("button", name="Mole", exact=True).click()
    answered(page)
    page.wait_for_timeout(500)
    slow_line(page, 1500)
    page.evaluate(WATCH)
    page.get_by_role("button", name="Keratosis").click()
    # On such a line Gradio may bring the first example only now: it is not asked about again.
    late = page.evaluate("window.dermhub.begin({ orig_name: '2-mole.jpg', path: 'x' }, 'fast')")
    assert late is False
    page.wait_for_timeout(600)
    nothing_of_it(page)
    answered(page).wait_for()
    assert page.evaluate("window.stale") == 0
    assert page.evaluate("window.dermhub.image.name") == "4-keratosis.jpg"


def test_an_example_that_is_there_already_keeps_its_answer(page: Any) -> None:
    for _ in range(2):
        page.get_by_role("button", name="Mole", exact=True).click()
        answered(page)
    assert page.evaluate("window.dermhub.image.name") in ("Mole", "2-mole.jpg")


def test_nothing_old_is_seen_while_another_model_answers(
    page: Any, images: dict[str, Path]
) -> None:
    upload(page, images["low"])
    answered(page)
    with held_back(page, READ):
        page.get_by_label("Larger").check()
        page.get_by_text("Checking with the larger model").wait_for()
        nothing_of_it(page)
    assert "larger model" in answered(page).get_attribute("data-text")
    # Whoever turns the model's switch keeps the focus there.
    assert page.evaluate("document.activeElement.matches('#kind input')")


def test_an_answer_that_comes_after_its_image_went_is_not_shown(
    page: Any, images: dict[str, Path]
) -> None:
    with held_back(page, READ):
        upload(page, images["low"])
        page.get_by_text("Checking …").wait_for()
        page.wait_for_timeout(500)
        page.evaluate("window.dermhub.clear()")
        page.get_by_text("Which diagnoses fit").wait_for()
    page.wait_for_timeout(1500)
    nothing_of_it(page)


@pytest.mark.parametrize("pause", [0, 120])
def test_of_images_in_quick_succession_the_last_is_answered(page: Any, pause: int) -> None:
    # Gradio drops a request of a step that still runs, unless it is told not to.
    for name in ("Mole", "Keratosis", "Melanoma"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_timeout(pause)
    answer = answered(page)
    page.wait_for_timeout(1000)
    assert answer.is_visible()
    assert page.evaluate("window.dermhub.image.name") == "1-melanoma.jpg"


def test_a_check_of_another_image_is_not_shown(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["low"])
    answered(page)
    with held_back(page, READ):
        page.get_by_text("How stable is this?").click()
        page.get_by_text("Checking ten altered copies").wait_for()
        clear(page)
    page.wait_for_timeout(2000)
    nothing_of_it(page)


def test_paste_that_the_browser_forbids_is_told(page: Any) -> None:
    page.get_by_label("Paste from clipboard").click()
    hint = page.locator("#derm-paste")
    hint.wait_for()
    assert "doesn't let this page read the clipboard. Press Ctrl+V" in hint.inner_text()


def test_an_image_can_be_pasted_with_the_keyboard(page: Any) -> None:
    page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 80;
            canvas.getContext("2d").fillRect(20, 20, 40, 40);
            const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
            const carrier = new DataTransfer();
            carrier.items.add(new File([blob], "pasted.png", { type: "image/png" }));
            const paste = { clipboardData: carrier, bubbles: true };
            document.body.dispatchEvent(new ClipboardEvent("paste", paste));
        }"""
    )
    answered(page)
    assert page.evaluate("window.dermhub.image.name") == "pasted.png"


def test_an_upload_that_is_refused_leaves_no_waiting_page(page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(21 * 2**20))
    upload(page, large)
    page.get_by_text("exceed the maximum allowed size").wait_for()
    page.locator("html[data-check=empty]").wait_for(state="attached")
    assert page.get_by_text("Which diagnoses fit").is_visible()
