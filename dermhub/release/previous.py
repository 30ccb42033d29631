"""Results of an earlier measurement in a model folder that a new one keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dermhub import files
from dermhub.errors import DataError, ModelError
from dermhub.evaluation.external import read_external
from dermhub.layout import CASES, EXTERNAL, MAPS, METRICS, NEIGHBOURS, THUMBNAILS
from dermhub.models.model_folder import ModelFolder


@dataclass(frozen=True)
class Previous:
    """Name, selection and earlier results of a model that is about to be measured.

    `name` is its name in the card, and `selection` what was chosen on validation. Results that were
    measured with the same weights may stay: `external` says that the folder's external.csv does.
    `cascade`, a block of metrics.json, says that its maps.csv does, and is None where it does not.
    `cases` is the block of the index of similar cases, None where the folder has none that stays.
    """

    name: str
    selection: dict[str, Any]
    external: bool = False
    cascade: dict[str, Any] | None = None
    cases: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: ModelFolder) -> Previous:
        """Read a folder's metrics.json; raises ModelError when it has no name or selection."""
        path = folder.path / METRICS
        try:
            content = files.read_json(path)
            name = str(content["model"])
            selection = dict(content["selection"])
        except (DataError, LookupError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} does not tell what was chosen on validation ({error}): only a model that "
                "train.py made can be measured again."
            ) from error
        if not _has_weights(content, folder.config.weights_sha256):
            return cls(name, selection)
        return cls(
            name,
            selection,
            _has_external(folder),
            _cascade(folder, content),
            _cases(folder, content),
        )

    @classmethod
    def after_training(cls, folder: ModelFolder, name: str, selection: dict[str, Any]) -> Previous:
        """Take name and selection from a training run, and earlier results from the folder.

        The folder holds some when a finished run is resumed and ends with the same weights.
        """
        try:
            earlier = cls.read(folder)
        except ModelError:
            return cls(name, selection)
        return cls(name, selection, earlier.external, earlier.cascade, earlier.cases)


def _has_weights(content: dict[str, Any], weights_sha256: str) -> bool:
    """Tell if the content of metrics.json was measured with these weights."""
    try:
        return bool(content["weights"]["sha256"] == weights_sha256)
    except (LookupError, TypeError):
        return False


def _has_external(folder: ModelFolder) -> bool:
    """Tell if a folder holds an external.csv that can be read."""
    try:
        read_external(folder.path / EXTERNAL, folder.config.task)
    except DataError:
        return False
    return True


def _cascade(folder: ModelFolder, content: dict[str, Any]) -> dict[str, Any] | None:
    """The cascade in the content of metrics.json; None where it or the folder's maps.csv lacks."""
    try:
        cascade = content["maps"]["cascade"]
    except (LookupError, TypeError):
        return None
    return dict(cascade) if isinstance(cascade, dict) and (folder.path / MAPS).is_file() else None


def _cases(folder: ModelFolder, content: dict[str, Any]) -> dict[str, Any] | None:
    """The block `cases` in the content of metrics.json; None where a file of the index lacks."""
    block = content.get("cases")
    whole = {CASES, THUMBNAILS} <= set(folder.config.files) and (folder.path / NEIGHBOURS).is_file()
    return dict(block) if isinstance(block, dict) and whole else None
