"""The share of class maps that lie beside the lesion, for right and for wrong answers.

    PYTHONPATH=. python benchmarks/verdict.py --data HAM
        [--models model_cards/lesion model_cards/binary] [--split test]

Prints, as Markdown, for the predicted class of each image of the split: the share of maps that can
be judged, and the share of those that are judged and not trusted (`Explanation.judged`,
`Explanation.trusted`). The rule was chosen on validation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dermhub.data import tables
from dermhub.models.classifier import Classifier

MODELS = (Path("model_cards/lesion"), Path("model_cards/binary"))


def rows(saved: Classifier, folder: Path, split: str) -> list[str]:
    """Two lines of the table: right and wrong answers of a model."""
    table = tables.read_table(folder, saved.config.task)
    part = table[table["split"] == split]
    verdicts: dict[str, list[tuple[bool, bool]]] = {"right": [], "wrong": []}
    for path, truth in zip(part["path"], tables.targets(part, saved.config.task), strict=True):
        explanation = saved.explain(path)
        answer = "right" if explanation.target == saved.classes[truth] else "wrong"
        judged = explanation.judged
        verdicts[answer].append((judged, judged and not explanation.trusted))
    lines = []
    for answer, pairs in verdicts.items():
        n = len(pairs)
        shares = " | ".join(f"{sum(column) / n:.3f}" for column in zip(*pairs, strict=True))
        lines.append(f"| {saved.name}, {split} | {answer} | {n} | {shares} |")
    return lines


def main() -> None:
    """Read the options, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="*", default=MODELS)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    options = parser.parse_args()
    print("| model | answers | n | judged | beside the lesion |\n|---|---|---|---|---|")
    for folder in options.models:
        print(*rows(Classifier(folder), options.data, options.split), sep="\n", flush=True)


if __name__ == "__main__":
    main()
