"""Named arrays as the bytes of a safetensors file, read and written without PyTorch on any machine.

safetensors' own reader for numpy takes the bytes as they lie, which is silently wrong on big-endian
machines. The format (https://github.com/huggingface/safetensors#format): a little-endian u64 with
the length of a JSON header, the header with dtype, shape and place of each tensor, then the values,
little-endian and row by row.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dermhub import regular_files
from dermhub.errors import ModelError

KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "U64": "<u8",
    "U32": "<u4",
    "U8": "|u1",
    "I8": "|i1",
}
"""Accepted dtypes and the layout of their values in the file."""

SIZES = {name: np.dtype(kind).itemsize for name, kind in KINDS.items()}
SIZES |= {"I16": 2, "U16": 2, "BF16": 2, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
"""Bytes of a value of each dtype that a header may name; only those of `KINDS` are read here."""

LARGEST_HEADER = 8_000_000
"""Bytes of a header that are read; that of a network with a thousand layers has 200,000."""

LONGEST_NAME = 200
"""Letters of a tensor's name; names are shown in sentences."""

LFS = b"version https://git-lfs"
"""Beginning of the small text that stands for a file which git-lfs has not fetched."""

PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First two bytes of a pickle: those of PyTorch's ZIP archive, and of protocols 2 to 5."""

A_PICKLE = "a pickle, which is never loaded because it can run code"

OTHERS = (
    *((mark, A_PICKLE) for mark in PICKLES),
    (LFS, "a pointer of git-lfs, not the file itself: run git lfs pull in its folder"),
    (b"<", "a web page or XML, perhaps that of a login: download the file itself"),
    (b"\x89HDF", "an HDF5 file, as Keras saves it"),
    (b"GGUF", "a GGUF file, which holds a language model"),
    (b"\x1f\x8b", "packed by gzip: unpack it"),
    (b"\x08", "an ONNX graph"),
)
"""Beginnings of files that are taken for safetensors, and what each of them is."""


