"""metrics.json and config.json -> the model card. Every figure in a card comes from those two
files.
"""

from __future__ import annotations

from typing import Any

from dermhub import layout as dermhub_layout
from dermhub.cards import generalisation, markdown, performance
from dermhub.cards.performance import HEADLINES, is_ham, lines
from dermhub.data.partition import SPLITS
from dermhub.models.config import ModelConfig
from dermhub.tasks import plain_name

LICENCE = "cc-by-nc-4.0"
"""Licence of the weights: that of HAM10000."""


DATASET = "kmader/skin-cancer-mnist-ham10000"
"""HAM10000 on Kaggle."""


RESULTS = (
    performance.figures,
    performance.reproduction,
    performance.classes,
    performance.operation,
    generalisation.prevalence,
    performance.calibration,
    generalisation.slope,
    generalisation.sets,
    performance.subgroups,
    generalisation.retest,
    performance.errors,
    generalisation.resolution,
    generalisation.skin,
    generalisation.maps,
    generalisation.external,
    performance.costs,
    generalisation.parity,
)
"""The measured sections, in their order."""


def render(config: ModelConfig, content: dict[str, Any]) -> str:
    """The text of a model folder's README.md: a Hugging Face model card with front matter."""
    parts = (_opening, *RESULTS, _data, training, _limits)
    texts = [part(config, content) for part in parts]
    return markdown.join(front_matter(config, content), [text for text in texts if text])


