"""From the name of a model to its folder; imports neither torch nor a hub's client unless something is fetched."""

from __future__ import annotations

import os
from pathlib import Path

from dermhub import catalog, hub
from dermhub.catalog import Entry
from dermhub.errors import DownloadError, ModelError, suggest


def locate(model: str | os.PathLike[str] | Entry) -> Path:
    """The folder of a model: an existing folder, a shipped model, one of the catalogue, or one of the hub.

    Tried in this order; an `Entry` is fetched as it is. Raises ModelError when there is no such model or its files
    are not the published ones, DownloadError when it can't be fetched.
    """
    if isinstance(model, Entry):
        return hub.fetch(model.repository, model.revision, model.files)
    if Path(model).is_dir():
        return Path(model)
    name, known = str(model), catalog.shipped()
    if name in known:
        return known[name]
    if name in catalog.CATALOGUE:
        return locate(catalog.CATALOGUE[name])
    if hub.is_handle(name):
        try:
            return hub.fetch(*hub.parse(name))
        except DownloadError as error:
            # A folder that was mistyped reads like a repository.
            raise DownloadError(f"There is no folder {name}, and {error}") from error
    ids = [*known, *(key for key in catalog.CATALOGUE if key not in known)]
    others = f", one of {', '.join(ids)}," if ids else " (no model is shipped here)"
    raise ModelError(
        f"There is no model {name!r}: expected a model folder{others} or org/name of the hub.{suggest(name, ids)}"
    )


def called(place: str) -> str:
    """What a card calls a file, folder or model: its own name, or the run's for the folder `model` of a run."""
    path = Path(place).resolve()
    return path.parent.name if path.name == "model" else path.name
