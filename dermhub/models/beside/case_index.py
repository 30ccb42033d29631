"""The index of similar cases: one photograph each of many training lesions, as small features.

The features of an image (`Classifier.embed`) are centred, reduced to their principal axes, scaled
to the length 1 and rounded to whole numbers from -127 to 127. The distance of two images is the
straight line between these points, so that it depends on the angle between the features alone, as
in Tschandl, Argenziano, Razmara and Yap, "Diagnostic accuracy of content-based dermatoscopic image
retrieval with deep classification features", British Journal of Dermatology 181, 2019. Squared
distances are sums of whole numbers below 2 ** 24, which float32 holds exactly: the order of the
cases is the same on every machine.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.errors import ModelError
from dermhub.layout import CASES

Codes = NDArray[np.int8]
"""Features as whole numbers from -127 to 127, an image a row: (N, D)."""

FORMAT = "dermhub cases 1"

MOST_DIMENSIONS = 256
"""Principal axes that an index may have: with more, a squared distance may pass 2 ** 24."""

LONGEST = 200
"""Letters of an id, a diagnosis or a kind of proof; they are shown on pages."""

MOST_PHOTOGRAPHS = 200
"""Photographs that a lesion of an index may have."""


@dataclass(frozen=True)
class Entry:
    """A lesion of an index, and the photograph of it that is shown.

    `diagnosis` is its code, and `confirmation` says how it was proven, as HAM10000's column dx_type
    does ("histo", "follow_up", ...; "" where nobody knows). `others` are the ids of the lesion's
    other photographs.
    """

    image_id: str
    lesion_id: str
    diagnosis: str
    confirmation: str
    others: tuple[str, ...] = ()


class CaseIndex:
    """Training lesions by the features of a photograph each.

    `mean` (K,) and `axes` (D, K) make D numbers of K features, `scale` turns these into whole
    numbers, and `codes` (N, D) has the result for each of the N `entries`. `credit` says whose
    images they are, "" where that is not known.
    """

    def __init__(
        self,
        mean: Floats32,
        axes: Floats32,
        scale: float,
        codes: Codes,
        entries: Sequence[Entry],
        credit: str = "",
    ) -> None:
        self.mean, self.axes, self.scale, self.codes = mean, axes, scale, codes
        self.entries, self.credit = tuple(entries), credit
        self._points = codes.astype(np.float32)
        self._lengths = (self._points * self._points).sum(axis=1)
        self._lesions = {
            image: entry.lesion_id
            for entry in self.entries
            for image in (entry.image_id, *entry.others)
        }

    def __len__(self) -> int:
        return len(self.entries)

    def encode(self, features: Floats32) -> Codes:
        """Make codes (M, D) of features (M, K); raises ModelError for another number of them."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ModelError(
                f"The index of similar cases was made from {len(self.mean)} features, but the "
                f"model has {features.shape[-1]}: measure the model again."
            )
        return rounded(unit(features, self.mean, self.axes), self.scale)

    def squares(self, codes: Codes) -> Floats32:
        """Return the squared distances from codes (M, D) to all cases, whole numbers: (M, N)."""
        points = codes.astype(np.float32)
        lengths = (points * points).sum(axis=1)
        return np.asarray(lengths[:, None] + self._lengths - 2 * (points @ self._points.T))

    def nearest(
        self, code: Codes, most: int, known: Collection[str] = ()
    ) -> list[tuple[int, float]]:
        """List the places of the `most` cases that are nearest to a code (D,), with distances.

        A distance of 0 is the same direction, 2 the opposite one. Lesions at a distance of 0, and
        those of the images `known`, are left out: they are the image itself, or another photograph
        of its lesion. Of equal distances the first case in the index comes first.
        """
        squares = self.squares(code[None])[0]
        own = {self._lesions[name] for name in known if name in self._lesions}
        own |= {self.entries[place].lesion_id for place in np.flatnonzero(squares == 0)}
        order = np.argsort(squares, kind="stable")[: most + len(own)]
        places = [int(place) for place in order if self.entries[place].lesion_id not in own]
        return [(place, float(np.sqrt(squares[place])) / self.scale) for place in places[:most]]

    def to_bytes(self) -> bytes:
        """Return the content of cases.safetensors, the same on every machine.

        It holds `mean`, `axes`, `scale`, `codes`, and `entries` as compressed JSON in uint8.
        """
        rows = json.dumps([astuple(entry) for entry in self.entries], ensure_ascii=False)
        arrays: dict[str, NDArray[Any]] = {
            "mean": self.mean,
            "axes": self.axes,
            "scale": np.array([self.scale], np.float64),
            "codes": self.codes,
            "entries": tensors.numbers(zlib.compress(rows.encode(), 9), "|u1"),
        }
        return tensors.write(arrays, {"format": FORMAT, "credit": self.credit})

    @classmethod
    def from_bytes(cls, content: bytes, where: str = CASES) -> CaseIndex:
        """Read the content of cases.safetensors, as `to_bytes` makes it.

        Raises ModelError, which names the file as `where`, for any other content.
        """
        arrays = tensors.read(content, where)
        texts = tensors.metadata(content)
        if texts.get("format") != FORMAT:
            raise ModelError(
                f"{where} has the format {texts.get('format')!r:.80}, expected {FORMAT!r}: update "
                "dermhub or the model."
            )
        try:
            mean, axes, scale, codes = (arrays[name] for name in ("mean", "axes", "scale", "codes"))
            _check_arrays(mean, axes, scale, codes)
            entries = _unpack(arrays["entries"], len(codes))
            credit = texts.get("credit", "")
            if len(credit) > 10 * LONGEST or not credit.isprintable():
                raise ValueError("its credit is no plain text")
        except (KeyError, ValueError, TypeError, RecursionError, zlib.error) as error:
            raise ModelError(
                f"{where} is no index of similar cases ({str(error)[:200]}): fetch the model again."
            ) from None
        return cls(mean, axes, float(scale[0]), codes, entries, credit)


