"""One partition of all lesions into train, validation and test, shared by both tasks.

The partition of the 7,470 HAM10000 lesions is shipped as `partition.csv`, so that anyone can
check overlap with their own data. Lesions that it does not know are assigned by the same rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from dermhub import files
from dermhub.errors import LeakError, some

SPLITS = ("train", "validation", "test")
"""The splits, in the order in which a lesion is offered to them."""

SHARES = {"train": 0.72, "validation": 0.12, "test": 0.16}
"""Share of a class's images in each split."""

SAME_LESION = {"HAM_0004919": "HAM_0000140"}
"""Second id of a lesion -> its first: ISIC_0025226 and ISIC_0030074 are near-identical."""

SPLIT_WORDS = {
    "train": ("train", "training", "train_set", "training_set", "trainset"),
    "validation": ("validation", "valid", "val", "val_set", "valid_set", "validation_set", "dev"),
    "test": ("test", "testing", "test_set", "testing_set", "testset"),
}
"""Split -> what its folder, or the cells of a table, may call it, in lower case."""

FILE_ID = r"[0-9a-f]{16}"
"""Pattern of an id made of a file's bytes, where the data name no lesions.

See `dermhub.data.tables`.
"""

HIDDEN = "P[0-9a-f]{12}"
"""Pattern of a patient's name in ids, as `hide` writes it."""

MADE_ID = rf"(?:{HIDDEN}-)?{FILE_ID}"
"""Pattern of an id made of a file's bytes, with or without its patient before it."""

PATIENT = "patient_id"
"""Column of the patient, "" where it is not known, in tables that have one."""

SHIPPED = Path(__file__).with_name("partition.csv")
"""The partition of HAM10000: a table with the columns lesion_id and split."""


def file_id(path: Path) -> str:
    """An id made of a file's bytes: at least copies of one file count as one lesion."""
    return files.sha256(path)[:16]


@cache
def shipped() -> dict[str, str]:
    """lesion_id -> split for every HAM10000 lesion."""
    table = pd.read_csv(SHIPPED, dtype=str)
    return dict(zip(table["lesion_id"], table["split"], strict=True))


def shipped_hash() -> str:
    """sha256 of the shipped partition; it stands in every model's provenance."""
    return hashlib.sha256(SHIPPED.read_bytes()).hexdigest()


def fingerprint(table: pd.DataFrame) -> str:
    """sha256 over ids, lesions, labels and splits of a table's images, whatever their order."""
    columns = ["image_id", "lesion_id", "dx", "split"]
    rows = table[columns].sort_values("image_id").to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(rows.encode()).hexdigest()


def held_out_fingerprint(table: pd.DataFrame) -> str:
    """The `fingerprint` of a table's validation and test images alone."""
    return fingerprint(table[table["split"] != "train"])


def hide(patient: str) -> str:
    """Return a name for a patient from which the id can't be read."""
    return f"P{hashlib.sha256(patient.encode()).hexdigest()[:12]}"


def patients_alone(lesions: pd.Series) -> int | None:
    """Count the patients of images whose lesions are not known, by the ids made for them.

    None where the data name a lesion, or no patient, for any of the images.
    """
    patients = lesions.str.extract(f"^({HIDDEN})-{FILE_ID}$", expand=False)
    return int(patients.nunique()) if len(patients) and patients.notna().all() else None


def canonical(lesions: pd.Series) -> pd.Series:
    """Replace the second id of a lesion that has two by the first."""
    return lesions.replace(SAME_LESION)


def assign(table: pd.DataFrame) -> pd.Series:
    """The split of each image of a table with columns `lesion_id` and `dx`.

    A lesion in the shipped partition keeps its place. The others are taken class by class in the
    order of a hash of their id, and each goes to the split that lacks most of its share of the
    class's images: stratified, deterministic, and no lesion is ever divided. Where patients are
    known, all lesions of a patient go together.
    """
    unknown = table[~table["lesion_id"].isin(shipped().keys())]
    places = {**shipped(), **divide(unknown)}
    return table["lesion_id"].map(places)


