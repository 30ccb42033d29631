"""Catalogue of models: the shipped ones and the published ones, each pinned to its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from dermhub.errors import DownloadError, ModelError, suggest
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.layout import CONFIG

MODEL_CARDS = Path(__file__).resolve().parents[2] / "model_cards"
"""Folder of the shipped models; an installed package has none."""

CATALOGUE: dict[str, Entry] = {}
"""id -> published model. `python -m dermhub push` prints the entry of the model it has sent."""


def shipped() -> dict[str, Path]:
    """Map the id of each model that the repository ships to its folder."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / CONFIG).is_file()}


def locate(model: str | os.PathLike[str] | Entry) -> Path:
    """Find the folder of a model, and download the model where necessary.

    `model` may be an existing folder, the id of a shipped model or of one in the catalogue, or a
    model of the hub; they are tried in this order. An `Entry` is fetched as it is. Raises
    ModelError when there is no such model or its files are not the published ones, DownloadError
    when it can't be fetched.
    """
    if isinstance(model, Entry):
        return client.fetch(model.repository, model.revision, model.files)
    if Path(model).is_dir():
        return Path(model)
    name = str(model)
    folders = shipped()
    if name in folders:
        return folders[name]
    if name in CATALOGUE:
        return locate(CATALOGUE[name])
    if client.is_handle(name):
        try:
            return client.fetch(*client.parse(name))
        except DownloadError as error:
            # A mistyped folder looks like a repository of the hub.
            raise DownloadError(f"There is no folder {name}, and {error}") from error
    ids = [*folders, *(key for key in CATALOGUE if key not in folders)]
    others = f", one of {', '.join(ids)}," if ids else " (no model is shipped here)"
    raise ModelError(
        f"There is no model {name!r}: expected a model folder{others} or org/name of the "
        f"hub.{suggest(name, ids)}"
    )


def display_name(place: str) -> str:
    """Return the name by which a card calls a file, folder or model.

    It is the last part of the path; for the folder `model` of a run, the run's name.
    """
    path = Path(place).resolve()
    return path.parent.name if path.name == "model" else path.name
