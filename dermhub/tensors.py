"""Named arrays as the bytes of a safetensors file, read and written without PyTorch on any machine.

safetensors' own reader for numpy takes the bytes as they lie, which is silently wrong on big-endian
machines. The format (https://github.com/huggingface/safetensors#format): a little-endian u64 with
the length of a JSON header, the header with dtype, shape and place of each tensor, then the values,
little-endian and row by row.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
}
"""Accepted dtypes and the layout of their values in the file."""


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
        content = np.ascontiguousarray(array, KINDS[kind]).tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [place, place + len(content)],
        }
        place += len(content)
        values.append(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(values)


def read(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of a safetensors file, in the machine's own byte order.

    Raises ModelError, which names the file as `where`, for anything else: cut short, with bytes
    left over, another format, or a dtype that is not in `KINDS`.
    """
    tensors: dict[str, NDArray[Any]] = {}
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > len(content) - 8:
            raise ValueError("the header is cut short")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        body = memoryview(content)[8 + length :]
        used = 0
        for name, about in header.items():
            kind = np.dtype(KINDS[about["dtype"]])
            shape = tuple(about["shape"])
            start, end = about["data_offsets"]
            size = math.prod(shape) * kind.itemsize
            if not 0 <= start <= end <= len(body) or end - start != size:
                raise ValueError(f"{name} lies outside of the file")
            values = np.frombuffer(body[start:end], kind).reshape(shape)
            tensors[name] = values.astype(kind.newbyteorder("="))
            used += end - start
        if used != len(body):
            raise ValueError(f"{len(body) - used} bytes belong to no tensor")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{where} is no complete safetensors file ({' '.join(str(error).split())}): fetch or "
            "copy the model again."
        ) from None
    return tensors


def metadata(content: bytes) -> dict[str, str]:
    """Read the texts that a safetensors file carries beside its tensors.

    `read` must have accepted the content before.
    """
    (length,) = struct.unpack("<Q", content[:8])
    texts: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return texts
