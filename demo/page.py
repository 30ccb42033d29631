"""The page: an image goes in, and what both models say of it comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from demo.models import PICTURES, card_text, figures

if TYPE_CHECKING:
    import gradio as gr

    from dermhub import Classifier

NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."
INTRODUCTION = """# dermhub
What two small neural networks see in a dermatoscopic image of a pigmented lesion.

**Research software, not a medical device.** Do not use it to decide about a patient, or about yourself: see a doctor.
It always answers with one of its classes, also where the image shows something else."""
PRIVACY = """Your image stays on this server while it is being read, is deleted within minutes, and is not
logged or sent anywhere else."""


def make_page(binary: Classifier, lesion: Classifier, folder: Path) -> gr.Blocks:
    """The page, wired to two loaded models; it reads images in `folder` alone and writes example drawings there."""
    import gradio as gr

    from demo import answer as words
    from dermhub import DermhubError

    point, *_ = binary.config.thresholds.items()
    tested = figures(binary)["test"]["operating_points"][point[0]]

    def analyse(path: str | None) -> str:
        if path is None:
            return words.EMPTY
        # Gradio checks only paths that a client marks as a file; any other text would be a path of this machine.
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            return words.problem("No file was uploaded: expected an image, sent as a file.")
        try:
            content = Path(path).read_bytes()
            return words.answer(binary.explain_all(content), lesion.explain_all(content), point[1], tested)
        except DermhubError as error:
            return words.problem(str(error).replace("the uploaded data", "The file"))
        except OSError:
            return words.problem(NOT_TAKEN)

    page: gr.Blocks
    with gr.Blocks(title="dermhub", analytics_enabled=False, delete_cache=(60, 120)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try an image"), gr.Row():
            with gr.Column(scale=2):
                image = gr.Image(
                    label="Dermatoscopic image", sources=["upload", "clipboard", "webcam"], type="filepath", height=340
                )
                # Gradio would open and convert the file itself, without limits and before we can say what is wrong.
                image.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
                gr.Markdown(PRIVACY)
                gr.Examples(draw_examples(folder), image, label="Drawings to try (no photographs, no patients)")
            with gr.Column(scale=3):
                answer = gr.HTML(words.EMPTY, elem_id="answer")
        for model in (binary, lesion):
            with gr.Tab(f"Figures: {model.name}"):
                gr.Markdown(card_text(model))
                for name, title in PICTURES.items():
                    gr.Image(str(model.folder / name), label=f"{title}, test", interactive=False, height=420)
        # The old answer goes at once, also while the new image waits in the queue.
        waiting = image.change(lambda: words.WAITING, None, answer, queue=False, api_visibility="private")
        analysed = waiting.then(analyse, image, answer, api_name="analyse", concurrency_limit=1)
        # What Gradio itself refuses never reaches `analyse`; without this, the page would wait for ever.
        analysed.failure(lambda: words.problem(NOT_TAKEN), None, answer, queue=False, api_visibility="private")
    return page


def draw_examples(folder: Path) -> list[list[str]]:
    """Write three drawn lesions into a folder and return their paths as rows of examples."""
    from dermhub.drawings import draw

    paths = [folder / f"drawing-{number}.png" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        draw(number + 3, (600, 450), darkness=number / 2).save(path)
    return [[str(path)] for path in paths]
