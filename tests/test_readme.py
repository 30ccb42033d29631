"""What the README says is true: its front matter, its commands, its figures and its snippets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import dermhub
from dermhub import files
from dermhub.tasks import LESION
from tests.support.demo_process import Demo
from tests.support.tiny import make_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_space_can_be_made_from_the_front_matter() -> None:
    front = yaml.safe_load(README.split("---\n")[1])
    pins = dict(
        re.findall(r"^(\w+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins["gradio"]
    assert (ROOT / front["app_file"]).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "python_version", "license"} <= front.keys()
    # The hub refuses longer ones.
    assert len(front["short_description"]) <= 60


def test_the_two_commands_come_first_and_ci_runs_the_second() -> None:
    blocks = re.findall(r"```\n(.*?)\n```", README, re.DOTALL)
    assert blocks[:2] == [
        "pip install -r requirements.txt && python app.py",
        "pip install -r requirements-dev.txt && pytest",
    ]
    pattern = re.search(r"sed -n 's/(.*)/\\1/p' README.md", (ROOT / ".ci/run").read_text())
    assert pattern is not None
    found = re.findall(pattern[1].replace(r"\(", "(").replace(r"\)", ")"), README, re.MULTILINE)
    assert found == blocks[1:2]


def test_its_figures_are_those_of_the_shipped_models() -> None:
    models = {
        name: files.read_json(folder / "metrics.json") for name, folder in dermhub.shipped().items()
    }
    if not models:
        pytest.skip("model_cards/ holds no model")
    (head,) = re.findall(r"^\| test \| (.+) \|$", README, re.MULTILINE)
    names = [name.strip("`") for name in head.split(" | ")]
    assert sorted(names) == sorted(models)
    rows = re.findall(r"^\| ([^|]+?) ((?:\| \d[\d.]* )+)\|$", README, re.MULTILINE)
    keys = {
        "accuracy": "accuracy",
        "balanced accuracy": "balanced_accuracy",
        "macro-F1": "macro_f1",
        "AUROC, mean over classes": "macro_auroc",
        "AUROC of malignancy": "malignancy_auroc",
        "expected calibration error": "ece",
    }
    assert {row[0] for row in rows} >= keys.keys()
    for text, values in rows:
        for name, value in zip(names, values.strip("| ").split(" | "), strict=True):
            test = models[name]["test"]
            if "biopsied" in text:
                part = (
                    test["histology_only"]
                    if "AUROC" in text
                    else test["subgroups"]["dx_type"]["histo"]
                )
                key = "malignancy_auroc" if "AUROC" in text else "specificity"
                assert value == f"{part[key]:.3f}", (text, name)
            elif text in keys:
                assert value == f"{test[keys[text]]:.3f}", (text, name)
            else:
                point = test["operating_points"]["sensitivity_95"]
                assert value == f"{point[text.split()[0]]:.3f}", (text, name)
    for model in models.values():
        assert f"{model['test']['n']:,} images of {model['test']['lesions']:,} lesions" in README


def test_its_snippet_runs(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = next(
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if "dermhub.load" in block
    )
    make_model(tmp_path / "lesion", LESION)
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert (tmp_path / "map.png").stat().st_size > 0


@pytest.mark.slow
def test_its_client_snippet_runs(
    demo: Demo,
    tmp_path: Path,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (snippet,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if "gradio_client" in block
    )
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet.replace("http://127.0.0.1:7860", demo.url), "README.md", "exec"), {})
    found = capsys.readouterr().out
    assert re.search(
        r"^0\.\d+ 0\.\d+\n\{'akiec': 0\.\d+, .*\} \[.*\]\n(True|False) \[.*\]$", found, re.MULTILINE
    ), found


def test_every_file_it_names_exists() -> None:
    names = set(re.findall(r"`([\w./-]+\.(?:csv|py|md|cff|txt)|LICENSE)`", README)) - {
        "labels.csv",
        "history.csv",
    }
    names |= set(re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))
    assert {"LICENSE", "dermhub/data/partition.csv", "docs/screenshot.png"} <= names
    assert [name for name in names if not (ROOT / name).is_file()] == []
