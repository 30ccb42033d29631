"""What a model says about one image: `Prediction`, and where it found the evidence: `Explanation`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub import gradcam
from dermhub.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.conformal import why_not
from dermhub.lesion_mask import Lesion, Mask

WHOLE = 0.95
"""Share of the view from which on the lesion leaves too little beside it for a map to be held against."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `label` is the most probable class. `probabilities` are calibrated, in the task's class order, and
    sum to 1. `malignancy` is the probability of the malignant classes together, and `malignant`
    whether it reaches `threshold`, the model's operating point named `operating_point`.

    `conformal` is the prediction set, the most probable class first: for each class, the share `conformal_level` of
    its lesions has it in the set (see `dermhub.conformal`); a level of 0 says that the model has no such sets.
    `concerns` are what speaks against relying on the answer.
    """

    label: str
    probabilities: dict[str, float]
    malignancy: float
    threshold: float
    operating_point: str
    conformal: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    conformal_level: float = 0.0

    @property
    def abstention(self) -> str:
        """One sentence why there is no confident answer, or "".

        The image is of another kind, or the prediction set is empty, too wide, or without the most probable class.
        """
        if self.rejected is not None:
            return self.rejected.sentence
        if not self.conformal_level:
            return ""
        return why_not(self.conformal, len(self.probabilities), self.label)

    @property
    def rejected(self) -> Concern | None:
        """The concern of the gate, where this is no dermatoscopic image."""
        return next((one for one in self.concerns if one.code == NOT_DERMATOSCOPIC), None)

    @property
    def malignant(self) -> bool:
        """Whether the probability of malignancy reaches the operating point."""
        return self.malignancy >= self.threshold


@dataclass(frozen=True)
class Explanation:
    """Where a model found the evidence for a class (Grad-CAM).

    `evidence` is the class map (h, w), at least 0, over the box `view` (left, top, right, bottom) of the upright
    RGB `image`. `versus` is the class that it was contrasted with, or "". `lesion` is what was found in the image
    without the model; it judges the map (`verdict`).
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
        """(H, W) float32 in [0, 1] over the image: 1 at the strongest evidence, 0 where the model did not look."""
        return gradcam.to_frame(self.evidence, self.image.size, self.view)

    @property
    def overlay(self) -> Image.Image:
        """The image with the heat map over it, in the image's size."""
        return gradcam.overlay(self.image, self.heatmap)

    def layer(self, width: int) -> Image.Image:
        """The heat map alone as an RGBA picture of that width, to lay over the image."""
        scale = width / self.image.width
        size = (width, max(round(self.image.height * scale), 1))
        left, top, right, bottom = (edge * scale for edge in self.view)
        return gradcam.layer(gradcam.to_frame(self.evidence, size, (left, top, right, min(bottom, size[1]))))

    @property
    def blank(self) -> bool:
        """Whether no part of the image speaks for the class."""
        return not bool(self.evidence.any())

    @cached_property
    def lesion_share(self) -> float:
        """The share of what the model saw that the found lesion covers; 0 where none was found."""
        return float(self._lesion_seen.mean())

    @cached_property
    def inside(self) -> float:
        """The share of the map's energy that lies inside the found lesion, 0 to 1; 0 for a blank map.

        A map that has nothing to do with the lesion has about `lesion_share`.
        """
        return gradcam.inside(self.evidence, self._lesion_seen)

    @property
    def judged(self) -> bool:
        """Whether the map can be held against a lesion: there are a map, a lesion, and something beside the lesion."""
        return not self.prediction.rejected and not self.blank and 0 < self.lesion_share < WHOLE

    @property
    def trusted(self) -> bool:
        """Whether the map was judged and prefers the lesion to what surrounds it: `inside` >= `lesion_share`.

        Of the validation images, 0.6 % of the right answers of the shipped seven-class model and 1.3 % of its wrong
        ones have a map that was judged and does not; of the shipped binary model, which looks for what is benign beside
        the lesion too, 6 % and 19 % (`benchmarks/verdict.py`).
        """
        return self.judged and self.inside >= self.lesion_share

    @property
    def verdict(self) -> str:
        """`trusted` and its figures in words."""
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
            f"The model looked outside the lesion: only {self.inside:.0%} of the evidence lies inside it, though it "
            f"covers {self.lesion_share:.0%} of what the model saw; do not rely on this {what}."
        )

    @cached_property
    def _lesion_seen(self) -> Mask:
        width, height = self.image.size
        left, top, right, bottom = self.view
        shares = (left / width, top / height, right / width, bottom / height)
        return self.lesion.over((gradcam.GRID, gradcam.GRID), shares)
