"""The site of the documentation, and the notebooks: nothing is stated twice, and both are made."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import dermhub
from dermhub.cli.main import make_parser
from dermhub.data import partition

ROOT = Path(__file__).resolve().parents[1]

DOCS = ROOT / "docs"

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

NEEDED = "needs requirements-docs.txt, which .ci/run installs"


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of dermhub."""
    (action,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(action.choices)


def test_the_api_page_lists_every_public_name_once() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: dermhub\.(\w+)$", page, re.MULTILINE)
    assert sorted(names) == sorted(set(dermhub.__all__) - {"__version__"})


def test_the_command_line_page_lists_every_command() -> None:
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(commands())


def counts(lesions: int) -> dict[str, int]:
    """The number of lesions in each split of a class with so many lesions of one image each."""
    rows = [{"lesion_id": f"lesion-{n}", "image_id": f"{n}", "dx": "mel"} for n in range(lesions)]
    places = partition.divide(pd.DataFrame(rows))
    return {split: list(places.values()).count(split) for split in partition.SPLITS}


def test_the_least_number_of_lesions_is_the_one_that_the_page_states() -> None:
    page = " ".join((DOCS / "own-data.md").read_text(encoding="utf-8").split())
    assert "**five lesions of each class**" in page
    assert counts(4)["validation"] == 0
    assert min(counts(5).values()) == 1
    assert "With 70 lesions of a class, 9 of them validate" in page
    assert (counts(69)["validation"], counts(70)["validation"]) == (8, 9)


def test_the_release_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## ([\d.]+) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    stated = (citation["version"], str(citation["date-released"]))
    assert releases[0] == stated
    assert stated[0] == dermhub.__version__
    for page in (DOCS / "install.md", DOCS / "publishing.md", ROOT / "CHANGELOG.md"):
        wheels = re.findall(r"dermhub-([\d.]+)-py3", page.read_text(encoding="utf-8"))
        assert set(wheels) == {dermhub.__version__}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_holds_outputs_and_the_address_of_mkdocs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    address = settings["extra"]["repository"].removeprefix("https://")
    named = re.findall(r"github\.com/[^/\s]+/dermhub", text)
    assert set(named) == {address}
    colab = f"colab.research.google.com/{address.replace('.com', '')}/blob/main/notebooks/"
    assert f"{colab}{path.name}" in text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 4
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_there_are_two_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["predict.ipynb", "train.ipynb"]


@pytest.mark.slow
def test_notebooks_give_the_outputs_that_they_hold() -> None:
    pytest.importorskip("nbclient", reason=NEEDED)
    before = [path.read_bytes() for path in NOTEBOOKS]
    command = [sys.executable, str(ROOT / "notebooks/run.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in NOTEBOOKS] == before


class Fetched(HTMLParser):
    """Collects the addresses that a browser fetches when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the source of a script or picture, and the target of a style sheet or icon."""
        values = dict(attrs)
        if "src" in values:
            self.addresses.append(values["src"] or "")
        if tag == "link" and values.get("rel") not in ("prev", "next", "canonical"):
            self.addresses.append(values["href"] or "")


@pytest.mark.slow
def test_the_site_is_whole_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason=NEEDED)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment: dict[str, Any] = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {f"{path.stem}.html" for path in DOCS.glob("*.md")} <= {path.name for path in pages}
    for page in pages:
        reader = Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        outside = [name for name in reader.addresses if re.match(r"(?:https?:)?//", name)]
        assert outside == [], page
    assert not list(tmp_path.rglob("*.py"))
    options = (tmp_path / "command-line.html").read_text(encoding="utf-8")
    for parser in commands().values():
        for action in parser._actions:
            for name in set(action.option_strings) - {"-h", "--help"}:
                assert f"<code>{name}" in options
    assert {"<code>--max-queue N", "<code>--epochs"} <= set(
        re.findall(r"<code>--max-queue N|<code>--epochs", options)
    )
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert 'id="dermhub.load"' in reference
    assert "Classify an image and show the evidence for" in reference
    assert ":::" not in reference.replace("begins with <code>:::</code>", "")
    # The list of sections that a page begins with on GitHub stands beside it here.
    assert 'href="#zones">Zones</a></li>' not in (tmp_path / "answers.html").read_text("utf-8")
