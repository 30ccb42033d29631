"""A photograph in memory, and the measurements of its pixels that need no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermhub import tensors
from dermhub.arrays import Floats32
from dermhub.images import near_duplicates, quality
from dermhub.images.decode import ImageInput, to_rgb
from dermhub.images.lesion import Lesion
from dermhub.images.quality import Quality
from dermhub.images.view import InputSpec, to_array

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded, upright RGB photograph and its measurements.

    Each measurement is made when it is first asked for, and kept: two models that classify the same
    photo measure it once. Several threads may use the same photo. In a race both work out the same
    value, and one of the two is kept. Do not change the photo: neither `rgb` nor any value made
    from it.

    Args:

        rgb: The upright picture in mode RGB. `Photo.open` makes a photo from anything else.
    """

    rgb: Image.Image
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, image: ImageInput | Photo) -> Photo:
        """Decode a path, the bytes of an image file, a PIL image or an array.

        A photo is returned as it is. Raises ImageError for anything that is no usable image; see
        `decode.to_rgb` for what is accepted.
        """
        return image if isinstance(image, Photo) else cls(to_rgb(image))

    @property
    def quality(self) -> Quality:
        """Sharpness, light, size and lesion; `quality.judge` turns them into concerns."""
        return self._once("quality", lambda: quality.measure(self.rgb))

    @property
    def lesion(self) -> Lesion:
        """The central lesion, found without a model."""
        return self.quality.lesion

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(Q, 6) perceptual hashes by which `SeenImages.find` looks the photo up."""
        return self._once("hashes", lambda: near_duplicates.hashes(self.rgb))

    def array(self, spec: InputSpec) -> Floats32:
        """The photo as a model sees it, (3, size, size) float32; see `view.to_array`.

        It is kept for the last `spec`, so that models with equal ones share it, and can't be
        written into.
        """
        arrays_of_whole: dict[InputSpec, Floats32] = self._kept.get("arrays_of_whole", {})
        if spec in arrays_of_whole:
            return arrays_of_whole[spec]
        kept: tuple[InputSpec, Floats32] | None = self._kept.get("array")
        if kept is not None and kept[0] == spec:
            return kept[1]
        array = to_array(self.rgb, spec)
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
        factor = -(-max(self.rgb.size) // longest)
        with ThreadPoolExecutor(1) as pool:
            # A second thread does not pay for a small photo.
            measuring = pool.submit(lambda: self.quality) if factor > 1 else None
            arrays = {spec: self.array(spec) for spec in specs}
            small = Photo(self.rgb if factor == 1 else self.rgb.reduce(factor))
            measured = measuring.result() if measuring else self.quality
        small._kept.update(quality=measured, hashes=self.hashes, arrays_of_whole=arrays)
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
        return tensors.write(content, {"specs": json.dumps([asdict(spec) for spec in arrays])})

    @classmethod
    def from_bytes(cls, content: bytes) -> Photo:
        """Return the photo that `to_bytes` wrote. Raises ModelError for bytes cut short."""
        values = tensors.read(content, "the photo")
        specs = json.loads(tensors.metadata(content)["specs"])
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
        measured = Quality((width, height), sharpness, lightest, burnt, surround, lesion)
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
