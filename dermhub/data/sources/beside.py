"""Tables beside a table of labels that have none themselves: they complete its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from dermhub.data.image_files import id_of, loose
from dermhub.data.sources import delimited, formats
from dermhub.data.sources.delimited import Sheet
from dermhub.data.sources.formats import ABOUT, FORMATS, Format
from dermhub.errors import DataError, Say, some

SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    loose,
    lambda image_id: loose(image_id.rpartition("/")[2]),
)
"""Forms in which ids of two tables are compared: as they are, in any case, without folders."""


def complete(sheet: Sheet, kind: Format, beside: Sequence[Path], ids: list[str], say: Say) -> Sheet:
    """Return a table with the columns that it lacks, and its empty cells, from tables `beside` it.

    `ids` are those of its rows. Only the lesion, the patient and columns about the patient are
    taken, from tables without labels that name an image in one of their columns, and by ids that
    agree but for "./", their case and their folders, where these leave no doubt. Raises DataError
    for a table that lists an image twice.
    """
    for path in beside:
        heading = delimited.read_heading(path)
        image = _image_column(heading, kind)
        if not image or formats.fitting(heading.has):
            continue
        roles = [(kind.lesion,), (kind.patient,), *map(kind.about_columns, ABOUT)]
        other = delimited.read(path, {image, *(name for names in roles for name in names)})
        keys = list(map(id_of, other.column(image)))
        if len(set(keys)) < len(keys):
            raise DataError(f"{path} lists an image more than once: keep one row for each.")
        rows = _rows(ids, keys)
        if not any(row is not None for row in rows):
            say(f"{path.name} names none of the images in {sheet.path.name}, and is not read.")
            continue
        changes = []
        for names in roles:
            theirs = next(filter(other.has, names), "")
            if theirs:
                cells = other.column(theirs)
                given = ["" if row is None else cells[row] for row in rows]
                ours = next(filter(sheet.has, names), theirs)
                sheet, change = _with_cells(sheet, ours, given, path, say)
                changes += [change] if change else []
        if changes:
            absent = sum(row is None for row in rows)
            lacks = f"; it lacks {absent} image(s)" if absent else ""
            say(f"{path.name} completes {sheet.path.name}: {', '.join(changes)}{lacks}.")
    return sheet


def _image_column(heading: Sheet, kind: Format) -> str:
    """Return the one column that names an image: the one of the labels, or one of a format."""
    if heading.has(kind.image):
        return kind.image
    names = [name for name in dict.fromkeys(each.image for each in FORMATS) if heading.has(name)]
    return names[0] if len(names) == 1 else ""


def _rows(ids: list[str], keys: list[str]) -> list[int | None]:
    """Return for each id the place of its key; a spelling that two share is none."""
    rows: list[int | None] = [None] * len(ids)
    for spelling in SPELLINGS:
        spelt = list(map(spelling, keys))
        of_keys, of_ids = Counter(spelt), Counter(map(spelling, ids))
        places = {name: place for place, name in enumerate(spelt) if of_keys[name] == 1}
        for place, name in enumerate(map(spelling, ids)):
            if rows[place] is None and of_ids[name] == 1:
                rows[place] = places.get(name)
    return rows


def _with_cells(
    sheet: Sheet, column: str, given: list[str], path: Path, say: Say
) -> tuple[Sheet, str]:
    """Add a column, or fill the empty cells of the one that is there, and name what was done."""
    if not sheet.has(column):
        return sheet.with_column(column, given), column
    cells = sheet.column(column)
    torn = [
        line
        for line, cell, new in zip(sheet.lines, cells, given, strict=True)
        if cell and new and cell != new
    ]
    if torn:
        say(
            f"{path.name} has another {sheet.name(column)} for line(s) {some(torn)} of "
            f"{sheet.path.name}, which keeps its own."
        )
    filled = sum(not cell and bool(new) for cell, new in zip(cells, given, strict=True))
    if not filled:
        return sheet, ""
    full = [cell or new for cell, new in zip(cells, given, strict=True)]
    return sheet.with_column(column, full), f"{filled} empty cell(s) of {sheet.name(column)}"
