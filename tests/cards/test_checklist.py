"""The reporting checklist: a real card meets it, and each item, broken alone, is missed with its
own sentence.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dermhub import files
from dermhub.cards import checklist, render
from dermhub.cli.main import main
from dermhub.errors import ModelError
from dermhub.models import catalog
from dermhub.models.config import ModelConfig

Break = Callable[[Path], None]


def edit(old: str, new: str = "") -> Break:
    """Replace a text in the card."""

    def change(folder: Path) -> None:
        text = (folder / "README.md").read_text()
        assert old in text, old
        (folder / "README.md").write_text(text.replace(old, new, 1))

    return change


def rewrite(name: str, change: Callable[[Any], object]) -> Break:
    """Change a JSON file and write the card anew, so that the two agree."""

    def rewritten(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        files.write_json(folder / name, content)
        config = ModelConfig.from_json(files.read_json(folder / "config.json"))
        files.write_text(
            folder / "README.md", render.render(config, files.read_json(folder / "metrics.json"))
        )

    return rewritten


def of_provenance(block: str, **values: object) -> Break:
    """Change a block of the provenance in config.json."""
    return rewrite(
        "config.json", lambda content: content["dermhub"]["provenance"][block].update(values)
    )


def flip(folder: Path) -> None:
    """Change one bit of the weight file."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


BREAKS: dict[str, tuple[Break, str]] = {
    "card equal to its figures": (
        edit("## Limits", "## Praise"),
        r"README\.md has in line \d+ '## Praise', the figures give '## Limits'",
    ),
    "intervals over lesions": (
        rewrite("metrics.json", lambda c: c["test"]["intervals"].update(resamples=20)),
        r"metrics\.json has 20 resamples at level 0\.95, expected 1000 at 0\.95",
    ),
    "no lesion in two splits": (
        rewrite("metrics.json", lambda c: c.update(overlap=3)),
        "3 lesions stand in more than one split, expected none",
    ),
    "weights and their sha256": (
        flip,
        r"model\.safetensors has the sha256 \w{64}, but metrics\.json and config\.json state "
        r"\w{64}",
    ),
    "latency with hardware": (
        rewrite("metrics.json", lambda c: c["latency"].update(processor="")),
        r"metrics\.json names no processor for the latency",
    ),
    "code revision": (
        of_provenance("code", revision="unknown"),
        r"the code revision is 'unknown' in config\.json, expected that of a git commit",
    ),
    "config.json complete": (
        rewrite("config.json", lambda c: c["dermhub"]["provenance"]["data"].pop("table_sha256")),
        r"config\.json lacks data\.table_sha256",
    ),
    "pictures": (
        lambda folder: (folder / "figures" / "roc.png").unlink(),
        r"the card shows figures/roc\.png, which the folder does not hold",
    ),
}
"""Item -> a way to break it, and the regular expression of the sentence that tells of it."""


