"""Near duplicates: turned, scaled or compressed copies of training images are recognised."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from dermhub import layout, tensors
from dermhub.errors import ModelError
from dermhub.images import near_duplicates
from dermhub.images.drawn_lesions import draw
from dermhub.images.near_duplicates import Match, SeenImages
from dermhub.images.photo import Photo
from dermhub.models.classifier import Classifier
from tests.support.tiny import add_file

IMAGES = {f"TEST_{seed}": draw(seed, (200, 150), seed % 5 / 4) for seed in range(12)}
SPLITS = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
TURNS = [None, *Image.Transpose]


@pytest.fixture(scope="module")
def manifest() -> SeenImages:
    """Hash eight training, two validation and two test images; the last must not be in it."""
    return near_duplicates.build(IMAGES.values(), list(IMAGES), SPLITS)


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def square(image: Image.Image) -> Image.Image:
    return image.crop((25, 0, 175, 150))


def flipped(image: Image.Image, places: range) -> SeenImages:
    """Make a manifest of one hash, which differs from the image's in the bits at these places."""
    bits = np.unpackbits(near_duplicates.symmetries(transformed(image))[0], bitorder="little")
    bits[list(places)] ^= 1
    return SeenImages(np.packbits(bits, bitorder="little")[None], ["A"], ["train"])


def transformed(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    coefficients = near_duplicates.transform(image)
    assert coefficients is not None
    return coefficients


def parts() -> dict[str, Any]:
    """Return the arrays of a manifest of two images, made by hand."""
    return {
        "bits": np.arange(96, dtype=np.uint8).reshape(2, 48),
        "splits": np.array([0, 1], np.uint8),
        "ids": np.array(list(zlib.compress(b'["A", "B"]')), np.uint8),
    }


def test_a_wave_has_one_coefficient() -> None:
    # Height 64 and 3 half periods across: 100 * 64 * sum(cos^2) = 100 * 64 * 32 at (0, 3), and
    # nothing elsewhere.
    wave = 128 + 100 * np.cos(np.pi * 3 * (2 * np.arange(64) + 1) / 128)
    image = Image.fromarray(np.rint(np.tile(wave, (64, 1))).astype(np.uint8)).convert("RGB")
    coefficients = transformed(image)
    assert coefficients.shape == (27, 27)
    assert coefficients[0, 3] == pytest.approx(204_800, rel=0.001)
    coefficients[0, 3] = coefficients[0, 0] = 0
    assert np.abs(coefficients).max() < 1000


def test_bits_are_the_signs_of_the_low_frequencies() -> None:
    assert len(near_duplicates.PAIRS) == len(set(near_duplicates.PAIRS)) == 377
    assert near_duplicates.PAIRS[:2] == ((0, 26), (1, 25))
    assert near_duplicates.PAIRS[-2:] == ((0, 1), (1, 0))
    coefficients = np.full((27, 27), -1.0)
    coefficients[0, 26] = coefficients[9, 17] = coefficients[1, 0] = 1.0
    first = near_duplicates.symmetries(coefficients)[0]
    # Bit 0, bit 9, and bit 376 = 8 * 47 + 0, with the lowest bit of a byte first.
    assert {place: value for place, value in enumerate(first.tolist()) if value} == {
        0: 1,
        1: 2,
        47: 1,
    }


def test_symmetries_are_those_of_a_square() -> None:
    image = square(IMAGES["TEST_3"])
    ways = near_duplicates.symmetries(transformed(image))
    assert ways.shape == (8, 48)
    assert ways.dtype == np.uint8
    assert len({row.tobytes() for row in ways}) == 8
    for turn in TURNS:
        code = near_duplicates.symmetries(transformed(turned(image, turn)))[0]
        # But for coefficients near zero, one of the eight is the turned image's own hash.
        assert np.bitwise_count(ways ^ code).sum(axis=1).min() <= 4, turn


@pytest.mark.parametrize("turn", TURNS)
def test_every_symmetry_of_the_frame_is_found(
    manifest: SeenImages, turn: Image.Transpose | None
) -> None:
    for name, image in list(IMAGES.items())[:10]:
        match = manifest.find(near_duplicates.hashes(turned(image, turn)))
        assert match is not None
        assert (match.image_id, match.split) == (name, "train" if name < "TEST_8" else "validation")
        assert match.distance <= (0 if turn is None else 8)


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (square, 4),
        (lambda image: image.resize((100, 75)), 16),
        (lambda image: image.resize((600, 450), Image.Resampling.LANCZOS), 8),
        (lambda image: image.resize((2400, 1800)), 16),
        (lambda image: image.resize((131, 98), Image.Resampling.NEAREST), 48),
        (lambda image: jpeg(image, 60), 24),
        (lambda image: jpeg(square(image).resize((224, 224)), 60), 24),
        (lambda image: turned(jpeg(image.resize((120, 90)), 80), Image.Transpose.TRANSVERSE), 40),
        (lambda image: image.point([min(round(1.15 * v), 255) for v in range(256)] * 3), 40),
        (lambda image: image.convert("L").convert("RGB"), 8),
    ],
)
def test_changed_copies_are_found(
    manifest: SeenImages, change: Callable[[Image.Image], Image.Image], most: int
) -> None:
    for name in ("TEST_1", "TEST_4", "TEST_9"):
        match = manifest.find(near_duplicates.hashes(change(IMAGES[name])))
        assert match is not None
        assert match.image_id == name
        assert match.distance <= most


