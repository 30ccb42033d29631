"""README.md and other pages: commands, figures, links, snippets and tables of contents."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import dermhub
from dermhub import files
from dermhub.cli.main import make_parser
from dermhub.tasks import BINARY, LESION
from dermhub.training.config import RETIRED, flag
from tests.support.cases import add_index
from tests.support.demo_process import Demo
from tests.support.tiny import make_model

ROOT = Path(__file__).resolve().parents[1]

README = "README.md"

FIGURES = "docs/figures.md"

MAP = "docs/architecture.md"

EXPERIMENTS = "docs/experiments.md"

GUIDES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("docs/*.md", "benchmarks/README.md", "deploy/*/README.md")
    for path in ROOT.glob(pattern)
)
"""The pages that begin with their purpose and a table of contents."""

PAGES = [README, "CONTRIBUTING.md", "CHANGELOG.md", *GUIDES]

HEADLINES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro-F1": "macro_f1",
    "AUROC, mean over classes": "macro_auroc",
    "AUROC of malignancy": "malignancy_auroc",
    "expected calibration error": "ece",
}
"""Row of the table of figures -> key in metrics.json."""

RULE = "balanced accuracy of `balanced_label`"

SOBER = "specificity there, of benign lesions that were biopsied"


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "") -> list[str]:
    """The fenced blocks of a page that name a language; "" for those that name none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: str, marks: str = "#{1,6}") -> list[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(rf"^{marks} (.+)$", prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(text: str) -> list[str]:
    """The targets of the links and pictures of a text that lead to no other site."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not target.startswith("http")]


def metrics_of_models() -> dict[str, Any]:
    """The content of metrics.json of each shipped model."""
    folders = dermhub.shipped()
    if not folders:
        pytest.skip("model_cards/ holds no model")
    return {name: files.read_json(folder / "metrics.json") for name, folder in folders.items()}


def test_a_space_can_be_made_from_the_front_matter() -> None:
    front = yaml.safe_load(text_of(README).split("---\n")[1])
    pins = dict(
        re.findall(r"^(\w+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins["gradio"]
    assert (ROOT / front["app_file"]).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "python_version", "license"} <= front.keys()
    # The hub refuses longer ones.
    assert len(front["short_description"]) <= 60


def test_the_readme_is_one_screen_and_a_half() -> None:
    assert len(text_of(README).splitlines()) <= 120


def test_the_two_commands_come_first_and_ci_runs_the_second() -> None:
    commands = [block.strip() for block in blocks(README)]
    assert commands[:2] == [
        "pip install -r requirements.txt && python app.py",
        "pip install -r requirements-dev.txt && pytest",
    ]
    pattern = re.search(r"sed -n 's/(.*)/\\1/p' README.md", (ROOT / ".ci/run").read_text())
    assert pattern is not None
    python_pattern = pattern[1].replace(r"\(", "(").replace(r"\)", ")")
    assert re.findall(python_pattern, text_of(README), re.MULTILINE) == commands[1:2]


def test_the_notice_stands_in_front() -> None:
    front = text_of(README).split("## ")[0]
    assert "**Research software, not a medical device." in front
    assert "It must not be used to decide about a patient.**" in front


@pytest.mark.parametrize("page", [README, FIGURES])
def test_figures_are_those_of_the_shipped_models(page: str) -> None:
    models = metrics_of_models()
    text = text_of(page)
    (head,) = re.findall(r"^\| test \| (.+) \|$", text, re.MULTILINE)
    names = re.findall(r"`([\w-]+)`", head)
    assert sorted(names) == sorted(models)
    rows = re.findall(r"^\| ([^|]+?) ((?:\| \d[\d.]* )+)\|$", text, re.MULTILINE)
    required = {"accuracy", "balanced accuracy", RULE, "AUROC of malignancy", SOBER}
    assert {row[0] for row in rows} >= required | (HEADLINES.keys() if page == FIGURES else set())
    for label, values in rows:
        for name, value in zip(names, values.strip("| ").split(" | "), strict=True):
            test = models[name]["test"]
            if label == RULE:
                assert value == f"{test['rules']['balanced_label']['balanced_accuracy']:.3f}", name
            elif "biopsied" in label:
                part = (
                    test["histology_only"]
                    if "AUROC" in label
                    else test["subgroups"]["dx_type"]["histo"]
                )
                key = "malignancy_auroc" if "AUROC" in label else "specificity"
                assert value == f"{part[key]:.3f}", (label, name)
            elif label in HEADLINES:
                assert value == f"{test[HEADLINES[label]]:.3f}", (label, name)
            else:
                point = test["operating_points"]["sensitivity_95"]
                assert value == f"{point[label.split()[0]]:.3f}", (label, name)
    for model in models.values():
        assert f"{model['test']['n']:,} images of {model['test']['lesions']:,} lesions" in text


SNIPPETS = [
    pytest.param(snippet, id=f"{page}-{number}")
    for page in PAGES
    for number, snippet in enumerate(blocks(page, "python"))
    if "gradio_client" not in snippet
]
"""The snippets that need no running demo."""


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(
    snippet: str, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tiny model under the names that the pages use.
    make_model(tmp_path / "model_cards" / "lesion", LESION)
    (tmp_path / "lesion").symlink_to(tmp_path / "model_cards" / "lesion")
    if "binary" in snippet:
        make_model(tmp_path / "model_cards" / "binary", BINARY)
        (tmp_path / "binary").symlink_to(tmp_path / "model_cards" / "binary")
    if ".similar(" in snippet:
        add_index(tmp_path / "lesion")
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "snippet", "exec"), {})
    if "map.png" in snippet:
        assert (tmp_path / "map.png").stat().st_size > 0


def test_the_readme_has_a_snippet() -> None:
    assert any("dermhub.load" in snippet for snippet in blocks(README, "python"))


@pytest.mark.slow
def test_the_client_snippet_runs(
    demo: Demo,
    tmp_path: Path,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (snippet,) = (
        block for page in PAGES for block in blocks(page, "python") if "gradio_client" in block
    )
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet.replace("http://127.0.0.1:7860", demo.url), "programs.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(
        r"^0\.\d+ 0\.\d+\n\{'akiec': 0\.\d+, .*\} \[.*\]\n(True|False) \[.*\]$",
        printed,
        re.MULTILINE,
    ), printed


def command_lines(program: str, pages: Sequence[str] = PAGES) -> list[list[str]]:
    """The arguments of every command line of some pages that runs a program."""
    lines = []
    for page in pages:
        for block in blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.match(
                    rf"(?:torchrun --nproc-per-node \d |python ){program} (.+)", line
                )
                if program == "-m dermhub" and command is None:
                    command = re.match("dermhub (.+)", line)
                if command:
                    lines.append(shlex.split(command[1], comments=True))
    return lines


def test_commands_of_dermhub_are_understood() -> None:
    lines = command_lines("-m dermhub")
    assert {arguments[0] for arguments in lines} >= {"predict", "merge", "verify", "push"}
    for arguments in lines:
        assert make_parser().parse_args(arguments).command == arguments[0]


def test_options_of_training_exist() -> None:
    fields = dataclasses.fields(dermhub.TrainConfig)
    options = {f"--{field.name.replace('_', '-')}" for field in fields} | {"--resume"}

    def used(*pages: str) -> set[str]:
        lines = command_lines("train.py", pages)
        return {word for arguments in lines for word in arguments if word.startswith("--")}

    now = [page for page in PAGES if page != EXPERIMENTS]
    assert {"--task", "--data", "--resume", "--init"} <= used(*now) <= options
    # Commands of earlier versions, which had more options.
    assert used(EXPERIMENTS) <= options | set(map(flag, RETIRED))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in links(prose(page)):
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(str(place.resolve().relative_to(ROOT))), target


@pytest.mark.parametrize("page", GUIDES)
def test_pages_begin_with_their_purpose_and_contents(page: str) -> None:
    front = prose(page).split("\n## ")[0]
    title, purpose = front.split("\n\n")[:2]
    assert title.startswith("# ")
    assert purpose.endswith((".", ":"))
    contents = [
        link.removeprefix("#") for link in re.findall(r"^ *- \[.+\]\((#.+)\)$", front, re.M)
    ]
    headings = anchors(page, "##")
    assert headings
    assert contents == headings


def test_the_index_lists_every_page() -> None:
    targets = {
        str((ROOT / "docs" / link.split("#")[0]).resolve())
        for link in links(text_of("docs/index.md"))
    }
    assert {str(ROOT / page) for page in PAGES} - targets == {str(ROOT / "docs/index.md")}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("CHANGELOG.md", MAP)])
def test_every_file_that_is_named_exists(page: str) -> None:
    names = set(re.findall(r"`([\w.-]+/[\w./-]+\.(?:csv|py|md|cff|txt|sh))`", prose(page)))
    assert [name for name in sorted(names) if not (ROOT / name).is_file()] == []


def mapped_files() -> set[str]:
    """The files that the tree of the map names, such as dermhub/images/decode.py."""
    (tree,) = (block for block in blocks(MAP) if block.startswith("dermhub/\n"))
    found: set[str] = set()
    folders: list[str] = []
    for line in tree.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 4
        name = line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            found.add("".join(folders) + name)
    return found


def test_the_map_names_every_module() -> None:
    modules = {
        str(path.relative_to(ROOT))
        for folder in ("dermhub", "demo")
        for pattern in ("**/*.py", "**/*.jinja")
        for path in (ROOT / folder).glob(pattern)
        if path.name != "__init__.py"
    }
    assert mapped_files() == modules | {"dermhub/__init__.py"}


def test_every_module_that_the_map_names_exists() -> None:
    names = set(re.findall(r"`([\w-]+/[\w./-]+\.(?:csv|py|md|sh|jinja))`", prose(MAP)))
    places = (ROOT, ROOT / "dermhub")
    assert [n for n in sorted(names) if not any((place / n).is_file() for place in places)] == []


def test_the_map_names_every_room() -> None:
    # From the drawing at the top: each line that begins with a floor's number names its rooms.
    drawing = re.findall(r"^ \d  (.+)$", text_of(MAP), re.MULTILINE)
    rooms = {name for floor in drawing for name in re.findall(r"(?:models/)?(\w+)/", floor)}
    assert rooms == {path.parent.name for path in (ROOT / "dermhub").glob("**/__init__.py")} - {
        "dermhub"
    }


def test_the_readme_names_the_licence_and_the_picture_and_a_page_the_split() -> None:
    assert {"LICENSE", "docs/screenshot.png"} <= set(links(text_of(README)))
    assert "`dermhub/data/partition.csv`" in text_of("docs/split.md")
