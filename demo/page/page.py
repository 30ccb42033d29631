"""The page: an image goes in, and what both models say of it comes out.

Every tab is one function. The server calls the page's functions with uploads as paths. A change
carries a ticket of page.js, which comes back with the result: the browser shows a result only where
nothing was changed meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.api import Api, publish
from demo.decode_child import photo_of
from demo.models import ACCURATE, FAST, Models
from demo.page import figures as page_figures
from demo.page import prevalence, several, stability
from demo.page.examples import SHIPPED, label_of, listed
from demo.page.html import fill, problem
from demo.page.marks import LatestRun, mark, mark_figures
from demo.read_upload import NOT_TAKEN, Decode, Uploads, for_visitor
from dermhub import DermhubError, __version__

if TYPE_CHECKING:
    import gradio as gr

KINDS = {FAST: "Standard", ACCURATE: "Larger (slower)"}

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

CALLED = "element.addEventListener('derm', (event) => trigger(event.detail))"
"""Lets the page's scripts start events of an HTML component."""


@dataclass(frozen=True)
class Shared:
    """Values that every tab needs, and the components that belong to all tabs."""

    models: Models
    uploads: Uploads
    why_refused: Callable[[str | None], str]
    kind: gr.Radio
    ticket: gr.Number
    """Its value never counts: the page's scripts put the latest ticket in its place."""


def make_page(
    models: Models,
    folder: Path,
    why_refused: Callable[[str | None], str],
    still_wanted: Callable[[], bool],
    examples: Path | None = None,
    decode: Decode = photo_of,
    shared_link: bool = False,
) -> gr.Blocks:
    """Build the page. It reads images in `folder` alone, and writes nothing there itself.

    `why_refused` gives the sentence with which the server refused the last request of a visit, ""
    for none. `still_wanted` tells a running function whether anybody waits for its answer.
    `examples` is a folder with images to try; without one, the project's own are offered. `decode`
    decodes what is uploaded. `shared_link` says that visitors come through Gradio's public link.
    Raises ImageError where the folder of examples holds no image.
    """
    import gradio as gr

    page: gr.Blocks
    with gr.Blocks(title="dermhub", analytics_enabled=False) as page:
        _html(fill("banner.html.jinja"), elem_id="banner")
        choices = [(KINDS[name], name) for name in models.kinds]
        kind = gr.Radio(
            choices,
            value=FAST,
            label="Model",
            visible=len(choices) > 1,
            elem_id="kind",
            render=False,
        )
        ticket = gr.Number(0, visible=False)
        shared = Shared(models, Uploads(folder, decode), why_refused, kind, ticket)
        with gr.Tabs():
            with gr.Tab("Check an image"):
                image = _one_image(shared, listed(examples or SHIPPED), labelled=examples is None)
            with gr.Tab("Many images"):
                _several_images(shared, image)
            with gr.Tab("How good is it?") as tab:
                _measured(shared, tab)
        with gr.Row(elem_id="settings", visible=len(choices) > 1):
            kind.render()  # type: ignore[no-untyped-call]
        _html(fill("foot.html.jinja", version=__version__, shared_link=shared_link), elem_id="foot")
        hidden = gr.Image(type="filepath", visible=False)
        files = gr.File(file_count="multiple", visible=False)
        publish(Api(models, shared.uploads, still_wanted), hidden, files, kind, **LIMITS)
    return page


def _html(value: str, elem_id: str, js_on_load: str | None = None) -> gr.HTML:
    """Return a component for HTML of ours, without Gradio's styles for text."""
    import gradio as gr

    return gr.HTML(value, elem_id=elem_id, js_on_load=js_on_load, apply_default_css=False)


