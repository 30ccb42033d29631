"""Names of diagnoses in the ISIC archive, and what they are for the seven classes."""

from __future__ import annotations

import pytest

from dermhub.data.sources.diagnoses import KINDS, NAMES, code_of

ARCHIVE = {
    "akiec": """
        Solar or actinic keratosis
        Actinic keratosis, Acantholytic
        Actinic keratosis, Atrophic
        Actinic keratosis, Bowenoid
        Actinic keratosis, Hypertrophic
        Actinic keratosis, Lichenoid
        Squamous cell carcinoma in situ
        Squamous cell carcinoma in situ, Bowens disease
    """,
    "bcc": """
        Basal cell carcinoma
        Basal cell carcinoma, NOS
        Basal cell carcinoma with adnexal differentiation
        Basal cell carcinoma with sarcomatoid differentiation
        Basal cell carcinoma, Combined subtypes
        Basal cell carcinoma, Fibroeipthelial
        Basal cell carcinoma, Infiltrating
        Basal cell carcinoma, Micronodular
        Basal cell carcinoma, Nodular
        Basal cell carcinoma, Sclerosing or morpheaform
        Basal cell carcinoma, Superficial
    """,
    "bkl": """
        Lichen planus like keratosis
        lichenoid keratosis
        Pigmented benign keratosis
        Seborrheic keratosis
        Seborrheic keratosis, Clonal
        Solar lentigo
    """,
    "df": """
        Dermatofibroma
        Dermatofibroma, Aneurysmal
        Dermatofibroma, Atypical
        Dermatofibroma, Cellular
        Dermatofibroma, Epithelioid
        Dermatofibroma, Hemosiderotic
    """,
    "mel": """
        Malignant melanocytic proliferations (Melanoma)
        Melanoma in situ
        Melanoma in situ, Acral or acral-lentiginous
        Melanoma in situ, Lentigo maligna type
        Melanoma in situ, Mucosal
        Melanoma in situ, Recurrent or persistent
        Melanoma in situ, Superficial spreading
        Melanoma in situ, associated with a nevus
        Melanoma Invasive
        Melanoma Invasive, Acral or Acral-lentiginous
        Melanoma Invasive, Arising in a congenital nevus
        Melanoma Invasive, Associated with a nevus
        Melanoma Invasive, Blue nevus-like
        Melanoma Invasive, Desmoplastic
        Melanoma Invasive, Heavily pigmented
        Melanoma Invasive, Mucosal
        Melanoma Invasive, Neurotropic
        Melanoma Invasive, Nevoid
        Melanoma Invasive, Nodular
        Melanoma Invasive, On chronically sun-exposed skin or lentigo maligna melanoma
        Melanoma Invasive, Pigmented spindle cell nevus like
        Melanoma Invasive, Recurrent or persistent
        Melanoma Invasive, Spitzoid
        Melanoma Invasive, Superficial spreading
        Melanoma metastasis
        Melanoma, NOS
    """,
    "nv": """
        Nevus
        Nevus, Acral
        Nevus, Agminated
        Nevus, Atypical, Dysplastic, or Clark
        Nevus, Atypical
        Nevus, Dysplastic
        Nevus, Clark
        Nevus, BAP-1 deficient
        Nevus, Balloon cell
        Nevus, Combined
        Nevus, Congenital
        Nevus, Congenital, by history
        Nevus, Congenital, by histopathological pattern
        Nevus, Congenital, by history and histopathological pattern
        Nevus, Deep penetrating
        Nevus, Halo
        Nevus, Lentiginous
        Nevus, Meyerson
        Nevus, NOS, Compound
        Nevus, NOS, Dermal
        Nevus, NOS, Junctional
        Nevus, Of special anatomic site
        Nevus, Recurrent or persistent
        Nevus, Reed
        Nevus, Spilus
        nevus spilus
        Nevus, Spitz
        Blue nevus
        Blue nevus, Cellular
        Blue nevus, Common
        Blue nevus, Epithelioid
        Blue nevus, Plaque type
        Blue nevus, Sclerosing
    """,
    "scc": """
        Squamous cell carcinoma, NOS
        Squamous cell carcinoma, Invasive
        Squamous cell carcinoma, Invasive, Acantholytic
        Squamous cell carcinoma, Invasive, Adeno-squamous
        Squamous cell carcinoma, Invasive, Clear cell, well differentiated
        Squamous cell carcinoma, Invasive, Keratoacanthoma-type, moderately differentiated
        Squamous cell carcinoma, Invasive, NOS, poorly differentiated
        Squamous cell carcinoma, Invasive, Sarcomatoid
        Squamous cell carcinoma, Invasive, Spindle cell
        Squamous cell carcinoma, Invasive, Verrucous
    """,
    "vasc": """
        Acquired elastotic hemangioma
        Angiokeratoma
        angioma
        Arterio-venous malformation
        Capillary vascular malformation
        Glomeruloid hemangioma
        Hemangioma
        Hemangioma, Cherry
        Hemangioma, Hobnail
        Hemangioma, Infantile
        Hemangioma, Tufted
        Hemorrhagic lesions
        Hemorrhage
        Dermal and subcutaneous hemorhage
        Mucosal hemorrhage
        Subcorneal and intracorneal hemorrhage
        Subungual hemorrhage
        Lymphangioma, superficial
        Lymphangioma, deep
        Noninvoluting congenital hemangioma
        Other vascular or lymphatic malformation or hamartoma
        Pyogenic granuloma
        Rapidly involuting congenital hemangioma
        Telangiectasia
        vascular lesion
        Vascular spider
        Venous lake
        Venous malformation
        Verrucous hemangioma
    """,
    "": """
        Benign melanocytic proliferations
        Benign soft tissue proliferations - Vascular
        Indeterminate melanocytic proliferations
        Malignant epidermal proliferations
        AIMP
        Angiosarcoma cutaneous
        Atypical Spitz tumor
        Atypical melanocytic neoplasm
        atypical melanocytic proliferation
        Baso-squamous carcinoma
        Clear cell acanthoma
        Collision - At least one malignant proliferation
        Dermatofibrosarcoma protuberans
        Epidermal nevus
        Ink-spot lentigo
        Kaposi sarcoma
        Keratoacanthoma
        Lentigo NOS
        Lentigo simplex
        Lipomatous nevus
        Melanocytic tumor of uncertain malignant potential
        Merkel cell carcinoma
        Mongolian spot
        Nevus anemicus
        Nevus comedonicus
        Nevus of Ota
        Nevus sebaceus
        other
        Solar or actinic cheilitis
    """,
}
"""Code -> names of the archive (its metadata rules name them); "" for no class of the seven."""


