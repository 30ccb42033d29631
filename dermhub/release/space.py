"""The demo as a Hugging Face Space: its files, and a README.md that the hub accepts.

Keys and limits: https://huggingface.co/docs/hub/spaces-config-reference
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dermhub.errors import ConfigError, some
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.models import catalog

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
"""Colours that the hub takes."""

NEEDED = (
    "title",
    "emoji",
    "colorFrom",
    "colorTo",
    "sdk",
    "sdk_version",
    "python_version",
    "app_file",
    "license",
)
"""Keys that the front matter must have."""

CODE = (
    *("app.py", "LICENSE"),
    *(f"demo/**/*.{suffix}" for suffix in ("py", "css", "js", "jinja", "png", "jpg", "md")),
    *(f"dermhub/**/*.{suffix}" for suffix in ("py", "jinja", "csv", "typed")),
)
"""Patterns of the files that a Space runs."""

REQUIREMENTS = "requirements-demo.txt"
"""The packages of a Space: those of the demo, without PyTorch."""


def contents(root: Path) -> dict[str, Path | bytes]:
    """Collect the content of a Space from a checkout: path in the Space -> file or bytes.

    Models of the catalogue are named in the front matter, and the Space fetches them when it is
    built; shipped models that were not published are copied into it. Raises ConfigError when `root`
    is no checkout or the Space could not start.
    """
    readme = root / "README.md"
    if not (root / "app.py").is_file() or not readme.is_file():
        raise ConfigError(
            f"{root} holds no app.py: a Space is made from a checkout of the repository."
        )
    published = list(catalog.CATALOGUE.values())
    unpublished = {
        name: folder for name, folder in catalog.shipped().items() if name not in catalog.CATALOGUE
    }
    if not published and not unpublished:
        raise ConfigError(
            "There is no model for the Space: none is shipped in model_cards and none is published."
        )
    collected: dict[str, Path | bytes] = {
        path.relative_to(root).as_posix(): path
        for pattern in CODE
        for path in sorted(root.glob(pattern))
    }
    client.check_links(root, [path for path in collected.values() if isinstance(path, Path)])
    # A Space installs requirements.txt and looks at no other list.
    collected["requirements.txt"] = root / REQUIREMENTS
    collected["README.md"] = page(readme.read_text(encoding="utf-8"), root, published).encode()
    for name, folder in unpublished.items():
        for path, file in client.own_files(folder).items():
            collected[f"model_cards/{name}/{path}"] = file
    return collected


def page(readme: str, root: Path, published: Iterable[Entry]) -> str:
    """Check the front matter of a README.md, and add the published models to it.

    Raises ConfigError where the hub would refuse it.
    """
    parts = readme.split("---\n", 2)
    front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(front, dict):
        raise ConfigError("README.md has no front matter: expected YAML between two lines of ---.")
    check(front, root)
    entries = list(published)
    if not entries:
        return readme
    added = {
        "models": [entry.repository for entry in entries],
        "preload_from_hub": [
            f"{entry.repository} {','.join(sorted(entry.files))} {entry.revision}"
            for entry in entries
        ],
    }
    return f"---\n{parts[1]}{yaml.safe_dump(added, sort_keys=False, width=10_000)}---\n{parts[2]}"


def check(front: dict[str, Any], root: Path) -> None:
    """Raise ConfigError for front matter that the hub would refuse, or with another Gradio.

    The version of Gradio must be that of requirements-demo.txt.
    """
    if missing := [key for key in NEEDED if not front.get(key)]:
        raise ConfigError(f"README.md: the front matter lacks {some(missing)}.")
    requirements = (root / REQUIREMENTS).read_text(encoding="utf-8")
    pins = dict(re.findall(r"^(\w+)==([\w.]+)", requirements, re.MULTILINE))
    if front["sdk"] != "gradio" or front["sdk_version"] != pins.get("gradio"):
        raise ConfigError(
            f"README.md: sdk is {front['sdk']} {front['sdk_version']}, but {REQUIREMENTS} pins "
            f"gradio {pins.get('gradio')}: make them equal."
        )
    if not (root / str(front["app_file"])).is_file():
        raise ConfigError(f"README.md: there is no app_file {front['app_file']!r}.")
    if wrong := [front[key] for key in ("colorFrom", "colorTo") if front[key] not in COLOURS]:
        raise ConfigError(
            f"README.md: colour {wrong[0]!r} is unknown, expected one of {some(COLOURS, 8)}."
        )
    if len(front.get("short_description", "")) > 60:
        raise ConfigError(
            "README.md: short_description is longer than the 60 characters that the hub takes."
        )