@pytest.mark.parametrize("turn", [None, Image.Transpose.ROTATE_90])
@pytest.mark.parametrize("square", [
    lambda frame: frame.resize((224, 224), Image.Resampling.BICUBIC),
    lambda frame: ImageOps.pad(frame, (224, 224)),
    lambda frame: ImageOps.pad(frame, (300, 300), color="white"),
], ids=["stretched", "padded", "padded with white"])  # fmt: skip
def test_frames_made_square_are_found(
    manifest: SeenImages, square: Callable[[Image.Image], Image.Image], turn: Image.Transpose | None
) -> None:
    # As data sets are often handed on: no part of a stretched frame has the shape that it had.
    for name, frame in list(IMAGES.items())[:10]:
        copy = square(frame if turn is None else frame.transpose(turn))
        match = manifest.find(near_duplicates.hashes(copy))
        assert match is not None
        assert match.image_id == name
        assert match.distance < 40


def test_only_square_images_are_looked_at_in_several_ways() -> None:
    assert near_duplicates.boxes((200, 150)) == [(25, 0, 175, 150)]
    assert near_duplicates.boxes((80, 160)) == [(0, 40, 80, 120)]
    assert near_duplicates.boxes((80, 80)) == [
        (0, 0, 80, 80),
        (10, 0, 70, 80),
        (0, 10, 80, 70),
        (10, 10, 70, 70),
    ]


def test_other_images_are_not_found(manifest: SeenImages) -> None:
    assert all(
        manifest.find(near_duplicates.hashes(draw(seed, (200, 150), seed % 4 / 3))) is None
        for seed in range(100, 140)
    )
    # The images of the test split are no part of it.
    assert manifest.find(near_duplicates.hashes(IMAGES["TEST_10"])) is None
    assert len(manifest.ids) == 10


@pytest.mark.parametrize("first", [0, 150, 377 - 61])
def test_the_threshold_is_kept(first: int) -> None:
    image = IMAGES["TEST_2"]
    assert flipped(image, range(first, first + 60)).find(near_duplicates.hashes(image)) == Match(
        "A", "train", 60
    )
    assert flipped(image, range(first, first + 61)).find(near_duplicates.hashes(image)) is None


def test_the_nearest_of_several_is_named() -> None:
    image = IMAGES["TEST_5"]
    rows = [flipped(image, range(places)).bits[0] for places in (9, 3, 5, 3)]
    assert SeenImages(np.stack(rows), list("abcd"), ["train"] * 4).find(
        near_duplicates.hashes(image)
    ) == Match("b", "train", 3)