def _one_image(shared: Shared, examples: list[str], labelled: bool) -> gr.Image:
    import gradio as gr

    with gr.Column(elem_id="check-image"):
        image = gr.Image(
            label="Dermatoscopic image",
            show_label=False,
            sources=["upload", "clipboard", "webcam"],
            type="filepath",
            height=300,
            elem_id="image",
            buttons=[],
            placeholder="Drop a dermatoscopic image here\nor tap to choose one",
            alt_text="The image that you chose",
            webcam_options=gr.WebcamOptions(
                mirror=False, constraints={"video": {"facingMode": "environment"}}
            ),
        )
        gr.Examples(
            [[path] for path in examples],
            image,
            label="No image at hand? Try one of these:",
            elem_id="examples",
            example_labels=[label_of(path) for path in examples] if labelled else None,
            examples_per_page=12,
        )
        names = json.dumps([Path(path).name for path in examples])
        _html(fill("start.html.jinja", examples=names), elem_id="start")
        _html(fill("busy.html.jinja"), elem_id="busy")
        nothing = mark("", "check", 0)
        shown = _html(nothing, elem_id="answer", js_on_load=CALLED)
        checked = _html("", elem_id="stability")

    def read(path: str | None, kind: str, ticket: float) -> str:
        if path is None:
            return mark("", "check", ticket)
        return mark(Api(shared.models, shared.uploads).analyse(path, kind), "check", ticket)

    def hold(path: str | None, kind: str, ticket: float) -> str:
        if path is None:
            return ""
        try:
            pair = shared.models.pair(kind)
            trials = stability.trials(pair, shared.uploads.photo(path, pair.inputs))
            return mark(stability.as_html(trials), "check", ticket, run=True)
        except DermhubError as error:
            return mark(problem(for_visitor(error)), "check", ticket, run=True)

    given = [image, shared.kind, shared.ticket]
    refused = _explain_refusal(shared, "check")
    chosen = [image, shared.kind]
    changed = "(image, kind) => { window.dermhub.begin(image, kind); }"
    other = "(image, kind) => { window.dermhub.other(image, kind); }"
    latest = "() => [window.dermhub.ticket()]"
    # Both changes stay in the browser, which asks for an answer where there is an image.
    image.change(None, chosen, None, js=changed, **EACH)
    shared.kind.change(None, chosen, None, js=other, **EACH)
    analysed = shown.apply(
        read, given, shown, js="() => window.dermhub.request()", **EACH, **LIMITS
    )
    # `read` never sees a request that Gradio itself refuses; the page would wait for ever.
    analysed.failure(refused, shared.ticket, shown, js=latest, queue=False, **PRIVATE)
    with_ticket = "(image, kind) => [image, kind, window.dermhub.ticket()]"
    holding = shown.click(hold, given, checked, js=with_ticket, **EACH, **LIMITS)
    holding.failure(refused, shared.ticket, checked, js=latest, queue=False, **PRIVATE)
    shown.clear(None, None, image, js="() => null", **PRIVATE)
    shown.submit(None, None, image, js="() => window.dermhub.latest()", **PRIVATE)
    shown.delete(None, None, shown, js="() => window.dermhub.nothing()", **PRIVATE)
    return image


