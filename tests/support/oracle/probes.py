"""Questions to a checkout that need its modules: python probes.py NAME ANSWER.json [ARGUMENT ...]

Each probe runs in a Python of its own that imports dermhub from the checkout that is recorded, so
that this file imports nothing of the project but in the probes, and no other module of the oracle.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

PATIENCE = 300
"""Seconds that one command line gets on a loaded machine; a process for many ten times that."""

PLACES = {
    "draw": (("dermhub.drawings", "draw"), ("dermhub", "draw")),
    "render": (("dermhub.cards", "render"), ("dermhub.cards.render", "render")),
    "contents": (("dermhub.space", "contents"), ("dermhub.release.space", "contents")),
}
"""Functions of inner modules: the old home of each, and its new one."""

DARKNESS = {"akiec": 0.5, "bcc": 0.6, "bkl": 0.3, "df": 0.2, "mel": 1.0, "nv": 0.0, "vasc": 0.8}
"""Darkness of the lesions of each diagnosis in the tiny data, in the order of the classes."""

HEAVY = (
    *("torch", "torchvision", "timm", "pandas", "matplotlib"),
    *("onnxruntime", "gradio", "safetensors"),
)
"""Packages of which it matters whether a command imports them."""

PRELOADED = (
    *("torch", "torchvision", "timm", "timm.data", "numpy", "PIL.Image", "yaml", "tqdm"),
    *("safetensors.torch", "safetensors.numpy", "huggingface_hub", "matplotlib.figure"),
)
"""Packages that are imported once for many command lines: none that starts threads, as pandas (by
pyarrow) and onnxruntime do, for a process with threads can't be forked without the risk of a
deadlock.
"""

BLOCKED = ("torch", "torchvision", "timm", "pandas")
"""Packages that are missing where dermhub runs from its wheel, without the extra `train`."""


def sha256(content: bytes) -> str:
    """The sha256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def home_of(name: str) -> Callable[..., Any]:
    """Return what `PLACES` names, from its old module or its new one. Raises ImportError."""
    for module, attribute in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError):
            value = getattr(importlib.import_module(module), attribute, None)
            # A module of that name may be a part of a package with an empty face.
            if callable(value):
                return value  # type: ignore[no-any-return]
    raise ImportError(f"{name} is in none of {', '.join(module for module, _ in PLACES[name])}.")


