"""The demo: python app.py [--share] [--host HOST] [--port PORT].

Takes a dermatoscopic image and shows what both shipped models say and where they found it.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

    from dermhub import Classifier

MAX_UPLOAD = "20mb"
NOT_TAKEN = "The server could not take this file: give it a plain name, or upload it again."
PICTURES = {
    "figures/confusion_matrix.png": "confusion matrix",
    "figures/roc.png": "ROC curves",
    "figures/reliability.png": "reliability diagram",
}
"""Figures of a model that the page shows: file in its folder -> title."""
INTRODUCTION = """# dermhub
What two small neural networks see in a dermatoscopic image of a pigmented lesion.

**Research software, not a medical device.** Do not use it to decide about a patient, or about yourself: see a doctor.
It always answers with one of its classes, also where the image shows something else."""
PRIVACY = """Your image stays on this server while it is being read, is deleted within minutes, and is not
logged or sent anywhere else."""


def make_page(binary: Classifier, lesion: Classifier, folder: Path) -> gr.Blocks:
    """The page, wired to two loaded models; it reads images in `folder` alone and writes example drawings there."""
    import gradio as gr

    from dermhub import DermhubError, report

    point, *_ = binary.config.thresholds.items()
    tested = figures(binary)["test"]["operating_points"][point[0]]

    def analyse(path: str | None) -> str:
        if path is None:
            return report.EMPTY
        # Gradio checks only paths that a client marks as a file; any other text would be a path of this machine.
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            return report.problem("No file was uploaded: expected an image, sent as a file.")
        try:
            content = Path(path).read_bytes()
            return report.answer(binary.explain_all(content), lesion.explain_all(content), point[1], tested)
        except DermhubError as error:
            return report.problem(str(error).replace("the uploaded data", "The file"))
        except OSError:
            return report.problem(NOT_TAKEN)

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
                answer = gr.HTML(report.EMPTY, elem_id="answer")
        for model in (binary, lesion):
            with gr.Tab(f"Figures: {model.name}"):
                gr.Markdown(card_text(model))
                for name, title in PICTURES.items():
                    gr.Image(str(model.folder / name), label=f"{title}, test", interactive=False, height=420)
        # The old answer goes at once, also while the new image waits in the queue.
        waiting = image.change(lambda: report.WAITING, None, answer, queue=False, api_visibility="private")
        analysed = waiting.then(analyse, image, answer, api_name="analyse", concurrency_limit=1)
        # What Gradio itself refuses never reaches `analyse`; without this, the page would wait for ever.
        analysed.failure(lambda: report.problem(NOT_TAKEN), None, answer, queue=False, api_visibility="private")
    return page


def figures(model: Classifier) -> dict[str, Any]:
    """The content of the model's metrics.json."""
    content: dict[str, Any] = json.loads((model.folder / "metrics.json").read_text(encoding="utf-8"))
    return content


def card_text(model: Classifier) -> str:
    """The model card without its front matter and pictures."""
    text = (model.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    return re.sub(r"^!\[.*\)$", "", text, flags=re.MULTILINE)


def draw_examples(folder: Path) -> list[list[str]]:
    """Write three drawn lesions into a folder and return their paths as rows of examples."""
    from dermhub.drawings import draw

    paths = [folder / f"drawing-{number}.png" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        draw(number + 3, (600, 450), darkness=number / 2).save(path)
    return [[str(path)] for path in paths]


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve the dermhub demo.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=port_number, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--share", action="store_true", help="open the page to the public through a Gradio link")
    parser.add_argument("--binary", default="binary", metavar="ID", help="model or folder for benign / malignant")
    parser.add_argument("--lesion", default="lesion", metavar="ID", help="model or folder for the seven classes")
    return parser.parse_args(arguments)


def port_number(text: str) -> int:
    """A port from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected a number from 1 to 65535")
    return int(text)


def load_model(option: str, name: str) -> Classifier:
    """The model for an option; raises ModelError where it is of another task or lacks what the page shows."""
    from dermhub import TASKS, ModelError, load

    model = load(name)
    if model.config.task != TASKS[option]:
        raise ModelError(f"--{option} {name} is a model of the task {model.config.task.name!r}, expected {option!r}.")
    lacking = [file for file in ("metrics.json", "README.md", *PICTURES) if not (model.folder / file).is_file()]
    if lacking:
        raise ModelError(f"{model.folder} lacks {', '.join(lacking)}, which the page shows: give a whole model folder.")
    try:
        card_text(model), figures(model)["test"]["operating_points"][next(iter(model.config.thresholds))]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{model.folder} has a damaged metrics.json or README.md: fetch the model again.") from error
    return model


def private_folder() -> Path:
    """A folder for uploads that only this user can read, removed when the server ends."""
    folder = Path(tempfile.mkdtemp(prefix="dermhub-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    return folder


def main() -> int:
    """Load both models and serve the page until stopped."""
    given = options()
    folder = private_folder()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # A Space says in its environment that it listens for others.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else given.host
    from dermhub import DermhubError, report

    try:
        binary, lesion = load_model("binary", given.binary), load_model("lesion", given.lesion)
    except DermhubError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    page = make_page(binary, lesion, folder)
    if given.share or host not in ("127.0.0.1", "localhost", "::1"):
        print("app.py: this page can be reached by others, without a password.", file=sys.stderr)
    try:
        _, local, public = page.queue(max_size=32).launch(
            server_name=host,
            server_port=given.port,
            share=given.share,
            css=report.CSS,
            max_file_size=MAX_UPLOAD,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            footer_links=["api"],
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        print(f"app.py: {error}: choose another port with --port.", file=sys.stderr)
        return 2
    if given.share and not public:
        print(
            "app.py: no public link could be made: check the network; the page is served here alone.", file=sys.stderr
        )
    print(f"dermhub is ready: open {public or local} in a browser; Ctrl-C ends it.", flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
