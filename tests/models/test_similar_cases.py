"""Similar cases: the nearest lesions of an index, never the image's own, and words for them."""

from __future__ import annotations

import io
import json
import math
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dermhub import layout, tensors
from dermhub.errors import ModelError
from dermhub.images import near_duplicates
from dermhub.images.drawn_lesions import draw
from dermhub.models.beside import thumbnails
from dermhub.models.beside.case_index import FORMAT, CaseIndex, Entry
from dermhub.models.beside.similar_cases import Case, SimilarCases
from dermhub.models.beside.thumbnails import Thumbnails
from dermhub.models.classifier import Classifier
from tests.support.cases import ENTRIES, flat_index
from tests.support.readings import SEVEN, prediction
from tests.support.tiny import add_file


def case(diagnosis: str, confirmation: str = "histo", image_id: str = "ISIC_0024306") -> Case:
    """A case with a diagnosis."""
    return Case(image_id, "HAM_0", diagnosis, confirmation, 0.5, b"")


def similar(label: str, *diagnoses: str) -> SimilarCases:
    """Cases with these diagnoses beside an answer with this likeliest class."""
    shares = {name: 0.9 if name == label else 0.1 / 6 for name in SEVEN}
    return SimilarCases(prediction(shares, 0.5), tuple(map(case, diagnoses)), "")


def test_nearest_by_hand() -> None:
    # Angles of 0, 90, 45 and 180 degrees, on a circle of the radius 100.
    index = flat_index([[100, 0], [0, 100], [70, 70], [-100, 0]])
    found = index.nearest(np.array([0, 100], np.int8), 2)
    # The first has the distance 0: it is the image itself, and its lesion is left out.
    assert [place for place, _ in found] == [2, 0]
    expected = [math.hypot(70, 30) / 127, math.hypot(100, 100) / 127]
    assert [far for _, far in found] == pytest.approx(expected)
    # A photograph of the lesion of case 1 is known: ISIC_0000009 is another one of it.
    found = index.nearest(np.array([10, 90], np.int8), 4, ["ISIC_0000009", "unheard-of"])
    assert [place for place, _ in found] == [2, 0, 3]


def test_features_become_whole_numbers() -> None:
    index = flat_index([[100, 0], [0, 100]])
    features = np.array([[3, 4], [-2, 0], [0, 0]], np.float32)
    # 0.6 and 0.8 of 127 are 76.2 and 101.6; features at the mean have no direction.
    assert index.encode(features).tolist() == [[76, 102], [-127, 0], [0, 0]]
    with pytest.raises(ModelError, match="made from 2 features, but the model has 3: measure"):
        index.encode(np.zeros((1, 3), np.float32))


def test_the_file_gives_the_index_back(indexed_model: Path) -> None:
    content = (indexed_model / layout.CASES).read_bytes()
    index = CaseIndex.from_bytes(content)
    assert index.entries == ENTRIES
    assert index.to_bytes() == content
    assert index.credit.startswith("HAM10000 (Tschandl")


def broken(name: str, value: Any) -> Callable[[dict[str, NDArray[Any]]], None]:
    """A change of one array of an index."""

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name] = value if not callable(value) else value(arrays[name])

    return change


def packed(rows: Any) -> NDArray[np.uint8]:
    """Entries as an index holds them."""
    return np.frombuffer(zlib.compress(json.dumps(rows).encode()), np.uint8)


ROW = ["a", "b", "nv", "histo", []]