def front_matter(config: ModelConfig, content: dict[str, Any]) -> dict[str, Any]:
    """What the hub reads of a card: licence, library, tags, data, and the figures as a
    model-index.
    """
    test = content["test"]
    metrics = [
        {"type": kind, "name": text, "value": round(test[key], 4)}
        for key, (kind, text) in HEADLINES.items()
        if test[key] is not None
    ]
    ham, source = is_ham(config), config.provenance["data"]["source"]
    of_kaggle = (
        [source.removeprefix("kaggle: ").partition("/versions/")[0]]
        if source.startswith("kaggle: ")
        else []
    )
    return {
        "license": LICENCE if ham else "other",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "dermatoscopy", "skin-cancer"]
        + (["ham10000"] if ham else [])
        + ["grad-cam"],
        "datasets": [DATASET] if ham else of_kaggle,
        "metrics": ["accuracy", "f1", "roc_auc"],
        "model-index": [
            {
                "name": f"dermhub-{content['model']}",
                "results": [
                    {
                        "task": {
                            "type": "image-classification",
                            "name": f"dermhub {config.task.name}",
                        },
                        "dataset": {
                            "type": "ham10000" if ham else "own-data",
                            "name": _dataset(config),
                            "split": "test",
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _opening(config: ModelConfig, content: dict[str, Any]) -> str:
    name, size, layout = content["model"], config.input.size, content["weights"]["memory_format"]
    # The name of a model of other data may be that of a shipped one, which has other weights.
    place, path = (name, f"model_cards/{name}") if is_ham(config) else ("FOLDER", "FOLDER")
    classes = ", ".join(
        f"{plain_name(c)} (`{c}`)" if plain_name(c) != c else f"`{c}`" for c in config.task.classes
    )
    seen = {
        "center": "the short side is scaled to that size and the central square is kept",
        "squash": "the whole frame is stretched to a square",
    }[config.input.crop_mode]
    return f"""# dermhub {name}

`{config.architecture}` from timm, fine-tuned to tell apart: {classes}. Input: one dermatoscopic image
as {size} x {size} RGB pixels ({seen}). Output: probabilities of the {len(config.task.classes)} classes,
with a temperature that was fitted on validation (below, "Calibration").

**This is research software and not a medical device. It must not be used to decide about a patient.**

## Intended use

Research, teaching and comparison of methods on dermatoscopic images of single pigmented lesions.

**Out of scope:** any clinical decision, clinical (non-dermatoscopic) photographs, lesions on mucosa, images of
several lesions, and diagnoses other than the classes above. The weights alone always answer with one of the
classes, also where the image shows none of them. {_beside(config)}

## How to use

```python
import dermhub

classifier = dermhub.load("{place}")
print(classifier.predict("lesion.jpg"))
classifier.explain("lesion.jpg").overlay.save("map.png")
```

With timm alone (logits; divide by the temperature {config.temperature:g} before the softmax). In
`{layout}` the logits are those of `classifier.model` to the bit; in another layout, and in answers, they differ by
rounding.

```python
import timm
import torch

model = timm.create_model("local-dir:{path}", pretrained=True).eval()
model = model.to(memory_format={layout})
```"""


def _beside(config: ModelConfig) -> str:
    """What dermhub does about images that are none for the model, as far as the folder holds what
    that takes.
    """
    told = []
    if dermhub_layout.OOD_GATE in config.files:
        told.append(
            "dermhub says so (`Prediction.abstention`), and its page\nshows no answer, where the "
            f"gate (`{dermhub_layout.OOD_GATE}`) "
            "takes the image for no dermatoscopic one; its limit lets\n95% of the validation "
            "images pass, and what the "
            "gates of the shipped models turn away of others is in\ndermhub's "
            "`benchmarks/README.md`."
        )
    if dermhub_layout.SEEN in config.files:
        told.append(
            f"`{dermhub_layout.SEEN}` recognises copies of the images\nthat the model has learnt "
            "from."
        )
    return " ".join(told) or "No gate ships with it that would turn such images away."


def _data(config: ModelConfig, content: dict[str, Any]) -> str:
    parts, source = content["data"], config.provenance["data"]
    name = "files that differ" if content["overlap"] is None else "lesions"
    rows = [f"| images | {_across(parts, 'images')} |", f"| {name} | {_across(parts, 'lesions')} |"]
    for column, text in (
        ("image_sizes", "pixels"),
        ("dx", "diagnosis"),
        ("dx_type", "ground truth"),
        ("sex", "sex"),
        ("localization", "site"),
    ):
        for value in sorted({v for part in parts.values() for v in part.get(column, {})}):
            counts = " | ".join(str(part.get(column, {}).get(value, 0)) for part in parts.values())
            rows.append(f"| {text}: {value} | {counts} |")
    if all("age" in part for part in parts.values()):
        ages = " | ".join(
            f"{p['age']['median']:.0f} ({p['age']['q25']:.0f}-{p['age']['q75']:.0f})"
            for p in parts.values()
        )
        rows.append(f"| age: median (quartiles) | {ages} |")
    proof = _more(source)
    if is_ham(config):
        proof += (
            "All photographs of a known lesion are in one split, the same one for every dermhub "
            "model. The\n"
            "partition is `dermhub/data/partition.csv`, sha256 "
            f"`{source['partition_sha256'][:16]}...`. "
        )
    more = " and images from elsewhere" if "extra" in source else ""
    lesions = "unknown lesions" if content["overlap"] is None else f"{source['lesions']} lesions"
    return f"""## Data

{_dataset(config)}{more}: {source["images"]} images of {lesions}. {proof}\
Ages, sexes and sites are no input.

| | {" | ".join(SPLITS)} |
|---|---|---|---|
{lines(rows)}

![The data in each split](figures/data.png)"""


def _limits(config: ModelConfig, content: dict[str, Any]) -> str:
    malignant = [c for c in config.task.classes if c in config.task.positive]
    missed = [
        f"{r['n'] - round(r['recall'] * r['n'])} of {r['n']} `{c}`"
        for c in malignant
        if (r := content["test"]["per_class"][c])["recall"] is not None
    ]
    ham = (
        "HAM10000 comes from two centres (Vienna and Queensland) and from mostly light skin; it "
        "says\n"
        "nothing about other cameras, hospitals and darker skin. Its images were chosen for having "
        "a clear lesion in\n"
        "the centre. "
        if is_ham(config)
        else ""
    )
    told = content.get("external")
    tested = "External test: none yet." if told is None else "**External test: none.**"
    if told:
        tested = f"External test: {told['n']} images of PH2, above."
    more = "extra" in config.provenance["data"]
    terms = " The training images from elsewhere have terms of their own." if more else ""
    own = (
        ""
        if is_ham(config)
        else "under the terms of the data named above, and of the weights that they began "
        "from.\nThose of dermhub are "
    )
    return f"""## Limits

At the most probable class the model misses {", ".join(missed)} of the test images. {ham}{tested}
A heat map shows where the evidence for a class was found, not that the evidence is right.

## Licence and citation

Weights: {own}CC BY-NC 4.0, because HAM10000 is (Tschandl, Rosendahl and Kittler, Scientific Data 5, 180161, 2018,
doi:10.1038/sdata.2018.161).{terms} Code: Apache-2.0."""


def _dataset(config: ModelConfig) -> str:
    return (
        "HAM10000, lesion-disjoint dermhub partition"
        if is_ham(config)
        else config.provenance["data"]["source"]
    )


def _more(source: dict[str, Any]) -> str:
    if "extra" not in source:
        return ""
    more = source["extra"]
    counts = ", ".join(f"{name} {count}" for name, count in more["dx"].items())
    return (
        f"{more['images']} of them are training images from elsewhere (`{more['source']}`: "
        f"{counts});\n"
        "none is validated or tested on, and no copy of an image that is was found among them. "
        "Where their lesions\n"
        "are not known, each image counts as one. "
    )


def _across(parts: dict[str, Any], key: str) -> str:
    return " | ".join(str(part[key]) for part in parts.values())


def training(config: ModelConfig, _: dict[str, Any]) -> str:
    """The command, what it did, on what machine and for how long."""
    told = config.provenance
    options = " ".join(
        f"--{key.replace('_', '-')} {value}"
        for key, value in told["options"].items()
        if value != ""
    )
    # A folder's place is not told; without --data the command would train on HAM10000.
    options += (
        "" if told["data"]["ham10000_lesions"] or "data" in told["options"] else " --data DIR"
    )
    stopped, planned = told["options"].get("stop_after"), told["options"]["epochs"]
    sampling = told["options"]["sampling"]
    drawn = "more evenly than they are in the data" if sampling < 1 else "as they are in the data"
    drawn += " (frequent ones more often)" if sampling > 1 else ""
    end = f" ({stopped} of {planned})" if stopped and stopped < planned else ""
    where, revision = told["environment"], told["code"]["revision"]
    changed = " and changes that were not committed" if revision.endswith("+changes") else ""
    return f"""## Training

```
python train.py {options}
```

AdamW with warm-up and cosine decay; random crops, flips, turns, colour, resolution and JPEG quality, for every class
alike; classes drawn {drawn}; the exponential average of the weights after the last epoch{end} is kept.
{_teachers(told)}\
{told["epoch_seconds"]} s an epoch ({told["images_per_second"]} images/s; medians) with {where["threads"]} threads on
{where["machine"]}; torch {where["torch"]}, timm {where["timm"]}, Python {where["python"]}; code revision
`{revision[:12]}`{changed}; {told["date"]}.

![Training curves](figures/curves.png)"""


def _teachers(told: dict[str, Any]) -> str:
    """What was learned from beside the images of the table and their labels."""
    options = told["options"]
    same = "the same images" + (
        ", with or without those from elsewhere" if "extra" in told["data"] else ""
    )
    sharper = (
        f"Sharper copies (`{options['sharper']}`) stood in for some training images, as often of "
        "every diagnosis.\n"
        if options.get("sharper")
        else ""
    )
    known, mixed = (
        [
            f"`{one['architecture']}`, task `{one['task']}`, weights with sha256 "
            f"`{one['weights_sha256'][:12]}`"
            for one in told.get(name, [])
        ]
        for name in ("teachers", "soup")
    )
    what = (
        f"The mean answers of {len(known)} other models"
        if len(known) > 1
        else "The answers of another model"
    )
    who = "they" if len(known) > 1 else "it"
    teacher = f"{what} (`--teacher`) were learned as well:\n" + ";\n".join(
        [*known, f"{who} had learned from {same}.\n"]
    )
    soup = (
        "What is released is the mean of these weights, which the curves are of, and those of "
        "(`--soup`):\n"
    )
    soup += ";\n".join([*mixed, f"trained on {same}.\n"])
    then = "Models in the command are called as they were then; the hashes tell which they were.\n"
    return (
        sharper
        + (teacher if known else "")
        + (soup if mixed else "")
        + (then if known or mixed else "")
    )
