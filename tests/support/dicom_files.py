"""DICOM files made by pydicom, in which every attribute of a patient holds one name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tests.support.odd_files import lesion

DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

NAME = "Musterfrau^Erika"
"""The patient of all these files."""

ABOUT = (
    *("PatientName", "PatientID", "PatientComments", "OtherPatientNames", "PatientAddress"),
    *("ReferringPhysicianName", "InstitutionName", "StudyDescription", "ImageComments"),
    *("OperatorsName", "RequestedProcedureDescription", "AccessionNumber", "DeviceSerialNumber"),
)


def dicom(
    pixels: bytes,
    size: tuple[int, int],
    photometric: str = "RGB",
    syntax: str = EXPLICIT,
    iod: str = DERMOSCOPIC,
    **attributes: Any,
) -> bytes:
    """A DICOM file of pixels as they lie in it; an attribute that is None is left out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = iod
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID, data.SOPInstanceUID = iod, "1.2.3"
    for name in ABOUT:
        setattr(data, name, NAME)
    inner = Dataset()
    inner.PatientName = NAME
    inner.Rows = 7
    data.OtherPatientIDsSequence = Sequence([inner, inner])
    data["OtherPatientIDsSequence"].is_undefined_length = True
    data.add_new(0x0009_0010, "LO", NAME)
    data.Columns, data.Rows = size
    data.PhotometricInterpretation = photometric
    data.SamplesPerPixel = 1 if photometric.startswith(("MONO", "PALETTE")) else 3
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = pixels
    data["PixelData"].VR = "OB"
    for name, value in attributes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    if "PixelData" in data and syntax != DEFLATED:
        data["PixelData"].is_undefined_length = UID(syntax).is_compressed
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def photograph() -> Image.Image:
    """The lesion that these files show."""
    return lesion()


def packed(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """The photograph as JPEG or JPEG 2000, in one fragment."""
    stream = io.BytesIO()
    (image or photograph()).save(stream, kind, **options)
    return fragment(stream.getvalue())


def fragment(content: bytes) -> bytes:
    """A fragment of packed pixels, as it lies in a file."""
    return bytes(encapsulate([content]))


def plain(**attributes: Any) -> bytes:
    """The photograph, uncompressed."""
    image = photograph()
    return dicom(image.tobytes(), image.size, **attributes)


def run_lengths(planes: list[bytes]) -> bytes:
    """Pack planes of bytes as RLE (DICOM PS3.5, annex G), by literal runs alone."""
    segments = []
    for plane in planes:
        rows = [plane[place : place + 128] for place in range(0, len(plane), 128)]
        segment = b"".join(bytes([len(row) - 1]) + row for row in rows)
        segments.append(segment + b"\0" * (len(segment) % 2))
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    head = np.array([len(segments), *starts] + [0] * (15 - len(starts)), "<u4").tobytes()
    return fragment(b"".join([head, *segments]))
