"""Perceptual hashes of the images that a model has learnt from, by which copies are recognised.

The hash (after Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
section 3.2.1) is the signs of the low frequencies of the grey central square, so that a 4:3 frame
and its square agree, and size, JPEG quality, brightness and contrast hardly matter. Zauner compares
with the median of the coefficients. Comparing with zero, as here, gives signs that turn and flip
with the image exactly: mirroring changes the sign of the odd frequencies, transposing swaps the
axes. So all eight symmetries of a square are looked up from one transform.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub import tensors
from dermhub.errors import ModelError
from dermhub.images.concern import Concern
from dermhub.images.view import InputSpec, view_box
from dermhub.layout import SEEN

SPLITS = ("train", "validation")
"""The splits whose images a model has seen; the test images are not among them."""

SIDE = 64
"""Height and width in pixels of the grey square that is transformed."""

PAIRS = tuple(
    (u, v) for total in range(26, 0, -1) for u, v in ((u, total - u) for u in range(total + 1))
)
"""The 377 frequencies (u, v) with 0 < u + v < 27 whose signs make the hash, the highest first."""

BYTES = 48
"""Length of a hash in bytes.

Bit k lies in byte k // 8 at the value 2 ** (k % 8), and the last 7 bits are zero.
"""

THRESHOLD = 60
"""Largest Hamming distance, of 377 bits, at which two images are the same photograph.

`benchmarks/near_duplicates.py` shows why.
"""

SQUARE = 1.02
"""Largest ratio of its sides at which an image is square."""

STRETCHED = ((0.125, 0.0), (0.0, 0.125), (0.125, 0.125))
"""Margins (left and right, top and bottom) of the frames in a square image that `boxes` lists.

They are shares of the width and of the height.
"""

GAP = 1.5
"""Pixels that are left for one of the grey square, at least, when whole pixels are averaged first.

