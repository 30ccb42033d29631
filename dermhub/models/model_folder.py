"""A model folder on disk: its configuration, read once, and its files, hashed on reading."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from dermhub import files, regular_files
from dermhub.errors import DataError, ModelError
from dermhub.layout import CONFIG, GRAPH, WEIGHTS
from dermhub.models.config import ModelConfig

CHANGED = "the file was changed or damaged; fetch or copy the model again"
"""Advice about a file of a model whose bytes are not those that config.json states."""


class ModelFolder:
    """A model folder at `path`, which need not exist before `write`.

    config.json is read when `config` is first used, and never again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @functools.cached_property
    def config(self) -> ModelConfig:
        """The content of config.json; raises ModelError when it is missing or wrong."""
        path = self.path / CONFIG
        if self.path.suffix == ".onnx" and self.path.is_file():
            raise ModelError(
                f"{self.path} is a single ONNX file, but an exported model is a folder: give "
                f"the folder that holds {CONFIG} and {GRAPH}, or export the model again with "
                "python -m dermhub export."
            )
        if not path.exists():
            raise ModelError(f"{self.path} is not a model folder: it has no {CONFIG}.")
        try:
            return ModelConfig.from_json(files.read_json(path), str(path))
        except DataError as error:
            raise ModelError(str(error)) from error

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of each file of the model, as config.json states it."""
        return {WEIGHTS: self.config.weights_sha256, **self.config.files}

    @property
    def is_export(self) -> bool:
        """True for a model without model.safetensors, which answers by its graph alone."""
        return GRAPH in self.config.files and not (self.path / WEIGHTS).exists()

    def absolute(self) -> ModelFolder:
        """Return the same folder by its absolute path, with the same configuration.

        It stays valid when the process changes its working directory.
        """
        other = ModelFolder(self.path.absolute())
        other.config = self.config
        return other

    def read(self, name: str) -> bytes:
        """Return the content of a file of the model, after comparing its hash.

        The file is read once, so the bytes that are hashed are the bytes returned. Raises
        ModelError when it can't be read, and, naming both hashes, when its bytes are not those that
        config.json states.
        """
        path = self.path / name
        stated = self.hashes[name]
        try:
            content = regular_files.read_bytes(path, regular_files.largest(name))
        except OSError as error:
            raise ModelError(
                f"{path} can't be read ({error.strerror or error}): fetch or copy the model again."
            ) from error
        self._compare(name, hashlib.sha256(content).hexdigest(), stated)
        return content

    def check(self, name: str) -> None:
        """Refuse a file as `read` does, without holding its content in memory."""
        path = self.path / name
        # First of all: a folder without config.json is no damaged model, but none.
        stated = self.hashes[name]
        try:
            actual = regular_files.sha256(path, regular_files.largest(name))
        except OSError as error:
            raise ModelError(
                f"{path} can't be read ({error.strerror or error}): {CHANGED}."
            ) from error
        self._compare(name, actual, stated)

    def check_whole(self) -> None:
        """Raise ModelError for an export, which lacks the weights."""
        if self.is_export:
            raise ModelError(
                f"{self.path} has no {WEIGHTS}, which PyTorch needs: it is an export, or was not "
                "copied whole. Give the whole model folder."
            )

    def write(self, config: ModelConfig, contents: Mapping[str, bytes]) -> ModelFolder:
        """Write files of the model, and after them config.json, which states their sha256.

        Other files that `config` states stay as they are. config.json comes last: if writing stops
        before it, an earlier config.json still describes the folder, except for those of its files
        that were already replaced. Raises ConfigError when the folder can't be written.
        """
        for name, content in contents.items():
            files.write_bytes(self.path / name, content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        # config.json states the hash of the weights apart from those of the other files.
        weights = hashes.pop(WEIGHTS, config.weights_sha256)
        stated = dict(sorted({**config.files, **hashes}.items()))
        written = ModelFolder(self.path)
        written.config = dataclasses.replace(config, weights_sha256=weights, files=stated)
        files.write_json(self.path / CONFIG, written.config.to_json())
        return written

    def _compare(self, name: str, actual: str, stated: str) -> None:
        """Raise ModelError where a file's sha256 is not the one that config.json states."""
        if actual != stated:
            raise ModelError(
                f"{self.path / name} has the sha256 {actual}, but {CONFIG} states {stated}: "
                f"{CHANGED}."
            )
