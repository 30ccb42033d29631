"""Grad-CAM explanations: from a class map to a heat map, a picture and a verdict.

The class map itself comes from the engine (`engines.base.Engine.class_maps`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub.arrays import Floats32, Mask
from dermhub.images import heatmap
from dermhub.images.lesion import Lesion
from dermhub.images.photo import Photo
from dermhub.models.prediction import Prediction

WHOLE = 0.95
"""Share of the view from which on a lesion leaves too little beside it to judge a map."""


@dataclass(frozen=True)
class Explanation:
    """A Grad-CAM map: the places in an image where a model found evidence for a class.

    `evidence` is the class map (h, w), at least 0, over the box `view` (left, top, right, bottom)
    of the picture of `photo`. `versus` is the class that `target` was contrasted with, or "".
    `lesion` was segmented without the model; it judges the map (`verdict`). `features` (K,) are
    those of `Classifier.embed`, by which similar cases are found.
    """

    prediction: Prediction
    target: str
    versus: str
    evidence: NDArray[np.float32]
    photo: Photo
    view: tuple[float, float, float, float]
    lesion: Lesion
    features: Floats32 = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)

    @property
    def image(self) -> Image.Image:
        """The upright RGB picture, decoded when it is first asked for."""
        return self.photo.rgb

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The map over the whole image, (H, W) float32 in [0, 1].

        1 is the strongest evidence; 0 lies where there is none or the model did not look.
        """
        return heatmap.to_frame(self.evidence, self.photo.size, self.view)

    @property
    def overlay(self) -> Image.Image:
        """The image with the heat map over it, in the image's size."""
        return heatmap.heat_overlay(self.image, self.heatmap)

    def layer(self, width: int) -> Image.Image:
        """Draw the heat map alone as an RGBA picture of that width, to lay over the image."""
        return Image.fromarray(self.palette[self.levels(width)])

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The RGBA colours of `levels`, (256, 4); shared, so nobody writes into it."""
        return heatmap.palette()

    def levels(self, width: int) -> NDArray[np.uint8]:
        """The heat map over the whole image at that width, (H, width), from 0 to 255."""
        scale = width / self.photo.size[0]
        size = (width, max(round(self.photo.size[1] * scale), 1))
        left, top, right, bottom = (edge * scale for edge in self.view)
        view = (left, top, right, min(bottom, size[1]))
        return heatmap.levels(heatmap.to_frame(self.evidence, size, view))

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
        return heatmap.energy_inside(self.evidence, self._lesion_seen)

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
            return "This doesn't look like a dermatoscopic image, so the map can't be judged."
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
        width, height = self.photo.size
        left, top, right, bottom = self.view
        shares = (left / width, top / height, right / width, bottom / height)
        return self.lesion.over((heatmap.GRID, heatmap.GRID), shares)
