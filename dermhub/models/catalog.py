"""Which models there are: those the repository ships, and those that were published, each pinned to
its bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from dermhub.errors import DownloadError, ModelError, suggest
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.layout import CONFIG

MODEL_CARDS = Path(__file__).resolve().parents[2] / "model_cards"

CATALOGUE: dict[str, Entry] = {}
"""id -> published model. `python -m dermhub push` prints the entry of what it has sent."""


def shipped() -> dict[str, Path]:
    """id -> folder of the models that the repository ships."""
    if not MODEL_CARDS.is_dir():
        return {}
    return {path.name: path for path in sorted(MODEL_CARDS.iterdir()) if (path / CONFIG).is_file()}


def locate(model: str | os.PathLike[str] | Entry) -> Path:
    """The folder of a model: an existing folder, a shipped model, one of the catalogue, or one of
    the hub.

    Tried in this order; an `Entry` is fetched as it is. Raises ModelError when there is no such
    model or its files are not the published ones, DownloadError when it can't be fetched.
    """
    if isinstance(model, Entry):
        return client.fetch(model.repository, model.revision, model.files)
    if Path(model).is_dir():
        return Path(model)
    name, known = str(model), shipped()
    if name in known:
        return known[name]
    if name in CATALOGUE:
        return locate(CATALOGUE[name])
    if client.is_handle(name):
        try:
            return client.fetch(*client.parse(name))
        except DownloadError as error:
            # A folder that was mistyped reads like a repository.
            raise DownloadError(f"There is no folder {name}, and {error}") from error
    ids = [*known, *(key for key in CATALOGUE if key not in known)]
    others = f", one of {', '.join(ids)}," if ids else " (no model is shipped here)"
    raise ModelError(
        f"There is no model {name!r}: expected a model folder{others} or org/name of the "
        f"hub.{suggest(name, ids)}"
    )


def display_name(place: str) -> str:
    """What a card calls a file, folder or model: its own name, or the run's for the folder `model`
    of a run.
    """
    path = Path(place).resolve()
    return path.parent.name if path.name == "model" else path.name
