"""Names of diagnoses: from what tables and folders call them to the codes of `dermhub.tasks`.

A name that isn't in the list stays as it is, and is no class of the seven: nothing is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

GRADES = ("moderately differentiated", "poorly differentiated", "well differentiated")

INVASIVE = (
    *("acantholytic", "adeno squamous", "clear cell", "keratoacanthoma type", "nos"),
    *("sarcomatoid", "spindle cell", "verrucous"),
)
"""Kinds of an invasive squamous cell carcinoma, each of which may have a grade."""

KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "akiec": {
        "actinic keratosis": (
            *("acantholytic", "atrophic", "bowenoid", "hypertrophic", "lichenoid", "pigmented"),
        ),
    },
    "bcc": {
        "basal cell carcinoma": (
            *("combined subtypes", "fibroepithelial", "fibroeipthelial", "infiltrating"),
            *("infiltrative", "micronodular", "morpheaform", "nodular", "nos", "pigmented"),
            *("sclerosing", "sclerosing or morpheaform", "superficial"),
            *("with adnexal differentiation", "with sarcomatoid differentiation"),
        ),
    },
    "bkl": {"seborrheic keratosis": ("clonal", "irritated", "nos", "pigmented")},
    "df": {
        "dermatofibroma": (
            *("aneurysmal", "atypical", "cellular", "epithelioid", "hemosiderotic", "nos"),
        ),
    },
    "mel": {
        "melanoma": (
            *("acral", "acral lentiginous", "amelanotic", "cutaneous", "desmoplastic"),
            *("in situ", "invasive", "malignant", "metastasis", "metastatic", "mucosal"),
            *("nevoid", "nodular", "nos", "spitzoid", "superficial spreading"),
        ),
        "melanoma invasive": (
            *("acral or acral lentiginous", "arising in a congenital nevus", "nodular"),
            *("associated with a nevus", "blue nevus like", "desmoplastic", "mucosal"),
            *("heavily pigmented", "neurotropic", "nevoid", "spitzoid"),
            "on chronically sun exposed skin or lentigo maligna melanoma",
            *("pigmented spindle cell nevus like", "recurrent or persistent"),
            "superficial spreading",
        ),
        "melanoma in situ": (
            *("acral or acral lentiginous", "associated with a nevus", "mucosal"),
            *("lentigo maligna type", "recurrent or persistent", "superficial spreading"),
        ),
    },
    "nv": {
        "nevus": (
            *("acral", "agminated", "atypical", "balloon cell", "bap 1 deficient", "blue"),
            *("clark", "combined", "common", "compound", "congenital", "deep penetrating"),
            *("dermal", "dysplastic", "halo", "intradermal", "junctional", "lentiginous"),
            *("melanocytic", "meyerson", "nos", "of special anatomic site", "recurrent"),
            *("recurrent or persistent", "reed", "reed or spitz", "spilus", "spitz"),
            *("atypical dysplastic or clark", "nos compound", "nos dermal", "nos junctional"),
        ),
        "blue nevus": ("cellular", "common", "epithelioid", "plaque type", "sclerosing"),
        "nevus congenital": (
            *("by histopathological pattern", "by history"),
            "by history and histopathological pattern",
        ),
    },
    "scc": {
        "squamous cell carcinoma": ("invasive", "nos", *GRADES),
        "squamous cell carcinoma invasive": (*INVASIVE, *GRADES),
        **{f"squamous cell carcinoma invasive {kind}": GRADES for kind in INVASIVE},
    },
    "vasc": {
        "hemangioma": (
            *("acquired elastotic", "cherry", "glomeruloid", "hobnail", "infantile"),
            *("noninvoluting congenital", "rapidly involuting congenital", "tufted"),
            "verrucous",
        ),
        "lymphangioma": ("deep", "superficial"),
        "hemorrhage": (
            *("dermal and subcutaneous", "mucosal", "subcorneal", "subungual"),
            "subcorneal and intracorneal",
        ),
    },
}
"""Code -> noun -> the kinds of it, which may stand before the noun or behind it.

They are the names of the ISIC archive (diagnosis_1 to diagnosis_5, with its slips of the pen), and
those in everyday use.
"""

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
        *("seborrheic keratosis", "seborrheic keratoses", "sk", "sek"),
        *("solar lentigo", "solar lentigines", "senile lentigo", "lichenoid keratosis"),
        *("lichen planus like keratosis", "lplk"),
    ),
    "df": ("dermatofibroma", "dermatofibromas"),
    "mel": (
        *("melanoma", "melanomas", "lentigo maligna", "lentigo maligna melanoma"),
        *("nodular melanoma nm", "malignant melanocytic proliferations melanoma"),
        # Derm7pt writes the thickness.
        *("melanoma less than 0.76 mm", "melanoma 0.76 to 1.5 mm", "melanoma more than 1.5 mm"),
    ),
    "nv": ("nev", "nevus", "nevi", "melanocytic nevi", "dysplastic nevi", "atypical nevi"),
    "vasc": (
        *("vascular", "vascular lesion", "vascular lesions", "hemangioma", "hemangiomas"),
        *("angioma", "angiomas", "cherry angioma", "angiokeratoma", "pyogenic granuloma"),
        *("hemorrhage", "hemorrhagic lesions", "dermal and subcutaneous hemorhage"),
        *("lymphangioma", "venous lake", "vascular spider", "telangiectasia"),
        *("arterio venous malformation", "capillary vascular malformation"),
        *("venous malformation", "other vascular or lymphatic malformation or hamartoma"),
    ),
    "scc": ("squamous cell carcinoma", "squamous cell carcinomas"),
}
"""Code -> its other names without punctuation, in lower case and American spelling.

The seven are those of Tschandl et al. 2018, table 1; codes after them are no class of any task.
"""

SPELLINGS = (("naev", "nev"), ("haem", "hem"), ("seborrhoe", "seborrhe"), ("&", " and "))
"""British spellings and signs, and how the list writes them."""

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
    # A decimal comma: "1,0". Signs of numbers stay: "-1" is no 1.
    text = unicodedata.normalize("NFKC", word).casefold().replace(",", ".").strip()
    words = re.sub(r"(?<=[a-z])[\s_\u2010-\u2015-]+(?=[a-z])", " ", text)
    if words in BENIGN:
        return "benign"
    return "malignant" if words in MALIGNANT else ""


def _words(name: str) -> str:
    """Return a name in lower case, without apostrophes, a blank in place of other punctuation.

    A question mark stays: "melanoma?" is no diagnosis.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    for spelling, ours in SPELLINGS:
        text = text.replace(spelling, ours)
    # Apostrophes, straight and curly: "Bowen's".
    text = re.sub("['`\u2018\u2019\u00b4]", "", text)
    return " ".join(re.sub(r"[\s_/,;:()\[\]\u2010-\u2015-]|\.(?!\d)", " ", text).split())


@cache
def _codes() -> dict[str, str]:
    """Name -> code, the codes among the names."""
    codes = {name: code for code, names in NAMES.items() for name in (code, *names)}
    for code, nouns in KINDS.items():
        for noun, kinds in nouns.items():
            for kind in kinds:
                codes[f"{noun} {kind}"] = codes[f"{kind} {noun}"] = code
    return codes
