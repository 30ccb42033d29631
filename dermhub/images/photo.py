"""A photograph in memory, and the measurements of its pixels that need no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.images import near_duplicates, quality
from dermhub.images.decode import ImageFile, ImageInput, divisor, open_file, to_rgb
from dermhub.images.lesion import Lesion
from dermhub.images.quality import Quality
from dermhub.images.view import InputSpec, to_array

SIDE = 224
"""Pixels that the short side of a working copy has at least: the input of the shipped models.

A HAM10000 original of 600 x 450 pixels is halved.
"""

Value = TypeVar("Value")


class Photo:
    """An upright RGB photograph and its measurements.

    All who look at it, models and measurements, look at one small `working_copy`. The whole picture
    (`rgb`) is decoded where somebody wants to see it.

    Each measurement is made when it is first asked for, and kept: two models that classify the same
    photo measure it once. Several threads may use the same photo. In a race both work out the same
    value, and one of the two is kept. Do not change the photo: neither `rgb` nor any value made
    from it.

    Args:
        rgb: The upright picture in mode RGB. `Photo.open` makes a photo from anything else.
    """

    def __init__(self, rgb: Image.Image) -> None:
        self._file: ImageFile | None = None
        self._compressed = ""
        self._kept: dict[str, Any] = {"rgb": rgb}
        self.size = rgb.size
        """(width, height) of `rgb`."""

    def __repr__(self) -> str:
        if "rgb" in self._kept:
            return f"Photo(rgb={self._kept['rgb']!r})"
        return f"Photo(size={self.size})"

    @classmethod
    def open(cls, image: ImageInput | Photo) -> Photo:
        """Decode a path, the bytes of an image file, a PIL image or an array.

        A photo is returned as it is. Of a file whose decoder divides by itself (JPEG), the bytes
        are kept, and the working copy is decoded; any other is decoded whole, and only once.
        Raises ImageError for anything that is no usable image; see `decode.to_rgb` for what is
        accepted.
        """
        if isinstance(image, Photo):
            return image
        if isinstance(image, Image.Image | np.ndarray):
            return cls(to_rgb(image))
        file = open_file(image)
        decoded = file.decode(SIDE if file.divides else 0)
        photo = cls(decoded.rgb)
        photo._compressed = file.compressed
        if decoded.rgb.size != decoded.size:
            photo._kept = {"working_copy": decoded.rgb}
            photo._file, photo.size = file, decoded.size
        return photo

    @property
    def rgb(self) -> Image.Image:
        """The whole picture, or a sixteenth of it above `decode.LARGE` pixels."""
        return self._once("rgb", lambda: self._decoded(0))

    @property
    def working_copy(self) -> Image.Image:
        """The picture divided by a whole number, so that its short side has some `SIDE` pixels.

        It has at least `SIDE`, and less than twice as many, unless the picture itself is smaller.
        """
        return self._once("working_copy", lambda: self._decoded(SIDE))

    def _decoded(self, least: int) -> Image.Image:
        """Return a copy whose short side has at least `least` pixels; 0: the whole picture."""
        if self._file is not None:
            return self._file.decode(least).rgb
        rgb: Image.Image = self._kept["rgb"]
        number = divisor(rgb.size, least)
        return rgb if number == 1 else rgb.reduce(number)

    @property
    def quality(self) -> Quality:
        """Sharpness, light, size and lesion; `quality.judge` turns them into concerns."""
        return self._once(
            "quality",
            lambda: replace(
                quality.measure(self.working_copy), size=self.size, compressed=self._compressed
            ),
        )

    @property
    def measured(self) -> bool:
        """True where `quality` and `hashes` are there already."""
        return "quality" in self._kept and "hashes" in self._kept

    @property
    def lesion(self) -> Lesion:
        """The central lesion, found without a model."""
        return self.quality.lesion

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(Q, 6) perceptual hashes by which `SeenImages.find` looks the photo up."""
        return self._once("hashes", lambda: near_duplicates.hashes(self.working_copy))

    def array(self, spec: InputSpec) -> Floats32:
        """The photo as a model sees it, (3, size, size) float32; see `view.to_array`.

        It is made of the working copy, and for a model of larger input of a copy that serves it. It
        is kept for the last `spec`, so that models with equal ones share it, and can't be written
        into.
        """
        arrays_of_whole: dict[InputSpec, Floats32] = self._kept.get("arrays_of_whole", {})
        if spec in arrays_of_whole:
            return arrays_of_whole[spec]
        kept: tuple[InputSpec, Floats32] | None = self._kept.get("array")
        if kept is not None and kept[0] == spec:
            return kept[1]
        serves = spec.size <= SIDE or self.working_copy.size == self.size
        array = to_array(self.working_copy if serves else self._decoded(spec.size), spec)
        array.flags.writeable = False
        # Both in one step: another thread must not meet the array of another specification.
        self._kept["array"] = (spec, array)
        return array

    def reduced(self, longest: int, specs: Iterable[InputSpec] = ()) -> Photo:
        """Return a photo of at most `longest` pixels a side that keeps this one's measurements.

        Its `rgb` is the picture divided by a whole number, 1 for a small one. Quality, lesion,
        hashes, and the arrays for `specs`, are those of the whole photograph, so that a model gives
        the same answer to it.
        """
        number = -(-max(self.size) // longest)
        # One pixel less, because `size` is rounded up where the picture was reduced to a sixteenth.
        picture = self.rgb if number == 1 else self._decoded((min(self.size) - 1) // number)
        small = Photo(picture)
        arrays = {spec: self.array(spec) for spec in specs}
        small._kept.update(quality=self.quality, hashes=self.hashes, arrays_of_whole=arrays)
        return small

    def to_bytes(self) -> bytes:
        """Return the photo and its measurements for another process, as safetensors.

        The arrays that go along are those for the `specs` of `reduced`.
        """
        arrays: dict[InputSpec, Floats32] = self._kept.get("arrays_of_whole", {})
        measured, lesion = self.quality, self.quality.lesion
        figures = (measured.sharpness, measured.lightest, measured.burnt, measured.surround)
        content = {
            "rgb": np.asarray(self.rgb),
            "hashes": self.hashes,
            "size": np.array(measured.size, np.int64),
            "figures": np.array((*figures, lesion.contrast), np.float64),
            "lesion": lesion.small.astype(np.uint8),
            "surround": lesion.surround.astype(np.uint8),
        }
        content |= {f"array {number}": array for number, array in enumerate(arrays.values())}
        about = {
            "specs": json.dumps([asdict(spec) for spec in arrays]),
            "compressed": measured.compressed,
        }
        return tensors.write(content, about)

    @classmethod
    def from_bytes(cls, content: bytes) -> Photo:
        """Return the photo that `to_bytes` wrote. Raises ModelError for bytes cut short."""
        values = tensors.read(content, "the photo")
        about = tensors.metadata(content)
        specs = json.loads(about["specs"])
        arrays: dict[InputSpec, Floats32] = {}
        for number, spec in enumerate(specs):
            array = values[f"array {number}"]
            array.flags.writeable = False
            mean, std = tuple(spec.pop("mean")), tuple(spec.pop("std"))
            arrays[InputSpec(mean=mean, std=std, **spec)] = array
        sharpness, lightest, burnt, surround, contrast = values["figures"].tolist()
        width, height = values["size"].tolist()
        small, surround_seen = (values[name].astype(bool) for name in ("lesion", "surround"))
        lesion = Lesion(small, surround_seen, contrast)
        size, compressed = (width, height), about["compressed"]
        measured = Quality(size, sharpness, lightest, burnt, surround, lesion, compressed)
        photo = cls(Image.fromarray(values["rgb"]))
        photo._kept.update(quality=measured, hashes=values["hashes"], arrays_of_whole=arrays)
        return photo

    def _once(self, name: str, make: Callable[[], Value]) -> Value:
        """Return the value kept under a name, which `make` makes the first time.

        functools.cached_property would do, but in Python 3.11 it holds one lock for all photos
        while it computes, and threads that measure other photos would wait for it.
        """
        if name not in self._kept:
            self._kept[name] = make()
        value: Value = self._kept[name]
        return value
