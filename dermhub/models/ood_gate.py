"""A gate against images that are not dermatoscopic: how unlike the training images one is.

A classifier answers whatever it is shown. Two distances tell when it should not:

- the residual of ViM (Wang, Li, Feng and Zhang, "ViM: Out-of-Distribution with Virtual-logit
  Matching", CVPR 2022, equation 3, without its logit): the length of the part of the features that
  the principal axes of the training features do not reach. Features are the mean and the standard
  deviation of each of the last layer's maps;
- the Mahalanobis distance (Lee, Lee, Lee and Shin, "A simple unified framework for detecting
  out-of-distribution samples and adversarial attacks", NeurIPS 2018, here with one class) of 36
  plain statistics of the picture: brightness and colour in four rings around the centre, contrast,
  and how fast they change.

Each is divided by the value that 95 % of the validation images stay below. The second counts a
tenth, because on its own it also objects to dermatoscopes of another make. Every second training
image is varied as in training (`dermhub.scoring.inference`), so that another light or magnification
is nothing strange; of each diagnosis there are about equally many (`release.sidecars.gate_images`),
so that carcinomas are no stranger than nevi. The limit is where 1 % of the malignant validation
images are refused, because to refuse one of them hides a cancer.

What chose what: validation images and stand-ins for everything else chose the statistics;
dermatoscopic images of another source, with an eye on pictures of other things, chose features,
rank and weight; the variation was chosen with an eye on the photographs that are reported
(docs/experiments.md). The test split and PH2 chose nothing, but PH2's figures were the reason to
look for other features.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermhub import tensors
from dermhub.arrays import Floats32, Floats64
from dermhub.errors import ModelError, some
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.images.view import InputSpec

RANK = 128
"""Principal axes of the training features that count as known.

Twice as many cost 1.3 MB or more, and fewer dermatoscopic images pass.
"""

WEIGHT = 0.1
"""Weight of the picture's statistics beside the features."""

COMMON = 0.95
"""Share of the validation images that stay below the value by which a distance is divided."""

REFUSED = 0.01
"""Largest share of the malignant validation images that the limit refuses."""

GRID = 32
"""Rows and columns of mean colours from which the statistics of a picture are taken."""

RINGS = (0.0, 0.35, 0.7, 1.0, 2.0)
"""Edges of the rings, as distances from the centre where half a side is 1."""

EXTREMES = (0.02, 0.98)
"""Shares of the pixels below the darkest and the lightest levels among the statistics."""

LOOKS = 36
"""Number of statistics of a picture."""

SENTENCE = (
    "This doesn't look like a dermatoscopic image. We only handle close-ups taken through a "
    "dermatoscope. If yours is one, try without hair, gel or a dark rim."
)


def feature_vector(maps: Floats32, images: Floats32, spec: InputSpec) -> Floats32:
    """Return features of maps (N, K, h, w) and statistics of inputs (N, 3, H, W): (N, 2K + 36)."""
    return np.concatenate([map_features(maps), image_statistics(images, spec)], axis=1)


def map_features(maps: Floats32) -> Floats32:
    """Return the mean and the standard deviation of each of the maps (N, K, h, w): (N, 2K)."""
    places = maps.reshape(*maps.shape[:2], -1)
    # A product with equal weights takes a fraction of the time of numpy's mean over short rows.
    weights = np.full(places.shape[2], 1 / places.shape[2], np.float32)
    mean = places @ weights
    centred = places - mean[..., None]
    spread = np.sqrt((centred * centred) @ weights)
    return np.concatenate([mean, spread], axis=1)


def image_statistics(images: Floats32, spec: InputSpec) -> Floats32:
    """Return statistics of the pictures behind a model's inputs (N, 3, H, W): (N, 36)."""
    mean, std = (np.array(values)[:, None, None] for values in (spec.mean, spec.std))
    # The mean of numbers that are scaled and shifted is their mean, scaled and shifted.
    means = _rows(images) @ _averages(images.shape[3]).T
    grid = means.astype(np.float64) * std + mean
    flat = grid.reshape(len(grid), 3, -1)
    # Sums over rings, of the levels and of their squares: (N, 3, R) each.
    shares = _ring_shares()
    ring_mean = flat @ shares
    ring_std = np.sqrt(np.maximum((flat * flat) @ shares - ring_mean * ring_mean, 0))
    red, green, blue = grid.transpose(1, 0, 2, 3)
    planes = np.stack([grid.mean(axis=1), red - green, blue - green], axis=1)
    changes = np.stack(
        [
            np.abs(np.diff(planes, axis=axis)).reshape(len(grid), 3, -1).mean(axis=2)
            for axis in (2, 3)
        ],
        axis=2,
    )
    parts = [
        # Ring by ring, three colours each.
        ring_mean.transpose(0, 2, 1),
        ring_std.transpose(0, 2, 1),
        np.log(1e-3 + changes),
        _extremes(flat),
    ]
    statistics = [part.reshape(len(grid), -1) for part in parts]
    return np.concatenate(statistics, axis=1).astype(np.float32)