@pytest.mark.parametrize(
    "change",
    [
        broken("codes", lambda codes: codes.astype(np.float32)),
        broken("codes", lambda codes: codes[:0]),
        broken("codes", lambda codes: codes[0]),
        broken("codes", lambda codes: np.full_like(codes, -128)),
        broken("axes", lambda axes: axes[:, :-1]),
        broken("axes", lambda axes: axes * np.float32(np.nan)),
        broken("mean", lambda mean: mean[None]),
        broken("scale", np.zeros(1)),
        broken("scale", np.zeros(2)),
        broken("entries", np.zeros(3, np.float32)),
        broken("entries", np.zeros(3, np.uint8)),
        broken("entries", packed([ROW] * 6)),
        broken("entries", packed({"rows": 7})),
        broken("entries", packed([["a", "b", "nv", "histo"]] * 7)),
        broken("entries", packed([["a", "b", "", "histo", []]] * 7)),
        broken("entries", packed([["a\x1b", "b", "nv", "histo", []]] * 7)),
        broken("entries", packed([["a", "b", "nv", 3, []]] * 7)),
        broken("entries", packed([["a", "b", "nv", "", "cd"]] * 7)),
        broken("entries", packed([["a", "b", "nv" * 200, "", []]] * 7)),
        broken("entries", packed(["x" * 100_000])),
        lambda arrays: arrays.pop("mean"),
    ],
)
def test_damaged_indexes_are_refused(
    indexed_model: Path, change: Callable[[dict[str, NDArray[Any]]], Any]
) -> None:
    arrays = tensors.read((indexed_model / layout.CASES).read_bytes(), "")
    change(arrays)
    with pytest.raises(ModelError, match=r"^here is no index of similar cases \(.*\): fetch"):
        CaseIndex.from_bytes(tensors.write(arrays, {"format": FORMAT}), "here")


def test_another_format_is_refused(indexed_model: Path) -> None:
    arrays = tensors.read((indexed_model / layout.CASES).read_bytes(), "")
    content = tensors.write(arrays, {"format": "dermhub cases 2"})
    with pytest.raises(ModelError, match="has the format 'dermhub cases 2', expected 'dermhub"):
        CaseIndex.from_bytes(content)


def test_thumbnails_are_squares_without_anything_else() -> None:
    image = draw(3, (200, 150), 0.8)
    image.info["icc_profile"] = b"profile"
    content = thumbnails.make(image)
    assert len(content) <= 3000
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.size, opened.info.get("icc_profile")) == (
            "WEBP",
            (96, 96),
            None,
        )
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    assert len(thumbnails.make(Image.fromarray(noise))) <= 3000


def test_thumbnails_of_another_index_are_refused() -> None:
    pictures = [thumbnails.make(draw(seed, (96, 96), 0.5)) for seed in range(3)]
    content = Thumbnails.of(pictures).to_bytes()
    back = Thumbnails.from_bytes(content, 3)
    assert [back.picture(place) for place in range(3)] == pictures
    others = [
        Thumbnails.of([*pictures[:2], b"<svg onload=alert(1)>"]).to_bytes(),
        tensors.write({"pictures": np.zeros(9, np.uint8), "ends": np.array([3, 2, 9])}),
        tensors.write({"pictures": np.zeros(9, np.uint8)}),
    ]
    for wrong, count in ((content, 4), *((other, 3) for other in others)):
        with pytest.raises(ModelError, match=rf"does not hold the {count} WebP pictures of the"):
            Thumbnails.from_bytes(wrong, count)


def test_an_image_and_its_explanation_find_the_same_cases(indexed_model: Path) -> None:
    classifier = Classifier(indexed_model)
    image = draw(20, (72, 64), 0.6)
    found = classifier.similar(image)
    assert len(found.cases) == 6
    assert found.prediction == classifier.predict(image)
    distances = [each.distance for each in found.cases]
    assert distances == sorted(distances)
    again = classifier.similar(classifier.explain(image), 6)
    assert again == found
    first = found.cases[0]
    assert first.picture.size == (96, 96)
    seed = [entry.image_id for entry in ENTRIES].index(first.image_id)
    assert first.thumbnail == thumbnails.make(draw(seed, (72, 64), seed / 7))
    assert found.to_dict()["cases"][0].get("thumbnail") is None
    assert found.to_dict(True)["cases"][0]["thumbnail"].startswith("data:image/webp;base64,UklGR")
    json.dumps(found.to_dict(True))


@pytest.mark.slow
def test_a_copy_of_another_photograph_leaves_its_lesion_out(
    indexed_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(indexed_model, tmp_path / "model"))
    image = draw(20, (72, 64), 0.6)
    assert "HAM_2" in {each.lesion_id for each in Classifier(folder).similar(image, 7).cases}
    # The model has seen this very image as another photograph of the lesion HAM_2.
    seen = near_duplicates.build([image], ["ISIC_0000009"], ["train"])
    add_file(folder, layout.SEEN, seen.to_bytes())
    found = Classifier(folder).similar(image.resize((144, 128)), 7)
    assert {each.lesion_id for each in found.cases} == {
        entry.lesion_id for entry in ENTRIES if entry.lesion_id != "HAM_2"
    }


