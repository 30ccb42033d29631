"""The partition that is shipped, the rule that made it, and the refusal of leaks."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from dermhub.data import partition
from dermhub.errors import DataError, LeakError
from dermhub.tasks import LESION_NAMES

SHIPPED_SHA256 = "11f24c9250b7b11c2ead67ae0518547a743acd0a2cc30a97f000621af526e8b3"
"""Every published model names this hash: a partition that changes needs new models."""


def some_table(seed: int = 0, lesions: int = 300) -> pd.DataFrame:
    """Images of made-up lesions: mostly nevi, one to four photographs each."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.05, 0.05, 0.1, 0.05, 0.1, 0.6, 0.05])
    rows = [
        (f"NEW_{lesion:04d}", dx)
        for lesion, dx in enumerate(rng.choice(list(LESION_NAMES), lesions, p=shares))
        for _ in range(rng.integers(1, 5))
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "dx"])


def images(lesions: dict[str, int], dx: str = "nv") -> pd.DataFrame:
    """A table of one diagnosis with so many images of each lesion."""
    rows = [(name, dx) for name, count in lesions.items() for _ in range(count)]
    return pd.DataFrame(rows, columns=["lesion_id", "dx"])


def test_the_shipped_partition_has_each_ham10000_lesion_once() -> None:
    lines = partition.SHIPPED.read_text().splitlines()
    assert lines[0] == "lesion_id,split"
    ids = [line.split(",")[0] for line in lines[1:]]
    assert len(ids) == len(set(ids)) == len(partition.shipped()) == 7470
    assert all(name.startswith("HAM_") and len(name) == 11 for name in ids)


def test_the_shipped_partition_has_the_published_number_of_lesions() -> None:
    assert Counter(partition.shipped().values()) == {"train": 5377, "validation": 899, "test": 1194}


def test_the_shipped_partition_never_changes() -> None:
    assert (
        partition.shipped_hash()
        == hashlib.sha256(partition.SHIPPED.read_bytes()).hexdigest()
        == SHIPPED_SHA256
    )


def test_the_near_identical_pair_is_on_one_side() -> None:
    assert partition.shipped()["HAM_0004919"] == partition.shipped()["HAM_0000140"]


def test_divide_by_hand() -> None:
    # 25 nevi of one image: 72, 12 and 16 % of 25.
    places = partition.divide(images({f"L{n}": 1 for n in range(25)}))
    assert Counter(places.values()) == {"train": 18, "validation": 3, "test": 4}


@pytest.mark.parametrize(
    ("lesions", "expected"), [(1, {"train": 1}), (2, {"train": 2}), (3, {"train": 2, "test": 1})]
)
def test_divide_gives_few_lesions_to_training_first(lesions: int, expected: dict[str, int]) -> None:
    assert (
        Counter(partition.divide(images({f"L{n}": 1 for n in range(lesions)})).values()) == expected
    )


def test_divide_counts_images_and_not_lesions() -> None:
    # The lesion of 72 images fills the training share of 100, the one of 16 that of test.
    places = partition.divide(images({"big": 72, "middle": 16, "small": 12}))
    assert places == {"big": "train", "middle": "test", "small": "validation"}


def test_divide_does_not_depend_on_the_order_of_the_rows() -> None:
    table = some_table()
    assert partition.divide(table) == partition.divide(table.sample(frac=1, random_state=1))


def test_divide_is_stratified() -> None:
    table = some_table(lesions=3000)
    split = table["lesion_id"].map(partition.divide(table))
    for dx in LESION_NAMES:
        of_class = split[table["dx"] == dx]
        for name, share in partition.SHARES.items():
            # No split is more than a lesion or two (of up to four images) away from its share.
            due = share * len(of_class)
            assert (of_class == name).sum() == pytest.approx(due, abs=4), (dx, name)


def test_divide_keeps_the_near_identical_pair_together() -> None:
    others = {f"HAM_X{n}": 1 for n in range(40)}
    for first, second in partition.SAME_LESION.items():
        for photographs in range(1, 20):
            places = partition.divide(images({**others, first: photographs, second: 1}))
            assert places[first] == places[second]


def test_divide_knows_each_of_the_pair_alone() -> None:
    for name in ("HAM_0004919", "HAM_0000140"):
        assert partition.divide(images({name: 2})) == {name: "train"}


def test_divide_takes_lesions_of_one_size_in_the_order_of_their_hash() -> None:
    # Ids often carry a date or a place; in their own order, each split would get another time.
    names = [f"L{n}" for n in range(3)]
    third = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[2]
    assert third != names[2]
    assert partition.divide(images(dict.fromkeys(names, 1)))[third] == "test"


def test_assign_never_divides_a_lesion() -> None:
    table = some_table(3)
    table["split"] = partition.assign(table)
    assert table["split"].isin(partition.SPLITS).all()
    assert (table.groupby("lesion_id")["split"].nunique() == 1).all()
    partition.check(table)


def test_assign_leaves_the_lesions_of_ham10000_where_they_are() -> None:
    shipped = list(partition.shipped().items())[:50]
    # The diagnosis plays no part for a lesion that has its place.
    table = pd.DataFrame({"lesion_id": [name for name, _ in shipped], "dx": "mel"})
    assert list(partition.assign(table)) == [split for _, split in shipped]


def test_assign_divides_new_lesions_as_if_they_came_alone() -> None:
    new = some_table(5)
    shipped = pd.DataFrame({"lesion_id": list(partition.shipped())[:100], "dx": "nv"})
    together = partition.assign(pd.concat([shipped, new], ignore_index=True))
    assert list(together[100:]) == list(partition.assign(new))


def test_check_refuses_a_torn_lesion_by_name() -> None:
    table = pd.DataFrame(
        {
            "lesion_id": ["L1", "L2", "L2", "L3"],
            "dx": "nv",
            "split": ["train", "train", "test", "test"],
        }
    )
    with pytest.raises(
        LeakError, match=r"^1 lesion\(s\) stand in more than one split \(L2\): put all images of a"
    ):
        partition.check(table)
    # Whoever catches bad data catches a leak as well.
    with pytest.raises(DataError):
        partition.check(table)


def test_check_names_at_most_five_lesions() -> None:
    rows = [(f"L{n}", split) for n in range(9) for split in ("train", "validation")]
    with pytest.raises(LeakError, match=r"^9 lesion\(s\).*\(L0, L1, L2, L3, L4 and 4 more\)"):
        partition.check(pd.DataFrame(rows, columns=["lesion_id", "split"]))


def test_check_refuses_the_torn_near_identical_pair_by_both_names() -> None:
    table = pd.DataFrame({"lesion_id": ["HAM_0004919", "HAM_0000140"], "split": ["train", "test"]})
    with pytest.raises(LeakError, match=r"^1 lesion\(s\).*\(HAM_0000140 = HAM_0004919\)"):
        partition.check(table)


def test_check_accepts_lesions_that_are_whole() -> None:
    partition.check(
        pd.DataFrame({"lesion_id": ["L1", "L1", "L2"], "split": ["train", "train", "test"]})
    )