The rest is scaled smoothly. Without averaging, 3 of the 377 bits differ, and it takes longer.
"""

FORMAT = "dermhub seen 1"

_WORDS = BYTES // 8
"""Length of a hash in words of 64 bits."""

Box = tuple[float, float, float, float]
"""Part of an image: (left, top, right, bottom) in pixels."""


@dataclass(frozen=True)
class Match:
    """An image that a model has seen, and that another image is a copy of.

    `image_id` and `split` are those of the seen image; `distance` counts the bits, of 377, in which
    the two differ.
    """

    image_id: str
    split: str
    distance: int

    @property
    def concern(self) -> Concern:
        """The warning about the match that goes with an answer."""
        use = "train" if self.split == "train" else "tune"
        return Concern(
            "seen",
            f"This image looks like {self.image_id}, which was used to {use} the model, so the "
            "result proves nothing.",
        )


class SeenImages:
    """The hashes of the images that a model has seen.

    `bits` is (N, 48) uint8, one hash a row (see `BYTES`); `ids` and `splits` hold the N image ids
    and their splits.
    """

    def __init__(self, bits: NDArray[np.uint8], ids: Sequence[str], splits: Sequence[str]) -> None:
        self.bits = bits
        self.ids = tuple(ids)
        self.splits = tuple(splits)
        # One contiguous row for each word of the hashes. The order of the bytes in a word is the
        # machine's own: it is the same on both sides of the comparison.
        words = np.ascontiguousarray(bits).view(np.uint64).reshape(-1, _WORDS)
        self._words = np.ascontiguousarray(words.T)

    def find(self, queries: NDArray[np.uint64]) -> Match | None:
        """Find the nearest seen image of which the image with these `hashes` is a copy, or None.

        A copy may be scaled, compressed, turned by quarters, mirrored, cut to the central square,
        or a frame of 4:3 that was stretched or padded to a square. Of other crops, and of turns by
        a few degrees, some or none are recognised (`benchmarks/near_duplicates.py`). An image
        without any structure has no hashes and is no copy.
        """
        return self._nearest(queries) if len(queries) else None

    def copies(self, queries: NDArray[np.uint64]) -> tuple[str, ...]:
        """Return the ids of all seen images of which the image with these `hashes` is a copy."""
        if not len(queries):
            return ()
        near = self._near(queries)
        least = distances(self._words[:, near], queries).min(axis=0)
        return tuple(self.ids[place] for place in near[least <= THRESHOLD])

    def concerns(self, queries: NDArray[np.uint64]) -> tuple[Concern, ...]:
        """Return the concern about the image with these `hashes` if it was seen, else none."""
        match = self.find(queries)
        return () if match is None else (match.concern,)

    def _near(self, queries: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the places of all seen images that may be copies; most of them are."""
        # The distance in the first half of the bits is a lower bound of the whole. That half holds
        # the high frequencies, which rule nearly all images out.
        half = _WORDS // 2
        bounds = distances(self._words[:half], queries[:, :half])
        return np.flatnonzero(bounds.min(axis=0) <= THRESHOLD)

    def _nearest(self, queries: NDArray[np.uint64]) -> Match | None:
        near = self._near(queries)
        if not len(near):
            return None
        least = distances(self._words[:, near], queries).min(axis=0)
        best = int(least.argmin())
        if least[best] > THRESHOLD:
            return None
        place = near[best]
        return Match(self.ids[place], self.splits[place], int(least[best]))

    def to_bytes(self) -> bytes:
        """Return the content of seen.safetensors.

        It holds `bits` (N, 48), `splits` (N,) and `ids` as compressed JSON, all uint8.
        """
        ids = zlib.compress(json.dumps(self.ids, ensure_ascii=False).encode(), 9)
        arrays = {
            "bits": self.bits,
            "splits": np.array([SPLITS.index(name) for name in self.splits], np.uint8),
            "ids": np.array(list(ids), np.uint8),
        }
        return tensors.write(arrays, {"format": FORMAT})

    @classmethod
    def from_bytes(cls, content: bytes, where: str = SEEN) -> SeenImages:
        """Read the content of seen.safetensors, as `to_bytes` makes it.

        Raises ModelError, which names the file as `where`, for any other content.
        """
        arrays = tensors.read(content, where)
        kind = tensors.metadata(content).get("format")
        if kind != FORMAT:
            raise ModelError(
                f"{where} has the format {kind!r}, expected {FORMAT!r}: update dermhub or the "
                "model."
            )
        try:
            bits, splits, packed = (arrays[name] for name in ("bits", "splits", "ids"))
            if {array.dtype for array in (bits, splits, packed)} != {np.dtype(np.uint8)}:
                raise ValueError("expected arrays of bytes")
            if bits.shape != (len(bits), BYTES) or splits.shape != (len(bits),) or packed.ndim != 1:
                raise ValueError(
                    f"bits have the shape {bits.shape} and splits {splits.shape}, expected (N, "
                    f"{BYTES})"
                )
            ids = _unpack(bytes(packed.tolist()), len(bits))
            if len(ids) != len(bits):
                raise ValueError(f"{len(ids)} ids for {len(bits)} hashes")
            return cls(bits, ids, [SPLITS[value] for value in splits.tolist()])
        except (KeyError, ValueError, TypeError, IndexError, RecursionError, zlib.error) as error:
            raise ModelError(
                f"{where} is no manifest of seen images ({error}): fetch the model again."
            ) from None


def build(images: Iterable[Image.Image], ids: Sequence[str], splits: Sequence[str]) -> SeenImages:
    """Hash N upright RGB images with N ids and splits; the images may come from an iterator.

    Images of other splits than `SPLITS`, and images without any structure, are left out.
    """
    rows = []
    kept_ids = []
    kept_splits = []
    for rgb, name, split in zip(images, ids, splits, strict=True):
        coefficients = transform(rgb) if split in SPLITS else None
        if coefficients is not None:
            rows.append(symmetries(coefficients)[0])
            kept_ids.append(name)
            kept_splits.append(split)
    bits = np.stack(rows) if rows else np.zeros((0, BYTES), np.uint8)
    return SeenImages(bits, kept_ids, kept_splits)


