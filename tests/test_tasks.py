"""The classes, their order, and which diagnosis counts as malignant."""

from __future__ import annotations

import dataclasses

import pytest

from dermhub.tasks import BINARY, LESION, LESION_NAMES, MALIGNANT, TASKS, Task, plain_name


def test_lesion_classes_stand_in_alphabetical_order() -> None:
    # The order of every shipped weight file: changing it would silently swap diagnoses.
    assert LESION.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def test_binary_classes_have_malignant_last() -> None:
    assert BINARY.classes == ("benign", "malignant")


def test_tasks_are_found_by_their_own_names() -> None:
    assert TASKS == {"binary": BINARY, "lesion": LESION}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("akiec", "malignant"),
        ("bcc", "malignant"),
        ("bkl", "benign"),
        ("df", "benign"),
        ("mel", "malignant"),
        ("nv", "benign"),
        ("vasc", "benign"),
    ],
)
def test_every_diagnosis_is_benign_or_malignant(code: str, expected: str) -> None:
    assert BINARY.class_of(code) == expected


@pytest.mark.parametrize(
    ("code", "index"),
    [("akiec", 0), ("bcc", 1), ("bkl", 2), ("df", 3), ("mel", 4), ("nv", 5), ("vasc", 6)],
)
def test_lesion_keeps_the_diagnosis(code: str, index: int) -> None:
    assert LESION.class_of(code) == code
    assert LESION.index_of(code) == index


def test_binary_also_takes_its_own_class_names() -> None:
    assert [BINARY.index_of(name) for name in ("benign", "malignant")] == [0, 1]


@pytest.mark.parametrize("written", [" mel", "MEL", "Mel\n", "\tmEl "])
def test_case_and_white_space_do_not_matter(written: str) -> None:
    assert LESION.class_of(written) == "mel"
    assert LESION.index_of(written) == 4
    assert BINARY.index_of(written) == 1


@pytest.mark.parametrize("unknown", ["", "scc", "melanoma", "mel nv", "0", "nan"])
def test_unknown_diagnosis_is_none_and_never_a_class(unknown: str) -> None:
    for task in TASKS.values():
        assert task.class_of(unknown) is None
        assert task.index_of(unknown) is None


@pytest.mark.parametrize("name", ["benign", "malignant"])
def test_seven_classes_can_not_be_told_from_benign_or_malignant(name: str) -> None:
    assert LESION.index_of(name) is None


def test_malignant_classes_and_their_positions() -> None:
    assert {"akiec", "bcc", "mel"} == MALIGNANT
    assert LESION.positive_indices == (0, 1, 4)
    assert BINARY.positive_indices == (1,)


def test_both_tasks_agree_on_malignancy() -> None:
    for code in LESION_NAMES:
        assert (code in LESION.positive) == (BINARY.class_of(code) in BINARY.positive)


def test_a_task_of_ones_own_knows_only_its_classes() -> None:
    task = Task("two", ("nv", "mel"), frozenset({"mel"}))
    assert [task.index_of(code) for code in ("mel", "nv", "bcc")] == [1, 0, None]
    assert task.positive_indices == (1,)


def test_tasks_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LESION.classes = ()  # type: ignore[misc]


def test_plain_names() -> None:
    assert plain_name("mel") == "melanoma"
    assert plain_name("nv") == "melanocytic nevus"
    assert [plain_name(name) for name in ("benign", "malignant", "other")] == [
        "benign",
        "malignant",
        "other",
    ]
    assert len({plain_name(code) for code in LESION.classes}) == 7