@pytest.mark.parametrize("colour", ["black", "white", (200, 150, 140)])
def test_a_plain_image_is_a_copy_of_none(colour: Any) -> None:
    plain = Image.new("RGB", (200, 150), colour)
    assert near_duplicates.transform(plain) is None
    kept = near_duplicates.build([plain, IMAGES["TEST_0"]], ["plain", "TEST_0"], ["train", "train"])
    assert kept.ids == ("TEST_0",)
    assert kept.find(near_duplicates.hashes(plain)) is None


def test_a_manifest_of_nothing() -> None:
    nothing = SeenImages.from_bytes(near_duplicates.build([], [], []).to_bytes())
    assert nothing.ids == ()
    assert nothing.find(near_duplicates.hashes(IMAGES["TEST_0"])) is None


def test_what_is_said() -> None:
    concern = Match("ISIC_0024306", "train", 3).concern
    assert concern.code == "seen"
    assert concern.sentence == (
        "This image looks like ISIC_0024306, which was used to train the model, so the result "
        "proves nothing."
    )
    assert (
        "looks like X, which was used to tune the model"
        in Match("X", "validation", 0).concern.sentence
    )


def test_written_and_read_back(manifest: SeenImages) -> None:
    content = manifest.to_bytes()
    again = SeenImages.from_bytes(content)
    assert np.array_equal(again.bits, manifest.bits)
    assert (again.ids, again.splits) == (manifest.ids, manifest.splits)
    assert again.to_bytes() == content
    names = ("train/benign/1", "Übergröße\n", "")
    odd = SeenImages(np.zeros((3, 48), np.uint8), names, ["train"] * 3)
    assert SeenImages.from_bytes(odd.to_bytes()).ids == names


def test_the_file_by_hand() -> None:
    # One byte a value: nothing in it depends on the machine's byte order.
    arrays = parts()
    header, body = {"__metadata__": {"format": "dermhub seen 1"}}, b""
    for name, array in arrays.items():
        content = bytes(array.ravel().tolist())
        place = [len(body), len(body) + len(content)]
        header[name] = {"dtype": "U8", "shape": list(array.shape), "data_offsets": place}  # type: ignore[dict-item]
        body += content
    text = json.dumps(header).encode()
    read = SeenImages.from_bytes(struct.pack("<Q", len(text)) + text + body)
    assert read.bits.tolist() == [list(range(48)), list(range(48, 96))]
    assert (read.ids, read.splits) == (("A", "B"), ("train", "validation"))


def test_it_stays_small() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, (8413, 48), np.uint8)
    ids = [
        f"ISIC_{number:07d}" for number in np.sort(rng.choice(10_000, 8413, replace=False)) + 24_306
    ]
    assert len(SeenImages(bits, ids, ["train"] * 8413).to_bytes()) < 500_000


BAD = [
    ("bits", None, "'bits'"),
    ("splits", None, "'splits'"),
    ("ids", None, "'ids'"),
    ("bits", np.zeros((2, 47), np.uint8), "bits have the shape (2, 47)"),
    ("bits", np.zeros((3, 48), np.uint8), "splits (2,), expected (N, 48)"),
    ("bits", np.zeros(96, np.uint8), "bits have the shape (96,)"),
    ("bits", np.zeros((2, 48), np.float32), "expected arrays of bytes"),
    ("bits", np.array(0, np.uint8), "len() of unsized object"),
    ("splits", np.array([0, 2], np.uint8), "tuple index out of range"),
    ("splits", np.array([[0, 1]], np.uint8), "splits (1, 2)"),
    ("splits", np.array([0, 1], np.int64), "expected arrays of bytes"),
    ("ids", np.zeros(5, np.uint8), "Error -3"),
    ("ids", np.array(list(zlib.compress(b"x" * 9)), np.uint8), "Expecting value"),
    ("ids", np.array(list(zlib.compress(b'["A", "B"]')[:-2]), np.uint8), "no list of names"),
    ("ids", np.array(list(zlib.compress(b'["A"]')), np.uint8), "1 ids for 2 hashes"),
    ("ids", np.array(list(zlib.compress(b'["A", 2]')), np.uint8), "no list of names"),
    ("ids", np.array(list(zlib.compress(b'{"A": "B"}')), np.uint8), "no list of names"),
    ("ids", np.array(list(zlib.compress(b"\xff\xfe")), np.uint8), "can't decode"),
    ("ids", np.array(list(zlib.compress(b"[" * 10_000)), np.uint8), "recursion"),
    # A kilobyte that unpacks to a megabyte, for two images.
    (
        "ids",
        np.array(list(zlib.compress(b'["' + b"A" * 1_000_000 + b'", "B"]')), np.uint8),
        "no list of names",
    ),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_bad_manifests_are_refused(name: str, value: Any, said: str) -> None:
    arrays = parts()
    arrays[name] = value
    content = tensors.write({key: array for key, array in arrays.items() if array is not None},
                            {"format": "dermhub seen 1"})  # fmt: skip
    with pytest.raises(ModelError) as caught:
        SeenImages.from_bytes(content, "there/seen.safetensors")
    assert str(caught.value).startswith("there/seen.safetensors is no manifest of seen images (")
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", [None, "dermhub seen 2", "pt"])
def test_other_formats_are_refused(kind: str | None) -> None:
    content = tensors.write(parts(), {"format": kind} if kind else None)
    with pytest.raises(ModelError, match=rf"has the format {kind!r}, expected 'dermhub seen 1'"):
        SeenImages.from_bytes(content)


@pytest.mark.parametrize("content", [b"", b"no safetensors", tensors.write(parts())[:-1]])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"^seen\.safetensors is no complete safetensors file"):
        SeenImages.from_bytes(content)


