"""train.py as a command: what it imports, and runs that are refused before anything is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import train
from dermhub.data import tables
from dermhub.errors import ConfigError, DataError, DermhubError, ModelError
from dermhub.tasks import LESION
from dermhub.training import image_hashes, lock, run
from dermhub.training.config import TrainConfig
from tests.support.tiny import TINY_RUN, run_training

TRAIN = str(Path(train.__file__).resolve())
HEAVY = ("torch", "timm", "numpy", "pandas", "PIL", "matplotlib", "kagglehub", "safetensors")
REPORT = f"""
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("LOADED", *(name for name in {HEAVY} if name in sys.modules))
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240
    )


def light(*options: str) -> subprocess.CompletedProcess[str]:
    """train.py in a process of its own, whose last line of output names its heavy imports."""
    return python("-c", f"import sys; sys.argv = {[TRAIN, *options]!r}\n{REPORT}")


def refusal(tmp_path: Path, *options: object) -> DermhubError:
    """The error of a run that must not begin: one sentence, and nothing written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DermhubError) as caught:
        run_training(*options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    return caught.value


def test_help_names_every_option_and_imports_nothing_heavy() -> None:
    done = light("--help")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "LOADED"
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in done.stdout
    assert "--resume RUN" in done.stdout


@pytest.mark.parametrize(
    "options", [["--epochs", "0"], ["--resume", "nowhere"], ["--task", "binray"]]
)
def test_a_wrong_option_is_exit_code_2_and_one_sentence_at_once(options: list[str]) -> None:
    done = light(*options)
    assert (done.returncode, done.stdout) == (2, "LOADED\n")
    assert done.stderr.startswith("train.py: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_torch_it_says_so() -> None:
    code = (
        f"import runpy, sys; sys.modules['torch'] = None; sys.argv = [{TRAIN!r}]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "train.py: this needs torch, which is not installed: pip install -r requirements.txt.\n"
    )


@pytest.mark.slow
def test_a_damaged_image_is_exit_code_2_and_one_sentence(tiny_data: Path, tmp_path: Path) -> None:
    # A worker process finds it here, and torch hands on its whole traceback as the error's text.
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    for path in (folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:300] + path.name.encode())
    done = python(
        TRAIN,
        "--data",
        str(folder),
        *map(str, TINY_RUN),
        "--workers",
        "1",
        "--out",
        str(tmp_path / "run"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"train.py: \S+TEST_\d+.jpg is damaged or cut short and can't be decoded; .*\.", last
    )


def test_a_damaged_test_image_is_refused_before_the_training(
    tiny_data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    table = tables.read_table(folder, LESION)
    path = Path(table["path"][table["split"] == "test"].iloc[-1])
    path.write_bytes(path.read_bytes()[:300])
    error = refusal(tmp_path, "--data", folder, *TINY_RUN, "--out", tmp_path / "run")
    assert str(error).startswith(f"{path} is damaged or cut short and can't be decoded; ")


def test_an_unknown_model_with_the_nearest_one(tiny_data: Path, tmp_path: Path) -> None:
    error = refusal(
        tmp_path, "--data", tiny_data, *TINY_RUN, "--model", "test_resnt", "--out", tmp_path / "run"
    )
    assert str(error) == "timm has no model 'test_resnt'. Did you mean 'test_resnet'?"


def test_a_model_that_is_no_cnn(tiny_data: Path, tmp_path: Path) -> None:
    options = ["--data", tiny_data, *TINY_RUN, "--model", "test_vit", "--out", tmp_path / "run"]
    assert str(refusal(tmp_path, *options)).startswith("test_vit is not a CNN with feature maps")


def test_data_that_are_not_there(tmp_path: Path) -> None:
    error = refusal(tmp_path, "--data", tmp_path / "none", *TINY_RUN, "--out", tmp_path / "run")
    assert isinstance(error, DataError)
    assert str(error).startswith(f"There is no folder {tmp_path / 'none'}")


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04 a pickle"])
def test_an_init_file_that_is_not_there_or_no_weights(
    tiny_data: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    error = refusal(
        tmp_path, "--data", tiny_data, *TINY_RUN, "--init", path, "--out", tmp_path / "run"
    )
    assert isinstance(error, ModelError)
    assert str(path) in str(error)


def test_an_init_file_of_another_model(
    tiny_data: Path, tmp_path: Path, tiny_lesion_model: Path
) -> None:
    path = Path(
        shutil.copy(tiny_lesion_model / "model.safetensors", tmp_path / "weights.safetensors")
    )
    error = refusal(
        tmp_path, "--data", tiny_data, *TINY_RUN, "--init", path, "--out", tmp_path / "run"
    )
    assert f"{path} does not fit test_resnet: it lacks tensor(s) " in str(error)


def test_out_that_already_holds_a_run(finished_run: Path, tiny_data: Path) -> None:
    error = refusal(finished_run, "--data", tiny_data, *TINY_RUN, "--out", finished_run)
    assert str(error) == (
        f"{finished_run} already holds a run: go on with --resume {finished_run}, or give another "
        "folder with --out."
    )


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_out_that_can_not_be_a_folder(tiny_data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    error = refusal(tmp_path, "--data", tiny_data, *TINY_RUN, "--out", tmp_path / name)
    assert "can't be written (" in str(error)
    assert str(error).endswith("choose a folder that can be written and has space.")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("make", [False, True])
def test_resume_of_a_folder_that_is_no_run(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "run"
    if make:
        folder.mkdir()
    error = refusal(tmp_path, "--resume", folder)
    assert str(error) == f"{folder} is not the folder of a run: it has no train_config.json."


def test_resume_of_a_folder_with_an_equals_sign(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    shutil.copy(finished_run / "train_config.json", folder)
    assert train.options(["--resume", str(folder)])[1:] == (folder, True)
    assert train.options([f"--resume={folder}"])[1:] == (folder, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ("[]", "is not what train.py wrote"),
        ("{}", "is not what train.py wrote"),
        ('{"options": 3}', "Expected the training options as a JSON object, got int"),
        ('{"options": {"epochs": "3"}}', "--epochs is '3', expected a value of type int"),
        ('{"options": {"epochs": 0}}', "--epochs is 0"),
        ('{"options": {"epoch": 3}}', "Unknown training option 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_resume_of_a_run_with_a_spoiled_configuration(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "train_config.json").write_text(content)
    assert message in str(refusal(tmp_path, "--resume", tmp_path))


def test_resume_when_the_data_have_changed(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out, moved = (
        Path(shutil.copytree(source, tmp_path / source.name))
        for source in (finished_run, tiny_data)
    )
    path = out / "train_config.json"
    content = json.loads(path.read_text())
    content["options"]["data"] = str(moved)
    path.write_text(json.dumps(content))
    labels = moved / "tiny_metadata.csv"
    labels.write_text(labels.read_text().replace(",bkl,", ",nv,", 1))
    error = refusal(tmp_path, "--resume", out)
    assert (
        str(error)
        == f"The data in {moved} changed since {out} was begun: start a new run with --out."
    )


def moved_run(finished_run: Path, tiny_data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of a finished run and of its data, the first of which names the second."""
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    content = json.loads((out / "train_config.json").read_text())
    content["options"]["data"] = str(data)
    (out / "train_config.json").write_text(json.dumps(content))
    return out, data


