"""The tab for several images: a row for each file, and all rows as a CSV that no server keeps."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from demo import reading
from demo.models import Pair
from demo.page.html import BAR_HEAD, NOTICE, bar, table
from demo.read_upload import Uploads, for_visitor
from dermhub import DermhubError, plain_name

MOST = 100
"""Files in one go."""

EMPTY = '<p class="derm-note">The table appears here.</p>'

TOO_MANY = (
    f"Too many files: expected at most {MOST} in one go. Choose fewer, or use 'python -m dermhub "
    "predict'."
)


def rows(
    pair: Pair, files: Sequence[tuple[str, str]], uploads: Uploads
) -> Iterator[dict[str, Any]]:
    """Yield a record for each (path, name) as soon as it is there.

    It holds `file`, `error` ("" for none) and what the API gives; a file that is no
    image has these two alone.
    """
    for path, name in files:
        try:
            photo = uploads.photo(path, pair.inputs)
            yield {"file": name, "error": "", **reading.record(pair, photo)}
        except DermhubError as error:
            yield {"file": name, "error": for_visitor(error)}


def as_html(records: Sequence[dict[str, Any]], total: int) -> str:
    """Return the table so far; once it is complete, with its CSV to download."""
    done = len(records) == total
    say = f"{len(records)} of {total} {'images are' if total > 1 else 'image is'} read."
    head = ("file", "answer", "malignancy", BAR_HEAD, "most probable class")
    shown = table(
        "One row for each file, in the order in which they came.",
        head,
        [_cells(record) for record in records],
    )
    status = (
        f'<p role="status">{say} {_link(records)}</p>'
        if done
        else f'<p role="status" class="derm-busy">{say}</p><progress max="{total}" '
        f'value="{len(records)}" '
        f'aria-label="Images that are read">{say}</progress>'
    )
    # Announced at the start and at the end only: a reader would never come to an end.
    spoken = f' data-say="{say}"' if done else ""
    return (
        f'<div class="derm"{spoken}>{status}{shown if records else ""}<p '
        f'class="derm-small">{NOTICE}</p></div>'
    )


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    file = f'<span class="derm-file">{escape(record["file"])}</span>'
    if record["error"]:
        return file, f"<strong>No answer.</strong> {escape(record['error'])}", "", "", ""
    if not record["confident"]:
        why = record["reasons"][0]
        return (
            file,
            f"<strong>{escape(why['title'])}.</strong> {escape(why['sentence'])}",
            "",
            "",
            "",
        )
    name = plain_name(record["label"])
    return (
        file,
        f"called {'malignant' if record['malignant'] else 'benign'}",
        f"{record['malignancy']:.1%}",
        bar(record["malignancy"], record["threshold"]),
        f"{escape(name)} ({record['probabilities'][record['label']]:.0%})",
    )


def _link(records: Sequence[dict[str, Any]]) -> str:
    content = base64.b64encode(as_csv(records).encode("utf-8-sig")).decode()
    address = f"data:text/csv;charset=utf-8;base64,{content}"
    return (
        f'<a class="derm-download" download="dermhub.csv" href="{address}">Download the table '
        "as CSV</a>"
    )


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a CSV with one column for each class.

    Figures of images without a confident answer are there, and marked so.
    """
    answered = [record for record in records if not record["error"]]
    classes = list(answered[0]["probabilities"]) if answered else []
    stream = io.StringIO()
    columns = [
        "file",
        "error",
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
            out.writerow([_harmless(record["file"]), record["error"], *[""] * (len(columns) - 2)])
            continue
        why = " ".join(f"{reason['title']}. {reason['sentence']}" for reason in record["reasons"])
        called = "malignant" if record["malignant"] else "benign"
        start = [_harmless(record["file"]), "", "yes" if record["confident"] else "no", why]
        numbers = [
            f"{record['malignancy']:.6f}",
            f"{record['threshold']:.6f}",
            called,
            record["label"],
            " ".join(record["conformal"]),
        ]
        out.writerow(
            [*start, *numbers, *(f"{record['probabilities'][name]:.6f}" for name in classes)]
        )
    return stream.getvalue()


def _harmless(name: str) -> str:
    # A spreadsheet would compute a name that begins like a formula.
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
