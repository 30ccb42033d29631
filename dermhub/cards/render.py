"""Rendering of the model card; every figure in it comes from metrics.json and config.json.

The text is `card.md.jinja`, which includes `results.md.jinja` and `cases.md.jinja`; `figures`,
`tables` and `cases` write the numbers in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dermhub import layout
from dermhub.cards import cases, figures, tables
from dermhub.data.partition import SPLITS
from dermhub.models import ood_gate
from dermhub.models.beside.similar_cases import HAM10000
from dermhub.models.config import ModelConfig
from dermhub.models.explanation import WHOLE

TEMPLATE = "card.md.jinja"
"""Name of the template beside this module."""

LICENCE = "cc-by-nc-4.0"
"""Licence of the weights: that of HAM10000."""

DATASET = "kmader/skin-cancer-mnist-ham10000"
"""HAM10000 on Kaggle."""

FILTERS = (
    figures.number,
    figures.fine,
    figures.percent,
    figures.with_interval,
    figures.span,
    figures.signed,
    tables.lines,
)
"""Functions that the template writes numbers and tables with."""


class Missing(StrictUndefined):
    """A key that the template asks for in vain: a KeyError at once, as from a dict.

    StrictUndefined alone would let a format such as `{:.3f}` fail with words about itself.
    """

    def __init__(self, *_: object, name: object = None, **__: object) -> None:
        raise KeyError(name)


def render(config: ModelConfig, content: dict[str, Any]) -> str:
    """Render a model folder's README.md: a Hugging Face model card with front matter.

    `content` is that of metrics.json. Where one of the two lacks a figure or holds something else,
    this raises one of the errors in `comparison.GARBLED`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        undefined=Missing,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({function.__name__: function for function in FILTERS})
    front = yaml.safe_dump(front_matter(config, content), sort_keys=False, allow_unicode=True)
    return environment.get_template(TEMPLATE).render(
        front=front,
        config=config,
        content=content,
        test=content["test"],
        run=config.provenance,
        ham=figures.is_ham(config),
        figures=figures,
        tables=tables,
        case_rows=cases,
        credit=HAM10000,
        layout=layout,
        splits=SPLITS,
        whole=WHOLE,
        gate_share=ood_gate.REFUSED,
    )


def front_matter(config: ModelConfig, content: dict[str, Any]) -> dict[str, Any]:
    """Make the block that the hub reads: licence, library, tags, data, and figures."""
    test = content["test"]
    metrics = [
        {"type": kind, "name": text, "value": round(test[key], 4)}
        for key, (kind, text) in figures.HEADLINES.items()
        if test[key] is not None
    ]
    ham = figures.is_ham(config)
    source = config.provenance["data"]["source"]
    kaggle = source.removeprefix("kaggle: ").partition("/versions/")[0]
    of_kaggle = [kaggle] if source.startswith("kaggle: ") else []
    result = {
        "task": {"type": "image-classification", "name": f"dermhub {config.task.name}"},
        "dataset": {
            "type": "ham10000" if ham else "own-data",
            "name": figures.dataset(config),
            "split": "test",
        },
        "metrics": metrics,
    }
    return {
        "license": LICENCE if ham else "other",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": [
            *("image-classification", "timm", "dermatoscopy", "skin-cancer"),
            *(["ham10000"] if ham else []),
            "grad-cam",
        ],
        "datasets": [DATASET] if ham else of_kaggle,
        "metrics": ["accuracy", "f1", "roc_auc"],
        "model-index": [{"name": f"dermhub-{content['model']}", "results": [result]}],
    }
