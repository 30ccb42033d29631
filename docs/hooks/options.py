"""The options of every command in docs/command-line.md, from the parsers themselves.

A section of the page has the command as its heading, and the options follow the section's text.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

PAGE = "command-line.md"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the options of each command under its heading."""
    if page.file.src_uri != PAGE:
        return markdown
    sections = re.split(r"^(?=## )", markdown, flags=re.MULTILINE)
    known = parsers()
    return "".join(
        section + (options(known[name]) if (name := _command(section)) in known else "")
        for section in sections
    )


def _command(section: str) -> str:
    return section.splitlines()[0].removeprefix("## ") if section.startswith("## ") else ""


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command that has options, by the command's name."""
    sys.path.insert(0, str(ROOT))
    import app
    import train
    from dermhub.cli.main import make_parser

    (commands,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return {**commands.choices, "serve": app.make_parser(), "train": train.make_parser()}


def options(parser: argparse.ArgumentParser) -> str:
    """The options of a parser as Markdown tables, one for each group."""
    tables = []
    for group in parser._action_groups:
        rows = [_row(action, parser) for action in group._group_actions if action.dest != "help"]
        if rows:
            title = "" if group.title in ("options", "positional arguments") else group.title
            heading = f"{title[0].upper()}{title[1:]}:\n\n" if title else ""
            kind = "option" if any(a.option_strings for a in group._group_actions) else "argument"
            head = f"| {kind} | meaning |\n|---|---|\n"
            tables.append(heading + head + "\n".join(rows) + "\n\n")
    return "\n" + "".join(tables)


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    if action.option_strings:
        metavar = formatter._get_default_metavar_for_optional(action)
        value = "" if action.nargs == 0 else f" {formatter._format_args(action, metavar)}"
        name = ", ".join(action.option_strings) + value
    else:
        metavar = formatter._get_default_metavar_for_positional(action)
        name = formatter._format_args(action, metavar)
    text = formatter._expand_help(action) if action.help else ""
    cells = (f"`{name}`", re.sub(r"(?<![\w`])(--?[\w-]+)", r"`\1`", text))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
