"""Ways to damage a real card: one for each item of the reporting checklist, with the sentence that
tells of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dermhub import files
from dermhub.cards import render
from dermhub.models.config import ModelConfig

Break = Callable[[Path], None]


def edit(old: str, new: str = "", count: int = 1) -> Break:
    """Replace a text in the card."""

    def change(folder: Path) -> None:
        text = (folder / "README.md").read_text()
        assert old in text, old
        (folder / "README.md").write_text(text.replace(old, new, count))

    return change


def sub(pattern: str, new: str = "") -> Break:
    """Replace the first match of a pattern in the card."""

    def change(folder: Path) -> None:
        text, found = re.subn(
            pattern, new, (folder / "README.md").read_text(), count=1, flags=re.MULTILINE
        )
        assert found, pattern
        (folder / "README.md").write_text(text)

    return change


def rewrite(name: str, change: Callable[[Any], object]) -> Break:
    """Change a JSON file and write the card anew, so that the two agree."""

    def rewritten(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        files.write_json(folder / name, content)
        config = ModelConfig.from_json(files.read_json(folder / "config.json"))
        files.write_text(
            folder / "README.md", render.render(config, files.read_json(folder / "metrics.json"))
        )

    return rewritten


def flip(folder: Path) -> None:
    """One bit of the weight file."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


