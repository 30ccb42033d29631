"""Names of diagnoses: from what tables and folders call them to the codes of `dermhub.tasks`.

A name that isn't in the list stays as it is, and is no class of the seven: nothing is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

NAMES: dict[str, tuple[str, ...]] = {
    "akiec": (
        *("ak", "ack", "actinic keratosis", "actinic keratoses", "solar keratosis"),
        *("solar or actinic keratosis", "bowen disease", "bowens disease", "morbus bowen"),
        *("intraepithelial carcinoma", "squamous cell carcinoma in situ"),
        "squamous cell carcinoma in situ bowens disease",
        "actinic keratosis intraepithelial carcinoma",
        "actinic keratoses and intraepithelial carcinoma",
        "actinic keratoses and intraepithelial carcinomae",
        "actinic keratoses and intraepithelial carcinoma bowens disease",
        "actinic keratosis bowens disease",
    ),
    "bcc": ("basal cell carcinoma", "basal cell carcinomas", "basalioma"),
    "bkl": (
        *("benign keratosis", "benign keratoses", "pigmented benign keratosis"),
        *("benign keratosis like lesion", "benign keratosis like lesions"),
        "benign keratosis solar lentigo seborrheic keratosis lichen planus like keratosis",
        *("seborrheic keratosis", "seborrheic keratoses", "seborrhoeic keratosis", "sk", "sek"),
        *("seborrhoeic keratoses", "solar lentigo", "solar lentigines", "senile lentigo"),
        *("lichenoid keratosis", "lichen planus like keratosis", "lplk"),
    ),
    "df": ("dermatofibroma", "dermatofibromas"),
    "mel": (
        *("melanoma", "melanomas", "malignant melanoma", "melanoma nos"),
        *("melanoma in situ", "melanoma invasive", "invasive melanoma", "melanoma metastasis"),
        *("metastatic melanoma", "superficial spreading melanoma", "nodular melanoma"),
        *("nodular melanoma nm", "lentigo maligna", "lentigo maligna melanoma"),
        *("acral lentiginous melanoma", "melanoma acral lentiginous"),
        # Derm7pt writes the thickness.
        *("melanoma less than 0.76 mm", "melanoma 0.76 to 1.5 mm", "melanoma more than 1.5 mm"),
    ),
    "nv": (
        *("nev", "nevus", "naevus", "nevi", "naevi", "melanocytic nevus"),
        *("melanocytic naevus", "melanocytic nevi", "melanocytic naevi", "common nevus"),
        *("atypical nevus", "dysplastic nevus", "dysplastic naevus", "clark nevus", "blue nevus"),
        *("spitz nevus", "reed nevus", "reed or spitz nevus", "dermal nevus", "intradermal nevus"),
        *("compound nevus", "junctional nevus", "combined nevus", "congenital nevus"),
        *("recurrent nevus", "acral nevus", "halo nevus"),
    ),
    "vasc": (
        *("vascular", "vascular lesion", "vascular lesions", "hemangioma", "haemangioma"),
        *("angioma", "cherry angioma", "angiokeratoma", "pyogenic granuloma"),
        *("hemorrhage", "haemorrhage"),
    ),
    "scc": ("squamous cell carcinoma", "squamous cell carcinomas"),
}
"""Code -> its names without punctuation, in lower case.

The seven are those of Tschandl et al. 2018, table 1; codes after them are no class of any task.
"""

BENIGN = frozenset({"benign", "0", "0.0", "false", "no", "non malignant", "nonmalignant"})
"""Words for benign in a column that says nothing else."""

MALIGNANT = frozenset({"malignant", "1", "1.0", "true", "yes"})
"""Words for malignant in a column that says nothing else."""


@cache
def code_of(name: str) -> str:
    """Return the code of a diagnosis' name; the name in lower case where it is in no list.

    Case, blanks and punctuation make no difference.
    """
    return _codes().get(_words(name), " ".join(name.lower().split()))


def malignancy_of(word: str) -> str:
    """Return "benign" or "malignant" for a word that says it, "" for any other."""
    # A decimal comma: "1,0".
    words = _words(word.replace(",", "."))
    if words in BENIGN:
        return "benign"
    return "malignant" if words in MALIGNANT else ""


def _words(name: str) -> str:
    """Return a name in lower case, without apostrophes, a blank in place of other punctuation.

    A question mark stays: "melanoma?" is no diagnosis.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    # Apostrophes, straight and curly: "Bowen's".
    text = re.sub("['`\u2019\u00b4]", "", text)
    return " ".join(re.sub(r"[\s_/,;:()\[\]-]|\.(?!\d)", " ", text).split())


@cache
def _codes() -> dict[str, str]:
    """Name -> code, the codes among the names."""
    return {name: code for code, names in NAMES.items() for name in (code, *names)}
