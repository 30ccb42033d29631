"""Loading and use of a model: `load`, `Classifier.predict` and `Classifier.explain`."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, suggest
from dermhub.hub.pins import Entry
from dermhub.images import quality
from dermhub.images.concern import Concern
from dermhub.images.decode import ImageInput
from dermhub.images.photo import Photo
from dermhub.images.view import view_box
from dermhub.models import ood_gate
from dermhub.models import prediction as models_prediction
from dermhub.models.beside import files as beside_files
from dermhub.models.beside.similar_cases import SHOWN, SimilarCases
from dermhub.models.catalog import display_name, locate
from dermhub.models.engines import select
from dermhub.models.engines.base import Device, Engine
from dermhub.models.engines.select import Runtime
from dermhub.models.explanation import Explanation
from dermhub.models.model_folder import ModelFolder
from dermhub.models.prediction import Prediction, Predictions

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

BATCH = 4
"""Images that a model takes at once, here and wherever many images are run through it.

Of batches from 1 to 8, all up to 4 are about equally fast. With 8 the maps of a layer no longer fit
a processor's caches, and a tenth more time is needed.
"""

Several = list[ImageInput | Photo] | tuple[ImageInput | Photo, ...] | Iterator[ImageInput | Photo]
"""Several images, as `Classifier.predict` takes them."""

Measured = tuple[tuple[Concern, ...], Floats32]
"""Concerns about a photograph that need no model, and its statistics (36,) for the gate."""

Looked = tuple[Floats32, Measured, str]
"""A photograph made ready: the input (3, size, size), its measurements, its path.

