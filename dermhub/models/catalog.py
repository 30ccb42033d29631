"""Catalogue of models: the shipped ones and the published ones, each pinned to its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from dermhub import installation
from dermhub.errors import DownloadError, ModelError, suggest
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.layout import CONFIG, GRAPH, WEIGHTS

MODEL_CARDS = installation.model_cards()
"""Folder of the shipped models; an installed package has the two default ones."""

RUN_MODEL = "model"
"""Folder of a training run that holds its model."""

CATALOGUE: dict[str, Entry] = {}
"""id -> published model. `python -m dermhub push` prints the entry of the model it has sent."""


def shipped() -> dict[str, Path]:
    """Map the id of each shipped model to its folder."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / CONFIG).is_file()}


def locate(model: str | os.PathLike[str] | Entry) -> Path:
    """Find the folder of a model, and download the model where necessary.

    `model` may be an existing folder, the id of a shipped model or of one in the catalogue, or a
    model of the hub; they are tried in this order. The folder of a training run stands for the
    model in it, and a file of a model for its folder. An `Entry` is fetched as it is. Raises
    ModelError when there is no such model or its files are not the published ones, DownloadError
    when it can't be fetched.
    """
    if isinstance(model, Entry):
        return client.fetch(model.repository, model.revision, model.files)
    folder = _existing(Path(model))
    if folder is not None:
        return folder
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
    if any((MODEL_CARDS / name / file).is_file() for file in (WEIGHTS, GRAPH)):
        raise ModelError(
            f"The model {name!r} is not whole: {MODEL_CARDS / name} has no {CONFIG}. Install "
            "dermhub again, or restore the file with git."
        )
    ids = [*folders, *(key for key in CATALOGUE if key not in folders)]
    others = f", one of {', '.join(ids)}," if ids else " (no model is shipped here)"
    raise ModelError(
        f"There is no model {name!r}: expected a model folder{others} or org/name of the "
        f"hub.{suggest(name, ids)}"
    )


def _existing(path: Path) -> Path | None:
    """The model folder that a path stands for, or None where nothing is there."""
    if path.is_dir():
        inner = path / RUN_MODEL
        is_run = not (path / CONFIG).exists() and (inner / CONFIG).is_file()
        return inner if is_run else path
    if not path.is_file():
        return None
    # Of a single file, as older exports were, the model folder says what to do about it.
    return path.parent if path.name in (GRAPH, WEIGHTS, CONFIG) else path


def display_name(place: str) -> str:
    """Return the name by which a card calls a file, folder or model.

    It is the last part of the path; for the model of a run, the run's name.
    """
    path = Path(place).resolve()
    return path.parent.name if path.name == RUN_MODEL else path.name