@dataclass(frozen=True)
class OodGate:
    """The training images in brief: F features and 36 statistics.

    `mean` (F,) and `axes` (R, F), orthonormal; `look_mean` (36,) and `look_axes` (36, 36), which
    whitens; `scales` (2,) divide the two distances so that their sum is 1 at the limit. All
    float32.
    """

    mean: Floats32
    axes: Floats32
    look_mean: Floats32
    look_axes: Floats32
    scales: Floats32

    def score(self, described: Floats32) -> Floats64:
        """Score rows of `feature_vector`: (N,), at least 0; above 1, the image is rejected.

        Raises ModelError for another number of features than the gate was fitted on, and for a
        score that is no finite number.
        """
        if described.shape[1] != len(self.mean) + LOOKS:
            raise ModelError(
                f"The gate was fitted on {len(self.mean)} features, but the model has "
                f"{described.shape[1] - LOOKS}: measure the model again."
            )
        scores = np.asarray((self._distances(described) / self.scales).sum(axis=1))
        # Every comparison with NaN is false, and the image would pass.
        if not np.isfinite(scores).all():
            raise ModelError(
                "The gate's score of an image is NaN or infinite, expected a finite number: fetch "
                "the model again."
            )
        return scores

    def concerns(self, maps: Floats32, statistics: Floats32) -> list[tuple[Concern, ...]]:
        """Judge images by their feature maps (N, K, h, w) and their `image_statistics` (N, 36).

        Returns for each image one concern where it is rejected, none elsewhere.
        """
        scores = self.score(np.concatenate([map_features(maps), statistics], axis=1))
        return [(Concern(NOT_DERMATOSCOPIC, SENTENCE),) if score > 1 else () for score in scores]

    def _limited(self, validation: Floats32, malignant: NDArray[np.bool_]) -> OodGate:
        """Return the gate with its limit set anew on validation images.

        `validation` are their rows of `feature_vector`, and `malignant` (N,) says which of them are
        malignant; where none is, all count.
        """
        distances = self._distances(validation)
        common = np.maximum(np.apply_along_axis(_below, 0, distances, COMMON), 1e-6)
        scales = common / [1, WEIGHT]
        scores = (distances / scales).sum(axis=1)
        scores = scores[malignant] if malignant.any() else scores
        # Rounded up, so that the image that set the limit stays inside when the scales become
        # float32.
        scales *= _below(scores, 1 - REFUSED) * (1 + 1e-6)
        scales = np.maximum(scales, 1e-6).astype(np.float32)
        return dataclasses.replace(self, scales=scales)

    def to_bytes(self) -> bytes:
        """Write the gate as the content of its file, the same on every machine."""
        return tensors.write({name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> OodGate:
        """Read what `to_bytes` wrote.

        Raises ModelError, which names the file as `where`, for anything else.
        """
        arrays = tensors.read(content, where)
        if set(arrays) != set(cls.__dataclass_fields__):
            raise ModelError(
                f"{where} is no gate: it holds {some(sorted(arrays), 10) or 'nothing'}."
            )
        gate = cls(**arrays)
        features = gate.mean.shape[-1] if gate.mean.ndim else 0
        ranks = gate.axes.shape[:1]
        wanted = {
            "mean": (features,),
            "axes": (*ranks, features),
            "look_mean": (LOOKS,),
            "look_axes": (LOOKS, LOOKS),
        }
        for name, shape in {**wanted, "scales": (2,)}.items():
            array = arrays[name]
            if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
                raise ModelError(
                    f"{where} is no gate: expected {name} as finite float32 of shape {shape}, got "
                    f"{array.dtype} of {array.shape}."
                )
        if not (gate.scales > 0).all():
            raise ModelError(
                f"{where} is no gate: its scales are {gate.scales.tolist()}, expected numbers "
                "above 0."
            )
        return gate

    def _distances(self, described: Floats32) -> Floats64:
        """Return the distances of features and of statistics from the training images: (N, 2)."""
        features, statistics = np.split(described, [len(self.mean)], axis=1)
        centred = features - self.mean
        # The axes are orthonormal, so the part that they reach has the length of the coordinates
        # along them, and Pythagoras gives the rest: one product, of numbers as they are stored.
        reached = (centred @ self.axes.T).astype(np.float64)
        whole = centred.astype(np.float64)
        rest = (whole * whole).sum(axis=1) - (reached * reached).sum(axis=1)
        whitened = (statistics.astype(np.float64) - self.look_mean) @ self.look_axes
        return np.stack([np.sqrt(np.maximum(rest, 0)), np.linalg.norm(whitened, axis=1)], axis=1)


def fit(training: Floats32, validation: Floats32, malignant: NDArray[np.bool_]) -> OodGate:
    """Fit a gate on rows of `feature_vector`: axes on training, the limit on validation.

    `malignant` (N,) says which of the N validation images are malignant; where none is, all count.
    """
    features, statistics = np.split(
        training.astype(np.float64), [training.shape[1] - LOOKS], axis=1
    )
    rank = min(RANK, features.shape[1] // 2, len(features) - 1)
    mean, look_mean = features.mean(axis=0), statistics.mean(axis=0)
    # The axes come from the covariance, because decomposing the features of all images at once
    # takes far more numbers.
    _, vectors = np.linalg.eigh((features - mean).T @ (features - mean))
    arrays = (
        mean,
        vectors[:, ::-1][:, :rank].T,
        look_mean,
        _whitening(statistics - look_mean),
        np.ones(2),
    )
    gate = OodGate(*(np.ascontiguousarray(array, np.float32) for array in arrays))
    return gate._limited(validation, malignant)


def _below(values: Floats64, share: float) -> float:
    """Return the smallest of the values that at least the share of them does not exceed."""
    return float(np.sort(values)[math.ceil(share * len(values)) - 1])


def _whitening(centred: Floats64) -> Floats64:
    """Return the (36, 36) matrix that makes centred statistics uncorrelated, of variance 1."""
    # A statistic without spread, as among a handful of images, must not decide alone: hence the
    # two lower bounds.
    scale = np.maximum(centred.std(axis=0), 1e-3)
    values, vectors = np.linalg.eigh((centred / scale).T @ (centred / scale) / len(centred))
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-4)) / scale[:, None])


