"""The largest files of the optional formats: two seconds of the processor, and 300 MB, at most."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.test_hostile_files import CHILD, MEGABYTES, SECONDS

pytest.importorskip("pydicom", "3.0", reason="pydicom 3 is not installed: pip install pydicom")
pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install pillow-heif")

from tests.support import dicom_files as dicom
from tests.support import heif_files as heif

LARGE = (4000, 3000)

IN_RLE = (2400, 2400)


def runs_of_two() -> bytes:
    """RLE of nothing but runs of two bytes, each a step of the decoder."""
    plane = b"\xff\7" * (IN_RLE[0] * IN_RLE[1] // 2)
    starts = [64 + number * len(plane) for number in range(3)]
    head = np.array([3, *starts, *[0] * 12], "<u4").tobytes()
    return dicom.dicom(dicom.fragment(head + plane * 3), IN_RLE, syntax=dicom.RLE)


def flat(kind: str, size: tuple[int, int]) -> bytes:
    """A picture of one colour, which is soon encoded."""
    return heif.saved(kind, Image.new("RGB", size, (200, 150, 120)), quality=30)


def files() -> dict[str, bytes]:
    """The files by their names."""
    width, height = LARGE
    pixels = bytes(width * height * 3)
    grey = Image.new("L", LARGE)
    stream = io.BytesIO()
    grey.save(stream, "JPEG2000", no_jp2=True)
    packed = dicom.fragment(stream.getvalue())
    return {
        # The first file of a kind loads its reader.
        "warm DICOM": dicom.plain(),
        "warm HEIC": heif.saved("HEIC"),
        "RGB": dicom.dicom(pixels, LARGE),
        "planes": dicom.dicom(pixels, LARGE, PlanarConfiguration=1),
        "YBR_FULL": dicom.dicom(pixels, LARGE, "YBR_FULL"),
        "YBR_FULL_422": dicom.dicom(pixels[: width * height * 2], LARGE, "YBR_FULL_422"),
        "RLE": runs_of_two(),
        "JPEG 2000": dicom.dicom(packed, LARGE, "MONOCHROME2", dicom.JPEG_2000),
        "HEIC": flat("HEIC", (3000, 2000)),
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_the_largest_files(tmp_path: Path) -> None:
    contents = files()
    paths = [tmp_path / str(number) for number, _ in enumerate(contents)]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    costs = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    named = dict(zip(contents, costs, strict=True))
    assert {k: v for k, v in named.items() if v[0] > SECONDS or v[1] > MEGABYTES} == {}
