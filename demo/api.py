"""The API: the page's functions with plain values, also as tools of an MCP server.

Programs read the docstrings of `Api` as descriptions of its endpoints. Every result carries the
notice of the page. What can't be answered comes back as
{"error": one sentence, "notice": ...}, never as a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from demo import reading
from demo.models import FAST, Models, Pair
from demo.page import answer, prevalence, several, stability
from demo.page.html import CANT_OPEN, NOTICE, data_uri, problem
from demo.read_upload import Uploads, for_visitor
from dermhub import DermhubError, ImageError, Photo

if TYPE_CHECKING:
    import gradio as gr

Record = dict[str, Any]

LEFT = "Nobody waited for the answer any more, so not all images were read."

NO_IMAGE = "No image was sent: expected one file."


class Api:
    """The functions behind the endpoints of the same names."""

    def __init__(
        self,
        models: Models,
        uploads: Uploads,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.models, self.uploads, self._still_wanted = models, uploads, still_wanted

    def analyse(self, image: str | None, model: str = FAST) -> str:
        """Classify a dermatoscopic image with both models, as the HTML that the page shows.

        Args:

            image: A dermatoscopic image of one pigmented lesion (JPEG, PNG, TIFF, WebP).
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
        """
        try:
            if image is None:
                return ""
            pair = self.models.pair(model)
            read = reading.read(pair, self.uploads.photo(image, pair.inputs))
            return answer.answer(read, pair.track_record, model)
        except ImageError as error:
            return problem(for_visitor(error), CANT_OPEN)
        except DermhubError as error:
            return problem(for_visitor(error))

    def predict(self, image: str | None, model: str = FAST) -> Record:
        """Classify a dermatoscopic image: zone of suspicion, seven diagnoses, reasons for doubt.

        Research software, not a medical device. Always say the `zone`: low, suspicious or highly
        suspicious. Where `confident` is false, say the `reasons` for doubt beside it; doubt never
        makes a zone less suspicious.

        Args:

            image: A dermatoscopic image of one pigmented lesion (JPEG, PNG, TIFF, WebP).
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
        """
        return self._answer(image, model, reading.record)

    def explain(
        self,
        image: str | None,
        target: str = "",
        versus: str = "",
        model: str = FAST,
        picture: bool = False,
    ) -> Record:
        """Show the evidence for a class in a dermatoscopic image (Grad-CAM), and judge it.

        Args:

            image: A dermatoscopic image of one pigmented lesion (JPEG, PNG, TIFF, WebP).
            target: A class: akiec, bcc, bkl, df, mel, nv or vasc; empty for the most probable one.
            versus: A class against which the evidence is sought ("why mel and not nv"); empty for none.
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
            picture: Whether the image with the map over it comes along, as a data URI in `overlay`; at most 1280 pixels a side.
        """  # noqa: E501 (Gradio takes one line for each argument)

        def explained(pair: Pair, photo: Photo) -> Record:
            why = pair.lesion.explain(photo, target or None, versus or None)
            result: Record = {
                "target": why.target,
                "versus": why.versus,
                "probability": why.prediction.probabilities[why.target],
                "blank": why.blank,
                "inside": why.inside,
                "lesion_share": why.lesion_share,
                "trusted": why.trusted,
                "verdict": why.verdict,
                "abstention": why.prediction.abstention,
                "concerns": [asdict(concern) for concern in why.prediction.concerns],
            }
            if picture:
                result["overlay"] = data_uri(why.overlay, "PNG")
            result["notice"] = NOTICE
            return result

        return self._answer(image, model, explained)

    def check_stability(self, image: str | None, model: str = FAST) -> Record:
        """Ask again with the image turned, mirrored, zoomed and lit differently: a stable answer?

        Args:

            image: A dermatoscopic image of one pigmented lesion (JPEG, PNG, TIFF, WebP).
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
        """

        def checked(pair: Pair, photo: Photo) -> Record:
            trials = stability.trials(pair, photo)
            return {
                "holds": stability.holds(trials),
                "verdict": stability.verdict(trials),
                "trials": [trial.record for trial in trials],
                "notice": NOTICE,
            }

        return self._answer(image, model, checked)

    def similar(
        self,
        image: str | None,
        k: float = 6,
        model: str = FAST,
        pictures: bool = False,
        anyway: bool = False,
    ) -> Record:
        """Find the training lesions that look most like a dermatoscopic image: diagnosis and proof.

        Args:

            image: A dermatoscopic image of one pigmented lesion (JPEG, PNG, TIFF, WebP).
            k: How many lesions, a whole number from 1 to 50.
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
            pictures: Whether a small picture of each comes along, as a data URI in `thumbnail`.
            anyway: Whether to find them also for an image that does not look dermatoscopic.
        """

        def found(pair: Pair, photo: Photo) -> Record:
            # JSON has one kind of number, and Gradio hands a whole one over as either.
            number: Any = int(k) if isinstance(k, float) and k.is_integer() else k
            similar = pair.lesion.similar(photo, number)
            refused = similar.prediction.rejected
            if refused is not None and not anyway:
                raise ImageError(refused.sentence)
            return {**similar.to_dict(pictures), "notice": NOTICE}

        return self._answer(image, model, found)

    def at_prevalence(self, percent: float, model: str = FAST) -> Record:
        """Work out PPV, NPV, missed cancers and false alarms per 1,000 images at a prevalence.

        Args:

            percent: How many of 100 examined lesions are malignant, from 0 to 100.
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
        """
        try:
            share = prevalence.share_of(percent)
            return {**prevalence.figures(self.models.pair(model).tested, share), "notice": NOTICE}
        except DermhubError as error:
            return {"error": str(error), "notice": NOTICE}

    def predict_several(self, images: list[tuple[str, str]], model: str = FAST) -> Record:
        """Classify several dermatoscopic images: a row each, also for a file that is no image.

        Args:

            images: Dermatoscopic images, each of one pigmented lesion.
            model: Which pair of models answers: "fast", or "accurate" where the server has one.
        """
        try:
            if not images or len(images) > several.MOST:
                raise ImageError(several.too_many(len(images)) if images else NO_IMAGE)
            rows = []
            for row in several.rows(self.models.pair(model), images, self.uploads):
                if not self._still_wanted():
                    return {"error": LEFT, "notice": NOTICE}
                rows.append(row)
            return {"rows": rows, "csv": several.as_csv(rows), "notice": NOTICE}
        except DermhubError as error:
            return {"error": for_visitor(error), "notice": NOTICE}

    def _answer(
        self, image: str | None, model: str, computed: Callable[[Pair, Photo], Record]
    ) -> Record:
        try:
            if image is None:
                raise ImageError(NO_IMAGE)
            pair = self.models.pair(model)
            return computed(pair, self.uploads.photo(image, pair.inputs))
        except DermhubError as error:
            return {"error": for_visitor(error), "notice": NOTICE}


def publish(api: Api, image: gr.Image, files: gr.File, kind: gr.Radio, **limits: Any) -> None:
    """Make the functions endpoints of the page that is being built.

    Components only say what kind of value comes; `limits` are options of Gradio's events.
    """
    import gradio as gr

    never = gr.Button(visible=False)
    word = gr.Textbox("", visible=False)
    flag = gr.Checkbox(False, visible=False)
    percent = gr.Number(visible=False)
    number = gr.Number(6, visible=False)
    record = gr.JSON(visible=False)
    shown = gr.HTML(visible=False)
    never.click(api.analyse, [image], shown, api_name="analyse", **limits)
    never.click(api.predict, [image, kind], record, api_name="predict", **limits)
    never.click(api.explain, [image, word, word, kind, flag], record, api_name="explain", **limits)
    never.click(api.check_stability, [image, kind], record, api_name="check_stability", **limits)
    never.click(
        api.similar, [image, number, kind, flag, flag], record, api_name="similar", **limits
    )
    # In the queue, though it waits for nobody: what Gradio answers outside of it reaches an MCP
    # client as "root={...}".
    never.click(
        api.at_prevalence,
        [percent, kind],
        record,
        api_name="at_prevalence",
        concurrency_limit=None,
    )
    # In the queue of the page's tab: a batch would keep single images waiting for minutes.
    never.click(
        api.predict_several,
        [files, kind],
        record,
        api_name="predict_several",
        concurrency_limit=2,
        concurrency_id="several",
    )