def _several_images(shared: Shared, image: gr.Image) -> None:
    import gradio as gr

    with gr.Column(elem_id="check-images"):
        files = gr.File(
            file_count="multiple",
            label=f"Drop up to {several.MOST} images",
            elem_id="files",
            height=140,
        )
        start = gr.Button(
            "Check the images", variant="primary", elem_id="start-batch", interactive=True
        )
        table = _html("", elem_id="table", js_on_load=CALLED)
    latest_run = gr.State(LatestRun())

    def classify(
        given: list[tuple[str, str]], kind: str, ticket: float, latest: LatestRun
    ) -> Iterator[str]:
        latest.ticket = ticket
        if not given or len(given) > several.MOST:
            text = several.too_many(len(given)) if given else "Choose one or more images first."
            yield mark(problem(text), "batch", ticket)
            return
        try:
            rows: list[dict[str, Any]] = []
            yield mark(several.progress(rows, len(given)), "batch", ticket)
            for row in several.rows(shared.models.pair(kind), given, shared.uploads, pictures=True):
                if latest.ticket != ticket:
                    # Other files were chosen meanwhile, or the visitor has started anew.
                    return
                rows.append(row)
                yield mark(several.progress(rows, len(given)), "batch", ticket)
            yield mark(several.as_html(rows), "batch", ticket)
        except DermhubError as error:
            yield mark(problem(for_visitor(error)), "batch", ticket)

    def changed(ticket: float, latest: LatestRun) -> str:
        latest.ticket = ticket
        return ""

    def open_row(given: list[tuple[str, str]], row: float) -> str:
        return given[int(row)][0]

    begin = "(files, kind, ticket, latest) => [...window.dermhub.beginBatch(files, kind), latest]"
    # In a queue of its own: a hundred images would keep everybody else waiting.
    read = start.click(
        classify,
        [files, shared.kind, shared.ticket, latest_run],
        table,
        js=begin,
        concurrency_limit=2,
        concurrency_id="several",
        **EACH,
    )
    latest = "() => [window.dermhub.batch()]"
    refused = _explain_refusal(shared, "batch")
    read.failure(refused, shared.ticket, table, js=latest, queue=False, **PRIVATE)
    gr.on(
        [files.change, shared.kind.change],
        changed,
        [shared.ticket, latest_run],
        table,
        js="(ticket, latest) => [window.dermhub.beginBatch()[2], latest]",
        queue=False,
        **PRIVATE,
    )
    files.change(None, files, start, js="(files) => window.dermhub.label(files)", **PRIVATE)
    table.click(
        open_row,
        [files, shared.ticket],
        image,
        js="(files) => window.dermhub.loadRow(files)",
        queue=False,
        **EACH,
    )


def _measured(shared: Shared, tab: gr.Tab) -> None:
    import gradio as gr

    shown = _html("", elem_id="figures")
    _html(fill("prevalence_head.html.jinja"), elem_id="means-head")
    slider = gr.Slider(
        1,
        500,
        20,
        step=1,
        label=f"Of {prevalence.PEOPLE:,} people examined, so many have skin cancer",
        elem_id="prevalence",
    )
    means = _html("", elem_id="means")
    more = _html("", elem_id="more-figures")

    # Figures name their model and number of people: page.js hides those of others.
    def meaning_of(people: float, kind: str) -> str:
        try:
            html = prevalence.html(shared.models.pair(kind), people)
        except DermhubError as error:
            html = problem(str(error))
        return mark_figures(html, kind, people)

    def measured(kind: str) -> tuple[str, str]:
        pair = shared.models.pair(kind)
        parts = page_figures.summary(pair), page_figures.details(pair)
        return mark_figures(parts[0], kind), mark_figures(parts[1], kind)

    # Not in the queue: right after the tick, Gradio's page can close the stream on which the answer
    # would come. Of several changes the last one counts, whatever came while another was answered.
    last: dict[str, Any] = {"trigger_mode": "always_last", "queue": False, **PRIVATE}
    changes = [tab.select, shared.kind.change]
    gr.on(changes, measured, shared.kind, [shown, more], **last)
    gr.on([*changes, slider.change], meaning_of, [slider, shared.kind], means, **last)


def _explain_refusal(shared: Shared, area: str) -> Callable[..., str]:
    """Return the step that shows why a request never reached a function of ours.

    The server says why where it has refused the request itself; Gradio gives no reason.
    """
    import gradio as gr

    def refused(ticket: float, request: gr.Request) -> str:
        sentence = shared.why_refused(request.session_hash) or NOT_TAKEN
        return mark(problem(sentence), area, ticket, run=True)

    # Gradio hands a request to a parameter of this type; as text, the name could not be found.
    refused.__annotations__["request"] = gr.Request
    return refused
