"""The files beside a model's weights that its answers use, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dermhub import layout
from dermhub.arrays import Floats32
from dermhub.errors import ModelError
from dermhub.images.near_duplicates import SeenImages
from dermhub.images.photo import Photo
from dermhub.models.beside.case_index import CaseIndex
from dermhub.models.beside.similar_cases import Case, SimilarCases, check_number
from dermhub.models.beside.thumbnails import Thumbnails
from dermhub.models.engines import select
from dermhub.models.model_folder import ModelFolder
from dermhub.models.ood_gate import OodGate
from dermhub.models.prediction import Prediction


@dataclass(frozen=True)
class Beside:
    """The contents beside the weights in `folder`, each None where there is no such file.

    `cases` is the index of similar cases, and `thumbnails` holds its pictures.
    """

    folder: Path
    seen: SeenImages | None
    gate: OodGate | None
    cases: CaseIndex | None
    thumbnails: Thumbnails | None

    def check_similar(self, k: object) -> None:
        """Raise ModelError where there is no index, and ConfigError for a `k` out of range."""
        if self.cases is None:
            raise ModelError(
                f"{self.folder} has no index of similar cases: take a model that has one, as the "
                "shipped lesion has, or make one in a folder of yours with 'python -m dermhub "
                "measure FOLDER --refit --data DIR --cases DIR', where the second DIR holds the "
                "training images that may be shown to others."
            )
        check_number(k)

    def similar(
        self, prediction: Prediction, photo: Photo, features: Floats32, k: int
    ) -> SimilarCases:
        """Find the `k` cases nearest to the features (K,) of a photo; see `Classifier.similar`.

        `check_similar` must have passed.
        """
        assert self.cases is not None
        assert self.thumbnails is not None
        copied = self.seen.copies(photo.hashes) if self.seen else ()
        (code,) = self.cases.encode(features[None])
        cases = []
        for place, distance in self.cases.nearest(code, k, copied):
            entry = self.cases.entries[place]
            cases.append(
                Case(
                    entry.image_id,
                    entry.lesion_id,
                    entry.diagnosis,
                    entry.confirmation,
                    distance,
                    self.thumbnails.picture(place),
                )
            )
        return SimilarCases(prediction, tuple(cases), self.cases.credit)


def check(path: Path) -> None:
    """Check of a model folder all that loading it checks, without PyTorch.

    Raises ModelError as `Classifier` does; that the weights fit their architecture is known only
    where it is loaded into PyTorch.
    """
    folder = ModelFolder(path)
    select.check(folder)
    read(folder)


def read(folder: ModelFolder) -> Beside:
    """Read the files beside the weights of a folder.

    The hash of every other file is checked as well, but for the graph's, which
    `models.engines.select` has read or checked. Raises ModelError for damaged files.
    """
    names = [name for name in folder.config.files if name != layout.GRAPH]
    contents = {name: folder.read(name) for name in names}
    places = {name: str(folder.path / name) for name in contents}
    seen = gate = cases = thumbnails = None
    if layout.SEEN in contents:
        seen = SeenImages.from_bytes(contents[layout.SEEN], places[layout.SEEN])
    if layout.OOD_GATE in contents:
        gate = OodGate.from_bytes(contents[layout.OOD_GATE], places[layout.OOD_GATE])
    if layout.CASES in contents:
        if layout.THUMBNAILS not in contents:
            raise ModelError(
                f"{folder.path} has {layout.CASES} without {layout.THUMBNAILS}: fetch or copy the "
                "model again."
            )
        cases = CaseIndex.from_bytes(contents[layout.CASES], places[layout.CASES])
        thumbnails = Thumbnails.from_bytes(
            contents[layout.THUMBNAILS], len(cases), places[layout.THUMBNAILS]
        )
    return Beside(folder.path, seen, gate, cases, thumbnails)
