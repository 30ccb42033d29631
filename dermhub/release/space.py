"""The demo as a Hugging Face Space: which files it takes, and a README.md whose front matter the
hub accepts.

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

CODE = ("app.py", "requirements.txt", "LICENSE", "demo/**/*.*", "dermhub/**/*.*")


def contents(root: Path) -> dict[str, Path | bytes]:
    """Path in the Space -> file or bytes, from a checkout of the repository.

    Models of the catalogue are named in the front matter, and the Space fetches them when it is
    built; shipped ones that were not published are carried along. Raises ConfigError when it is no
    checkout or a Space could not start.
    """
    readme = root / "README.md"
    if not (root / "app.py").is_file() or not readme.is_file():
        raise ConfigError(
            f"{root} holds no app.py: a Space is made from a checkout of the repository."
        )
    published = list(catalog.CATALOGUE.values())
    carried = {
        name: folder for name, folder in catalog.shipped().items() if name not in catalog.CATALOGUE
    }
    if not published and not carried:
        raise ConfigError(
            "There is no model for the Space: none is shipped in model_cards and none is published."
        )
    found: dict[str, Path | bytes] = {
        path.relative_to(root).as_posix(): path
        for pattern in CODE
        for path in sorted(root.glob(pattern))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found["README.md"] = page(readme.read_text(encoding="utf-8"), root, published).encode()
    for name, folder in carried.items():
        found |= {
            f"model_cards/{name}/{path}": file for path, file in client.model_files(folder).items()
        }
    return found


def page(readme: str, root: Path, published: Iterable[Entry]) -> str:
    """The Space's README.md: with the published models in its front matter, once that was found to
    be valid.
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
            f"{e.repository} {','.join(sorted(e.files))} {e.revision}" for e in entries
        ],
    }
    return f"---\n{parts[1]}{yaml.safe_dump(added, sort_keys=False, width=10_000)}---\n{parts[2]}"


def check(front: dict[str, Any], root: Path) -> None:
    """Refuse front matter that the hub would refuse, or that asks for another Gradio than
    requirements.txt.
    """
    if missing := [key for key in NEEDED if not front.get(key)]:
        raise ConfigError(f"README.md: the front matter lacks {some(missing)}.")
    pins = dict(
        re.findall(
            r"^(\w+)==([\w.]+)",
            (root / "requirements.txt").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    if front["sdk"] != "gradio" or front["sdk_version"] != pins.get("gradio"):
        raise ConfigError(
            f"README.md: sdk is {front['sdk']} {front['sdk_version']}, but requirements.txt pins "
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
