"""Grad-CAM explanations: from a class map to a heat map, a picture and a verdict.

The class map itself comes from the engine (`engines.base.Engine.class_maps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Mask
from dermhub.images.lesion import Lesion
from dermhub.models.prediction import Prediction

# Sampled from matplotlib's viridis (CC0): lightness rises evenly, and it reads the same with any
# colour vision.
COLOURS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
    np.float32,
)

GRID = 64
"""Rows and columns of the grid on which a map is compared with a lesion's mask."""

WHOLE = 0.95
"""Share of the view from which on a lesion leaves too little beside it to judge a map."""


@dataclass(frozen=True)
class Explanation:
    """A Grad-CAM map: the places in an image where a model found evidence for a class.

    `evidence` is the class map (h, w), at least 0, over the box `view` (left, top, right, bottom)
    of the upright RGB `image`. `versus` is the class that `target` was contrasted with, or "".
    `lesion` was segmented without the model; it judges the map (`verdict`).
    """

    prediction: Prediction
    target: str
    versus: str
    evidence: NDArray[np.float32]
    image: Image.Image
    view: tuple[float, float, float, float]
    lesion: Lesion

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The map over the whole image, (H, W) float32 in [0, 1].

        1 is the strongest evidence; 0 lies where there is none or the model did not look.
        """
        return to_frame(self.evidence, self.image.size, self.view)

    @property
    def overlay(self) -> Image.Image:
        """The image with the heat map over it, in the image's size."""
        return heat_overlay(self.image, self.heatmap)

    def layer(self, width: int) -> Image.Image:
        """Draw the heat map alone as an RGBA picture of that width, to lay over the image."""
        scale = width / self.image.width
        size = (width, max(round(self.image.height * scale), 1))
        left, top, right, bottom = (edge * scale for edge in self.view)
        return heat_layer(to_frame(self.evidence, size, (left, top, right, min(bottom, size[1]))))

    @property
    def blank(self) -> bool:
        """True where no part of the image speaks for the class."""
        return not bool(self.evidence.any())

    @cached_property
    def lesion_share(self) -> float:
        """Share of the view that the segmented lesion covers; 0 where no lesion was found."""
        return float(self._lesion_seen.mean())

    @cached_property
    def inside(self) -> float:
        """Share of the map's energy that lies on the lesion, 0 to 1; 0 for a blank map.

        A map that has nothing to do with the lesion has about `lesion_share`.
        """
        return energy_inside(self.evidence, self._lesion_seen)

    @property
    def judged(self) -> bool:
        """True where there are a map, a lesion, and something beside the lesion."""
        return not self.prediction.rejected and not self.blank and 0 < self.lesion_share < WHOLE

    @property
    def trusted(self) -> bool:
        """True where the map was judged and prefers the lesion: `inside` >= `lesion_share`.

        Of the validation images, 0.6 % of the right answers of the shipped seven-class model and
        1.3 % of its wrong ones have a map that was judged and does not; of the shipped binary
        model, which looks for what is benign beside the lesion too, 6 % and 19 %
        (`benchmarks/verdict.py`).
        """
        return self.judged and self.inside >= self.lesion_share

    @property
    def verdict(self) -> str:
        """The judgement of the map, and its figures, in one sentence."""
        if self.prediction.rejected:
            return "This is not a dermatoscopic image, so the map can't be judged."
        if not self.lesion_share:
            return "No lesion was found in the image, so the map can't be judged."
        if self.blank:
            return "The map is empty, so there is nothing to judge."
        if not self.judged:
            return "The lesion fills nearly all that the model saw, so the map can't be judged."
        if self.trusted:
            return (
                f"{self.inside:.0%} of the evidence lies inside the central lesion, which covers "
                f"{self.lesion_share:.0%} of what the model saw."
            )
        what = "answer" if (self.target, self.versus) == (self.prediction.label, "") else "map"
        return (
            f"The model looked outside the lesion: only {self.inside:.0%} of the evidence lies "
            f"inside it, though it covers {self.lesion_share:.0%} of what the model saw; do not "
            f"rely on this {what}."
        )

    @cached_property
    def _lesion_seen(self) -> Mask:
        """The lesion's mask over the view, (GRID, GRID)."""
        width, height = self.image.size
        left, top, right, bottom = self.view
        shares = (left / width, top / height, right / width, bottom / height)
        return self.lesion.over((GRID, GRID), shares)


def mask_in_view(
    mask: NDArray[np.bool_], view: tuple[float, float, float, float]
) -> NDArray[np.bool_]:
    """Cut the box `view`, in pixels, out of a mask (H, W), and scale it to (GRID, GRID)."""
    levels = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(levels.resize((GRID, GRID), Image.Resampling.BOX, box=view)) > 127


def energy_inside(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the share of a class map's energy inside a mask (S, S) over the same view.

    0 to 1; 0 for a map without energy. The energy-based pointing game of Wang et al., "Score-CAM",
    CVPR workshops 2020, section 5.2.
    """
    heat = _over(evidence, mask)
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else 0.0


def peak_inside(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Return whether a class map's peak lies in a mask (S, S) over the same view.

    The pointing game of Zhang et al., IJCV 126, 2018.
    """
    heat = _over(evidence, mask)
    return bool(heat.any() and mask.flat[heat.argmax()])


def to_frame(
    evidence: NDArray[np.float32], size: tuple[int, int], view: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Scale a class map (h, w) to [0, 1] and lay it over the part of the image that the model saw.

    `size` is (width, height) of the image and `view` the box in it; the result is (height, width),
    0 outside the view, and all 0 when there is no evidence at all.
    """
    peak = float(evidence.max())
    heat = np.zeros((size[1], size[0]), np.float32)
    if peak <= 0:
        return heat
    left, top, right, bottom = (round(edge) for edge in view)
    small = Image.fromarray((evidence / peak).astype(np.float32))
    part = np.asarray(small.resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    heat[top:bottom, left:right] = np.clip(part, 0.0, 1.0)
    return heat


def heat_layer(heatmap: NDArray[np.float32]) -> Image.Image:
    """Colour a heat map (H, W) as an RGBA picture; strong evidence covers what lies below."""
    # A linear blend of the two colours between which a value lies.
    place = heatmap[..., None] * np.float32(len(COLOURS) - 1)
    low = np.clip(place.astype(int), 0, len(COLOURS) - 2)
    share = place - low
    colour = COLOURS[low[..., 0]] * (1 - share) + COLOURS[low[..., 0] + 1] * share
    pixels = np.concatenate([colour, heatmap[..., None] * 255], axis=2)
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def heat_overlay(
    rgb: Image.Image, heatmap: NDArray[np.float32], opacity: float = 0.6
) -> Image.Image:
    """Lay a heat map over its image; skin without evidence keeps its colour."""
    heat = heat_layer(heatmap)
    cover = heat.getchannel("A").point([round(value * opacity) for value in range(256)])
    return Image.composite(heat.convert("RGB"), rgb, cover)


def _over(evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scale a class map to the size of a mask over the same view."""
    height, width = mask.shape
    whole = (0.0, 0.0, float(width), float(height))
    return to_frame(evidence, (width, height), whole).astype(np.float64)
