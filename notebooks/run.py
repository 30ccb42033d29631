"""Run the notebooks, and keep their outputs in them.

    python notebooks/run.py            run all, and write their outputs
    python notebooks/run.py --check    run all, and compare with the outputs that they hold

Needs nbclient and ipykernel (requirements-docs.txt). Each notebook runs in a folder of its own,
with links to the clone, so that nothing is left behind. Numbers and pictures differ a little
between machines; the comparison is of all other text, and of the kinds of outputs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]

LINKED = ("dermhub", "demo", "model_cards", "train.py")
"""What a notebook finds in the folder where it runs, as in a clone."""

ADDRESS = r"github\.com/[^/\s]+/dermhub|github/[^/\s]+/dermhub"
"""Pattern of the repository's address, as a link and as a part of Colab's."""

SECONDS = 300
"""Time that a cell may take."""


def main() -> int:
    """Run or check every notebook; the exit code is 1 where one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    differing = []
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(with_address(before), as_version=4)
        run(notebook)
        after = nbformat.writes(notebook) + "\n"
        if not check:
            path.write_text(after, encoding="utf-8")
        elif shape(nbformat.reads(before, as_version=4)) != shape(notebook):
            differing.append(path.name)
            print(f"{path.name} differs from its run: python notebooks/run.py", file=sys.stderr)
    return 1 if differing else 0


def with_address(text: str) -> str:
    """Put the repository's address, which mkdocs.yml states, into a notebook's text."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    repository = settings["extra"]["repository"].removeprefix("https://github.com/")
    return re.sub(ADDRESS, lambda match: f"{match[0].split('/')[0]}/{repository}", text)


def run(notebook: Any) -> None:
    """Run a notebook, and keep what it prints and shows; progress bars (stderr) are left out."""
    with tempfile.TemporaryDirectory() as folder:
        for name in LINKED:
            Path(folder, name).symlink_to(ROOT / name)
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.update({"data": best(output.data)} if "data" in output else {})


def best(shown: dict[str, str]) -> dict[str, str]:
    """Of the forms of what a cell shows, the smallest picture, or else the richest text."""
    pictures = [kind for kind in shown if kind.startswith("image/")]
    if pictures:
        kind = min(pictures, key=lambda kind: len(shown[kind]))
    else:
        kind = "text/markdown" if "text/markdown" in shown else "text/plain"
    return {kind: shown[kind]}


def shape(notebook: Any) -> list[Any]:
    """The sources of a notebook, and its outputs without numbers and pictures."""
    return [
        (cell.source, [_shape(output) for output in cell.get("outputs", [])])
        for cell in notebook.cells
    ]


def _shape(output: Any) -> Any:
    if output.output_type == "stream":
        return _without_numbers(output.text)
    kinds = output.get("data", {})
    return {
        kind: "" if kind.startswith("image/") else _without_numbers(content)
        for kind, content in kinds.items()
    }


def _without_numbers(text: str) -> str:
    """A text in which numbers, and bars of #, are a single mark with the blanks before them."""
    return re.sub(r"(?:\s*(?:[-+]?\d[\d.,]*(?:e[-+]\d+)?|#+))+", " #", text)


if __name__ == "__main__":
    sys.exit(main())