def divide(table: pd.DataFrame) -> dict[str, str]:
    """lesion_id -> split for a table with columns `lesion_id` and `dx`, by the rule of `assign`."""
    units = _units(table)
    groups = table.groupby(units, sort=True)
    diagnosis = _rarest(table["dx"]) if PATIENT in table else "min"
    lesions = groups.agg(dx=("dx", diagnosis), images=("dx", "size")).reset_index(names="lesion")
    lesions["key"] = [hashlib.sha256(name.encode()).hexdigest() for name in lesions["lesion"]]
    # Lesions with many photographs come first, so that each split gets its part of them.
    lesions = lesions.sort_values(["dx", "images", "key"], ascending=[True, False, True])
    places: dict[str, str] = {}
    for _, same_class in lesions.groupby("dx", sort=True):
        assigned = dict.fromkeys(SPLITS, 0)
        total = 0
        for lesion, images in zip(same_class["lesion"], same_class["images"], strict=True):
            total += images
            lacking = {split: SHARES[split] * total - assigned[split] for split in SPLITS}
            split = max(SPLITS, key=lacking.__getitem__)
            assigned[split] += images
            places[lesion] = split
    return dict(zip(table["lesion_id"], units.map(places), strict=True))


def _units(table: pd.DataFrame) -> pd.Series:
    """Return what is never divided, for each image: its patient where known, else its lesion."""
    lesions = canonical(table["lesion_id"])
    if PATIENT not in table:
        return lesions
    patients = table[PATIENT].fillna("")
    return ("patient " + patients).where(patients != "", lesions)


def _rarest(diagnoses: pd.Series) -> Callable[[pd.Series], str]:
    """The function that returns a patient's rarest diagnosis: a melanoma counts before nevi."""
    counts = diagnoses.value_counts()
    order = {dx: (count, dx) for dx, count in counts.items()}
    return lambda of_patient: min(of_patient, key=order.__getitem__)


def overlap(table: pd.DataFrame) -> int | None:
    """Number of lesions of a table in more than one `split`; 0 for a table that does not leak.

    None where the data name no lesions for images held out, so that nobody can tell.
    """
    held_out = table["lesion_id"][table["split"] != "train"]
    if held_out.str.fullmatch(FILE_ID).any():
        return None
    return len(_divided_lesions(table))


def check(table: pd.DataFrame) -> None:
    """Raise LeakError, naming them, when a lesion or a patient is in more than one `split`."""
    divided = _divided_lesions(table)
    if divided:
        raise LeakError(
            f"{len(divided)} lesion(s) stand in more than one split ({some(divided)}): put all "
            "images of a lesion into one split, or leave the split column out."
        )
    if PATIENT in table:
        known = table[table[PATIENT].fillna("") != ""]
        splits = known.groupby(PATIENT)["split"].nunique()
        if (splits > 1).any():
            raise LeakError(
                f"{int((splits > 1).sum())} patient(s) stand in more than one split "
                f"({some(sorted(splits.index[splits > 1]))}): put all images of a patient into one "
                "split, or leave the split column out."
            )


def _divided_lesions(table: pd.DataFrame) -> list[str]:
    """The lesions in more than one split; both ids of a lesion that has two."""
    groups = table.groupby(canonical(table["lesion_id"]))
    splits = groups["split"].nunique()
    ids = groups["lesion_id"].unique()
    return [" = ".join(sorted(ids[lesion])) for lesion in sorted(splits[splits > 1].index)]


def check_copies(table: pd.DataFrame) -> None:
    """Raise LeakError where image files in different splits are the same, byte for byte.

    Whatever their ids.
    """
    sizes = pd.Series([Path(path).stat().st_size for path in table["path"]], index=table.index)
    # Only files of one length can be equal; the others are not read for this.
    same_size = table[table["split"].groupby(sizes).transform("nunique") > 1]
    sha256 = [files.sha256(Path(path)) for path in same_size["path"]]
    hashes = pd.Series(sha256, index=same_size.index, dtype=object)
    copies = same_size[same_size["split"].groupby(hashes).transform("nunique") > 1]
    if len(copies):
        first = copies[hashes[copies.index] == hashes[copies.index[0]]].drop_duplicates("split")
        raise LeakError(
            f"{len(copies)} image file(s) stand in more than one split under several ids "
            f"({some(first['image_id'])} are one image): give all photographs of one lesion the "
            "same lesion_id."
        )
