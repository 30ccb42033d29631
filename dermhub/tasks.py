"""The two tasks and the order of their classes, written once.

A task is a list of class names and a map from a diagnosis code to one of them. Both tasks are
C-way softmax problems: nothing else in the package asks whether a task is binary.
"""

from __future__ import annotations

from dataclasses import dataclass

LESION_NAMES = {
    "akiec": "actinic keratosis / intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis-like lesion",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
"""The seven diagnosis codes of HAM10000 in plain words (Tschandl et al. 2018, table 1)."""

EVERYDAY_NAMES = {
    "akiec": "actinic keratosis or Bowen's disease",
    "bcc": "basal cell carcinoma",
    "bkl": "a benign keratosis",
    "df": "a dermatofibroma",
    "mel": "melanoma",
    "nv": "a mole",
    "vasc": "a harmless blood vessel mark",
}
"""The seven diagnosis codes as they stand in a sentence for people without medical training."""

PLURAL_NAMES = {
    "akiec": "actinic keratoses or Bowen's disease",
    "bcc": "basal cell carcinomas",
    "bkl": "benign keratoses",
    "df": "dermatofibromas",
    "mel": "melanomas",
    "nv": "moles",
    "vasc": "harmless blood vessel marks",
}
"""The seven diagnosis codes as they stand in a sentence that counts several lesions."""

DESCRIPTIONS = {
    "akiec": "Sun damage or an early cancer in the top layer of the skin, usually easy to treat.",
    "bcc": "The commonest skin cancer: it grows slowly and rarely spreads.",
    "bkl": "A harmless growth of the top layer of the skin, such as an age spot.",
    "df": "A harmless, firm bump of fibrous tissue, most often on the legs.",
    "mel": "The most dangerous common skin cancer, which is usually curable when removed early.",
    "nv": "A harmless spot of pigment cells, which most adults have many of.",
    "vasc": "A harmless mark of blood or small blood vessels in the skin.",
}
"""A plain line on each diagnosis code."""

MALIGNANT = frozenset({"akiec", "bcc", "mel"})
"""Diagnoses counted as malignant (ISIC convention; akiec includes Bowen's disease)."""


COARSE = ("benign", "malignant")
"""Words of a label that names no diagnosis."""


@dataclass(frozen=True)
class Task:
    """One classification task.

    `classes` is the order of every probability vector, logit and confusion matrix of the task;
    `positive` holds the classes whose summed probability is the probability of malignancy.
    """

    name: str
    classes: tuple[str, ...]
    positive: frozenset[str]

    def class_of(self, diagnosis: str) -> str | None:
        """Return the task's class for a diagnosis code, or None if the task has no such class."""
        code = diagnosis.strip().lower()
        if code in self.classes:
            return code
        if self is BINARY and code in LESION_NAMES:
            return "malignant" if code in MALIGNANT else "benign"
        return None

    def index_of(self, diagnosis: str) -> int | None:
        """Position in `classes` of a diagnosis code, or None when the task has no such class."""
        name = self.class_of(diagnosis)
        return None if name is None else self.classes.index(name)

    @property
    def positive_indices(self) -> tuple[int, ...]:
        """Positions in `classes` of the malignant classes."""
        return tuple(i for i, name in enumerate(self.classes) if name in self.positive)


LESION = Task("lesion", tuple(LESION_NAMES), MALIGNANT)

BINARY = Task("binary", ("benign", "malignant"), frozenset({"malignant"}))

TASKS = {task.name: task for task in (BINARY, LESION)}


def plain_name(code: str) -> str:
    """Return a class code in plain words; `benign` and `malignant` stand for themselves."""
    return LESION_NAMES.get(code, code)
