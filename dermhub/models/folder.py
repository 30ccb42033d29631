"""A model folder on disk: its configuration and the files beside the weights."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from dermhub import files
from dermhub.errors import DataError, ModelError
from dermhub.layout import CONFIG
from dermhub.models.config import ModelConfig


def read_config(folder: Path) -> ModelConfig:
    """Read a model folder's config.json; raises ModelError."""
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {CONFIG}.")
    try:
        return ModelConfig.from_json(files.read_json(path), str(path))
    except DataError as error:
        raise ModelError(str(error)) from error


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Write another file of a model beside its weights, and state its sha256 in config.json, in
    place of an older one.

    Raises ModelError for a folder without a configuration, and ConfigError when it can't be
    written.
    """
    config = read_config(folder)
    files.write_bytes(folder / name, content)
    stated = {**config.files, name: hashlib.sha256(content).hexdigest()}
    files.write_json(
        folder / CONFIG, dataclasses.replace(config, files=dict(sorted(stated.items()))).to_json()
    )
