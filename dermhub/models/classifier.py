"""Load a model and use it: `Classifier.predict` and `Classifier.explain`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub import layout
from dermhub.arrays import Floats32
from dermhub.concern import Concern
from dermhub.errors import ConfigError, suggest
from dermhub.hub.pins import Entry
from dermhub.images import near_duplicates, quality
from dermhub.images.decode import ImageInput, to_rgb
from dermhub.images.lesion import Lesion
from dermhub.images.view import InputSpec, to_array, view_box
from dermhub.layout import GRAPH
from dermhub.models import ood_gate
from dermhub.models import prediction as models_prediction
from dermhub.models.catalog import locate
from dermhub.models.conformal import prediction_sets
from dermhub.models.engines import select
from dermhub.models.engines.base import Engine
from dermhub.models.engines.select import Runtime
from dermhub.models.explanation import Explanation
from dermhub.models.folder import ModelFolder
from dermhub.models.prediction import Prediction

if TYPE_CHECKING:
    from torch import nn


# above, a layer's maps pass the 32 MB from which on glibc fetches memory anew from the system for
# each
BATCH = 8


LARGE = 2_000_000  # pixels


Look = Callable[[Image.Image], Sequence[Concern]]
"""What finds concerns in an upright RGB image."""


Check = Callable[[Floats32, Floats32, InputSpec], Sequence[Concern]]
"""What finds concerns in an image's feature maps (K, h, w) and in the input (3, H, W) that they
were made from.
"""


@dataclass(frozen=True)
class Prepared:
    """An image as a model takes it in, `array` (3, size, size) float32, and what its picture tells
    without the model.

    `lesion` is where the lesion was found, and `concerns` are those that the picture raises.
    """

    array: Floats32
    lesion: Lesion
    concerns: tuple[Concern, ...] = ()


class Classifier:
    """A model in memory, in evaluation mode on the CPU: that of a model folder, or of an export.

    `name` is what people know it by; the folder's own name if it is not given. `runtime` is what
    computes: "onnx" (ONNX Runtime), "torch" (PyTorch), or "auto" (see `select.Runtime`). `seen`
    knows the images that it has learnt from, if that ships with it. Raises ModelError when the
    folder is not a whole and matching model, and ConfigError for a runtime that can't run it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str = "", runtime: Runtime = "auto"
    ) -> None:
        opened = ModelFolder(folder)
        self._attach(select.load(opened, runtime), opened, name)

    @classmethod
    def from_engine(cls, engine: Engine) -> Classifier:
        """A classifier on a model that is loaded already, with the files that its folder states
        then.
        """
        classifier = cls.__new__(cls)
        classifier._attach(engine, engine.folder, "")
        return classifier

    def _attach(self, engine: Engine, folder: ModelFolder, name: str) -> None:
        self.folder = folder.path
        self.engine = engine
        self.name = name or self.folder.resolve().name.removesuffix(".onnx")
        self.config = engine.config
        # The graph was read or checked by who chose the engine.
        beside = {name: folder.read(name) for name in self.config.files if name != GRAPH}
        self._looks: list[Look] = []
        self._checks: list[Check] = []
        self.seen: near_duplicates.SeenImages | None = None
        if layout.SEEN in beside:
            self.seen = near_duplicates.SeenImages.from_bytes(
                beside[layout.SEEN], str(self.folder / layout.SEEN)
            )
            self._looks.append(self.seen.concerns)
        if layout.OOD_GATE in beside:
            keeper = ood_gate.OodGate.from_bytes(
                beside[layout.OOD_GATE], str(self.folder / layout.OOD_GATE)
            )
            self._checks.append(keeper.concerns)

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles load the torch module anew, if they are asked for it.
        return {key: value for key, value in vars(self).items() if key != "model"}

    @functools.cached_property
    def model(self) -> nn.Module:
        """The torch module, in evaluation mode; answers come from the graph, or from a folded copy
        made at loading.

        Raises ModelError for an export, and where PyTorch is not installed.
        """
        return select.torch_module(self.engine)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.config.task.classes

    @overload
    def predict(self, image: list[ImageInput] | tuple[ImageInput, ...]) -> list[Prediction]: ...
    @overload
    def predict(self, image: ImageInput) -> Prediction: ...
    def predict(
        self, image: ImageInput | list[ImageInput] | tuple[ImageInput, ...]
    ) -> Prediction | list[Prediction]:
        """Classify an image, or each of a list or tuple of images (see `decode.to_rgb` for what is
        accepted).

        Raises ImageError for the first input that is not a usable image.
        """
        if not isinstance(image, list | tuple):
            return self.predict_prepared([self.prepare(image)])[0]
        chunks = (image[start : start + BATCH] for start in range(0, len(image), BATCH))
        return [
            p
            for chunk in chunks
            for p in self.predict_prepared([self.prepare(one) for one in chunk])
        ]

    def prepare(self, image: ImageInput) -> Prepared:
        """Decode, look at and scale an image, which may be done in another thread than the
        prediction.

        Raises ImageError for what is not a usable image.
        """
        return self._prepare(to_rgb(image))

    def predict_prepared(self, images: Sequence[Prepared]) -> list[Prediction]:
        """Classify prepared images as one batch."""
        return self._forward(images)[0] if images else []

    def explain(
        self, image: ImageInput, target: str | None = None, versus: str | None = None
    ) -> Explanation:
        """Classify an image and show the evidence for `target` (default: the predicted class).

        With `versus`, the evidence for `target` and against `versus`. One forward pass, and no
        backward pass through the backbone. The map is empty where nothing speaks for `target`
        rather than `versus`. Raises ConfigError for a class the model doesn't have, and for one
        against itself.
        """
        for name in filter(None, (target, versus)):
            self._index(name)
        if target and target == versus:
            raise ConfigError(
                f"{target!r} can't be contrasted with itself: give another class as `versus`."
            )
        return self._explanations(image, [(target or "", versus or "")])[0]

    def explain_all(self, image: ImageInput) -> dict[str, Explanation]:
        """An explanation of each class, in the task's order, from one forward pass; see
        `explain`.
        """
        return {
            one.target: one
            for one in self._explanations(image, [(name, "") for name in self.classes])
        }

    def explain_pairs(self, image: ImageInput) -> dict[tuple[str, str], Explanation]:
        """What `explain` gives for each class, as (name, ""), and each class against each other
        one, from one pass.

        C * C explanations, (target, versus) -> explanation: the classes in the task's order first,
        then the pairs.
        """
        pairs = [(a, "") for a in self.classes] + [
            (a, b) for a in self.classes for b in self.classes if a != b
        ]
        return {(one.target, one.versus): one for one in self._explanations(image, pairs)}

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """(N, C) raw logits of RGB images, before temperature and softmax."""
        if not images:
            return np.zeros((0, len(self.classes)), np.float32)
        return self.engine.forward(np.stack([to_array(rgb, self.config.input) for rgb in images]))[
            0
        ]

    def _prepare(self, rgb: Image.Image) -> Prepared:
        if rgb.width * rgb.height < LARGE:
            return self._scaled(rgb, lambda: quality.measure(rgb))
        # A large image is measured beside being scaled, which leaves the interpreter free. For a
        # small one it would not pay: PyTorch's own threads keep the other cores busy for some
        # milliseconds after each answer.
        with ThreadPoolExecutor(1) as beside:
            return self._scaled(rgb, beside.submit(quality.measure, rgb).result)

    def _scaled(self, rgb: Image.Image, measured: Callable[[], quality.Quality]) -> Prepared:
        array = to_array(rgb, self.config.input)
        concerns = [concern for look in self._looks for concern in look(rgb)]
        found = measured()
        return Prepared(array, found.lesion, (*concerns, *quality.judge(found)))

    def _forward(self, images: Sequence[Prepared]) -> tuple[list[Prediction], Floats32]:
        logits, features = self.engine.forward(np.stack([one.array for one in images]))
        concerns = [self._concerns(one, maps) for one, maps in zip(images, features, strict=True)]
        return self._predictions(logits, concerns), features

    def _concerns(self, image: Prepared, maps: Floats32) -> tuple[Concern, ...]:
        found = [
            concern
            for check in self._checks
            for concern in check(maps, image.array, self.config.input)
        ]
        return (*found, *image.concerns)

    def _explanations(
        self, image: ImageInput, pairs: Sequence[tuple[str, str]]
    ) -> list[Explanation]:
        """An explanation of each pair (target, versus), in their order; "" as target is the
        predicted class.
        """
        rgb = to_rgb(image)
        prepared = self._prepare(rgb)
        (prediction,), features = self._forward([prepared])
        pairs = [(target or prediction.label, versus) for target, versus in pairs]
        directions = np.zeros((len(pairs), len(self.classes)), np.float32)
        for direction, (target, versus) in zip(directions, pairs, strict=True):
            direction[self._index(target)] += 1
            if versus:
                direction[self._index(versus)] -= 1
        maps = self.engine.class_maps(features, directions)[0]
        view = view_box(rgb.size, self.config.input)
        return [
            Explanation(prediction, *pair, evidence, rgb, view, prepared.lesion)
            for pair, evidence in zip(pairs, maps, strict=True)
        ]

    def _predictions(
        self, logits: Floats32, concerns: Sequence[tuple[Concern, ...]]
    ) -> list[Prediction]:
        probabilities = models_prediction.softmax(logits, self.config.temperature)
        scores = models_prediction.malignancy(probabilities, self.config.task)
        name, threshold = next(iter(self.config.thresholds.items()))
        return [
            Prediction(
                label=self.classes[int(row.argmax())],
                probabilities=dict(zip(self.classes, row.tolist(), strict=True)),
                malignancy=float(score),
                threshold=threshold.value,
                operating_point=name,
                conformal=self._set(row),
                concerns=found,
                conformal_level=self.config.conformal.level if self.config.conformal else 0.0,
            )
            for row, score, found in zip(probabilities, scores, concerns, strict=True)
        ]

    def _set(self, row: NDArray[np.float64]) -> tuple[str, ...]:
        if self.config.conformal is None:
            return ()
        held = prediction_sets(row[None], self.config.conformal, self.classes)[0]
        return tuple(self.classes[i] for i in np.argsort(-row, kind="stable") if held[i])

    def _index(self, name: str) -> int:
        if name not in self.classes:
            raise ConfigError(
                f"The model has no class {name!r}, expected one of {', '.join(self.classes)}."
                f"{suggest(name, self.classes)}"
            )
        return self.classes.index(name)


def load(model: str | os.PathLike[str] | Entry, runtime: Runtime = "auto") -> Classifier:
    """Load a model: a model folder, an export, a shipped or published model ("lesion"), or
    "org/name[@revision]".

    `runtime` is that of `Classifier`. Labels, thresholds, temperature and geometry are those of the
    loaded folder. Raises ModelError when there is no such model, it is not whole, or its bytes are
    not the published ones; DownloadError when it can't be fetched.
    """
    if isinstance(model, Entry):
        return Classifier(locate(model), model.id, runtime)
    # An export that was mistyped is looked for on no hub. In the hub's cache a folder is named by
    # its commit.
    if Path(model).is_dir() or str(model).endswith(".onnx"):
        return Classifier(model, "", runtime)
    return Classifier(locate(model), str(model), runtime)
