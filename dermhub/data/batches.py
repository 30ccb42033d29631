"""Batches of images that several threads decode and scale, in the images' order.

Pillow, numpy, ONNX Runtime and PyTorch release Python's lock while they compute, so that threads
decode while the model answers. No PyTorch is needed here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from dermhub.arrays import Floats32
from dermhub.data.augment import augment
from dermhub.images.photo import Photo
from dermhub.images.view import InputSpec, to_array
from dermhub.models.classifier import BATCH

AHEAD = 3
"""Results per thread that are in work or wait to be taken."""

LEAST_CROP = 0.35
"""Smallest crop of a varied view (see `varied`), as a share of the central square's area."""

Item = TypeVar("Item")

View = TypeVar("View")

Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result]:
    """Yield the result of `work` for each item, in the order of the items.

    At most `AHEAD` results per thread are in memory. With 0 threads the caller's thread does the
    work. An error of `work` is raised at its item's place.
    """
    if threads == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from ahead(pool, work, items, AHEAD * threads)


def ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Generator[Result]:
    """Yield the result of `work`, done in a pool, for each item, in the order of the items.

    At most `most` results are in work or wait to be taken.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def map_batches(
    answer: Callable[[list[View]], Result],
    paths: Sequence[str],
    view: Callable[[Photo, int], View],
    threads: int = 0,
) -> list[Result]:
    """Return the result of `answer` for each batch of at most `BATCH` views, in the order of paths.

    `view` takes each photo and its place in `paths`, and runs in one of the threads; `answer` runs
    in the caller's. Raises ImageError for the first file that is no usable image.
    """

    def load(start: int) -> list[View]:
        places = range(start, min(start + BATCH, len(paths)))
        return [view(Photo.open(paths[place]), place) for place in places]

    loaded = in_order(load, range(0, len(paths), BATCH), threads)
    with without_warnings(), contextlib.closing(loaded):
        return [answer(views) for views in loaded]


def without_warnings() -> contextlib.AbstractContextManager[Any]:
    """Switch Python's warnings off for all threads that open images in this block.

    Opening an image switches them off, too, but for all threads at once: a thread that is done
    would switch them on again while another still decodes.
    """
    return warnings.catch_warnings(action="ignore")


def as_predicted(spec: InputSpec) -> Callable[[Photo, int], Floats32]:
    """Return the function that makes the view of `Classifier.predict`, (3, size, size)."""
    return lambda photo, _: photo.array(spec)


def scaled(rgb: Image.Image, spec: InputSpec, factor: float) -> Floats32:
    """Scale an image by a factor and return it as a model sees it, (3, size, size)."""
    size = (max(round(rgb.width * factor), 1), max(round(rgb.height * factor), 1))
    return to_array(rgb.resize(size, Image.Resampling.BICUBIC), spec)


def varied(spec: InputSpec) -> Callable[[Photo, int], Floats32]:
    """Return the function that makes views (3, size, size), every second varied as in training.

    A varied view has the light, colours, magnification and sharpness that another dermatoscope
    might give the image.
    """

    def view(photo: Photo, place: int) -> Floats32:
        if place % 2 == 0:
            return photo.array(spec)
        return augment(photo.rgb, spec, spec.size, LEAST_CROP, np.random.default_rng(place))

    return view
