"""Decoded training images, kept in memory from one epoch to the next.

To decode an image of 256 x 256 pixels takes a third of the time of a training view.
"""

from __future__ import annotations

import mmap
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dermhub.images.decode import to_rgb

SHARE = 1 / 3
"""Largest share of the free memory that is taken. HAM10000 at 256 x 256 pixels takes 1.4 GB."""

MEMINFO = Path("/proc/meminfo")

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory a container may use."""


class DecodedImages:
    """The RGB images of some files, each decoded when it is first asked for, and then kept.

    Only images of (width, height) `size` are kept, with three bytes a pixel. The memory is shared
    with all processes that are forked later: what one of them decodes, all have.
    """

    def __init__(self, paths: Sequence[str], size: tuple[int, int]) -> None:
        self.size = size
        self._places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        count, (width, height) = len(self._places), size
        # Without a file, and without memory until it is written into.
        memory = mmap.mmap(-1, count * height * width * 3)
        self._pixels = np.ndarray((count, height, width, 3), np.uint8, memory)
        self._kept = np.ndarray(count, np.uint8, mmap.mmap(-1, count))

    def open(self, path: str) -> Image.Image:
        """Return the image of a file; see `decode.to_rgb`. Raises ImageError."""
        place = self._places.get(path)
        if place is not None and self._kept[place]:
            return Image.fromarray(self._pixels[place])
        rgb = to_rgb(path)
        if place is not None and rgb.size == self.size:
            self._pixels[place] = np.asarray(rgb)
            # Said last: another process may look meanwhile.
            self._kept[place] = 1
        return rgb


def decoded_images(paths: Sequence[str], processes: int) -> DecodedImages | None:
    """Keep the decoded images of these files, where they are at least one and memory allows it.

    `processes` is the number of those that each keep theirs. None also where processes that decode
    are no forks, which share no memory. Raises ImageError where the first image can't be used.
    """
    if not paths or multiprocessing.get_start_method() != "fork":
        return None
    size = to_rgb(paths[0]).size
    needed = len(set(paths)) * size[0] * size[1] * 3
    if needed * processes > SHARE * free_memory():
        return None
    return DecodedImages(paths, size)


def free_memory() -> int:
    """Return the bytes of memory that this process may still take; 0 where the system is silent."""
    if sys.platform != "linux":
        return 0
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":") for line in lines)
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return 0
    try:
        limit = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (CGROUP / "memory.current").read_text(encoding="ascii").strip()
        return min(free, max(int(limit) - int(used), 0))
    # No such group, or "max" for no limit.
    except (OSError, ValueError):
        return free
