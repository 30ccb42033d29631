"""Marks by which page.js knows what a result was computed for.

A change in the browser gets a ticket, a count of changes of an area of the page ("check" or
"batch"). A result is shown only while its ticket is the latest. Figures need no ticket: they say of
which models they are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from html import escape

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


def mark_figures(html: str, kind: str, people: float | None = None) -> str:
    """Mark figures with the models, and the number of people, that they are of.

    The browser shows them only while these are chosen.
    """
    of = "" if people is None else f' data-people="{people:g}"'
    return f'<div data-of="{escape(kind)}"{of}>{html}</div>'
