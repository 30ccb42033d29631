"""The page: an image goes in, and what both models say of it comes out.

Every tab is one function. The server calls the page's functions with uploads as paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.api import Api, publish
from demo.decode_child import photo_of
from demo.models import ACCURATE, FAST, Models, card_text
from demo.page import answer, prevalence, several, stability
from demo.page import figures as page_figures
from demo.page.examples import draw_into, listed
from demo.page.html import note, problem
from demo.page.marks import LatestRun, mark_current, mark_of, mark_result
from demo.read_upload import NOT_TAKEN, Decode, Uploads, for_visitor
from dermhub import DermhubError

if TYPE_CHECKING:
    import gradio as gr

INTRODUCTION = """# dermhub
What two neural networks see in a dermatoscopic image of a pigmented lesion, \
and how far that can be relied on."""

CONFIRM = (
    "I understand: this is research software, not a medical device. I will not use it to decide "
    "about a patient, or about myself."
)

PRIVACY = """**Privacy.** Uploads stay on this server, are deleted within minutes, \
and their content is not logged.
No request leaves the machine. Nothing of your visit is stored in your browser."""

KINDS = {
    FAST: "fast: small networks",
    ACCURATE: "accurate: larger networks, slower; compare their figures",
}

LIMITS: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models"}
"""One image is read at a time: two would only slow each other down."""

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of the page's inner steps, which no other program calls.

The page says itself that an answer is on its way, so Gradio shows no progress.
"""

EACH: dict[str, Any] = {"trigger_mode": "multiple", **PRIVATE}
"""Options of steps that take every request.

By default Gradio drops a request while another is answered, and an image that was chosen meanwhile
would never be read.
"""


@dataclass(frozen=True)
class Shared:
    """Values that every tab needs, and the components that stand above all tabs."""

    models: Models
    uploads: Uploads
    why_refused: Callable[[str | None], str]
    understood: gr.Checkbox
    kind: gr.Radio


