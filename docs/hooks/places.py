"""Pages outside docs/ as pages of the site, and links that lead where they lead on GitHub.

A link in a page is relative to the page's place in the repository. Model cards, benchmarks and the
guides of deploy/ become pages of the site. All other files outside docs/ are linked at the
repository's address (`extra: repository` of mkdocs.yml).
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "deploy/**/*.md"),
    *("model_cards/*/README.md", "model_cards/*/figures/*.png", "demo/page/examples/README.md"),
)
"""Patterns of the files outside docs/ that become part of the site."""

FENCED = re.compile(r"^( *)(```+).*?^\1\2$", re.MULTILINE | re.DOTALL)

LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures outside docs/."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            place = _on_site(path.relative_to(ROOT).as_posix())
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to the pages of the site, or to the repository."""
    here = page.file.src_uri
    folder = posixpath.dirname(_in_repository(page.file))

    def moved(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups(default="")
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        place = _on_site(path)
        if files.get_file_from_path(place) is not None:
            target = posixpath.relpath(place, posixpath.dirname(here) or ".")
        elif (ROOT / path).exists():
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            target = f"{config.extra['repository']}/{kind}/main/{path}"
        return f"{before}{target}{anchor}{after}"

    pieces = []
    end = 0
    for block in FENCED.finditer(markdown):
        pieces += [LINK.sub(moved, markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*pieces, LINK.sub(moved, markdown[end:])])


def _in_repository(file: File) -> str:
    """The path of a page in the repository."""
    return Path(os.path.realpath(str(file.abs_src_path))).relative_to(ROOT).as_posix()


def _on_site(path: str) -> str:
    """The place on the site of a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # MkDocs takes a README.md for the page of its folder, and the root's page is docs/index.md.
    return "readme.md" if path == "README.md" else path


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs["toc"]["slugify"] = _anchor
    return config


def _anchor(heading: str, separator: str) -> str:
    """The anchor of a heading, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)
