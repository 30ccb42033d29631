"""The site's navigation, which is the map in docs/index.md, and pages without a second one.

On GitHub, each page begins with a list of its sections. The site shows that list beside the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)

ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)

SECTIONS_OF_A_PAGE = re.compile(r"(?:^- \[[^\]]+\]\(#[^)]+\)\n)+\n", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation of the map: each section with the pages of its list."""
    text = Path(config.docs_dir, "index.md").read_text(encoding="utf-8")
    navigation: list[Any] = [{"Start": "index.md"}]
    for title, content in SECTION.findall(text):
        pages = [{name: _place(target)} for name, target in ENTRY.findall(content)]
        if pages:
            navigation.append({title: pages})
    config.nav = navigation
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Leave out the list of a page's sections, which begins it."""
    return SECTIONS_OF_A_PAGE.sub("", markdown, count=1)


def _place(target: str) -> str:
    """The place on the site of a page that docs/index.md links."""
    outside = target.removeprefix("../")
    return "readme.md" if outside == "README.md" else outside