Its pixels need not stay in memory.
"""


class Classifier:
    """A model in memory, in evaluation mode, from a model folder or an export.

    `name` is the model's name for people, by default that of the folder. `runtime` chooses the
    engine: "onnx" (ONNX Runtime), "torch" (PyTorch), or "auto" (see `select.Runtime`). `device` is
    "cpu", "cuda" (an NVIDIA GPU) or "auto", a GPU where the engine can use one. `operating_point`
    is the threshold behind `Prediction.malignant`, by default the model's first; zones keep theirs.
    `seen` holds the images that the model has learnt from, `gate` rejects images that are not
    dermatoscopic, and `cases` is the index of similar cases; each is None where the model ships
    without it. Several threads may use the same classifier. Raises ModelError when the folder is
    not a whole and matching model, and ConfigError for a runtime that can't run it, a device that
    can't be used, and an unknown operating point.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = "",
        runtime: Runtime = "auto",
        device: Device = "cpu",
        operating_point: str = "",
    ) -> None:
        opened = ModelFolder(folder)
        points = opened.config.thresholds
        # Programs hand over numbers and lists, too.
        if operating_point != "" and str(operating_point) not in points:
            raise ConfigError(
                f"{folder} has no operating point {operating_point!r}, expected one of "
                f"{', '.join(points)}.{suggest(str(operating_point), points)}"
            )
        self._attach(select.load(opened, runtime, device), opened, name, operating_point)

    @classmethod
    def from_engine(cls, engine: Engine) -> Classifier:
        """Make a classifier of a loaded engine, with the files that its folder states now."""
        classifier = cls.__new__(cls)
        classifier._attach(engine, engine.folder, "", "")
        return classifier

    def _attach(self, engine: Engine, folder: ModelFolder, name: str, point: str) -> None:
        self._point = point
        self.folder = folder.path
        self.engine = engine
        own = self.folder.resolve().name.removesuffix(".onnx")
        # The model of a run is called as the run; an export has the name that it was given.
        self.name = name or (own if folder.is_export else display_name(str(self.folder)))
        self.config = engine.config
        self._beside = beside_files.read(folder)
        self.seen, self.gate = self._beside.seen, self._beside.gate
        self.cases = self._beside.cases

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles load the torch module again when `model` is used.
        return {key: value for key, value in vars(self).items() if key != "model"}

    @functools.cached_property
    def model(self) -> nn.Module:
        """The torch module, in evaluation mode.

        Changes to it do not change answers, which come from the graph, or from a folded copy made
        at loading. Raises ModelError for an export, and where PyTorch is not installed.
        """
        return select.torch_module(self.engine)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.config.task.classes

    @property
    def operating_point(self) -> str:
        """The name of the threshold behind `Prediction.malignant`."""
        return self._point or self.config.operating_point

    @property
    def device(self) -> str:
        """Where the model computes: "cpu" or "cuda"."""
        return self.engine.device

    @overload
    def predict(self, image: Several, *, batch: int = BATCH) -> Predictions: ...
    @overload
    def predict(self, image: ImageInput | Photo, *, batch: int = BATCH) -> Prediction: ...
    def predict(
        self, image: ImageInput | Photo | Several, *, batch: int = BATCH
    ) -> Prediction | Predictions:
        """Classify an image, or each of a list, a tuple or an iterator of images.

        A `Photo` that two models classify is decoded and measured once. Images are taken from an
        iterator one by one, so that only one of them is in memory at a time.

        Args:
            image: A path, the bytes of an image file, a PIL image, a uint8 array of shape (H, W, 3)
                (see `decode.to_rgb`), a `Photo`, or several of these.
            batch: Number of images that the model takes at once, at least 1. Kernels round the last
                digits differently in batches of another size.

        Raises:
            ImageError: For the first input that is no usable image.
            ConfigError: For a `batch` below 1.
        """
        _check_batch(batch)
        if not isinstance(image, list | tuple | Iterator):
            return self._answer(Photo.open(image), _path(image))[0]
        images = iter(image)

        def look() -> list[Looked]:
            # `map` lets go of an image before it takes the next, so that of each photograph only
            # the input, the measurements and the path stay in memory.
            return list(map(self._open_and_look, islice(images, batch)))

        predictions = Predictions()
        # The next images are decoded and measured beside the forward pass of these. The thread is
        # this call's own, because an iterator may ask a model itself.
        with ThreadPoolExecutor(1) as pool:
            looked = look()
            while looked:
                following = pool.submit(look)
                predictions += self._answers(looked)
                looked = following.result()
        return predictions

    def explain(
        self,
        image: ImageInput | Photo,
        target: str | None = None,
        versus: str | None = None,
    ) -> Explanation:
        """Classify an image and show the evidence for `target` (default: the predicted class).

        With `versus`, show the evidence for `target` and against `versus`. The map is zero where
        there is no such evidence. It takes one forward pass, and no backward pass through the
        backbone. Raises ConfigError for a class that the model doesn't have, and for a class
        against itself.
        """
        for name in filter(None, (target, versus)):
            self._index(name)
        if target and target == versus:
            raise ConfigError(
                f"{target!r} can't be contrasted with itself: give another class as `versus`."
            )
        return self._explanations(image, [(target or "", versus or "")])[0]

    def explain_all(self, image: ImageInput | Photo) -> dict[str, Explanation]:
        """Explain each class, in the task's order, from one forward pass; see `explain`."""
        explanations = self._explanations(image, [(name, "") for name in self.classes])
        return {explanation.target: explanation for explanation in explanations}

    def explain_pairs(self, image: ImageInput | Photo) -> dict[tuple[str, str], Explanation]:
        """Explain each class, and each class against each other class; see `explain`.

        Returns C * C explanations by (target, versus), from one forward pass: first (name, "") for
        each class in the task's order, then the pairs of two classes.
        """
        alone = [(name, "") for name in self.classes]
        contrasts = [(a, b) for a in self.classes for b in self.classes if a != b]
        explanations = self._explanations(image, alone + contrasts)
        return {(each.target, each.versus): each for each in explanations}

    def similar(self, image: ImageInput | Photo | Explanation, k: int = SHOWN) -> SimilarCases:
        """Find the `k` training lesions, from 1 to 50, that look most like an image.

        An `Explanation` of this model will do, too, whose forward pass serves again. A lesion that
        the image itself shows is left out, as far as the model has seen that photograph of it.
        There are fewer cases where the index holds fewer. Raises ModelError where the model ships
        without an index, ConfigError for another `k`, and ImageError as `predict`.
        """
        self._beside.check_similar(k)
        if isinstance(image, Explanation):
            return self._beside.similar(image.prediction, image.photo, image.features, k)
        photo = Photo.open(image)
        prediction, maps = self._answer(photo, _path(image))
        return self._beside.similar(prediction, photo, _means(maps)[0], k)

    def embed(self, images: ImageInput | Photo | Several, *, batch: int = BATCH) -> Floats32:
        """Compute the features of an image or of several: (N, D), a row for each.

        They are the means of the last feature maps, from which the last layer computes the logits;
        D is 1280 in MobileNetV2. Images are given as to `predict`, which says what is raised.
        """
        _check_batch(batch)
        if not isinstance(images, list | tuple | Iterator):
            images = [images]
        waiting = iter(images)
        rows = []
        spec = self.config.input
        while arrays := [Photo.open(image).array(spec) for image in islice(waiting, batch)]:
            rows.append(self._features(np.stack(arrays)))
        if not rows:
            # No image has no row, but as many columns.
            return self._features(np.zeros((1, 3, spec.size, spec.size), np.float32))[:0]
        return np.concatenate(rows)

    def _features(self, inputs: Floats32) -> Floats32:
        """Compute the features of inputs (N, 3, size, size): (N, K)."""
        return _means(self.engine.forward(inputs)[1])

    def logits(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return the raw logits of RGB images, before temperature and softmax: (N, C)."""
        if not images:
            return np.zeros((0, len(self.classes)), np.float32)
        batch = np.stack([Photo(rgb).array(self.config.input) for rgb in images])
        logits, _ = self.engine.forward(batch)
        return logits

    def _open_and_look(self, image: ImageInput | Photo) -> Looked:
        """Decode, scale and measure a photograph."""
        photo = Photo.open(image)
        array = photo.array(self.config.input)
        return array, self._measure(photo, array), _path(image)

    def _measure(self, photo: Photo, array: Floats32) -> Measured:
        """Measure a photograph and its input, and look it up among the images seen in training."""
        seen = self.seen.concerns(photo.hashes) if self.seen else ()
        statistics = ood_gate.image_statistics(array[None], self.config.input)[0]
        return (*seen, *quality.judge(photo.quality)), statistics

    def _answer(self, photo: Photo, path: str = "") -> tuple[Prediction, Floats32]:
        """Classify one photograph; also returns its feature maps (1, K, h, w).

        It is measured beside the forward pass, which needs no Python.
        """
        array = photo.array(self.config.input)
        measuring = None
        if not photo.measured:
            measuring = _measuring_threads().submit(self._measure, photo, array)
        logits, features = self.engine.forward(np.stack([array]))
        measured = self._measure(photo, array) if measuring is None else measuring.result()
        (prediction,) = self._predictions(logits, features, [measured])
        return dataclasses.replace(prediction, image=path), features

    def _answers(self, looked: Sequence[Looked]) -> list[Prediction]:
        """Classify at least one image as one batch."""
        inputs, measured, paths = zip(*looked, strict=True)
        logits, features = self.engine.forward(np.stack(inputs))
        predictions = self._predictions(logits, features, measured)
        return [
            dataclasses.replace(prediction, image=path)
            for prediction, path in zip(predictions, paths, strict=True)
        ]

    def _predictions(
        self, logits: Floats32, features: Floats32, measured: Sequence[Measured]
    ) -> list[Prediction]:
        """Make the predictions of a batch of its logits (N, C) and feature maps (N, K, h, w)."""
        refusals = self._refusals(features, np.stack([statistics for _, statistics in measured]))
        concerns = [(*refusal, *own) for refusal, (own, _) in zip(refusals, measured, strict=True)]
        return models_prediction.of_logits(logits, self.config, concerns, self.operating_point)

    def _refusals(self, maps: Floats32, statistics: Floats32) -> list[tuple[Concern, ...]]:
        """Ask the gate, if any, about images, by their feature maps and their statistics."""
        if self.gate is None:
            return [()] * len(maps)
        return self.gate.concerns(maps, statistics)

    def _explanations(
        self, image: ImageInput | Photo, pairs: Sequence[tuple[str, str]]
    ) -> list[Explanation]:
        """Explain each pair (target, versus), in their order.

        An empty target stands for the predicted class, an empty `versus` for no contrast.
        """
        photo = Photo.open(image)
        prediction, features = self._answer(photo, _path(image))
        pairs = [(target or prediction.label, versus) for target, versus in pairs]
        # Directions in logit space: one-hot, or the difference of two one-hot vectors.
        directions = np.zeros((len(pairs), len(self.classes)), np.float32)
        for direction, (target, versus) in zip(directions, pairs, strict=True):
            direction[self._index(target)] += 1
            if versus:
                direction[self._index(versus)] -= 1
        maps = self.engine.class_maps(features, directions)[0]
        view = view_box(photo.size, self.config.input)
        means = _means(features)[0]
        return [
            Explanation(prediction, *pair, evidence, photo, view, photo.lesion, means)
            for pair, evidence in zip(pairs, maps, strict=True)
        ]

    def _index(self, name: str) -> int:
        """Return the index of a class; raises ConfigError for a class the model doesn't have."""
        if name not in self.classes:
            raise ConfigError(
                f"The model has no class {name!r}, expected one of "
                f"{', '.join(self.classes)}.{suggest(name, self.classes)}"
            )
        return self.classes.index(name)


def _means(maps: Floats32) -> Floats32:
    """Average feature maps (N, K, h, w) over their places: (N, K)."""
    means: Floats32 = maps.mean(axis=(2, 3))
    return means


def _check_batch(batch: int) -> None:
    if batch < 1:
        raise ConfigError(f"The batch is {batch}, expected at least 1.")


def _path(image: ImageInput | Photo) -> str:
    """Return the path of an image that was given as one, else ""."""
    return str(image) if isinstance(image, str | os.PathLike) else ""


@functools.cache
def _measuring_threads() -> ThreadPoolExecutor:
    """Return the threads that measure photographs beside forward passes, for all classifiers.

    To start one for each photograph would take as long as is saved.
    """
    # The threads of a process are not there in its fork.
    os.register_at_fork(after_in_child=_measuring_threads.cache_clear)
    return ThreadPoolExecutor(os.cpu_count() or 1, "measuring")


def load(
    model: str | os.PathLike[str] | Entry,
    runtime: Runtime = "auto",
    *,
    device: Device = "cpu",
    operating_point: str = "",
) -> Classifier:
    """Load a model from a folder, an export, the catalogue ("lesion") or the hub.

    A model of the hub is given as "org/name[@revision]". `runtime`, `device` and `operating_point`
    are those of `Classifier`. Labels, thresholds, temperature and geometry are those of the loaded
    folder. Raises ModelError when there is no such model, it is not whole, or its bytes are not the
    published ones; DownloadError when it can't be fetched; ConfigError as `Classifier` does.
    """
    options = (runtime, device, operating_point)
    if isinstance(model, Entry):
        return Classifier(locate(model), model.id, *options)
    if Path(model).exists():
        return Classifier(locate(model), "", *options)
    # A mistyped path of an export is not looked up on the hub.
    if str(model).endswith(".onnx"):
        return Classifier(model, "", *options)
    # The hub's cache names a folder by its commit, so the model is named as it was asked for.
    return Classifier(locate(model), str(model), *options)