@functools.cache
def _ring_shares() -> Floats64:
    """Return the share of each pixel in the mean of each ring, (GRID * GRID, R)."""
    y, x = (np.mgrid[0:GRID, 0:GRID] + 0.5) / GRID * 2 - 1
    distance = np.hypot(x, y).reshape(-1, 1)
    rings = (distance >= RINGS[:-1]) & (distance < RINGS[1:])
    return np.asarray(rings / rings.sum(axis=0))


def _extremes(values: Floats64) -> Floats64:
    """Return the 2nd and the 98th percentile of (N, C, P) values: (N, 2, C)."""
    places = np.array(EXTREMES) * (values.shape[2] - 1)
    low = places.astype(int)
    ordered = np.partition(values, [*low, *(low + 1)], axis=2)
    # Between two values, in proportion, as np.percentile does it in far more time.
    between = ordered[..., low] * (low + 1 - places) + ordered[..., low + 1] * (places - low)
    return np.asarray(between.transpose(0, 2, 1))


def _rows(images: Floats32) -> Floats32:
    """Average the rows of images (N, 3, H, W) in `GRID` pieces: (N, 3, GRID, W)."""
    count, channels, height, width = images.shape
    if height % GRID:
        return _averages(height) @ images
    # Sums of equal pieces take a third of the time of a product.
    pieces = images.reshape(count, channels, GRID, height // GRID, width)
    return np.asarray(pieces.sum(axis=3) / np.float32(height // GRID))


@functools.cache
def _averages(length: int) -> Floats32:
    """Return the matrix (GRID, length) that averages values in `GRID` pieces, as even as can be.

    Where there are fewer values, some are repeated.
    """
    starts = np.arange(GRID) * length // GRID
    ends = np.maximum(np.arange(1, GRID + 1) * length // GRID, starts + 1)
    places = np.arange(length)
    pieces = (places >= starts[:, None]) & (places < ends[:, None])
    return np.asarray(pieces / pieces.sum(axis=1, keepdims=True), np.float32)