BREAKS: dict[str, tuple[Break, str]] = {
    "front matter": (
        edit("---\n", "--\n"),
        "README.md does not begin with a block of YAML between two lines of ---",
    ),
    "licence of the weights": (
        edit("license: cc-by-nc-4.0", "license: mit"),
        "license is 'mit' in the front matter, expected 'cc-by-nc-4.0', the licence of HAM10000",
    ),
    "library": (
        edit("library_name: timm\n"),
        "library_name is None in the front matter, expected 'timm'",
    ),
    "pipeline": (
        edit("pipeline_tag: image-classification", "pipeline_tag: image-segmentation"),
        "pipeline_tag is 'image-segmentation' in the front matter, expected 'image-classification'",
    ),
    "tags": (edit("- timm\n"), "tags of the front matter lack timm"),
    "datasets": (
        edit("datasets:\n- kmader/skin", "datasets:\n- someone/skin"),
        "datasets of the front matter lack kmader/skin-cancer-mnist-ham10000",
    ),
    "metrics": (
        edit("metrics:\n- accuracy\n- f1\n- roc_auc\n"),
        "the front matter has no list of metrics",
    ),
    "model-index": (
        sub(r"value: .*", "value: about half"),
        "the model-index holds no number for Accuracy",
    ),
    "model-index equal to metrics.json": (
        sub(r"value: .*", "value: 0.99"),
        r"Accuracy is 0.99 in the model-index but 0.\d+ in metrics.json",
    ),
    "every figure equal to metrics.json": (
        sub(r"^\| Macro-F1 \| (0\.\d+) \((0\.\d+)-", r"| Macro-F1 | \1 (0.777-"),
        r"section 'Figures' shows 0.777 where metrics.json and config.json give 0.\d+",
    ),
    "not a medical device": (
        edit("is research software and not a medical device", "is a medical device"),
        "the card does not say before its first section that this is not a medical device",
    ),
    "input": (
        edit("Input: one dermatoscopic image", "Input: one photograph"),
        "the opening does not name dermatoscopic image as the input",
    ),
    "intended use": (
        edit("Research, teaching", "Teaching"),
        "section 'Intended use' does not name 'research'",
    ),
    "out-of-scope use": (
        edit("**Out of scope:**", "No:"),
        "section 'Intended use' does not name 'out of scope'",
    ),
    "how to use": (
        edit("dermhub.load(", "load("),
        "section 'How to use' does not name 'dermhub.load'",
    ),
    "headline figures with n": (
        edit("Test is 7 images of 7 lesions", "Test is 7 images of 7 moles"),
        "section 'Figures' does not name '7 images of 7 lesions'",
    ),
    "intervals over lesions": (
        rewrite("metrics.json", lambda c: c["test"]["intervals"].update(resamples=20)),
        "metrics.json has 20 resamples at level 0.95, expected 1000 at 0.95",
    ),
    "how to measure again": (
        edit("`predictions.csv`", "a table"),
        "section 'How to measure again' does not name 'predictions.csv'",
    ),
    "each class with n": (
        edit("| class | n | recall | precision |", "| class | | recall | precision |"),
        r"section 'Each class' does not name 'n | recall | precision'",
    ),
    "operating points": (
        edit("| chosen on |", "| |"),
        "section 'Operating points' does not name 'chosen on'",
    ),
    "prevalence": (
        edit("prevalence of this test split", "share of malignant ones"),
        r"section 'Operating points' does not name 'prevalence of this test split, .*'",
    ),
    "other prevalences": (
        edit("| PPV | NPV | missed |", "| | | missed |"),
        "section 'At other prevalences' does not name 'PPV', 'NPV'",
    ),
    "calibration": (
        edit("On validation, where", "Where"),
        "section 'Calibration' does not name 'on validation'",
    ),
    "calibration slope": (
        edit("calibration slope", "steepness"),
        r"section 'Calibration of malignancy' does not name .*slope.*",
    ),
    "prediction sets": (
        edit("| covered lesions |", "| lesions |"),
        r"section 'Prediction sets' does not name .*covered lesions.*",
    ),
    "subgroups with n": (
        edit("| sex: male |", "| male |"),
        "section 'Subgroups' does not name 'sex: male | 3'",
    ),
    "same lesion, another photograph": (
        edit("**None.** No lesion of the test split has", "No lesion of the test split has"),
        r"section 'Same lesion' does not name .*share of pairs.*",
    ),
    "worst errors": (
        sub(r"^\| `(TEST_\d+)` \|", r"| \1 |"),
        r"section 'Worst errors' does not name '`TEST_\d+`'",
    ),
    "resolution": (
        edit("| half the size |", "| small |"),
        "section 'Resolution' does not name 'half the size'",
    ),
    "skin tone": (
        edit("not facts about people", "facts"),
        "section 'Skin tone' does not name 'not facts about people'",
    ),
    "class maps against lesions, or none": (
        edit("**None.** No class map", "No class map"),
        r"section 'Class maps, on test' does not name .*all.*",
    ),
    "external test, or none": (
        edit("**None.** Every figure", "Every figure"),
        r"section 'External test' does not name .*AUROC of malignancy.*",
    ),
    "weights and their sha256": (
        flip,
        r"model.safetensors has the sha256 \w{64}, but metrics.json and config.json state \w{64}",
    ),
    "latency with hardware": (
        edit("thread(s) of", "threads of"),
        r"section 'Size and speed' does not name .*",
    ),
    "counts of each split": (
        edit("| train | validation | test |", "| | | |"),
        "section 'Data' does not name 'train | validation | test'",
    ),
    "who is in the data": (
        edit("| age: median", "| median"),
        "section 'Data' does not name 'age: median'",
    ),
    "no lesion in two splits": (
        rewrite("metrics.json", lambda c: c.update(overlap=3)),
        "3 lesions stand in more than one split, expected none",
    ),
    "shipped partition": (
        edit("All photographs of a known lesion are in one split", "The split is ours"),
        "section 'Data' does not name 'All photographs of a known lesion are in one split'",
    ),
    "training options": (
        edit("--sampling ", "--sample "),
        "section 'Training' does not name '--sampling'",
    ),
    "code revision and environment": (
        rewrite(
            "config.json", lambda c: c["dermhub"]["provenance"]["code"].update(revision="unknown")
        ),
        "the code revision is 'unknown' in config.json, expected that of a git commit",
    ),
    "limits": (edit("**External test: none.**"), "section 'Limits' does not name 'External test'"),
    "what a heat map is not": (
        edit("A heat map", "A map"),
        "section 'Limits' does not name 'heat map'",
    ),
    "licence and citation": (
        edit("doi:10.1038/sdata.2018.161", "10.1038/sdata.2018.161"),
        r"section 'Licence and citation' does not name .*",
    ),
    "pictures": (
        lambda folder: (folder / "figures" / "roc.png").unlink(),
        "the card shows figures/roc.png, which the folder does not hold",
    ),
    "config.json complete": (
        rewrite("config.json", lambda c: c["dermhub"]["provenance"]["data"].pop("table_sha256")),
        "config.json lacks data.table_sha256",
    ),
}
"""Item -> how to break it, and the sentence (a regular expression for its numbers) that tells of
it.
"""


TOGETHER = {
    "front matter": {
        "licence of the weights",
        "library",
        "pipeline",
        "tags",
        "datasets",
        "metrics",
        "model-index",
    }
    | {"model-index equal to metrics.json", "every figure equal to metrics.json"},
    "model-index": {"model-index equal to metrics.json"},
}
"""What else can't be met where an item is broken."""
