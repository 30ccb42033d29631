"""Comparison of two machines' golden answers: a table, and the parity certificate.

python compare.py X86 S390X CERTIFICATE key=value ...

X86 and S390X are folders that golden.py and ask.py wrote; the keys (tests, packages, requirements,
emulator, release) are facts for the certificate that prove.sh knows. Beside it goes parity.json,
the largest differences of each model, for its card (see certify.py). Exits with 1 when anything
differs by more than its limit.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LIMITS = {
    "logits": 1e-4,
    "probabilities": 1e-5,
    "heat map": 1e-4,
    "loss": 1e-4,
    "picture": 1,
    "ONNX": 1e-4,
}
"""Kind of number -> largest accepted difference; of pictures in the page, in steps of 8 bits."""

ANSWERS = (
    ("class", "label"),
    ("called malignant", "malignant"),
    ("sets and concerns", "sets and concerns"),
)
"""Rows about the answers beside the numbers: title, and key of golden.py's answers."""

Row = tuple[str, str, str, bool]
"""(what, accepted, measured, good)."""


def models(x86: Path, s390x: Path, here: dict[str, Any], there: dict[str, Any]) -> list[Row]:
    """One row for each kind of answer of each shipped model."""
    same = here.keys() == there.keys() != set()
    rows: list[Row] = [("shipped models", "the same", ", ".join(here) or "none", same)]
    for name in sorted(here.keys() & there.keys()):
        mine = here[name]
        other = there[name]
        same = mine["files"] == other["files"]
        rows.append((f"{name}: file hashes", "the same", f"{len(mine['files'])} files", same))
        pairs = [(mine["images"][image], other["images"][image]) for image in mine["images"]]
        for title, key in (("preprocessing", "tensor"), *ANSWERS):
            rows.append(alike(f"{name}: {title}", key, pairs))
        for key in ("logits", "probabilities"):
            numbers = [(a[key], b[key]) for a, b in pairs]
            rows.append(within(f"{name}: {key}", key, numbers))
        heat = maps(x86, s390x, name, name, mine["images"])
        rows.append(within(f"{name}: heat map", "heat map", heat))
    return rows


def onnx(x86: Path, s390x: Path, here: dict[str, Any], there: dict[str, Any]) -> list[Row]:
    """One row for each kind of answer of each export: ONNX Runtime there, PyTorch here."""
    rows: list[Row] = [
        ("exports", "of all models", ", ".join(there) or "none", here.keys() == there.keys())
    ]
    for name in sorted(here.keys() & there.keys()):
        mine = here[name]
        other = there[name]
        same = mine["meaning"] == other["meaning"]
        rows.append(
            (f"{name}.onnx: metadata", "identical", "identical" if same else "another", same)
        )
        pairs = [(mine["images"][image], other["images"][image]) for image in mine["images"]]
        rows += [alike(f"{name}.onnx: {title}", key, pairs) for title, key in ANSWERS]
        probabilities = [(a["probabilities"], b["probabilities"]) for a, b in pairs]
        rows.append(within(f"{name}.onnx: probabilities", "ONNX", probabilities))
        heat = maps(x86, s390x, name, f"{name}.onnx", mine["images"])
        rows.append(within(f"{name}.onnx: heat map", "ONNX", heat))
    return rows


def alike(title: str, key: str, pairs: list[tuple[Any, ...]]) -> Row:
    """The number of images with the same answer on both machines."""
    same = sum(a[key] == b[key] for a, b in pairs)
    return (title, "identical", f"{same} of {len(pairs)} images", same == len(pairs) > 0)


def maps(
    x86: Path, s390x: Path, mine: str, other: str, images: Iterable[str]
) -> list[tuple[Any, ...]]:
    """The heat maps of each image by a model here and by one there."""
    return [
        (np.load(x86 / f"{mine}-{image}.npy"), np.load(s390x / f"{other}-{image}.npy"))
        for image in images
    ]


def within(title: str, kind: str, pairs: list[tuple[Any, ...]]) -> Row:
    """The largest difference between numbers of the two machines, against its limit."""
    worst = max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()) for a, b in pairs
    )
    return (title, f"<= {LIMITS[kind]:g}", f"{worst:.1e}", worst <= LIMITS[kind])


def pages(here: str, there: str) -> list[Row]:
    """The demo's answer to one upload: its words and figures, and the pictures in it."""
    embedded = re.compile(r"data:image/(?:png|jpeg|webp);base64,([A-Za-z0-9+/=]+)")
    pictures = [[pixels(text) for text in embedded.findall(page)] for page in (here, there)]
    words = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", embedded.sub("", page))).strip()
        for page in (here, there)
    ]
    headline = re.search(r"Probability of any cancer, as the AI sees it: [a-z ]*\d+%", words[1])
    same = words[0] == words[1] and headline is not None
    shown = headline[0] if headline else words[1][:60]
    text = ("app.py: answer to an upload", "the same text", shown, same)
    sizes = [[picture.shape for picture in of_page] for of_page in pictures]
    if sizes[0] != sizes[1] or not pictures[0]:
        count = f"{len(pictures[1])} pictures"
        return [text, ("app.py: pictures", "the same sizes", count, False)]
    title = f"app.py: {len(pictures[0])} pictures"
    return [text, within(title, "picture", list(zip(*pictures, strict=True)))]


