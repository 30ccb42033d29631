"""The similar cases of an image as a sheet for people (HTML) and as a table (CSV).

The sheet is one file that needs no other: pictures lie in it, and it runs no script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from dermhub.images.photo import Photo
from dermhub.models.beside.similar_cases import CAUTION, Case, SimilarCases
from dermhub.scoring.resumable_csv import to_line
from dermhub.tasks import plain_name

MARK = b'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>Similar cases'
"""Beginning of every sheet."""

COLUMNS = (
    *("image", "rank", "image_id", "lesion_id", "diagnosis", "malignant", "confirmation"),
    *("distance", "page"),
)
"""Columns of the table."""

WIDTH = 480
"""Largest width of the photograph on the sheet, in pixels."""

NOTICE = "Research software, not a medical device. Do not use it to decide about a patient."

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 1em auto; padding: 0 1em; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(9em, 1fr)); gap: 1em; }
ol { list-style: none; padding: 0; }
li img { width: 100%; max-width: 192px; height: auto; border-radius: 6px; display: block; }
figure { margin: 1em 0; }
figure img { max-width: 100%; border-radius: 6px; }
strong, .tag { display: block; }
.tag { color: #b01c1c; }
@media (prefers-color-scheme: dark) { .tag { color: #ff8f85; } }
.small { font-size: .875rem; }
"""


def table(image: str, cases: Sequence[Case]) -> bytes:
    """Return the table of an image's cases as CSV, a row a case, the most similar first."""
    lines = [to_line(COLUMNS)]
    for rank, case in enumerate(cases, 1):
        about = (case.image_id, case.lesion_id, case.diagnosis, str(case.malignant).lower())
        lines.append(
            to_line((image, rank, *about, case.confirmation, f"{case.distance:.4f}", case.page))
        )
    return b"".join(lines)


def sheet(image: str, photo: Photo, similar: SimilarCases) -> bytes:
    """Return the sheet of an image: the photograph, the answer, and its similar cases."""
    answer = similar.prediction
    refused = [answer.rejected.sentence] if answer.rejected else []
    label = f"{plain_name(answer.label)} ({answer.probabilities[answer.label]:.0%})"
    zone = f"Zone of suspicion: {answer.zone_word}. " if answer.zones else ""
    said = [
        *refused,
        f"{zone}Likeliest diagnosis: {label}; probability of cancer: {answer.malignancy:.0%}.",
        *([similar.note] if similar.note else []),
    ]
    # The name of a file need not be UTF-8.
    name = escape(image.encode("utf-8", "replace").decode())
    parts = [
        f"{MARK.decode()}: {name}</title>",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>Similar cases</h1><p>{name}</p>",
        f'<figure><img src="{_photograph(photo)}" alt="The image"></figure>',
        *(f"<p>{escape(sentence)}</p>" for sentence in said),
        f"<h2>{escape(similar.summary)}</h2><p>{escape(similar.proofs)} {escape(CAUTION)}</p><ol>",
        *map(_item, similar.cases),
        "</ol>",
        f'<p class="small">Images: {escape(similar.credit)}.</p>' if similar.credit else "",
        f'<p class="small">{escape(NOTICE)}</p></body></html>\n',
    ]
    return "\n".join(part for part in parts if part).encode()


def _item(case: Case) -> str:
    """Return a case as an item of the list."""
    identity = escape(case.image_id)
    if case.page:
        identity = f'<a href="{escape(case.page)}" rel="noreferrer">{identity}</a>'
    tag = '<span class="tag">malignant</span>' if case.malignant else ""
    return (
        f'<li><img src="{case.data_uri}" width="96" height="96" alt="{escape(case.name)}">'
        f"<strong>{escape(case.name)}</strong>{tag}"
        f'<span>{escape(case.proof)}</span><br><span class="small">{identity}, distance '
        f"{case.distance:.2f}</span></li>"
    )


def _photograph(photo: Photo) -> str:
    """Return the photograph as an address that holds it: pixels alone, at most `WIDTH` wide."""
    small = photo.rgb.copy()
    small.thumbnail((WIDTH, 2 * WIDTH), Image.Resampling.BICUBIC)
    bare = Image.fromarray(np.asarray(small))
    stream = io.BytesIO()
    bare.save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
