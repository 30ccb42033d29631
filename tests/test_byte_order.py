"""Byte order: files and hashes are little-endian on every machine, also on LinuxONE.

The recorded values below were made on x86-64; prove.sh runs this file on s390x as well.
"""

from __future__ import annotations

import ast
import hashlib
import json
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import dermhub
from dermhub import files
from dermhub.data import draws, partition
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, normalise, to_array
from dermhub.models import backbone, weights
from dermhub.models.classifier import Classifier
from dermhub.training import state
from tests.support.tiny import TINY_SPEC

ROOT = Path(__file__).resolve().parents[1]


def steps(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Pixels that need no floating point to make."""
    y, x, colour = np.ogrid[0:height, 0:width, 0:3]
    return np.asarray((7 * y + 13 * x + 31 * colour + x * y) % 256, np.uint8)


def test_weights_are_written_little_endian(tiny_lesion_model: Path) -> None:
    content = (tiny_lesion_model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    model = Classifier(tiny_lesion_model).model
    kinds = {"F32": "<f4", "I64": "<i8"}
    seen = set()
    for name, tensor in model.state_dict().items():
        start, end = header[name]["data_offsets"]
        values = np.frombuffer(
            content[8 + length + start : 8 + length + end], kinds[header[name]["dtype"]]
        )
        assert np.array_equal(values.reshape(tensor.shape), tensor.numpy()), name
        seen.add(header[name]["dtype"])
    assert seen == kinds.keys()


def test_weights_written_by_hand_are_read(tmp_path: Path) -> None:
    values = [1.0, -2.5, 3.0e-3, 65504.0]
    header = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "n": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]},
        }
    ).encode()
    body = struct.pack("<4f", *values) + struct.pack("<q", 258)
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
    tensors = weights.read_tensors(tmp_path / "m.safetensors")
    assert torch.equal(tensors["a"], torch.tensor(values).reshape(2, 2))
    assert int(tensors["n"]) == 258


def test_the_state_of_a_run_is_read_back(tmp_path: Path) -> None:
    saved, average, read, spare = (backbone.build("test_resnet", 2) for _ in range(4))
    before = torch.optim.AdamW(saved.parameters())
    after = torch.optim.AdamW(read.parameters())
    saved(torch.ones(2, 3, 32, 32)).sum().backward()
    before.step()
    state.save_state(tmp_path / "s.safetensors", saved, average, before, {"epochs": 3})
    assert state.load_state(tmp_path / "s.safetensors", read, spare, after) == {"epochs": 3}
    for mine, other in zip(saved.state_dict().values(), read.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    assert float(next(iter(after.state.values()))["step"]) == 1.0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec(192), "e12e08106250aa70fd63cbfa86ed989d3ecd61edc09bf40e16285d0d6ca6f3e1"),
        (
            InputSpec(64, "squash"),
            "149b825722a595f3933913a0823f622edd3d77420ab93e5be3672e7e037c39ce",
        ),
    ],
)
def test_preprocessing_has_one_hash_everywhere(spec: InputSpec, expected: str) -> None:
    little = runpy.run_path(str(ROOT / "deploy/linuxone/golden.py"))["little"]
    values = little(to_array(to_rgb(steps(150, 200)), spec))
    assert values.dtype.str == "<f4"
    assert hashlib.sha256(values.tobytes()).hexdigest() == expected


def test_normalisation_in_numbers() -> None:
    pixel = normalise(np.array([[[255, 0, 128]]], np.uint8), TINY_SPEC).flatten().tolist()
    assert pixel == pytest.approx([2.2489083, -2.0357141, (128 / 255 - 0.406) / 0.225], abs=1e-6)


def test_the_order_of_an_epoch_is_the_same_everywhere() -> None:
    order = draws.epoch_order(np.array([0, 0, 0, 1, 1, 2], np.int64), 0.5, (7, 1))
    assert order.tolist() == [5, 3, 0, 1, 2, 4]


def test_hashes_of_text_are_of_its_bytes(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"name": "Übergröße", "value": 0.1})
    expected = '{\n  "name": "Übergröße",\n  "value": 0.1\n}\n'.encode()
    assert (tmp_path / "a.json").read_bytes() == expected
    assert files.sha256(tmp_path / "a.json") == hashlib.sha256(expected).hexdigest()
    assert (
        partition.shipped_hash()
        == "11f24c9250b7b11c2ead67ae0518547a743acd0a2cc30a97f000621af526e8b3"
    )


def test_the_package_reads_and_writes_no_raw_numbers() -> None:
    # safetensors.numpy.load(bytes) is silently wrong on big-endian machines, and raw bytes have the
    # machine's order.
    folder = Path(dermhub.__file__).parent
    raw = {"tobytes", "frombuffer", "tofile", "fromfile", "from_buffer", "byteswap", "newbyteorder"}
    # tensors.py states the order of all that it reads and writes, and its own tests hold it to
    # that.
    for path in sorted(set(folder.glob("**/*.py")) - {folder / "tensors.py"}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & raw
        assert not used, path.name
        assert "safetensors.numpy" not in path.read_text(encoding="utf-8"), path.name