def test_ids_and_splits_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match="shorter"):
        near_duplicates.build(list(IMAGES.values())[:2], ["A"], ["train", "train"])


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, dermhub.images.near_duplicates; print(sorted({'torch', 'safetensors', "
        "'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_model_says_so(tiny_lesion_model: Path, tmp_path: Path, manifest: SeenImages) -> None:
    folder = tmp_path / "knowing"
    shutil.copytree(tiny_lesion_model, folder)
    add_file(folder, layout.SEEN, manifest.to_bytes())
    knowing, plain = Classifier(folder), Classifier(tiny_lesion_model)
    copy = jpeg(square(IMAGES["TEST_9"]).transpose(Image.Transpose.ROTATE_180), 70)
    said, without = knowing.predict([copy, draw(99)]), plain.predict([copy, draw(99)])
    assert [answer.concerns[1:] for answer in said] == [without[0].concerns, ()]
    assert (said[0].concerns[0].code, without[1].concerns) == ("seen", ())
    assert (
        said[0]
        .concerns[0]
        .sentence.startswith("This image looks like TEST_9, which was used to tune the model, so")
    )
    # Nothing else about the answer changes, and it isn't withheld.
    assert [dataclasses.replace(answer, concerns=()) for answer in said] == [
        dataclasses.replace(answer, concerns=()) for answer in without
    ]
    assert not said[0].abstention
    assert knowing.explain(copy).prediction.concerns == said[0].concerns
    assert knowing.predict([]) == []
    assert knowing.predict(iter([Photo.open(copy), Photo.open(draw(99))])) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"nothing", "is no complete safetensors file"), (tensors.write(parts()), "has the format")],
)
def test_a_model_with_a_bad_manifest(
    tiny_lesion_model: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    shutil.copytree(tiny_lesion_model, tmp_path / "bad")
    add_file(tmp_path / "bad", layout.SEEN, content)
    with pytest.raises(ModelError, match=rf"^{tmp_path / 'bad' / 'seen.safetensors'} {said}"):
        Classifier(tmp_path / "bad")


def test_all_copies_are_named_and_no_other_image() -> None:
    image = draw(3, (200, 150), 0.8)
    images = [image, draw(9, (200, 150), 0.2), image.resize((100, 75))]
    seen = near_duplicates.build(images, ["first", "other", "small"], ["train"] * 3)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    assert seen.copies(near_duplicates.hashes(turned)) == ("first", "small")
    assert seen.copies(near_duplicates.hashes(draw(20, (200, 150), 0.5))) == ()
    # An image without any structure has no hashes.
    assert seen.copies(near_duplicates.hashes(Image.new("RGB", (64, 64)))) == ()
