"""The kinds of tables that people have, each as the names of its columns.

To teach dermhub another table, add a `Format` to `FORMATS`; nothing else has to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dermhub.errors import ConfigError, suggest

COLLECTION = "collection"
"""Column with the part of an archive that an image is from; of further images, a source."""

ABOUT: dict[str, tuple[str, ...]] = {
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "localization": (
        *("localization", "anatom_site_general", "anatom_site_general_challenge"),
        *("anatom_site", "region", "location"),
    ),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
}
"""Column of ours that describes the patient or the ground truth -> its names elsewhere."""

DX_TYPES = {"histopathology": "histo"}
"""Words for the ground truth -> those of HAM10000."""

ROLES = ("image", "dx", "malignant", "lesion", "patient", "split", *ABOUT)
"""Roles that a column can have, in --columns."""

OPTION = (
    "headings of a table that is of no known format, as in image=filename,dx=diagnosis,lesion=case "
    f"(roles: {', '.join(ROLES)}). With blanks or commas in headings: 'image=File "
    'name,dx="Diagnosis, final"\''
)
"""Help of the option --columns."""

QUOTED = r'"(?:[^"]|"")*"'
"""Pattern of a text in quotation marks, in which two of them stand for one."""


@dataclass(frozen=True)
class Format:
    """A kind of table: which column holds what, by its heading (`delimited.fold`).

    `image` has the ids or names of files. The label is in `diagnosis` (names of diagnoses; of
    several columns all that are known agree), in `one_hot` (column -> code; a 1 in one of them), or
    in `malignant` (words or figures for benign and malignant), which also speaks for diagnoses that
    are none of the seven. A row without a 1 is of the diagnosis `otherwise`. `cancers` are codes
    beyond the seven that the makers of the data call malignant. A table is of the format if it has
    the columns `needs`; all others may be missing.
    """

    name: str
    needs: tuple[str, ...]
    image: str
    diagnosis: tuple[str, ...] = ()
    malignant: tuple[str, ...] = ()
    one_hot: dict[str, str] = field(default_factory=dict)
    otherwise: str = ""
    cancers: frozenset[str] = frozenset()
    lesion: str = "lesion_id"
    patient: str = "patient_id"
    split: str = "split"
    about: dict[str, str] = field(default_factory=dict)

    def about_columns(self, role: str) -> tuple[str, ...]:
        """List the columns that may say something about the patient: one, or all of `ABOUT`."""
        return (self.about[role],) if role in self.about else ABOUT[role]


LEVELS = tuple(f"diagnosis_{level}" for level in range(1, 6))
"""Columns of the ISIC archive, from benign or malignant down to the kind of a nevus."""

CODES = {name: name.lower() for name in ("MEL", "NV", "BCC", "BKL", "DF", "VASC", "SCC", "UNK")}
"""Columns of the ISIC challenges -> codes."""

LIKELY = {
    "lesion": frozenset(
        {"lesion", "lesionid", "lesionname", "lesionnr", "lesionno", "lesionnumber", "idlesion"}
    ),
    "patient": frozenset(
        {
            *("patient", "patientid", "patientname", "patientnr", "patientno", "patientnumber"),
            *("idpatient", "patid", "pid", "subject", "subjectid", "person", "personid", "mrn"),
        }
    ),
}
"""Role -> headings that sound like it, by `delimited.fold`; no such column is read unasked."""

FORMATS = (
    Format(
        "HAM10000",
        needs=("image_id", "dx"),
        image="image_id",
        diagnosis=("dx",),
        malignant=("malignant", "benign_malignant"),
    ),
    Format(
        "ISIC 2018 or 2019 (ground truth)",
        needs=("image", "MEL", "NV", "BCC"),
        image="image",
        one_hot=CODES | {"AKIEC": "akiec", "AK": "akiec"},
        cancers=frozenset({"scc"}),
    ),
    Format(
        "ISIC 2017 (ground truth)",
        needs=("image_id", "melanoma", "seborrheic_keratosis"),
        image="image_id",
        one_hot={"melanoma": "mel", "seborrheic_keratosis": "bkl"},
        otherwise="nv",
    ),
    Format(
        "ISIC 2020",
        needs=("image_name", "target"),
        image="image_name",
        diagnosis=("diagnosis",),
        malignant=("benign_malignant", "target"),
    ),
    Format(
        "ISIC archive",
        needs=("isic_id", "diagnosis_1"),
        image="isic_id",
        diagnosis=LEVELS,
        malignant=("diagnosis_1", "benign_malignant"),
    ),
    Format(
        "ISIC archive (before 2024)",
        needs=("isic_id", "benign_malignant"),
        image="isic_id",
        diagnosis=("diagnosis",),
        malignant=("benign_malignant",),
    ),
    Format(
        "ISIC 2024",
        needs=("isic_id", "target"),
        image="isic_id",
        diagnosis=tuple(f"iddx_{level}" for level in range(1, 6)),
        malignant=("target",),
    ),
    Format(
        "DDI",
        needs=("DDI_file", "malignant"),
        image="DDI_file",
        diagnosis=("disease",),
        malignant=("malignant",),
    ),
    Format(
        "PAD-UFES-20",
        needs=("img_id", "diagnostic"),
        image="img_id",
        diagnosis=("diagnostic",),
        cancers=frozenset({"scc"}),
    ),
    Format(
        "Derm7pt",
        needs=("derm", "diagnosis"),
        image="derm",
        diagnosis=("diagnosis",),
        lesion="case_num",
    ),
    Format(
        "BCN20000",
        needs=("bcn_filename", "diagnosis"),
        image="bcn_filename",
        diagnosis=("diagnosis",),
        cancers=frozenset({"scc"}),
    ),
)
"""All formats; of several that fit, the first is taken, and the others have to agree."""

READ = (
    f"CSV with image_id and dx, or of another format ({', '.join(kind.name for kind in FORMATS)}), "
    "or with --columns"
)
"""The tables that are read, for the help of an option."""


def fitting(has: Callable[[str], bool]) -> list[Format]:
    """Return the formats of a table, given the function that tells if it has a column."""
    return [kind for kind in FORMATS if all(map(has, kind.needs))]


def columns(option: str = "") -> set[str]:
    """Return all columns that any format or the option --columns names; no others are read."""
    names = {COLLECTION, *(name for names in ABOUT.values() for name in names)}
    for kind in FORMATS:
        names |= {*kind.needs, *kind.diagnosis, *kind.malignant, *kind.one_hot}
        names |= {kind.image, kind.lesion, kind.patient, kind.split}
    return names | set(parse(option).values())


def from_option(option: str, kinds: list[Format]) -> Format:
    """Return the format that --columns describes; roles that it doesn't name are those of `kinds`.

    The option is like "image=filename,dx=diagnosis,lesion=case". Raises ConfigError for anything
    else, and where image or label are missing.
    """
    named = parse(option)
    kind = replace(kinds[0], name=f"{kinds[0].name} with --columns") if kinds else None
    if kind is None or "dx" in named or "malignant" in named:
        kind = Format(
            "",
            needs=(),
            image=kind.image if kind else "",
            diagnosis=(named["dx"],) if "dx" in named else (),
            malignant=(named["malignant"],) if "malignant" in named else (),
        )
    kind = replace(
        kind,
        image=named.get("image", kind.image),
        lesion=named.get("lesion", kind.lesion),
        patient=named.get("patient", kind.patient),
        split=named.get("split", kind.split),
        about={role: named[role] for role in ABOUT if role in named},
        needs=tuple(named.values()),
    )
    if not kind.image or not (kind.diagnosis or kind.malignant or kind.one_hot):
        lacking = "malignant= or dx=" if kind.image else "image="
        raise ConfigError(
            f"--columns is {option!r} and lacks {lacking}: expected at least the columns of the "
            "image and the diagnosis, as in image=filename,dx=diagnosis."
        )
    return kind


def parse(option: str) -> dict[str, str]:
    """Read --columns: role -> column; raises ConfigError for a text of another form.

    A heading, or the whole pair, may stand in quotation marks, in which commas separate nothing.
    """
    columns: dict[str, str] = {}
    for part in re.findall(f"(?:{QUOTED}|[^,])+", option):
        role, sign, name = _unquoted(part).partition("=")
        role, name = role.strip(), _unquoted(name)
        if not (role and sign and name):
            raise ConfigError(
                f"--columns is {option!r}, expected pairs such as image=filename,dx=diagnosis."
            )
        if role not in ROLES:
            raise ConfigError(
                f"--columns names {role!r}, expected {', '.join(ROLES)}.{suggest(role, ROLES)}"
            )
        if role in columns:
            raise ConfigError(
                f"--columns names two columns for {role} ({columns[role]}, {name}), expected one: "
                "leave one of them out."
            )
        columns[role] = name
    return columns


def pair(role: str, name: str) -> str:
    """Write a role and a column as --columns takes them, in quotation marks where needed."""
    if re.search('[,"]', name):
        name = '"' + name.replace('"', '""') + '"'
    return f"{role}={name}"


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1].replace('""', '"').strip() if re.fullmatch(QUOTED, text) else text
