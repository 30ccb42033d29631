"""Several images: a row for each, also for a file that is no image, and all rows as a CSV that no
server keeps.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from demo.models import Pair
from demo.page.html import BAR_HEAD, NOTICE, bar, table
from demo.reading import record
from demo.server.uploads import Uploads, for_visitor
from dermhub.errors import DermhubError
from dermhub.tasks import plain_name

MOST = 100
"""Files in one go."""


EMPTY = '<p class="derm-note">The table appears here.</p>'


TOO_MANY = (
    f"Too many files: expected at most {MOST} in one go. Choose fewer, or use 'python -m "
    "dermhub predict'."
)


def rows(
    pair: Pair, files: Sequence[tuple[str, str]], uploads: Uploads
) -> Iterator[dict[str, Any]]:
    """A record for each (path, name), as soon as it is there: `file`, `error` ("" for none) and
    what the API gives.
    """
    for path, name in files:
        try:
            content = uploads.content(path)
            yield {"file": name, "error": "", **record(pair, content)}
        except DermhubError as error:
            yield {"file": name, "error": for_visitor(error)}


def as_html(found: Sequence[dict[str, Any]], total: int) -> str:
    """The table so far; once it is complete, with its CSV to download."""
    done = len(found) == total
    say = f"{len(found)} of {total} {'images are' if total > 1 else 'image is'} read."
    head = ("file", "answer", "malignancy", BAR_HEAD, "most probable class")
    shown = table(
        "One row for each file, in the order in which they came.",
        head,
        [_cells(one) for one in found],
    )
    status = (
        f'<p role="status">{say} {_link(found)}</p>'
        if done
        else f'<p role="status" class="derm-busy">{say}</p><progress max="{total}" '
        f'value="{len(found)}" '
        f'aria-label="Images that are read">{say}</progress>'
    )
    # Announced at the start and at the end only: a reader would never come to an end.
    spoken = f' data-say="{say}"' if done else ""
    return (
        f'<div class="derm"{spoken}>{status}{shown if found else ""}<p '
        f'class="derm-small">{NOTICE}</p></div>'
    )


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    file = f'<span class="derm-file">{escape(one["file"])}</span>'
    if one["error"]:
        return file, f"<strong>No answer.</strong> {escape(one['error'])}", "", "", ""
    if not one["confident"]:
        why = one["reasons"][0]
        return (
            file,
            f"<strong>{escape(why['title'])}.</strong> {escape(why['sentence'])}",
            "",
            "",
            "",
        )
    name = plain_name(one["label"])
    return (
        file,
        f"called {'malignant' if one['malignant'] else 'benign'}",
        f"{one['malignancy']:.1%}",
        bar(one["malignancy"], one["threshold"]),
        f"{escape(name)} ({one['probabilities'][one['label']]:.0%})",
    )


def _link(found: Sequence[dict[str, Any]]) -> str:
    content = base64.b64encode(as_csv(found).encode("utf-8-sig")).decode()
    address = f"data:text/csv;charset=utf-8;base64,{content}"
    return (
        f'<a class="derm-download" download="dermhub.csv" href="{address}">Download the table '
        "as CSV</a>"
    )


def as_csv(found: Sequence[dict[str, Any]]) -> str:
    """The rows as a CSV with one column for each class; figures of images without a confident
    answer are marked so.
    """
    classes = next((list(one["probabilities"]) for one in found if not one["error"]), [])
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
    for one in found:
        if one["error"]:
            out.writerow([_harmless(one["file"]), one["error"], *[""] * (len(columns) - 2)])
            continue
        why = " ".join(f"{reason['title']}. {reason['sentence']}" for reason in one["reasons"])
        called = "malignant" if one["malignant"] else "benign"
        start = [_harmless(one["file"]), "", "yes" if one["confident"] else "no", why]
        numbers = [
            f"{one['malignancy']:.6f}",
            f"{one['threshold']:.6f}",
            called,
            one["label"],
            " ".join(one["conformal"]),
        ]
        out.writerow([*start, *numbers, *(f"{one['probabilities'][name]:.6f}" for name in classes)])
    return stream.getvalue()


def _harmless(name: str) -> str:
    # A spreadsheet would compute a name that begins like a formula.
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
