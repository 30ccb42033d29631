"""Cells of CSV tables with text from elsewhere, such as names of files.

A spreadsheet computes a cell that begins like a formula
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import re

FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Pattern at the start of a cell that a spreadsheet may compute, behind any apostrophes."""


def to_cell(text: str) -> str:
    """Return a text as a spreadsheet may open it: an apostrophe before what begins like a formula.

    `from_cell` gives the text back.
    """
    return f"'{text}" if FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text of which `to_cell` made a cell."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
