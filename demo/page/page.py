"""The page: an image goes in, and what both models say of it comes out. Every tab is one function
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.api import Api, publish
from demo.models import ACCURATE, FAST, Models, card_text
from demo.page import answer, prevalence, several, stability
from demo.page import figures as page_figures
from demo.page.examples import draw_into, listed
from demo.page.html import Newest, mark_of, note, now_of, problem, result_of
from demo.server.uploads import NOT_TAKEN, Uploads, as_path, as_paths, for_visitor
from dermhub.errors import DermhubError

if TYPE_CHECKING:
    import gradio as gr


INTRODUCTION = """# dermhub
What two neural networks see in a dermatoscopic image of a pigmented lesion, and how far that can be relied on."""


CONFIRM = (
    "I understand: this is research software, not a medical device. I will not use it to decide "
    "about a patient, or "
    "about myself."
)


PRIVACY = """**Privacy.** Uploads stay on this server, are deleted within minutes, and their content is not logged.
No request leaves the machine. Nothing of your visit is stored in your browser."""


KINDS = {
    FAST: "fast: small networks",
    ACCURATE: "accurate: larger networks, slower; compare their figures",
}


LIMITS: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models"}
"""One image is read at a time: two would only slow each other down."""


PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Steps of the page that are no functions for others; the page says itself that something is on its
way.
"""


EACH: dict[str, Any] = {"trigger_mode": "multiple", **PRIVATE}
"""Gradio would drop a second request while the first is answered, and an image chosen meanwhile
would never be read.
"""


@dataclass(frozen=True)
class Shared:
    """What every tab needs: the models, the uploads, and what the visitor has confirmed and
    chosen.
    """

    models: Models
    uploads: Uploads
    understood: gr.Checkbox
    kind: gr.Radio


def make_page(models: Models, folder: Path, examples: Path | None = None) -> gr.Blocks:
    """The page. It reads images in `folder` alone, and writes there what it offers as examples.

    `examples` is a folder with images to try; without one, three drawings are made.
    """
    import gradio as gr

    page: gr.Blocks
    with gr.Blocks(title="dermhub", analytics_enabled=False, delete_cache=(60, 120)) as page:
        gr.Markdown(INTRODUCTION)
        understood = gr.Checkbox(False, label=CONFIRM, elem_id="understood", container=True)
        choices = [(KINDS[name], name) for name in models.kinds]
        kind = gr.Radio(
            choices, value=FAST, label="Models", visible=len(choices) > 1, elem_id="kind"
        )
        shared = Shared(models, Uploads(folder), understood, kind)
        with gr.Tab("One image"):
            _one_image(shared, examples or draw_into(folder), drawn=examples is None)
        with gr.Tab("Several"):
            _several_images(shared)
        with gr.Tab("Prevalence"):
            _what_a_call_means(shared)
        with gr.Tab("Figures") as tab:
            _measured(shared, tab)
        gr.Markdown(PRIVACY, elem_id="privacy")
        image = as_path(gr.Image(type="filepath", visible=False))
        files = as_paths(gr.File(file_count="multiple", visible=False))
        publish(Api(models, shared.uploads), image, files, kind, **LIMITS)
    return page


def _one_image(shared: Shared, examples: list[str] | Path, drawn: bool) -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            image = as_path(
                gr.Image(
                    label="Dermatoscopic image",
                    sources=["upload", "clipboard", "webcam"],
                    type="filepath",
                    height=280,
                    elem_id="image",
                    buttons=[],
                )
            )
            label = "Drawings to try: no photographs, no patients" if drawn else "Images to try"
            gr.Examples(
                [[path] for path in listed(examples)], image, label=label, elem_id="examples"
            )
        with gr.Column(scale=3, min_width=320):
            shown = gr.HTML(answer.EMPTY, elem_id="answer")
            check = gr.Button(
                "Does the answer hold? Check on variants of the image", size="md", elem_id="check"
            )
            checked = gr.HTML("", elem_id="stability")

    def tell(path: str | None, understood: bool, kind: str) -> tuple[str, str]:
        """What stands in place of the old answer, at once, also while the new image waits in the
        queue.
        """
        loaded = shared.models.loaded(kind)
        text = (
            answer.EMPTY if path is None else answer.waiting(loaded) if understood else answer.ASK
        )
        return now_of(text, path, understood, kind), ""

    def read(path: str | None, understood: bool, kind: str) -> str:
        if path is None or not understood:
            return answer.EMPTY if path is None else answer.ASK
        return result_of(
            Api(shared.models, shared.uploads).analyse(path, kind), path, understood, kind
        )

    def hold(path: str | None, understood: bool, kind: str) -> str:
        if path is None or not understood:
            return note("Choose an image first.") if path is None else answer.ASK
        try:
            pair = shared.models.pair(kind)
            found, no_answer = stability.check(pair, shared.uploads.content(path))
            return result_of(
                stability.as_html(found, pair.point.value, no_answer), path, understood, kind
            )
        except DermhubError as error:
            return problem(for_visitor(error))

    given = [image, shared.understood, shared.kind]
    changes = [image.change, shared.understood.change, shared.kind.change]
    telling = gr.on(changes, tell, given, [shown, checked], queue=False, **PRIVATE)
    analysed = telling.then(read, given, shown, **EACH, **LIMITS)
    # What Gradio itself refuses never reaches `read`; without this, the page would wait for ever.
    analysed.failure(_refused(), None, shown, queue=False, **PRIVATE)
    busy = check.click(lambda: answer.BUSY, None, checked, queue=False, **PRIVATE)
    holding = busy.then(hold, given, checked, **EACH, **LIMITS)
    holding.failure(_refused(), None, checked, queue=False, **PRIVATE)