@pytest.fixture(scope="module")
def committed(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a real run, as made in a git checkout; the tests may run where there is none."""
    copy = Path(shutil.copytree(finished_run / "model", tmp_path_factory.mktemp("own") / "lesion"))
    of_provenance("code", revision="0" * 40)(copy)
    return copy


@pytest.fixture
def folder(committed: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(committed, tmp_path / "lesion"))


def problems(folder: Path) -> dict[str, str]:
    """Item that is not met -> its sentence."""
    return {outcome.item: outcome.problem for outcome in checklist.lint(folder).missing}


def test_a_real_card_meets_every_item(folder: Path) -> None:
    report = checklist.lint(folder)
    assert report.missing == ()
    assert report.met == len(checklist.ITEMS) == 8
    checklist.check(folder)


def test_a_card_of_ham10000_meets_every_item(folder: Path) -> None:
    of_provenance("data", ham10000_lesions=True)(folder)
    assert checklist.lint(folder).missing == ()


def test_every_item_is_broken_here() -> None:
    assert list(BREAKS) == [item.name for item in checklist.ITEMS]


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_item_is_told_in_its_own_sentence(folder: Path, name: str) -> None:
    change, sentence = BREAKS[name]
    change(folder)
    missing = problems(folder)
    assert set(missing) == {name}
    assert re.fullmatch(sentence, missing[name]), missing[name]


def test_data_without_lesion_ids_are_told(folder: Path) -> None:
    rewrite("metrics.json", lambda c: c.update(overlap=None))(folder)
    assert problems(folder) == {
        "no lesion in two splits": "the data name no lesions, so that photographs of one may stand "
        "in training and in test"
    }


def test_data_without_a_name_are_told(folder: Path) -> None:
    # The folder at the root of a drive has none.
    of_provenance("data", source="")(folder)
    assert problems(folder) == {"config.json complete": "config.json lacks data.source"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            edit("0 lesions stand in", "2 lesions stand in"),
            "training or selection (2 lesions stand ",
        ),
        (edit("license: other", "license: mit"), "license: mit"),
        (edit("| images | 35", "| images | 36"), "| images | 36 "),
        (edit("## Limits\n", "## Limits\n\nIt is 99.9 % right.\n"), "It is 99.9 % right."),
        (edit("## Limits\n", "## Thanks\n\nTo everyone.\n\n## Limits\n"), "## Thanks"),
        (edit("not a medical device", "a medical device"), "**This is research software and a "),
    ],
    ids=["prose", "front matter", "table", "figure", "words", "disclaimer"],
)
def test_no_line_may_differ_or_be_added(folder: Path, change: Break, line: str) -> None:
    change(folder)
    missing = problems(folder)
    assert set(missing) == {"card equal to its figures"}
    sentence = missing["card equal to its figures"]
    match = re.fullmatch(r"README.md has in line (\d+) .*, the figures give .*", sentence)
    assert match, sentence
    assert (folder / "README.md").read_text().splitlines()[int(match[1]) - 1].startswith(line)


def test_nothing_may_be_appended(folder: Path) -> None:
    with (folder / "README.md").open("a") as stream:
        stream.write("\nOne more sentence.\n")
    expected = "README.md is longer or shorter than the card that the figures give"
    assert problems(folder) == {"card equal to its figures": expected}


@pytest.mark.parametrize("key", ["overlap", "weights", "latency", "test", "data", "maps"])
def test_metrics_that_lack_a_block_are_told(folder: Path, key: str) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    del content[key]
    files.write_json(folder / "metrics.json", content)
    assert set(problems(folder).values()) == {
        f"metrics.json or config.json lacks or garbles '{key}'"
    }


@pytest.mark.parametrize("key", ["class_differs", "lesions_class"])
def test_a_figure_that_the_template_asks_for_in_vain_is_named(folder: Path, key: str) -> None:
    # One of the two is formatted with three digits, the other one stands there as it is.
    def change(content: Any) -> None:
        content["test"]["retest"]["lesions"] = 1
        del content["test"]["retest"][key]

    content = json.loads((folder / "metrics.json").read_text())
    change(content)
    files.write_json(folder / "metrics.json", content)
    expected = f"metrics.json or config.json lacks or garbles '{key}'"
    assert problems(folder) == {"card equal to its figures": expected}


@pytest.mark.parametrize("content", ["[]", '{"test": 5}', '{"test": {"n": 0}}'])
def test_metrics_that_are_something_else_are_told(folder: Path, content: str) -> None:
    (folder / "metrics.json").write_text(content)
    told = problems(folder)["card equal to its figures"]
    assert told.startswith("metrics.json or config.json lacks or garbles ")
    assert "\n" not in told


def test_a_split_without_images_is_told(folder: Path) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    content["test"]["n"] = 0
    files.write_json(folder / "metrics.json", content)
    assert problems(folder) == {
        "card equal to its figures": "metrics.json or config.json lacks or garbles division by zero"
    }


def test_a_check_names_what_is_missing_in_one_sentence(folder: Path) -> None:
    rewrite("metrics.json", lambda c: c.update(overlap=3))(folder)
    rewrite("metrics.json", lambda c: c["latency"].update(processor=" "))(folder)
    for name in ("code revision", "pictures"):
        BREAKS[name][0](folder)
    with pytest.raises(ModelError) as caught:
        checklist.check(folder)
    assert str(caught.value) == (
        f"{folder} meets 4 of 8 items of the reporting checklist, expected all: no lesion in two "
        "splits (3 lesions stand in more than one split, expected none); latency with hardware "
        "(metrics.json names no processor for the latency); code revision (the code revision is "
        "'unknown' in config.json, expected that of a git commit); pictures. Train or measure the "
        "model again."
    )


@pytest.mark.parametrize("name", checklist.NEEDED)
def test_a_folder_without_its_files_is_no_model(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"^{folder} can't be published: it lacks {name}; "):
        checklist.lint(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "README.md"])
def test_files_that_are_garbage(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelError, match=f"{name} (is not valid JSON|can't be read)"):
        checklist.check(folder)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(folder)]) == 0
    assert capsys.readouterr() == (f"{folder}: 8 of 8 items met.\n", "")
    BREAKS["no lesion in two splits"][0](folder)
    assert main(["lint", str(tmp_path / "none"), str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == (
        f"{folder}: missing: no lesion in two splits: 3 lesions stand in more than one split, "
        "expected none.\n"
        f"{folder}: 7 of 8 items met.\n"
    )
    assert err.startswith(
        f"dermhub: {tmp_path / 'none'} can't be published: it lacks README.md, config.json, "
    )


@pytest.mark.parametrize(
    "folder", [pytest.param(path, id=name) for name, path in catalog.shipped().items()]
)
def test_every_shipped_card_meets_every_item(folder: Path) -> None:
    assert checklist.lint(folder).missing == ()