def write_drawings(folder: Path) -> None:
    """Write the images that are asked about into a folder: lesions, and what is no lesion."""
    import numpy as np
    from PIL import Image

    draw = home_of("draw")
    folder.mkdir(parents=True, exist_ok=True)
    draw(20, (600, 450), 0.0).save(folder / "light.png")
    draw(17, (200, 150), 0.5).save(folder / "small.png")
    draw(22, (300, 400), 1.0).save(folder / "dark.png")
    draw(3, (200, 150), 0.8).save(folder / "photo.jpg", quality=95)
    noise = np.random.default_rng(5).integers(0, 256, (240, 320, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    Image.new("RGB", (320, 240), (40, 90, 200)).save(folder / "blue.png")


def write_tiny_data(folder: Path) -> None:
    """Write a folder laid out like HAM10000: a metadata table and 49 drawn JPEGs of 42 lesions."""
    import pandas as pd

    draw = home_of("draw")
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, (dx, lesion) in enumerate((dx, lesion) for dx in DARKNESS for lesion in range(6)):
        for photo in range(2 if lesion == 0 else 1):
            image_id = f"TEST_{number:03d}{photo}"
            image = draw(10 * number + photo, (48, 40), DARKNESS[dx])
            image.save(folder / "images" / f"{image_id}.jpg")
            rows.append(
                {
                    "lesion_id": f"LESION_{number:03d}",
                    "image_id": image_id,
                    "dx": dx,
                    "dx_type": "histo" if number % 2 else "follow_up",
                    "age": 20 + number if number % 7 else None,
                    "sex": ("female", "male", "unknown")[number % 3],
                    "localization": ("back", "face")[number % 2],
                }
            )
    pd.DataFrame(rows).to_csv(folder / "tiny_metadata.csv", index=False)


def probe_draw(folder: str) -> dict[str, str]:
    """Write the drawings; returns their hashes."""
    write_drawings(Path(folder))
    return {path.name: sha256(path.read_bytes()) for path in sorted(Path(folder).iterdir())}


def probe_tiny_data(folder: str) -> str:
    """Write the tiny data; returns the hash of its table."""
    write_tiny_data(Path(folder))
    return sha256((Path(folder) / "tiny_metadata.csv").read_bytes())


def probe_cards(models: str) -> dict[str, Any]:
    """Render the card of each model, and tell whether its README.md is that."""
    import dermhub

    render, answers = home_of("render"), {}
    for folder in sorted(path for path in Path(models).iterdir() if path.is_dir()):
        config, content = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("config.json", "metrics.json")
        )
        text = render(dermhub.ModelConfig.from_json(config, "config.json"), content)
        shipped = (folder / "README.md").read_text(encoding="utf-8")
        answers[folder.name] = {"shipped": shipped == text, "card": text.splitlines()}
    return answers


def probe_answers(folder: str, runtime: str, drawings: str) -> dict[str, Any]:
    """Ask one model about each drawing, by one runtime."""
    from PIL import Image

    import dermhub

    model = dermhub.load(Path(folder), runtime=runtime)  # type: ignore[arg-type]
    answers: dict[str, Any] = {"name": model.name, "classes": list(model.classes)}
    for path in sorted(Path(drawings).iterdir()):
        with Image.open(path) as image:
            logits = model.logits([image.convert("RGB")])
        maps, prediction = model.explain_pairs(path), model.predict(path)
        first = maps[model.classes[0], ""]
        answers[path.name] = {
            "logits": [float(value) for value in logits[0]],
            **prediction_record(prediction),
            "same answer beside a map": prediction_record(first.prediction)
            == prediction_record(prediction),
            "maps": {
                f"{a} {b}".strip(): map_record(explained) for (a, b), explained in maps.items()
            },
            "overlay": sha256(model.explain(path).overlay.tobytes()),
        }
    several = model.predict(tuple(sorted(Path(drawings).iterdir())))
    answers["as a list"] = [prediction_record(prediction) for prediction in several]
    return answers


def prediction_record(prediction: Any) -> dict[str, Any]:
    """All that a prediction says."""
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "malignancy": prediction.malignancy,
        "malignant": prediction.malignant,
        "threshold": [prediction.operating_point, prediction.threshold],
        "set": [prediction.conformal_level, *prediction.conformal],
        "concerns": [[concern.code, concern.sentence] for concern in prediction.concerns],
        "abstention": prediction.abstention,
        "rejected": prediction.rejected is not None,
    }


def map_record(explanation: Any) -> dict[str, Any]:
    """All that an explanation says, its evidence as a hash."""
    evidence = explanation.evidence
    return {
        "evidence": f"{evidence.dtype} {list(evidence.shape)} {sha256(evidence.tobytes())}",
        "view": list(map(float, explanation.view)),
        "says": [
            explanation.blank,
            float(explanation.inside),
            float(explanation.lesion_share),
            explanation.trusted,
            explanation.verdict,
        ],
    }


def probe_space(project: str) -> list[str]:
    """List the files that the command `space` would publish."""
    return sorted(home_of("contents")(Path(project)))


def probe_names() -> dict[str, Any]:
    """Describe each public name of dermhub: what it is, its parameters, and its public members."""
    import dermhub

    return {name: described(getattr(dermhub, name)) for name in sorted(dermhub.__all__)}


def described(value: Any) -> Any:
    """Description of a class by bases, parameters and members, of a function, or of a value."""
    if inspect.isclass(value):
        members = {
            name: parameters(member) if callable(member) else type(member).__name__
            for name, member in sorted(inspect.getmembers(value))
            if not name.startswith("_") and not hasattr(Exception, name)
        }
        bases = [base.__name__ for base in value.__mro__]
        return {"bases": bases, "parameters": parameters(value), "members": members}
    return parameters(value) if callable(value) else repr(value)


def parameters(value: Any) -> list[str]:
    """Parameters with their defaults, and without annotations, whose names may move."""
    try:
        listed = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ["?"]
    empty = inspect.Parameter.empty
    return [
        f"{parameter.kind.name.lower()} {parameter.name}"
        + ("" if parameter.default is empty else f" = {parameter.default!r}")
        for parameter in listed
    ]


