"""Command lines that can't be done, those of bad_lines.txt: exit code and output of each."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.oracle.place import TINY_RUN, Place, Recorded, free_port

LINES = Path(__file__).with_name("bad_lines.txt")


def spoil(place: Place) -> Path:
    """Make a folder with everything that bad inputs need: images, tables, and damaged models."""
    folder = place.temporary / "bad"
    place.probe("draw", folder / "in")
    photo = folder / "in" / "photo.jpg"
    for name in ("empty", "damaged", "old", "masks"):
        (folder / name).mkdir()
    (folder / "empty" / "notes.txt").write_text("no image")
    files = {
        **{"text.jpg": b"no image", "nothing.jpg": b"", "cut.jpg": photo.read_bytes()[:700]},
        **{
            "page.png": b"<html></html>",
            "paper.jpg": b"%PDF-1.7\n",
            "movie.png": b"GIF89a\x01\0\x01\0",
        },
        **{
            "file": b"in the way",
            "s.csv": b"mine",
            "accounts": b"no colon\n",
            "broken.onnx": b"\x08\x01",
        },
        **{
            "weights.safetensors": b"\x80\x04 a pickle",
            "damaged/cut.png": photo.read_bytes()[:700],
        },
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tables = {
        "labels": "image_id,dx\nphoto,nv\nsmall,mel\n",
        "no-rows": "image_id,dx\n",
        "no-column": "image,label\na,nv\n",
        "twice": "image_id,dx\nphoto,nv\nphoto.jpg,nv\n",
        "empty-dx": "image_id,dx\nphoto,\n",
        "missing": "image_id,dx\nphoto,nv\nphoto-9,nv\n",
        "unknown": "image_id,dx\nphoto,scc\n",
        "cut": "image_id,dx\ncut,nv\n",
        "nothing": "",
    }
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    models: dict[str, Callable[[Path], object]] = {
        "whole": lambda _: None,
        "no-weights": lambda model: (model / "model.safetensors").unlink(),
        "no-config": lambda model: (model / "config.json").unlink(),
        "bad-config": lambda model: (model / "config.json").write_text("{"),
        "other-config": lambda model: (model / "config.json").write_text(
            '{"architecture": "resnet18"}'
        ),
        "other-weights": lambda model: (model / "model.safetensors").write_bytes(b"other"),
        "no-gate": lambda model: (model / "gate.safetensors").unlink(),
        "other-seen": lambda model: (model / "seen.safetensors").write_bytes(b"other"),
        "other-graph": lambda model: (model / "model.onnx").write_bytes(b"other"),
        "bad-metrics": lambda model: (model / "metrics.json").write_text("{}"),
        "other-figure": lambda model: edit(
            model / "metrics.json", '"accuracy": 0.', '"accuracy": 0.1'
        ),
        "other-row": lambda model: edit(model / "predictions.csv", ",nv,", ",mel,"),
        "bad-card": lambda model: edit(model / "README.md", "library_name: timm\n", ""),
        "no-card": lambda model: (model / "README.md").unlink(),
    }
    for name, damage in models.items():
        shutil.copytree(place.models / "binary", folder / "models" / name)
        damage(folder / "models" / name)
    runs = {
        "no-json": "",
        "list": "[]",
        "no-options": "{}",
        "bad-type": '{"options": {"epochs": "3"}}',
        "bad-value": '{"options": {"epochs": 0}}',
        "bad-name": '{"options": {"epoch": 3}}',
    }
    for name, text in runs.items():
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "train_config.json").write_text(text)
    (folder / "shards").mkdir()
    (folder / "shards" / "1.csv").write_text("image,malignancy,error\n")
    (folder / "shards" / "2.csv").write_text("image,malignancy,error\n")
    (folder / "shards" / "2.csv.json").write_text('{"format": "x"}')
    place.probe("tiny-data", folder / "tiny-data")
    shutil.copytree(folder / "tiny-data", folder / "damaged-data")
    for path in (folder / "damaged-data" / "images").iterdir():
        path.write_bytes(path.read_bytes()[:300] + path.name.encode())
    (folder / "bare-data").mkdir()
    shutil.copy(photo, folder / "bare-data" / "a.jpg")
    (folder / "bare-data" / "labels.csv").write_text("image_id,diagnosis\na,nv\n")
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first place where a file says something. Raises ValueError where it does not."""
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path.name} does not hold {old!r}.")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def bad_lines(bad: Path) -> Iterator[tuple[str, ...]]:
    """Give every line of bad_lines.txt as the arguments of a Python."""
    for line in LINES.read_text(encoding="utf-8").splitlines():
        each = sorted(path.name for path in (bad / "models").iterdir()) if "EACH" in line else [""]
        for model in each:
            words = {
                "dermhub": ["-m", "dermhub"],
                "TINY": ["--data", str(bad / "tiny-data"), *TINY_RUN],
                "PORT": ["--port", str(free_port())],
                "LONG": ["a" * 300],
                "EACH": [str(bad / "models" / model)],
            }
            parts = [words.get(word, [word]) for word in shlex.split(line, comments=True)]
            arguments = tuple(word.replace("BAD/", f"{bad}/") for part in parts for word in part)
            if arguments:
                yield arguments


def record_bad_input(place: Place) -> Recorded:
    """Record exit code and output of every command line that can't be done."""
    bad = spoil(place)
    answers = place.lines(list(bad_lines(bad)))
    left = sorted(path.relative_to(bad).as_posix() for path in bad.iterdir())
    return Recorded({"answers": answers, "files afterwards": left}, {"command lines": len(answers)})