def make_page(
    models: Models,
    folder: Path,
    why_refused: Callable[[str | None], str],
    still_wanted: Callable[[], bool],
    examples: Path | None = None,
    decode: Decode = photo_of,
) -> gr.Blocks:
    """Build the page. It reads images in `folder` alone, and writes there the examples it draws.

    `why_refused` gives the sentence with which the server refused the last request of a visit, ""
    for none. `still_wanted` tells a running function whether anybody waits for its answer.
    `examples` is a folder with images to try; without one, three drawings are made. `decode`
    decodes what is uploaded. Raises ImageError where the folder of examples holds no image.
    """
    import gradio as gr

    page: gr.Blocks
    with gr.Blocks(title="dermhub", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        understood = gr.Checkbox(False, label=CONFIRM, elem_id="understood", container=True)
        choices = [(KINDS[name], name) for name in models.kinds]
        kind = gr.Radio(
            choices, value=FAST, label="Models", visible=len(choices) > 1, elem_id="kind"
        )
        shared = Shared(models, Uploads(folder, decode), why_refused, understood, kind)
        with gr.Tab("One image"):
            _one_image(shared, examples or draw_into(folder), drawn=examples is None)
        with gr.Tab("Several"):
            _several_images(shared)
        with gr.Tab("Prevalence"):
            _what_a_call_means(shared)
        with gr.Tab("Figures") as tab:
            _measured(shared, tab)
        gr.Markdown(PRIVACY, elem_id="privacy")
        image = gr.Image(type="filepath", visible=False)
        files = gr.File(file_count="multiple", visible=False)
        publish(Api(models, shared.uploads, still_wanted), image, files, kind, **LIMITS)
    return page


def _one_image(shared: Shared, examples: list[str] | Path, drawn: bool) -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            image = gr.Image(
                label="Dermatoscopic image",
                sources=["upload", "clipboard", "webcam"],
                type="filepath",
                height=280,
                elem_id="image",
                buttons=[],
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
        """Replace the old answer at once, also while the new image waits in the queue."""
        loaded = shared.models.loaded(kind)
        text = (
            answer.EMPTY if path is None else answer.waiting(loaded) if understood else answer.ASK
        )
        return mark_current(text, path, understood, kind), ""

    def read(path: str | None, understood: bool, kind: str) -> str:
        if path is None or not understood:
            return answer.EMPTY if path is None else answer.ASK
        return mark_result(
            Api(shared.models, shared.uploads).analyse(path, kind), path, understood, kind
        )

    def hold(path: str | None, understood: bool, kind: str) -> str:
        if path is None or not understood:
            return note("Choose an image first.") if path is None else answer.ASK
        try:
            pair = shared.models.pair(kind)
            photo = shared.uploads.photo(path, pair.inputs)
            trials, no_answer = stability.check(pair, photo)
            html = stability.as_html(trials, pair.point.value, no_answer)
            return mark_result(html, path, understood, kind)
        except DermhubError as error:
            return problem(for_visitor(error))

    given = [image, shared.understood, shared.kind]
    changes = [image.change, shared.understood.change, shared.kind.change]
    refused = _explain_refusal(shared)
    telling = gr.on(changes, tell, given, [shown, checked], queue=False, **PRIVATE)
    analysed = telling.then(read, given, shown, **EACH, **LIMITS)
    # `read` never sees a request that Gradio itself refuses; the page would wait for ever.
    analysed.failure(refused, None, shown, queue=False, **PRIVATE)
    busy = check.click(lambda: answer.BUSY, None, checked, queue=False, **PRIVATE)
    holding = busy.then(hold, given, checked, **EACH, **LIMITS)
    holding.failure(refused, None, checked, queue=False, **PRIVATE)


def _several_images(shared: Shared) -> None:
    import gradio as gr

    files = gr.File(
        file_count="multiple", label=f"Up to {several.MOST} images", elem_id="files", height=200
    )
    start = gr.Button("Read all images", variant="primary", elem_id="start")
    table = gr.HTML(several.EMPTY, elem_id="table")
    latest_run = gr.State(LatestRun())

    def classify(
        given: list[tuple[str, str]], understood: bool, kind: str, latest: LatestRun
    ) -> Iterator[str]:
        latest.mark, latest.run = mark_of((given, understood, kind)), latest.run + 1
        this_run = LatestRun(latest.mark, latest.run)
        if not understood:
            yield answer.ASK
            return
        if not given or len(given) > several.MOST:
            yield problem(several.TOO_MANY if given else "No image was chosen: choose one or more.")
            return
        try:
            rows: list[dict[str, Any]] = []
            yield mark_result(several.as_html(rows, len(given)), given, understood, kind)
            for row in several.rows(shared.models.pair(kind), given, shared.uploads):
                if latest != this_run:
                    # Other files were chosen meanwhile, or the visitor has started anew.
                    return
                rows.append(row)
                yield mark_result(several.as_html(rows, len(given)), given, understood, kind)
        except DermhubError as error:
            yield problem(for_visitor(error))

    def changed(
        given: list[tuple[str, str]], understood: bool, kind: str, latest: LatestRun
    ) -> str:
        latest.mark = mark_of((given, understood, kind))
        return mark_current(several.EMPTY, given, understood, kind)

    changes = [files.change, shared.understood.change, shared.kind.change]
    # In a queue of its own: a hundred images would keep everybody else waiting.
    given = [files, shared.understood, shared.kind, latest_run]
    read = start.click(
        classify, given, table, concurrency_limit=2, concurrency_id="several", **EACH
    )
    read.failure(_explain_refusal(shared), None, table, queue=False, **PRIVATE)
    gr.on(changes, changed, given, table, queue=False, **PRIVATE)


def _what_a_call_means(shared: Shared) -> None:
    import gradio as gr

    def meaning_of(percent: float) -> str:
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
    shown = gr.HTML(meaning_of(5), elem_id="means")
    slider.change(meaning_of, slider, shown, queue=False, **PRIVATE)


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
        # Right after the tick, Gradio's page can close the stream on which the answer would come.
        queue=False,
        **PRIVATE,
    )


def _explain_refusal(shared: Shared) -> Callable[..., str]:
    """Return the step that shows why a request never reached a function of ours.

    The server says why where it has refused the request itself; Gradio gives no reason.
    """
    import gradio as gr

    def refused(request: gr.Request) -> str:
        return problem(shared.why_refused(request.session_hash) or NOT_TAKEN)

    # Gradio hands a request to a parameter of this type; as text, the name could not be found.
    refused.__annotations__["request"] = gr.Request
    return refused