def test_the_image_of_a_case_does_not_find_itself(indexed_model: Path) -> None:
    found = Classifier(indexed_model).similar(draw(4, (72, 64), 4 / 7), 7)
    assert "mine" not in {each.image_id for each in found.cases}
    assert len(found.cases) == 6


def test_an_index_without_pictures_is_refused(indexed_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(indexed_model, tmp_path / "model"))
    config = json.loads((folder / layout.CONFIG).read_text())
    del config["dermhub"]["files"][layout.THUMBNAILS]
    (folder / layout.CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"has cases\.safetensors without thumbnails\.safetensors"):
        Classifier(folder)


@pytest.mark.parametrize(
    ("diagnoses", "summary"),
    [
        (("mel", "nv", "mel", "mel", "mel", "nv"), "4 of 6 are melanomas, 2 are moles"),
        (("mel", "nv", "nv"), "2 of 3 are moles, 1 is a melanoma"),
        (("nv",) * 6, "All 6 are moles"),
        (("vasc",), "It is a harmless blood vessel mark"),
        ((), ""),
        (("akiec", "bcc"), "1 of 2 is actinic keratosis or Bowen's disease, 1 is a basal cell "
         "carcinoma"),
        (("benign", "malignant", "benign"), "2 of 3 are benign, 1 is malignant"),
    ],
)  # fmt: skip
def test_counts_in_words(diagnoses: tuple[str, ...], summary: str) -> None:
    assert similar("nv", *diagnoses).summary == summary


@pytest.mark.parametrize(
    ("label", "diagnoses", "start"),
    [
        ("nv", ("nv", "nv", "nv", "nv", "mel", "mel"), ""),
        ("nv", ("nv", "nv", "nv", "mel", "mel", "mel"), "Only 3 of the 6 most similar cases are "
         "moles, the likeliest diagnosis here"),
        ("mel", ("mel", "nv", "nv"), "Only 1 of the 3 most similar cases is a melanoma, "),
        ("bkl", ("nv", "nv", "nv"), "None of the 3 most similar cases are benign keratoses, "),
        ("nv", (), ""),
    ],
)  # fmt: skip
def test_contradictions_are_noted(label: str, diagnoses: tuple[str, ...], start: str) -> None:
    note = similar(label, *diagnoses).note
    assert note.startswith(start)
    assert bool(note) == bool(start)


def test_cases_of_a_binary_model_count_as_its_classes() -> None:
    answer = prediction({"benign": 0.9, "malignant": 0.1}, 0.1)
    cases = tuple(map(case, ("nv", "bkl", "mel")))
    assert SimilarCases(answer, cases, "").note == ""
    cases = tuple(map(case, ("bcc", "nv", "mel")))
    assert SimilarCases(answer, cases, "").note.startswith("Only 1 of the 3 most similar cases is ")


def test_biopsies_are_counted() -> None:
    answer = prediction(SEVEN, 0.6)

    def proofs(*words: str) -> str:
        return SimilarCases(answer, tuple(case("nv", word) for word in words), "").proofs

    assert proofs("histo", "follow_up", "histo") == "2 of the 3 are biopsy-proven."
    assert proofs("histo", "follow_up") == "1 of the 2 is biopsy-proven."
    assert proofs("histo", "histo") == "All 2 are biopsy-proven."
    assert proofs("", "follow_up") == "None of the 2 are biopsy-proven."
    assert (proofs("histo"), proofs("")) == ("It is biopsy-proven.", "It is not biopsy-proven.")
    assert proofs() == ""


def test_names_proofs_and_pages() -> None:
    assert [case(dx).name for dx in ("nv", "akiec", "bkl")] == [
        "Mole",
        "Actinic keratosis or Bowen's disease",
        "Benign keratosis",
    ]
    words = ("histo", "follow_up", "consensus", "confocal", "", "by hand")
    assert [case("nv", word).proof for word in words] == [
        "biopsy-proven",
        "unchanged at follow-up",
        "agreed by experts",
        "seen by confocal microscopy",
        "proof not stated",
        "by hand",
    ]
    assert case("nv").page == "https://api.isic-archive.com/images/ISIC_0024306/"
    for other in ("ISIC_24306", "mine", "ISIC_0024306/../x", "ISIC_0024306\n"):
        assert case("nv", image_id=other).page == ""
    assert not Entry("a", "b", "nv", "").others
