"""The reporting checklist: a real card meets it, and each item, broken alone, is missed with its
own sentence.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from dermhub import files
from dermhub.cards import checklist
from dermhub.cli.main import main
from dermhub.errors import ModelError
from dermhub.models import catalog
from tests.support.card_damage import BREAKS, TOGETHER, Break, edit, rewrite, sub


@pytest.fixture(scope="module")
def own(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a real run, of data that is not HAM10000 (the tests may run where there is no git
    revision).
    """
    copy = Path(shutil.copytree(finished_run / "model", tmp_path_factory.mktemp("own") / "lesion"))
    rewrite("config.json", lambda c: c["dermhub"]["provenance"]["code"].update(revision="0" * 40))(
        copy
    )
    return copy


@pytest.fixture(scope="module")
def of_ham(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, saying that it was trained on HAM10000: here every item applies."""
    copy = Path(shutil.copytree(own, tmp_path_factory.mktemp("ham") / "lesion"))
    rewrite(
        "config.json", lambda c: c["dermhub"]["provenance"]["data"].update(ham10000_lesions=True)
    )(copy)
    return copy


@pytest.fixture
def folder(own: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(own, tmp_path / "lesion"))


@pytest.fixture
def ham(of_ham: Path, tmp_path: Path) -> Path:
    """A copy to damage, of HAM10000."""
    return Path(shutil.copytree(of_ham, tmp_path / "lesion"))


def test_a_real_card_meets_all_that_applies(folder: Path) -> None:
    report = checklist.lint(folder)
    assert report.missing == ()
    assert (report.met, report.share) == (len(checklist.ITEMS) - 2, 1.0)
    checklist.check(folder)


def test_a_card_of_ham10000_meets_every_item(ham: Path) -> None:
    report = checklist.lint(ham)
    assert report.missing == ()
    assert report.met == len(checklist.ITEMS) >= 25


def test_every_item_is_broken_here() -> None:
    assert list(BREAKS) == [item.name for item in checklist.ITEMS]


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_item_is_told_in_its_own_sentence(ham: Path, name: str) -> None:
    change, sentence = BREAKS[name]
    change(ham)
    missing = {outcome.item: outcome.problem for outcome in checklist.lint(ham).missing}
    assert name in missing
    pattern = sentence if re.search(r"\\[dw]|\.\*", sentence) else re.escape(sentence)
    assert re.fullmatch(pattern, missing[name]), missing[name]
    assert set(missing) == {name} | TOGETHER.get(name, set())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            edit("0 lesions stand in", "2 lesions stand in"),
            "section 'Figures' shows 2 where .* give 0",
        ),
        (edit("sha256 `", "sha256 `1"), "section 'Size and speed' shows .* where .* give .*"),
        (sub(r"^\| images \| 35", "| images | 36"), "section 'Data' shows 36 where .* give 35"),
        (sub(r"^\| `df` \|.*\n"), "section 'Each class, on test' shows .* where .* give .*"),
        (
            edit("## Limits\n", "## Limits\n\nIt is 99.9 % right.\n"),
            "section 'Limits' shows 99.9 where .* give .*",
        ),
        (
            edit("## Limits\n", "## Praise\n\nBest of 7.\n\n## Limits\n"),
            "section 'Praise' shows 7 where .* give nothing",
        ),
        (edit("Input: one", "Input: 2"), "section 'dermhub lesion' shows 2 where .* give 48"),
    ],
    ids=["prose", "hash", "table", "row", "added", "section", "opening"],
)
def test_no_figure_may_differ_or_be_added(folder: Path, change: Break, told: str) -> None:
    change(folder)
    missing = {outcome.item: outcome.problem for outcome in checklist.lint(folder).missing}
    assert re.fullmatch(told, missing["every figure equal to metrics.json"])


def test_words_may_be_added(folder: Path) -> None:
    edit(
        "## Limits\n",
        "## Thanks\n\nTo everyone who # helped.\n\n```\n# no heading\n```\n\n## Limits\n",
    )(folder)
    assert checklist.lint(folder).missing == ()


@pytest.mark.parametrize("key", ["overlap", "weights", "latency", "test", "data"])
def test_metrics_of_an_older_version_are_told(folder: Path, key: str) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    del content[key]
    files.write_json(folder / "metrics.json", content)
    missing = {outcome.problem for outcome in checklist.lint(folder).missing}
    assert missing == {f"metrics.json or config.json lacks or garbles '{key}'"}


@pytest.mark.parametrize("block", ["- a\n- list", "text", "[broken", ""])
def test_front_matter_that_is_none(folder: Path, block: str) -> None:
    body = (folder / "README.md").read_text().split("---\n", 2)[2]
    (folder / "README.md").write_text(f"---\n{block}\n---\n{body}")
    first = checklist.lint(folder).missing[0]
    assert first.item == "front matter"
    assert "\n" not in first.problem


def test_a_check_names_what_is_missing_in_one_sentence(folder: Path) -> None:
    for name in ("library", "tags", "limits", "pictures"):
        BREAKS[name][0](folder)
    with pytest.raises(ModelError) as caught:
        checklist.check(folder)
    assert str(caught.value) == (
        f"{folder} meets 39 of 43 items of the reporting checklist, expected all: "
        "library (library_name is None in the front matter, expected 'timm'); "
        "tags (tags of the front matter lack timm); limits (section 'Limits' does not name "
        "'External test'); "
        "pictures. Train or measure the model again, or mend the card."
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
    assert capsys.readouterr() == (f"{folder}: 43 of 43 items met.\n", "")
    BREAKS["library"][0](folder)
    assert main(["lint", str(tmp_path / "none"), str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == (
        f"{folder}: missing: library: library_name is None in the front matter, expected 'timm'.\n"
        f"{folder}: 42 of 43 items met.\n"
    )
    assert err.startswith(
        f"dermhub: {tmp_path / 'none'} can't be published: it lacks README.md, config.json, "
    )


@pytest.mark.parametrize(
    "folder", [pytest.param(path, id=name) for name, path in catalog.shipped().items()]
)
def test_every_shipped_card_meets_every_item(folder: Path) -> None:
    assert checklist.lint(folder).missing == ()
