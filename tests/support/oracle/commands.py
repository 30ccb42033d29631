"""Commands that can be done: their help, their output, their files, and what they import."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.oracle.place import MODELS, Place, Recorded, in_pairs
from tests.support.oracle.probes import sha256

COMMANDS = (
    *("predict", "evaluate", "export", "list", "lint", "measure", "verify"),
    *("pull", "push", "space", "overlap", "merge"),
)
"""The commands of python -m dermhub."""


def record_help(place: Place) -> Recorded:
    """Record the help of every command, of train.py and of app.py."""
    wanted: dict[str, tuple[str, ...]] = {"dermhub": ("-m", "dermhub")}
    wanted |= {name: ("-m", "dermhub", name) for name in COMMANDS}
    wanted |= {"train.py": ("train.py",), "app.py": ("app.py",)}
    jobs = {name: partial(place.run, *start, "--help") for name, start in wanted.items()}
    return Recorded(in_pairs(jobs))


def record_verify(place: Place) -> Recorded:
    """Record what `verify` says of the shipped cards."""
    folders = [f"model_cards/{name}" for name in MODELS]
    return Recorded(place.run("-m", "dermhub", "verify", *folders))


def record_cards(place: Place) -> Recorded:
    """Record the cards, rendered from config.json and metrics.json."""
    return Recorded(place.probe("cards", place.models))


def record_answers(place: Place) -> Recorded:
    """Record what each model says of the drawings, by each runtime that it has."""
    drawings = place.temporary / "drawings"
    answers: dict[str, Any] = {"drawings": place.probe("draw", drawings)}
    jobs: dict[str, Callable[[], Any]] = {}
    for name in MODELS:
        folder = place.models / name
        for runtime in ("torch", *(["onnx"] if (folder / "model.onnx").exists() else [])):
            jobs[f"{name} {runtime}"] = partial(place.probe, "answers", folder, runtime, drawings)
    return Recorded(answers | in_pairs(jobs))


def record_commands(place: Place) -> Recorded:
    """Record output and files of command lines that can be done, and which packages they import."""
    given = place.temporary / "in"
    place.probe("draw", given)
    labels = place.temporary / "labels.csv"
    labels.write_text("image_id,dx\nphoto,nv\nsmall,mel\ndark,mel\nlight,bkl\nblue,vasc\n")
    (given / "text.jpg").write_text("no image")
    out = place.temporary / "out"
    photo = given / "photo.jpg"
    scoring = ("predict", "--images", given, "--model", "lesion", "--workers", "1", "--out")
    lines: dict[str, tuple[object, ...]] = {
        "list": ("list",),
        **{
            f"predict {kind}": ("predict", given, "--model", "lesion", "--format", kind)
            for kind in ("table", "json", "csv")
        },
        "predict binary": ("predict", given, "--model", "binary"),
        "explain": ("predict", photo, "--model", "binary", "--explain", out / "maps"),
        "score": (*scoring, out / "all.csv"),
        "score again": (*scoring, out / "all.csv"),
        "shard 1": (*scoring, out / "1.csv", "--shard", "1/2"),
        "shard 2": (*scoring, out / "2.csv", "--shard", "2/2"),
        "merge": ("merge", out / "merged.csv", out / "1.csv", out / "2.csv"),
        "evaluate": (
            "evaluate",
            "--model",
            "lesion",
            "--images",
            given,
            "--labels",
            labels,
            "--workers",
            "0",
        ),
        "evaluate binary": (
            *("evaluate", "--model", "binary", "--images", given, "--labels", labels),
            *("--workers", "0", "--out", out / "figures.json"),
        ),
        "overlap": ("overlap", "--model", "lesion", "--images", given),
        "overlap to a file": (
            "overlap",
            "--model",
            "lesion",
            "--images",
            given,
            "--out",
            out / "overlap.csv",
        ),
        "lint": ("lint", *(f"model_cards/{name}" for name in MODELS)),
        "export": ("export", "--model", "lesion", "--to", out / "lesion.onnx"),
        "predict by the export": (
            "predict",
            photo,
            "--model",
            out / "lesion.onnx",
            "--format",
            "json",
        ),
        "pull": ("pull", "lesion", "--to", out / "copy"),
        "pull again": ("pull", "lesion", "--to", out / "copy"),
    }
    answers = {name: place.run("-m", "dermhub", *line) for name, line in lines.items()}
    hashes = {
        path.relative_to(out).as_posix(): sha256(place.plain(path.read_text("utf-8")).encode())
        if path.suffix in (".csv", ".json", ".md")
        else sha256(path.read_bytes())
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    wanted: dict[str, tuple[object, ...]] = {
        "--help": ("--help",),
        "list": ("list",),
        "predict": ("predict", photo, "--model", "lesion"),
        "verify": ("verify", "binary"),
        "lint": ("lint", place.models / "binary"),
        "overlap": lines["overlap"],
        "evaluate": lines["evaluate"],
    }
    imported = {name: place.probe("loaded", *line) for name, line in wanted.items()}
    return Recorded({"answers": answers, "files": hashes, "imported": imported})