@pytest.mark.parametrize("code", ARCHIVE)
def test_names_of_the_archive(code: str) -> None:
    names = [line.strip() for line in ARCHIVE[code].strip().splitlines()]
    assert {name: code_of(name) for name in names} == {name: code or name.lower() for name in names}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Spitz nevus", "nv"),
        ("Naevus, Blue", "nv"),
        ("Haemangioma (cherry)", "vasc"),
        ("Seborrhoeic keratosis", "bkl"),
        ("Actinic Keratoses & Intraepithelial Carcinoma (Bowen\u2019s disease)", "akiec"),
        ("Nodular basal\u2010cell carcinoma", "bcc"),
        ("melanoma?", "melanoma?"),
        ("no melanoma", "no melanoma"),
        ("melanoma or nevus", "melanoma or nevus"),
    ],
)
def test_spellings(name: str, code: str) -> None:
    assert code_of(name) == code


def test_no_kind_has_two_codes() -> None:
    codes: dict[str, set[str]] = {}
    for code, nouns in KINDS.items():
        for noun, kinds in nouns.items():
            for kind in kinds:
                codes.setdefault(f"{noun} {kind}", set()).add(code)
                codes.setdefault(f"{kind} {noun}", set()).add(code)
    for code, names in NAMES.items():
        for name in (code, *names):
            codes.setdefault(name, set()).add(code)
    assert [name for name, of_name in codes.items() if len(of_name) > 1] == []
    assert all({code_of(name)} == of_name for name, of_name in codes.items())
