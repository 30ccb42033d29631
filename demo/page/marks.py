"""Marks by which page.js knows what a result was computed for.

A change in the browser gets a ticket, a count of changes of an area of the page ("check" or
"batch"). A result is shown only while its ticket is the latest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

_runs = itertools.count(1)


@dataclass
class LatestRun:
    """The latest ticket of the tab for many images. Each visit has its own."""

    ticket: float = 0


def mark(html: str, area: str, ticket: float, run: bool = False) -> str:
    """Mark a result with the ticket of the change that it answers.

    With `run`, results of one ticket can be told apart as well.
    """
    again = f' data-run="{next(_runs)}"' if run else ""
    return f'<div data-area="{area}" data-ticket="{int(ticket)}"{again}>{html}</div>'