def unit(features: Floats32, mean: Floats32, axes: Floats32) -> Floats32:
    """Return features (M, K) along the axes (D, K), each row at the length 1: (M, D)."""
    reduced = (features - mean) @ axes.T
    # Features at the mean have no direction, and stay at zero.
    return np.asarray(reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12))


def rounded(points: Floats32, scale: float) -> Codes:
    """Round points of the length 1 to codes (M, D); they are stretched by `scale` before."""
    return np.clip(np.round(points * np.float32(scale)), -127, 127).astype(np.int8)


def _check_arrays(
    mean: NDArray[Any], axes: NDArray[Any], scale: NDArray[Any], codes: NDArray[Any]
) -> None:
    """Raise ValueError for arrays of other kinds or shapes than those of an index."""
    kinds = [array.dtype.name for array in (mean, axes, scale, codes)]
    if kinds != ["float32", "float32", "float64", "int8"]:
        raise ValueError(f"its arrays are of {', '.join(kinds)}")
    if codes.ndim != 2 or not len(codes) or not 1 <= codes.shape[1] <= MOST_DIMENSIONS:
        raise ValueError(f"its codes have the shape {codes.shape}")
    if mean.ndim != 1 or axes.shape != (codes.shape[1], len(mean)) or scale.shape != (1,):
        raise ValueError(f"its axes have the shape {axes.shape}, its mean {mean.shape}")
    finite = all(np.isfinite(array).all() for array in (mean, axes, scale))
    if not finite or scale[0] <= 0 or (codes == -128).any():
        raise ValueError("it holds numbers that none of ours has")


def _unpack(packed: NDArray[Any], count: int) -> list[Entry]:
    """Unpack the `count` entries of an index; raises ValueError for anything else."""
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise ValueError("its entries are no bytes")
    # A file that claims little and unpacks to gigabytes is refused: the reader stops at the limit.
    reader = zlib.decompressobj()
    text = reader.decompress(bytes(packed), 4096 * (count + 1))
    rows = json.loads(text.decode()) if reader.eof else None
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"its entries are no list of {count} cases")
    return [_entry(row) for row in rows]


def _entry(row: Any) -> Entry:
    """Make an entry of its row; raises ValueError for texts that can't be shown."""
    if not isinstance(row, list) or len(row) != 5 or not isinstance(row[4], list):
        raise ValueError("an entry is no row of five")
    *texts, others = row
    every = [*texts, *others]
    plain = all(
        isinstance(text, str) and text.isprintable() and len(text) <= LONGEST for text in every
    )
    if not plain or not all(texts[:3]) or len(others) > MOST_PHOTOGRAPHS:
        raise ValueError("an entry has an id or a diagnosis that is no plain text")
    image_id, lesion_id, diagnosis, confirmation = texts
    return Entry(image_id, lesion_id, diagnosis, confirmation, tuple(others))