def _several_images(shared: Shared) -> None:
    import gradio as gr

    files = as_paths(
        gr.File(
            file_count="multiple", label=f"Up to {several.MOST} images", elem_id="files", height=200
        )
    )
    start = gr.Button("Read all images", variant="primary", elem_id="start")
    table = gr.HTML(several.EMPTY, elem_id="table")

    newest = gr.State(Newest())

    def classify(
        given: list[tuple[str, str]], understood: bool, kind: str, now: Newest
    ) -> Iterator[str]:
        now.mark, now.run = mark_of((given, understood, kind)), now.run + 1
        own = Newest(now.mark, now.run)
        if not understood:
            yield answer.ASK
            return
        if not given or len(given) > several.MOST:
            yield problem(several.TOO_MANY if given else "No image was chosen: choose one or more.")
            return
        try:
            found: list[dict[str, Any]] = []
            yield result_of(several.as_html(found, len(given)), given, understood, kind)
            for row in several.rows(shared.models.pair(kind), given, shared.uploads):
                if now != own:
                    # Other files were chosen meanwhile, or the visitor has started anew.
                    return
                found.append(row)
                yield result_of(several.as_html(found, len(given)), given, understood, kind)
        except DermhubError as error:
            yield problem(for_visitor(error))

    def changed(given: list[tuple[str, str]], understood: bool, kind: str, now: Newest) -> str:
        now.mark = mark_of((given, understood, kind))
        return now_of(several.EMPTY, given, understood, kind)

    changes = [files.change, shared.understood.change, shared.kind.change]
    # In a queue of its own: a hundred images would keep everybody else waiting.
    given = [files, shared.understood, shared.kind, newest]
    read = start.click(
        classify, given, table, concurrency_limit=2, concurrency_id="several", **EACH
    )
    read.failure(_refused(), None, table, queue=False, **PRIVATE)
    gr.on(changes, changed, given, table, queue=False, **PRIVATE)


def _what_a_call_means(shared: Shared) -> None:
    import gradio as gr

    def told_of(percent: float) -> str:
        try:
            return prevalence.html(shared.models.pair(FAST), percent)
        except DermhubError as error:
            return problem(str(error))

    gr.Markdown(
        "How often is a call right? That depends on how many of the examined lesions are malignant "
        "at all."
    )
    slider = gr.Slider(
        0.1,
        50,
        5,
        step=0.1,
        label="Malignant lesions among 100 that are examined (prevalence, %)",
        elem_id="prevalence",
    )
    shown = gr.HTML(told_of(5), elem_id="means")
    slider.change(told_of, slider, shown, queue=False, **PRIVATE)


def _measured(shared: Shared, tab: gr.Tab) -> None:
    import gradio as gr

    figures = gr.HTML(note("Reading the model cards ..."), elem_id="figures")
    with gr.Accordion("The whole model card: the seven classes", open=False):
        lesion = gr.Markdown("")
    with gr.Accordion("The whole model card: benign or malignant", open=False):
        binary = gr.Markdown("")

    def cards(kind: str) -> tuple[str, str, str]:
        pair = shared.models.pair(kind)
        both = (pair.lesion, pair.binary)
        shown = "".join(page_figures.summary(model) for model in both)
        return shown, card_text(pair.lesion), card_text(pair.binary)

    gr.on(
        [tab.select, shared.kind.change],
        cards,
        shared.kind,
        [figures, lesion, binary],
        # right after the tick, Gradio's page can close the stream on which the answer would come
        queue=False,
        **PRIVATE,
    )


def _refused() -> Callable[..., str]:
    """What is shown where a request never reached a function of ours: the waiting room's sentence,
    if it has one.
    """
    import gradio as gr

    from demo.server.waiting_room import WaitingRoom

    page = gr.context.Context.root_block

    def refused(request: gr.Request) -> str:
        room = page._queue if page is not None else None
        sentence = room.why(request.session_hash) if isinstance(room, WaitingRoom) else ""
        return problem(sentence or NOT_TAKEN)

    # Gradio hands a request to a parameter of this type; as text, the name could not be found.
    refused.__annotations__["request"] = gr.Request
    return refused
