"""Two models of one task against the mean of their probabilities, on validation.

    PYTHONPATH=. python benchmarks/pair.py FIRST SECOND

The mean is better where the two err differently. All is read from the predictions in the two model
folders; no image and no test prediction is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dermhub import layout
from dermhub.data import tables as data_tables
from dermhub.evaluation import metrics, predictions
from dermhub.models import prediction
from dermhub.models.model_folder import ModelFolder

FIGURES = {
    "nll": "nll",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "malignancy_auroc": "AUROC of malignancy",
}
"""Key of a figure -> its heading."""


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs=2)
    folders = parser.parse_args().folders
    configs = [ModelFolder(folder).config for folder in folders]
    task = configs[0].task
    tables = [predictions.read_predictions(folder / layout.PREDICTIONS, task) for folder in folders]
    tables = [table[table["split"] == "validation"].sort_values("image_id") for table in tables]
    if list(tables[0]["image_id"]) != list(tables[1]["image_id"]):
        raise SystemExit("pair.py: the two models were validated on different images.")
    probabilities = {
        str(folder): prediction.calibrated(predictions.logits_of(table, task), config)
        for folder, table, config in zip(folders, tables, configs, strict=True)
    }
    first, second = probabilities.values()
    probabilities["their mean"] = (first + second) / 2
    true = data_tables.targets(tables[0], task)
    print(f"| {len(true)} validation images | {' | '.join(FIGURES.values())} |")
    print(f"|---|{'---|' * len(FIGURES)}")
    for name, values in probabilities.items():
        figures = metrics.summarize(values, true, task)
        print(f"| {name} | {' | '.join(f'{figures[key]:.3f}' for key in FIGURES)} |")


if __name__ == "__main__":
    main()