def hashes(rgb: Image.Image) -> NDArray[np.uint64]:
    """Return all hashes by which an upright RGB image is looked up: (Q, 6) words of 64 bits.

    They are the eight symmetries of each of its `boxes` that has any structure, so that Q is 0, 8,
    16, 24 or 32. They depend on the image alone and serve every list of seen images.
    """
    grey = rgb.convert("L")
    parts = [transform(grey, box) for box in boxes(rgb.size)]
    rows = [symmetries(coefficients) for coefficients in parts if coefficients is not None]
    return np.concatenate([np.zeros((0, BYTES), np.uint8), *rows]).view(np.uint64)


def boxes(size: tuple[int, int]) -> list[Box]:
    """List the places in an image where the central square of the copied frame may lie.

    The first is the image's own central square. A square image may also be a frame of 4:3, upright
    or not, that was stretched or padded to a square: then the central square lies in the middle
    three quarters of the width, of the height, or of both.
    """
    central: Box = view_box(size, InputSpec(SIDE))
    width, height = size
    if max(size) > SQUARE * min(size):
        return [central]
    inner = [(width * x, height * y, width * (1 - x), height * (1 - y)) for x, y in STRETCHED]
    return [central, *inner]


def transform(image: Image.Image, box: Box | None = None) -> NDArray[np.float64] | None:
    """Transform a part of an image, in grey, by the two-dimensional DCT-II: (27, 27) coefficients.

    The part is stretched to a square; without a `box` it is the central square. None stands for a
    part without any structure.
    """
    box = box or view_box(image.size, InputSpec(SIDE))
    # Grey first: one channel is scaled in a third of the time of three.
    small = image.convert("L").resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=GAP
    )
    grey = np.asarray(small, np.float64)
    # Less than half a grey level of spread is rounding, whose signs say nothing.
    return None if grey.std() < 0.5 else _basis() @ grey @ _basis().T


def symmetries(coefficients: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the hashes of an image with these coefficients, turned and mirrored: (8, 48).

    The first is that of the image as it is.
    """
    u, v, mirrored = _pairs()
    # Transposing the image swaps the frequencies.
    both = np.stack([coefficients[u, v], coefficients[v, u]])
    positive = (both[:, None] * mirrored).reshape(8, -1) > 0
    return np.packbits(positive, axis=1, bitorder="little")


def distances(words: NDArray[np.uint64], queries: NDArray[np.uint64]) -> NDArray[np.integer]:
    """Return the Hamming distances between queries (Q, W) and hashes (W, N): (Q, N).

    Both come in words of 64 bits.
    """
    # Three words have at most 192 different bits, and bytes are added in half the time.
    kind = np.uint8 if len(words) <= 3 else np.uint16
    total = np.zeros((len(queries), words.shape[1]), kind)
    different = np.empty(total.shape, np.uint64)
    for row, query in zip(words, queries.T, strict=True):
        np.bitwise_xor(row, query[:, None], out=different)
        total += np.bitwise_count(different)
    return total


@functools.cache
def _basis() -> NDArray[np.float64]:
    """Return the cosines of the DCT-II, (27, 64): a frequency a row, a pixel a column."""
    frequency = np.arange(PAIRS[0][1] + 1)[:, None]
    place = np.arange(SIDE)[None]
    return np.asarray(np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE)))


@functools.cache
def _pairs() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the frequencies u and v of each bit, and the signs by which mirroring multiplies.

    They are (384,), (384,) and (4, 384); the last 7 bits, which mean nothing, get zeros as signs.
    The four ways are: as it is, left and right exchanged, top and bottom exchanged, and both.
    """
    u, v = np.pad(np.array(PAIRS, np.intp).T, ((0, 0), (0, 8 * BYTES - len(PAIRS))))
    # Mirroring an axis changes the sign of its odd frequencies.
    down, across = (-1.0) ** u, (-1.0) ** v
    used = np.arange(len(u)) < len(PAIRS)
    return u, v, np.stack([np.ones(len(u)), across, down, down * across]) * used


def _unpack(content: bytes, count: int) -> list[str]:
    """Unpack the ids of `count` images; raises ValueError for anything but a list of names."""
    # A file that claims little and unpacks to gigabytes is refused: the reader stops at the limit.
    reader = zlib.decompressobj()
    text = reader.decompress(content, 4096 * (count + 1))
    ids = json.loads(text.decode()) if reader.eof else None
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise ValueError("the ids are no list of names")
    return ids
