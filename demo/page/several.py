"""The tab for many images: a row for each file, and all rows as a CSV that no server keeps."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from demo import reading
from demo.models import Pair
from demo.page.html import data_uri, fill
from demo.page.view import behind_refusal, whole_percent
from demo.read_upload import Uploads, for_visitor
from dermhub import DermhubError, Photo, Zone, to_cell

MOST = 100
"""Files in one go."""

THUMBNAIL = 72
"""Longest side, in pixels, of a picture in the table."""


def too_many(count: int) -> str:
    """Return the sentence for more files than `MOST`."""
    return (
        f"{count} files came, but {MOST} can be checked in one go: choose fewer, or run 'python -m "
        "dermhub predict' on your own machine."
    )


def rows(
    pair: Pair, files: Sequence[tuple[str, str]], uploads: Uploads, pictures: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield a record for each (path, name) as soon as it is there.

    It holds `file`, `error` ("" for none) and what the API gives; a file that is no image has these
    two alone. With `pictures`, it also holds a small `picture` to show.
    """
    for path, name in files:
        try:
            photo = uploads.photo(path, pair.inputs)
            picture = {"picture": _thumbnail(photo)} if pictures else {}
            yield {"file": name, "error": "", **reading.record(pair, photo), **picture}
        except DermhubError as error:
            yield {"file": name, "error": for_visitor(error)}


def progress(records: Sequence[dict[str, Any]], total: int) -> str:
    """Return how far the check of `total` images is."""
    return fill(
        "progress.html.jinja", done=len(records), total=total, counts=_counts(records, brief=True)
    )


def as_html(records: Sequence[dict[str, Any]]) -> str:
    """Return the table of all images, the most suspicious first, with its CSV to save."""
    numbered = sorted(enumerate(records), key=lambda item: _place(item[1]))
    many = "images" if len(records) != 1 else "image"
    said = f"{len(records)} {many} done: {_counts(records)}."
    shown = [_cells(number, record) for number, record in numbered]
    return fill("several.html.jinja", said=said, rows=shown, csv=as_csv(records))


def _place(record: dict[str, Any]) -> tuple[bool, bool, float]:
    """Order by suspicion; what is surely no dermatoscopic image, or no image at all, comes last."""
    if record["error"]:
        return True, True, 0.0
    return False, record["refused"], -record["malignancy"]


def _counts(records: Sequence[dict[str, Any]], brief: bool = False) -> str:
    kinds = Counter(_kind(record) for record in records)
    words = {
        str(Zone.HIGHLY_SUSPICIOUS): "highly suspicious",
        str(Zone.SUSPICIOUS): "suspicious",
        str(Zone.LOW): "low",
        "refused": "not dermatoscopic",
        "error": "not opened",
    }
    shown = [f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind]]
    return ", ".join(shown[:1] if brief and records else shown)


def _kind(record: dict[str, Any]) -> str:
    if record["error"]:
        return "error"
    return "refused" if record["refused"] else str(record["zone"])


def _cells(number: int, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a record; `number` is its place among the files."""
    cells = {"number": number, "file": record["file"], "error": record["error"]}
    if record["error"]:
        return cells
    cuts = (record["threshold"], record["highly_suspicious"])
    return cells | {
        "refused": record["refused"],
        "zone": record["zone"],
        "word": record["zone"].replace(" ", "-"),
        "percent": whole_percent(record["malignancy"], cuts),
        "share": record["malignancy"],
        "summary": "" if record["refused"] else record["summary"],
        "behind": behind_refusal(record["zone"]) if record["refused"] else "",
        "note": record["reasons"][0]["sentence"] if record["reasons"] else "",
        "picture": record["picture"],
    }


def _thumbnail(photo: Photo) -> str:
    image = photo.rgb.copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return data_uri(image, "JPEG")


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a CSV with one column for each class, in the order of the files."""
    answered = [record for record in records if not record["error"]]
    classes = list(answered[0]["probabilities"]) if answered else []
    stream = io.StringIO()
    columns = [
        "file",
        "error",
        "zone",
        "refused",
        "confident",
        "reasons",
        "malignancy",
        "threshold",
        "called",
        "label",
        "conformal",
    ]
    columns += [f"p_{name}" for name in classes]
    out = csv.writer(stream)
    out.writerow(columns)
    for record in records:
        if record["error"]:
            out.writerow([to_cell(record["file"]), record["error"], *[""] * (len(columns) - 2)])
            continue
        why = " ".join(f"{reason['title']}. {reason['sentence']}" for reason in record["reasons"])
        out.writerow(
            [
                to_cell(record["file"]),
                "",
                _kind(record),
                "yes" if record["refused"] else "no",
                "yes" if record["confident"] else "no",
                why,
                f"{record['malignancy']:.6f}",
                f"{record['threshold']:.6f}",
                "malignant" if record["malignant"] else "benign",
                record["label"],
                " ".join(record["conformal"]),
                *(f"{record['probabilities'][name]:.6f}" for name in classes),
            ]
        )
    return stream.getvalue()
