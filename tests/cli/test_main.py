"""python -m dermhub as a whole: its options, list, and how it behaves as a process."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import dermhub
from dermhub.cli import cards
from dermhub.cli.main import main
from dermhub.models import catalog
from dermhub.models.classifier import Classifier
from tests.support.tiny import Command

ROOT = Path(dermhub.__file__).parent.parent


def process(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """A Python of its own, whose output goes through a buffer as it does outside of a terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def test_list_shows_what_the_files_of_the_models_say(
    command: Command, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seven").symlink_to(finished_run / "model")
    (tmp_path / "no-model").mkdir()
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    code, out, err = command("list")
    assert (code, err) == (0, "")
    heading, line = out.splitlines()
    assert heading.split() == [
        "id",
        "task",
        "backbone",
        "MB",
        "test:",
        "accuracy",
        "balanced",
        "AUROC",
        "malignancy",
    ]
    test = json.loads((finished_run / "model" / "metrics.json").read_text())["test"]
    figures = [
        f"{test[name]:.4f}" for name in ("accuracy", "balanced_accuracy", "malignancy_auroc")
    ]
    megabytes = (finished_run / "model" / "model.safetensors").stat().st_size / 1_000_000
    assert line.split() == ["seven", "lesion", "test_resnet", f"{megabytes:.1f}", *figures]


def test_list_without_models(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path / "none")
    expected = "dermhub: No model is shipped: there is no folder model_cards beside the package.\n"
    assert command("list") == (2, "", expected)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["predcit", "x.jpg"],
        ["predict", "x.jpg", "--formt", "json"],
        ["predict", "x.jpg", "--format", "xml"],
        ["evaluate", "--model", "binary", "--images", "x"],
        ["evaluate", "--model", "m", "--images", "x", "--labels", "y", "--split", "tset"],
        ["evaluate", "--model", "m", "--images", "x", "--labels", "y", "--workers", "two"],
        ["list", "lesion"],
    ],
)
def test_a_wrong_option_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m dermhub")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["evaluate", "--help"], ["list", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = {"torch", "timm", "numpy", "pandas", "PIL", "matplotlib", "safetensors", "gradio"}
    code = (
        f"import runpy, sys; sys.argv = ['dermhub/__main__.py', *{arguments}]\n"
        "try: runpy.run_module('dermhub', run_name='__main__')\n"
        f"finally: print('LOADED', *({heavy} & set(sys.modules)))"
    )
    done = process("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m dermhub")
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.slow
def test_the_command_itself(tiny_binary_model: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    images = [str(tmp_path / "empty.jpg"), str(photo)]
    done = process(
        "-m", "dermhub", "predict", *images, "--model", str(tiny_binary_model), "--format", "json"
    )
    assert done.returncode == 2
    assert done.stderr == f"dermhub: {images[0]} is empty (0 bytes), expected an image file.\n"
    row = json.loads(done.stdout)[0]
    expected = Classifier(tiny_binary_model).predict(photo)
    assert (row["image"], row["label"]) == (str(photo), expected.label)
    # Another number of threads adds up in another order.
    assert row["malignancy"] == pytest.approx(expected.malignancy, rel=1e-4)


WITHOUT = (
    "import sys; sys.modules['torch'] = None; from dermhub.__main__ import main; "
    "sys.exit(main(sys.argv[1:]))"
)
"""python -m dermhub where PyTorch is not installed."""


def test_what_is_not_installed_is_one_sentence(tiny_binary_model: Path, photo: Path) -> None:
    done = process("-c", WITHOUT, "predict", str(photo), "--model", str(tiny_binary_model))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"dermhub: {tiny_binary_model} has no model.onnx, so that PyTorch alone can run it, and "
        "torch is not installed: pip install -r requirements.txt. Without it, models with a "
        "model.onnx answer, such as lesion and binary.\n"
    )


@pytest.mark.slow
def test_evaluate_and_verify_need_no_torch_where_there_is_a_graph(
    command: Command, finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model = finished_run / "model"
    labels = pd.read_csv(tiny_data / "tiny_metadata.csv")[["image_id", "dx"]]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    absent = WITHOUT.replace(
        "sys.modules['torch'] = None",
        "sys.modules |= dict.fromkeys(('torch', 'torchvision', 'timm', 'safetensors'))",
    )
    for arguments in (
        ("evaluate", "--model", model, "--images", tiny_data, "--labels", tmp_path / "labels.csv"),
        ("verify", model, "--images", tiny_data),
    ):
        for workers in (0, 2):
            options = [str(argument) for argument in (*arguments, "--workers", workers)]
            done = process("-W", "error", "-c", absent, *options)
            code, out, err = command(*options)
            assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
            assert code == 0
    # Of seven classes one lesion each in validation and in test, with one photograph.
    assert "the card and the logits of 14 images are what the predictions give.\n" in out


LIST = """
import pathlib, sys
from dermhub.cli import cards
from dermhub.cli.main import main
from dermhub.models import catalog
catalog.MODEL_CARDS = pathlib.Path(sys.argv[1])
sys.exit(main(["list"]))
"""
"""python -m dermhub list, of the models in another folder."""


def test_a_reader_that_has_gone_is_no_error(finished_run: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = process("-c", LIST, str(finished_run), stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


class Leaving(io.StringIO):
    """A reader that goes after the first line."""

    def write(self, text: str) -> int:
        """Take what belongs to the first line."""
        if "\n" in self.getvalue():
            raise BrokenPipeError
        return super().write(text)


def test_a_reader_that_goes_after_the_heading_does_not_damage_a_model(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "MODEL_CARDS", finished_run)
    with contextlib.redirect_stdout(Leaving()), pytest.raises(BrokenPipeError):
        cards.run_list(argparse.Namespace())


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full"
)
def test_output_to_a_full_disk(finished_run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = process("-c", LIST, str(finished_run), stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr == "dermhub: The output can't be written (No space left on device).\n"


def test_a_file_name_that_can_not_be_printed(
    tiny_binary_model: Path, photo: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"\xff.jpg")
    shutil.copy(photo, tmp_path / name)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(stream):
        assert main(["predict", str(tmp_path / name), "--model", str(tiny_binary_model)]) == 0
    stream.seek(0)
    assert f"{tmp_path}/\\udcff.jpg" in stream.read()


def test_a_name_that_is_too_long_is_one_sentence(command: Command, photo: Path) -> None:
    code, out, err = command("predict", photo, "--model", "a" * 300)
    assert (code, out) == (2, "")
    assert err == f"dermhub: '{'a' * 80}' can't be used (File name too long).\n"


@pytest.mark.parametrize("name", ["user/model-", "user/-model", "user./model"])
def test_what_the_hub_would_refuse_as_a_name(command: Command, name: str) -> None:
    code, out, err = command("pull", name)
    assert (code, out) == (2, "")
    assert err.startswith("dermhub: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("damage", ["metrics", "weights"])
def test_list_with_a_damaged_model(
    command: Command,
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    folder = Path(shutil.copytree(trained["lesion"], tmp_path / "lesion"))
    if damage == "metrics":
        (folder / "metrics.json").write_text("{}")
    else:
        (folder / "model.safetensors").unlink()
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    code, _, err = command("list")
    assert code == 2
    assert re.fullmatch(
        f"dermhub: {re.escape(str(folder))} is damaged \\(.*\\): restore it, for example with "
        "git.\n",
        err,
    )