def test_resume_when_an_image_has_changed(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out, data = moved_run(finished_run, tiny_data, tmp_path)
    first, second = sorted((data / "images").iterdir())[3:5]
    for path in (first, second):
        # The same size and time, as an editor or a restored backup may leave them.
        before = path.stat()
        content = path.read_bytes()
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    error = refusal(tmp_path, "--resume", out)
    assert str(error) == (
        f"2 image(s) changed since {out} was begun ({first.stem}, {second.stem}): put back what "
        "they were, or start a new run with --out."
    )


def test_resume_with_other_hashes_than_the_run_has_written(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out, _ = moved_run(finished_run, tiny_data, tmp_path)
    with (out / "images.csv").open("a") as stream:
        stream.write("more\n")
    error = refusal(tmp_path, "--resume", out)
    assert str(error).startswith(f"{out / 'images.csv'} is not what the run has written")


def make_pipe(path: Path) -> None:
    """Put a pipe in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def test_a_run_of_an_earlier_version_goes_on(
    finished_run: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = moved_run(finished_run, tiny_data, tmp_path)
    content = json.loads((out / "train_config.json").read_text())
    del content["images_sha256"]
    (out / "train_config.json").write_text(json.dumps(content))
    # It gets as far as its state.
    (out / "state.safetensors").write_bytes(b"damaged")
    assert "state.safetensors is " in str(refusal(tmp_path, "--resume", out))
    said = f"{out} was begun by an earlier version, which kept no hashes of the images.\n"
    assert capsys.readouterr().out.endswith(said)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(Path.unlink, "No such file or directory"), (make_pipe, "it is no ordinary file")],
)
def test_images_that_are_no_files_any_more(
    tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    paths = [tmp_path / name for name in ("a.jpg", "=b.jpg")]
    for path in paths:
        path.write_bytes(path.name.encode())
    table = pd.DataFrame({"image_id": ["a", "=b"], "path": [str(path) for path in paths]})
    stated = image_hashes.write(tmp_path, table)
    assert "\n'=b," in (tmp_path / "images.csv").read_text()
    image_hashes.check(tmp_path, table, stated)
    change(paths[0])
    with pytest.raises(DataError, match=rf"^{paths[0]} can't be read \({reason}\)"):
        image_hashes.check(tmp_path, table, stated)


@pytest.mark.parametrize("place", ["directory", "link", "file"])
def test_a_lock_that_can_not_be_made(tmp_path: Path, place: str) -> None:
    out = tmp_path / "run"
    out.mkdir()
    if place == "directory":
        (out / ".lock").mkdir()
    elif place == "link":
        (out / ".lock").symlink_to(tmp_path / "elsewhere")
    else:
        out.rmdir()
        out.write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    said = rf"^{out} can't be written \(.*\): choose a folder that"
    with pytest.raises(ConfigError, match=said), lock.locked(out):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_somebodys_file_in_the_place_of_the_lock_stays(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("mine")
    with (
        pytest.raises(ConfigError, match=r"\.lock is not the lock of a run"),
        lock.locked(tmp_path),
    ):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


@pytest.mark.parametrize("name", ["data.json", "history.csv", "model"])
def test_a_new_run_writes_over_nothing_of_somebody_else(
    tiny_data: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if name == "model":
        (out / name).mkdir()
    else:
        (out / name).write_text("mine")
    before = sorted(out.iterdir())
    error = refusal(tmp_path, "--data", tiny_data, *TINY_RUN, "--out", out)
    assert str(error) == (
        f"{out} holds {name}, and is no folder of a run: the run would write over it; give another "
        "folder with --out."
    )
    assert sorted(out.iterdir()) == before
    # A run that was killed before it had written its configuration is begun anew.
    (out / ".lock").touch()
    lock.check_free(out, [name])


def test_the_hashes_are_those_of_the_files(finished_run: Path, tiny_data: Path) -> None:
    lines = (finished_run / "images.csv").read_text().splitlines()
    photo = tiny_data / "images" / "TEST_0000.jpg"
    expected = hashlib.sha256(photo.read_bytes()).hexdigest()
    assert lines[:2] == ["image_id,sha256", f"TEST_0000,{expected}"]
    assert len(lines) == 50


def test_a_second_run_in_the_same_folder_ends_at_once(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out, _ = moved_run(finished_run, tiny_data, tmp_path)
    expected = (
        f"Another process is training in {out}: wait until it is done, or give another folder with "
        "--out."
    )
    with lock.locked(out):
        # In a process of its own, as it happens, and before anything heavy is imported.
        done = light("--resume", str(out))
        assert (done.returncode, done.stdout) == (2, "LOADED\n")
        assert done.stderr == f"train.py: {expected}\n"
        assert str(refusal(tmp_path, "--data", tiny_data, *TINY_RUN, "--out", out)) == expected


def test_the_lock_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = (
        "import os, pathlib, sys\nfrom dermhub.training import lock\n"
        "with lock.locked(pathlib.Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=Path(TRAIN).parent, check=False
    )
    assert done.returncode == -9
    assert (out / ".lock").exists()
    with lock.locked(out):
        (out / "train_config.json").write_text("begun")
    assert {path.name for path in out.iterdir()} == {".lock", "train_config.json"}


def test_a_run_that_does_not_begin_leaves_no_folder(tmp_path: Path) -> None:
    with lock.locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # the hub's client tries again for most of a minute
def test_pretrained_weights_without_a_network(tiny_data: Path, tmp_path: Path) -> None:
    proxies = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    places = {
        "HF_HOME": str(tmp_path / "hub"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    options = ["--data", str(tiny_data), "--model", "test_resnet", "--out", str(tmp_path / "run")]
    done = python(TRAIN, *options, **proxies, **places)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "train.py: The pretrained weights of 'test_resnet' could not be fetched ("
    )
    assert last.endswith("or give a file with --init FILE.safetensors, or use --init scratch.")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_that_of_the_code_and_not_of_a_repository_around_it(tmp_path: Path) -> None:
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), (*author, "commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert re.fullmatch("[0-9a-f]{40}", run.revision(tmp_path))
    # As where a virtual environment lies in somebody's project.
    inside = tmp_path / "venv" / "programs"
    inside.mkdir(parents=True)
    assert run.revision(inside) == "unknown"
