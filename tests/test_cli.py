"""The command line: python -m dermhub predict | evaluate | list."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dermhub
from dermhub import __main__ as cli
from dermhub import files
from dermhub.drawings import draw
from dermhub.labels import BINARY, LESION_NAMES

HEAVY = {"torch", "timm", "numpy", "pandas", "PIL", "matplotlib", "gradio", "kagglehub", "safetensors"}


def run(capsys: pytest.CaptureFixture[str], *options: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    code = cli.main([str(option) for option in options])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawings, one of them in a folder below; and a text that is no image. Read only."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "below").mkdir()
    for number, name in enumerate(("a.png", "b.jpg", "below/a.png")):
        draw(number, (90, 80), number / 2).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_predict_gives_what_the_api_gives(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, folder: Path
) -> None:
    code, out, err = run(capsys, "predict", folder / "b.jpg", "--model", tiny_lesion_model, "--format", "json")
    expected = dermhub.load(tiny_lesion_model).predict(folder / "b.jpg")
    assert (code, err) == (0, "")
    assert json.loads(out) == [
        {
            "image": str(folder / "b.jpg"),
            "label": expected.label,
            "malignancy": expected.malignancy,
            "malignant": expected.malignant,
            "threshold": 0.25,
            **{f"p_{name}": expected.probabilities[name] for name in LESION_NAMES},
        }
    ]


def test_predict_takes_folders_and_files_in_order(
    capsys: pytest.CaptureFixture[str], tiny_binary_model: Path, folder: Path
) -> None:
    code, out, _ = run(capsys, "predict", folder / "b.jpg", folder, "--model", tiny_binary_model, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["image"] for row in rows] == [str(folder / n) for n in ("b.jpg", "a.png", "b.jpg", "below/a.png")]
    assert list(rows[0]) == ["image", "label", "malignancy", "malignant", "threshold", "p_benign", "p_malignant"]
    for row in rows:
        assert float(row["p_benign"]) + float(row["p_malignant"]) == pytest.approx(1)
        assert float(row["malignancy"]) == float(row["p_malignant"])
        assert row["malignant"] == str(float(row["malignancy"]) >= 0.25)


def test_the_table_says_what_its_marks_mean(
    capsys: pytest.CaptureFixture[str], tiny_binary_model: Path, folder: Path
) -> None:
    code, out, _ = run(capsys, "predict", folder / "a.png", "--model", tiny_binary_model)
    heading, row, _, legend, warning = out.splitlines()
    prediction = dermhub.load(tiny_binary_model).predict(folder / "a.png")
    assert code == 0
    assert heading.split() == ["image", "label", "malignancy", "benign", "malignant"]
    mark = ">=" if prediction.malignant else "<"
    values = [f"{value:.4f}" for value in prediction.probabilities.values()]
    assert row.split() == [str(folder / "a.png"), prediction.label, f"{prediction.malignancy:.4f}", mark, *values]
    assert "sensitivity_95, 0.2500 (at least 95% sensitivity for malignancy, chosen on validation)" in legend
    assert "not a medical device" in warning


def test_a_bad_image_among_good_ones_costs_only_itself(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, folder: Path
) -> None:
    code, out, err = run(
        capsys,
        *("predict", folder / "notes.txt", folder / "a.png", folder / "gone.png"),
        *("--model", tiny_lesion_model, "--format", "json"),
    )
    assert code == 2
    assert [row["image"] for row in json.loads(out)] == [str(folder / "a.png")]
    first, second = err.splitlines()
    assert first.startswith("dermhub: ")
    assert "notes.txt is not an image that can be read" in first
    assert "gone.png" in second


def test_explain_writes_a_map_of_the_image_size(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    code, _, _ = run(capsys, "predict", folder, "--model", tiny_lesion_model, "--explain", tmp_path / "maps")
    assert code == 0
    # Two images are called a.png: neither map may replace the other.
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["a-1-map.png", "a-2-map.png", "b-map.png"]
    classifier = dermhub.load(tiny_lesion_model)
    for name, image in (("a-1", "a.png"), ("a-2", "below/a.png"), ("b", "b.jpg")):
        with Image.open(tmp_path / "maps" / f"{name}-map.png") as overlay:
            assert overlay.size == (90, 80)
            assert np.array_equal(np.asarray(overlay), np.asarray(classifier.explain(folder / image).overlay))


def test_evaluate_counts_by_hand(capsys: pytest.CaptureFixture[str], tiny_binary_model: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    (tmp_path / "images").mkdir()
    truth = {"one": "mel", "two": "nv", "three": "malignant", "four": "benign", "five": "scc"}
    for number, name in enumerate(truth):
        draw(number, (80, 80), number / 5).save(tmp_path / "images" / f"{name}.png")
    labels.write_text("image_id,dx\n" + "".join(f"{name}.png,{dx}\n" for name, dx in truth.items()))
    code, out, err = run(
        capsys, "evaluate", "--model", tiny_binary_model, "--images", tmp_path / "images", "--labels", labels
    )
    classifier = dermhub.load(tiny_binary_model)
    right = 0
    for name, sick in (("one", True), ("two", False), ("three", True), ("four", False)):
        right += (classifier.predict(tmp_path / "images" / f"{name}.png").label == "malignant") == sick
    found = json.loads(out)
    assert code == 0
    assert (found["n"], found["left_out"], found["accuracy"]) == (4, {"scc": 1}, right / 4)
    assert [found["per_class"][name]["n"] for name in BINARY.classes] == [2, 2]
    assert np.sum(found["confusion_matrix"]) == 4
    assert err == "dermhub: left out, no class of the task 'binary': 1 x scc.\n"


def test_evaluate_warns_of_lesions_the_models_were_trained_on(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, tmp_path: Path
) -> None:
    ids: dict[str, str] = {}
    for lesion, split in dermhub.partition.shipped().items():
        ids.setdefault(split, lesion)
    for number in range(3):
        draw(number, (80, 80)).save(tmp_path / f"{number}.png")
    rows = [f"{n},{dx},{ids[split]}\n" for n, dx, split in ((0, "nv", "train"), (1, "mel", "test"), (2, "nv", "test"))]
    (tmp_path / "labels.csv").write_text("image_id,dx,lesion_id\n" + "".join(rows))
    common = ("evaluate", "--model", tiny_lesion_model, "--images", tmp_path, "--labels", tmp_path / "labels.csv")
    code, out, err = run(capsys, *common)
    assert code == 0
    assert (json.loads(out)["images_of_training_lesions"], json.loads(out)["lesions"]) == (1, 2)
    assert "WARNING: 1 of 3 images" in err
    code, out, err = run(capsys, *common, "--split", "test", "--out", tmp_path / "new" / "figures.json")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path / 'new' / 'figures.json'}: 2 images\n"
    assert files.read_json(tmp_path / "new" / "figures.json")["images_of_training_lesions"] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image_id,diagnosis\na,nv\n", "dx"),
        ("dx\nnv\n", "image_id"),
        ("image_id,dx\na,nv\na.png,mel\n", "more than once (a)"),
        ("image_id,dx\na,nv\nz,mel\n", "z"),
        ("image_id,dx\na,scc\nb,melanoma\n", "No label"),
        ("image_id,dx\n", "no rows"),
        ("", "can't be read as a CSV table"),
        ("image_id,dx\na,\n", "empty dx in line(s) 2"),
    ],
)
def test_evaluate_refuses_a_bad_table(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, folder: Path, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "labels.csv").write_text(content)
    options = ("--images", folder / "below", "--labels", tmp_path / "labels.csv", "--out", tmp_path / "out.json")
    code, out, err = run(capsys, "evaluate", "--model", tiny_lesion_model, *options)
    assert (code, out) == (2, "")
    assert err.startswith("dermhub: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "out.json").exists()


def test_evaluate_with_one_class_leaves_out_what_is_not_defined(
    capsys: pytest.CaptureFixture[str], tiny_lesion_model: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("image_id,dx\na,nv\n")
    options = ("--images", folder / "below", "--labels", tmp_path / "labels.csv")
    code, out, _ = run(capsys, "evaluate", "--model", tiny_lesion_model, *options)
    found = json.loads(out)
    assert code == 0
    assert (found["n"], found["malignancy_auroc"], found["macro_auroc"]) == (1, None, None)
    assert found["operating_points"]["sensitivity_95"]["sensitivity"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("predict", "x.png", "--model", "nowhere"), "no model 'nowhere'"),
        (("predict", "{empty}", "--model", "{model}"), "holds no images"),
        (("predict", "{photo}", "--model", "{model}", "--explain", "{file}/maps"), "{file}"),
        (("evaluate", "--model", "{model}", "--images", "{gone}", "--labels", "{labels}"), "no folder {gone}"),
        (("evaluate", "--model", "{model}", "--images", "{empty}", "--labels", "{gone}"), "{gone}"),
        (("evaluate", "--model", "{model}", "--images", "{empty}", "--labels", "{labels}", "--workers", "-1"), "-1"),
        (
            ("evaluate", "--model", "{model}", "--images", "{empty}", "--labels", "{labels}", "--split", "test"),
            "lesion_id",
        ),
    ],
)
def test_other_wrong_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    tiny_lesion_model: Path,
    photo: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    words: str,
) -> None:
    places = {"empty": tmp_path / "empty", "gone": tmp_path / "gone", "labels": tmp_path / "labels.csv"}
    places |= {"file": tmp_path / "labels.csv", "model": tiny_lesion_model, "photo": photo}
    places["empty"].mkdir()
    places["labels"].write_text("image_id,dx\na,nv\n")
    code, out, err = run(capsys, *(option.format(**places) for option in options))
    assert code == 2
    assert err.startswith("dermhub: ")
    assert err.count("\n") == 1
    assert words.format(**places) in err
    assert out == ""


def test_a_shipped_model_misspelt_is_suggested(capsys: pytest.CaptureFixture[str], photo: Path) -> None:
    if "lesion" not in dermhub.shipped():
        pytest.skip("model_cards/ holds no model")
    code, _, err = run(capsys, "predict", photo, "--model", "lesoin")
    assert code == 2
    assert "Did you mean 'lesion'?" in err


def test_list_shows_the_shipped_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list")
    if not dermhub.shipped():
        assert (code, "No model is shipped" in err) == (2, True)
        return
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:]}
    assert set(rows) == set(dermhub.shipped())
    for name, folder in dermhub.shipped().items():
        test = files.read_json(folder / "metrics.json")["test"]
        figures = [f"{test[key]:.4f}" for key in ("accuracy", "balanced_accuracy", "malignancy_auroc")]
        assert rows[name][4:] == figures


@pytest.mark.parametrize("options", [[], ["predict"], ["nonsense"], ["predict", "a.png", "--formt", "csv"]])
def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(options)
    assert "usage: python -m dermhub" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("predict",), ("evaluate",), ("list",)])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom dermhub.__main__ import main\n"
        f"try: main([*{command!r}, '--help'])\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    shown, _, loaded = done.stdout.partition("LOADED")
    assert "usage: python -m dermhub" in shown
    assert not {name.split(".")[0] for name in loaded.split()} & HEAVY


def test_a_reader_that_leaves_early_is_no_error(tiny_binary_model: Path, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "dermhub", "predict", str(folder), "--model", str(tiny_binary_model)]
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