class Stored(NamedTuple):
    """A tensor of a file: dtype, shape, and its first byte and end among the values."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


class Header(NamedTuple):
    """The checked header of a file: its tensors, its texts, and where the values begin."""

    tensors: dict[str, Stored]
    metadata: dict[str, str]
    begin: int


def write(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write arrays as the bytes of a safetensors file, the same on every machine.

    Raises ValueError for a dtype that is not in `KINDS`.
    """
    names = {np.dtype(kind).newbyteorder("="): name for name, kind in KINDS.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    values = []
    place = 0
    # Large kinds first: every array then starts at a multiple of its own item's size.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = tensors[name]
        kind = names.get(array.dtype.newbyteorder("="))
        if kind is None:
            raise ValueError(
                f"{name} is an array of {array.dtype}, expected one of "
                f"{', '.join(map(str, names))}."
            )
        # The bytes of the array itself: a copy of a photograph takes as long as its measurements.
        content = np.ascontiguousarray(array, KINDS[kind]).reshape(-1).view(np.uint8)
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [place, place + len(content)],
        }
        place += len(content)
        values.append(content.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(values)


class FormatError(ValueError):
    """The reason, in a few words, why a file is no whole safetensors file."""


def read(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of a safetensors file, in the machine's own byte order.

    Raises ModelError, which names the file as `where`, for anything else: cut short, with bytes
    left over, another format, or a dtype that is not in `KINDS`.
    """
    try:
        header = read_header(content, len(content))
        body = memoryview(content)[header.begin :]
        return {name: _array(stored, body) for name, stored in header.tensors.items()}
    except (ValueError, KeyError) as error:
        raise _incomplete(where, error) from None


def check(content: bytes, where: str) -> None:
    """Check the bytes of a safetensors file: whole, and every number finite.

    Raises ModelError, which names the file as `where`, for anything else. Numbers of a dtype that
    is not in `KINDS` are not looked at.
    """
    try:
        header = read_header(content, len(content))
    except FormatError as error:
        raise _incomplete(where, error) from None
    body = memoryview(content)[header.begin :]
    for name, stored in header.tensors.items():
        if stored.kind in KINDS and not np.isfinite(_array(stored, body)).all():
            raise ModelError(f"{where} holds NaN or infinite values in tensor(s) {name}.")


def _incomplete(where: str, error: Exception) -> ModelError:
    """Return the error for a file that is not whole, or of another format."""
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        f"{where} is no complete safetensors file ({reason}): fetch or copy the model again."
    )


def numbers(content: bytes | memoryview, layout: str) -> NDArray[Any]:
    """Read numbers of a little-endian layout such as "<f4", in the machine's own byte order: (N,).

    Raises ValueError for bytes that are not a whole number of them. The array may be a view of the
    bytes, which can't be written to.
    """
    kind = np.dtype(layout)
    return np.frombuffer(content, kind).astype(kind.newbyteorder("="), copy=False)


def metadata(content: bytes) -> dict[str, str]:
    """Read the texts that a safetensors file carries beside its tensors.

    `read` must have accepted the content before.
    """
    return read_header(content, len(content)).metadata


def file_header(path: Path, most: int) -> Header:
    """Read and check the header of a safetensors file of at most `most` bytes.

    None of its values is read. Raises OSError as `regular_files.open_regular`, and FormatError.
    """
    with regular_files.open_regular(path, most) as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        start += stream.read(min(int.from_bytes(start, "little"), LARGEST_HEADER))
    return read_header(start, size)


def read_header(start: bytes, size: int) -> Header:
    """Read and check the header of a safetensors file of `size` bytes that begins with `start`.

    The tensors must fill the file one after the other: none shares bytes with another, and none
    lies outside. Raises FormatError for anything else.
    """
    tensors: dict[str, Stored] = {}
    try:
        content = _header_content(start, size)
        texts = content.pop("__metadata__", {})
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise TypeError("its __metadata__ is no object of texts")
        begin = 8 + _header_length(start)
        for name, about in content.items():
            tensors[name] = _stored(name, about, size - begin)
        _check_order(tensors, size - begin)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise FormatError(other_format(start) or " ".join(str(error).split())[:200]) from None
    return Header(tensors, texts, begin)


def _array(stored: Stored, body: memoryview) -> NDArray[Any]:
    """Copy a tensor out of the values of its file; raises KeyError for an unknown dtype."""
    kind = np.dtype(KINDS[stored.kind])
    values = np.frombuffer(body[stored.start : stored.end], kind).reshape(stored.shape)
    return values.astype(kind.newbyteorder("="))


def _header_length(start: bytes) -> int:
    """Return the length of the header that the first 8 bytes of a file state.

    Raises ValueError for fewer bytes, and where it is longer than `LARGEST_HEADER`.
    """
    if len(start) < 8:
        raise ValueError(f"it has {len(start)} bytes")
    (length,) = struct.unpack("<Q", start[:8])
    if length > LARGEST_HEADER:
        raise ValueError("it is another kind of file, or damaged")
    return int(length)


def other_format(start: bytes) -> str:
    """Name the format of a file that begins with `start` and is taken for safetensors, or ""."""
    # The length of a header may have any bytes, and the header comes after it.
    if start[8:9] == b"{":
        return ""
    beginning = start[:64].lstrip()
    kinds = (kind for mark, kind in OTHERS if beginning.startswith(mark))
    return next((f"it is {kind}" for kind in kinds), "")


def _header_content(start: bytes, size: int) -> dict[str, Any]:
    """Parse the JSON of a header; raises an error where it is cut short or no object."""
    length = _header_length(start)
    if length > size - 8 or length > len(start) - 8:
        raise ValueError("the header is cut short")
    content = json.loads(start[8 : 8 + length])
    if not isinstance(content, dict):
        raise TypeError("the header is no object")
    return content


def _stored(name: str, about: Any, room: int) -> Stored:
    """Read one entry of a header; raises ValueError where it does not lie in `room` bytes."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a tensor has the name {name[:40]!r}")
    shape = about["shape"]
    start, end = about["data_offsets"]
    numbers = [start, end, *shape]
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{name} has the shape {shape!r} at {[start, end]!r}"[:200])
    if about["dtype"] not in SIZES:
        raise ValueError(f"{name} has numbers of the kind {about['dtype']!r}"[:200])
    size = math.prod(shape) * SIZES[about["dtype"]]
    if not start <= end <= room or end - start != size:
        raise ValueError(f"{name} lies outside of the file")
    return Stored(about["dtype"], tuple(shape), start, end)


def _check_order(tensors: Mapping[str, Stored], room: int) -> None:
    """Raise ValueError unless the tensors fill `room` bytes one after the other."""
    place = 0
    for start, end, name in sorted((each.start, each.end, name) for name, each in tensors.items()):
        if start < place:
            raise ValueError(f"{name} shares bytes with another tensor")
        if start > place:
            break
        place = end
    if place != room:
        raise ValueError(f"{room - place} bytes belong to no tensor")