def pixels(text: str) -> NDArray[np.uint8]:
    """The pixels (H, W, 4) of a picture in a data URI, each colour times its opacity.

    Otherwise a pixel of opacity 0 on one machine and 1/255 on the other would count as all of its
    colour. Of a picture with a palette they are places in it, from 0 to 255, and the palette: one
    step of a map's 256 levels changes a colour by up to 3.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    if picture.mode == "P":
        colours = np.array(picture.getpalette("RGBA"), np.uint8)
        # The outline has three colours, and each step between them counts.
        step = 255 // max(len(colours) // 4 - 1, 1)
        return np.concatenate([np.asarray(picture).ravel() * np.uint8(step), colours])
    values = np.array(picture.convert("RGBA")).astype(np.float64)
    values[..., :3] *= values[..., 3:] / 255
    return np.asarray(np.rint(values), np.uint8)


def certificate(
    rows: list[Row], here: dict[str, Any], there: dict[str, Any], facts: dict[str, str]
) -> str:
    """The text of PARITY.md."""
    lines = [
        "# Parity of s390x and x86-64",
        "",
        "Generated by `deploy/linuxone/prove.sh`; don't edit. One machine ran the project as "
        "requirements.txt pins it,",
        f"the other Debian's own s390x binaries under emulation ({facts.pop('emulator')}), not a "
        "real LinuxONE:",
        "this proves what is computed, and says nothing about speed.",
        "",
        f"Date: {time.strftime('%Y-%m-%d', time.gmtime())}. Result: "
        f"**{'PASSED' if ok(rows) else 'FAILED'}**.",
        "",
        "| what | accepted | measured | |",
        "|---|---|---|---|",
        *(
            f"| {what} | {limit} | {measured} | {'ok' if good else '**DIFFERS**'} |"
            for what, limit, measured, good in rows
        ),
        "",
        "| made with | x86-64 | s390x |",
        "|---|---|---|",
        *(
            f"| {name} | {here['machine'][name]} | {there['machine'][name]} |"
            for name in here["machine"]
        ),
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        *(
            f"- {name}/{file}: sha256 `{model['files'][file]}`"
            for name, model in there["models"].items()
            for file in ("model.safetensors", "model.onnx")
            if file in model["files"]
        ),
    ]
    return "\n".join(lines) + "\n"


def short_form(rows: list[Row], here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """The proof for model cards: sha256 of the weights -> block `parity` of metrics.json.

    Empty when anything differed by too much.
    """
    if not ok(rows):
        return {}
    differences = {
        what: float(measured) for what, limit, measured, _ in rows if limit.startswith("<=")
    }
    versions = {name: there["machine"][name] for name in ("torch", "onnxruntime")}
    return {
        model["files"]["model.safetensors"]: {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "images": len(model["images"]),
            "torch": [here["machine"]["torch"], versions["torch"]],
            "onnxruntime": versions["onnxruntime"],
            "largest_difference": {
                "pytorch": {
                    key: differences[f"{name}: {key}"]
                    for key in ("logits", "probabilities", "heat map")
                },
                "onnx": {
                    key: differences[f"{name}.onnx: {key}"] for key in ("probabilities", "heat map")
                },
            },
        }
        for name, model in there["models"].items()
    }


def ok(rows: list[Row]) -> bool:
    """True where every row holds."""
    return all(good for *_, good in rows)


def main() -> int:
    """Compare, print, write."""
    x86, s390x, out = map(Path, sys.argv[1:4])
    facts = dict(fact.split("=", 1) for fact in sys.argv[4:])
    here, there = (json.loads((folder / "answers.json").read_text()) for folder in (x86, s390x))
    exported = json.loads((s390x / "onnx.json").read_text())
    here["machine"]["onnxruntime"] = "(not used)"
    there["machine"]["onnxruntime"] = exported["version"]
    order = there["machine"]["byte order"]
    tests = facts.pop("tests")
    passed = re.fullmatch(r"\d+ passed.*", tests) is not None and "failed" not in tests
    losses = [
        (f"training: {title}", [(here["epoch"][key], there["epoch"][key])])
        for title, key in (("loss of an epoch", "loss"), ("validation loss", "validation"))
    ]
    rows: list[Row] = [
        ("byte order", "big", order, order == "big"),
        ("tests on s390x", "all pass", tests, passed),
        *models(x86, s390x, here["models"], there["models"]),
        *onnx(x86, s390x, here["models"], exported["models"]),
        *pages((x86 / "page.html").read_text(), (s390x / "page.html").read_text()),
        *(within(title, "loss", pair) for title, pair in losses),
    ]
    for what, limit, measured, good in rows:
        print(f"{'ok     ' if good else 'DIFFERS'}  {what:34} {limit:15} {measured}")
    out.write_text(certificate(rows, here, there, facts))
    proof = json.dumps(short_form(rows, here, there), indent=2)
    (out.parent / "parity.json").write_text(f"{proof}\n")
    return 0 if ok(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
