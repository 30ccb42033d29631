"""Safetensors without PyTorch: against the library, and with damaged files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from dermhub import tensors
from dermhub.errors import ModelError

ARRAYS: dict[str, NDArray[Any]] = {
    "mean": np.array([1.0, -2.5, 3.0e-3], np.float32),
    "hash": np.array([[1, 2**63 + 5]], np.uint64),
    "wide": np.array([1e300, -0.0]),
    "flag": np.array([0, 255], np.uint8),
    "none": np.zeros((0, 4), np.float32),
    "one": np.array(-7, np.int64),
}


def file(header: Any, body: bytes = b"") -> bytes:
    """A safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def about(**changes: Any) -> dict[str, Any]:
    """A header with one tensor of two float32, changed."""
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_what_was_written_is_read_back() -> None:
    arrays = tensors.read(tensors.write(ARRAYS), "x")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype, name
        assert arrays[name].dtype.isnative
        assert np.array_equal(arrays[name], array), name
        arrays[name][...] = 0  # not a view of the file's bytes


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    # From a file: the library's readers of bytes are wrong on big-endian machines.
    (tmp_path / "t.safetensors").write_bytes(
        tensors.write({"mean": ARRAYS["mean"], "one": ARRAYS["one"]}, {"k": "v"})
    )
    theirs = safetensors.torch.load_file(tmp_path / "t.safetensors")
    assert torch.equal(theirs["mean"], torch.tensor([1.0, -2.5, 3.0e-3]))
    assert int(theirs["one"]) == -7


def test_we_read_what_the_library_writes() -> None:
    content = safetensors.torch.save(
        {"a": torch.tensor([[1.5, -2.0]]), "n": torch.tensor(258)}, {"format": "pt"}
    )
    arrays = tensors.read(content, "x")
    assert arrays["a"].tolist() == [[1.5, -2.0]]
    assert int(arrays["n"]) == 258
    assert tensors.metadata(content) == {"format": "pt"}


def test_bytes_are_little_endian_and_the_same_everywhere() -> None:
    content = tensors.write({"a": np.array([1, 258], np.uint32).astype(">u4")}, {"about": "x"})
    text = b'{"__metadata__":{"about":"x"},"a":{"dtype":"U32","shape":[2],"data_offsets":[0,8]}}'
    text += b" " * (-len(text) % 8)
    assert content == struct.pack("<Q", len(text)) + text + struct.pack("<2I", 1, 258)
    assert tensors.metadata(content) == {"about": "x"}
    assert tensors.metadata(tensors.write({})) == {}


def test_strided_arrays_are_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert tensors.read(tensors.write({"a": array}), "x")["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_unknown_kind_is_not_written() -> None:
    with pytest.raises(
        ValueError, match=r"^a is an array of complex128, expected one of float64, float32, "
    ):
        tensors.write({"a": np.array([1j])})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        b"PK\x03\x04" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        file(b"{"),
        file([]),
        file({"a": []}),
        file({"a": {"dtype": "F32"}}),
        file(about(), b"\0" * 7),
        file(about(), b"\0" * 9),
        file(about(shape=[3]), b"\0" * 8),
        file(about(shape=[-2]), b"\0" * 8),
        file(about(shape="2"), b"\0" * 8),
        file(about(shape=[2.0]), b"\0" * 8),
        file(about(data_offsets=[-8, 0]), b"\0" * 8),
        file(about(data_offsets=[0]), b"\0" * 8),
        file(about(dtype="BF16"), b"\0" * 4),
        file(about(shape=[True, 2]), b"\0" * 8),
        file(about(shape=[1] * 100 + [2]), b"\0" * 8),
        file({"a": about()["a"], "b": about()["a"]}, b"\0" * 8),
        file({"a\x1b[2J": about()["a"]}, b"\0" * 8),
        file({"a" * 201: about()["a"]}, b"\0" * 8),
        file({"__metadata__": [1]}),
        file({"__metadata__": {"format": {}}}),
        file({"__metadata__": None}),
        file(b"[" * 200_000),
        file(b'{"a":' * 200_000),
        struct.pack("<Q", 9_000_000) + b"{" + b" " * 8_999_998 + b"}",
        file(about(dtype=None), b"\0" * 8),
        tensors.write(ARRAYS)[:-1],
        b"\xff" * 64,
    ],
)
def test_damage_is_one_sentence(content: bytes) -> None:
    with pytest.raises(
        ModelError, match=r"^m/x\.safetensors is no complete safetensors file \(.*again\.$"
    ) as raised:
        tensors.read(content, "m/x.safetensors")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of git-lfs, "),
        (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0", "a pickle, which is never loaded because it can run"),
        (b"<html>", "a web page or XML"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "packed by gzip"),
    ],
)
def test_another_format_is_named(content: bytes, kind: str) -> None:
    with pytest.raises(ModelError, match=rf"^x is no complete safetensors file \(it is {kind}"):
        tensors.read(content, "x")


def test_a_header_of_sixty_bytes_is_no_web_page() -> None:
    # The length 60 is the letter "<".
    text = json.dumps(about(), separators=(",", ":")).encode().ljust(60)
    assert len(text) == 60
    assert tensors.read(file(text, b"\0" * 8), "x")["a"].tolist() == [0, 0]


def test_tensors_over_the_same_bytes_are_refused_before_any_is_read() -> None:
    # 5,000 tensors of 1 MB each would be 5 GB.
    one = {"dtype": "U8", "shape": [1_000_000], "data_offsets": [0, 1_000_000]}
    header = {f"t{number}": one for number in range(5000)}
    with pytest.raises(ModelError, match=r"shares bytes with another tensor"):
        tensors.read(file(header, bytes(1_000_000)), "x")


def test_numbers_that_are_none_are_found() -> None:
    tensors.check(tensors.write(ARRAYS), "x")
    with pytest.raises(ModelError, match=r"^x holds NaN or infinite values in tensor\(s\) a\.$"):
        tensors.check(tensors.write({"a": np.array([1, np.inf], np.float16)}), "x")