def probe_loaded(*arguments: str) -> dict[str, Any]:
    """Run a command in this process; tell its exit code and which heavy packages it imported."""
    sys.argv = ["dermhub", *arguments]
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            runpy.run_module("dermhub", run_name="__main__", alter_sys=True)
        except SystemExit as error:
            code = error.code
    return {"code": code, "imported": [name for name in HEAVY if name in sys.modules]}


def probe_lines(listed: str, folder: str) -> list[list[Any]]:
    """Run many command lines, two at a time: exit code, stdout and stderr of each.

    Each has a process of its own, forked from one that has imported what takes seconds and is no
    part of the project; a new Python for each would take ten times as long.
    """
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    threads = Path("/proc/self/task")
    if threads.is_dir() and len(list(threads.iterdir())) > 1:
        raise RuntimeError(
            "What is preloaded started a thread: leave that package out of PRELOADED."
        )
    lines: list[list[str]] = json.loads(Path(listed).read_text(encoding="utf-8"))
    codes: dict[int, int] = {}
    running: dict[int, int] = {}

    def wait() -> None:
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)

    for number, line in enumerate(lines):
        if len(running) == 2:
            wait()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            run_forked(line, Path(folder) / f"{number}")
        running[pid] = number
    while running:
        wait()
    streams = [
        [Path(folder) / f"{number}.{suffix}" for suffix in ("out", "err")]
        for number in range(len(lines))
    ]
    return [
        [codes[number], *(path.read_text("utf-8", "backslashreplace") for path in paths)]
        for number, paths in enumerate(streams)
    ]


def run_forked(line: list[str], stem: Path) -> NoReturn:
    """Be a Python with this command line, which writes to STEM.out and STEM.err, and end."""
    signal.alarm(PATIENCE)
    for descriptor, suffix in ((1, "out"), (2, "err")):
        os.dup2(
            os.open(f"{stem}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor
        )
    code: Any = 0
    try:
        if line[0] == "-m":
            sys.argv = line[1:]
            runpy.run_module(line[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = line
            runpy.run_path(line[0], run_name="__main__")
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # as Python itself would end
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def probe_modules(blocked: str) -> dict[str, Any]:
    """Import every module of the package; with "blocked", without PyTorch, timm and pandas."""
    block(blocked)
    import dermhub

    names = [module.name for module in pkgutil.walk_packages(dermhub.__path__, "dermhub.")]
    failed = {}
    for name in sorted(set(names) - {"dermhub.__main__"}):
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed[name] = str(error)
    return {"modules": len(names), "failed": failed}


def probe_light(folder: str, photo: str, blocked: str) -> dict[str, Any]:
    """Use every public name, and a folder with a graph, where PyTorch is not installed."""
    block(blocked)
    import dermhub

    usable = {}
    for name in sorted(dermhub.__all__):
        try:
            getattr(dermhub, name)
            usable[name] = "usable"
        except ImportError as error:
            usable[name] = str(error)
    model = dermhub.load(Path(folder))
    answer = prediction_record(model.predict(photo))
    explained = map_record(model.explain(photo))
    imported = [name for name in HEAVY if sys.modules.get(name) is not None]
    return {
        "names": usable,
        "answer": answer,
        "explanation": explained,
        "imported": imported,
        "version": dermhub.__version__,
    }


def block(blocked: str) -> None:
    """Let the blocked packages be as if they were not installed."""
    if blocked == "blocked":
        sys.modules.update(dict.fromkeys(BLOCKED))  # type: ignore[arg-type]


PROBES: dict[str, Callable[..., Any]] = {
    "draw": probe_draw,
    "tiny-data": probe_tiny_data,
    "cards": probe_cards,
    "answers": probe_answers,
    "space": probe_space,
    "names": probe_names,
    "loaded": probe_loaded,
    "lines": probe_lines,
    "modules": probe_modules,
    "light": probe_light,
}


def main() -> int:
    """Answer one question, as JSON in a file."""
    name, answer, *arguments = sys.argv[1:]
    content = json.dumps(PROBES[name](*arguments), ensure_ascii=False)
    Path(answer).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
