"""How often the map of an answer lies beside the lesion, where the answer is right and where it is
wrong:

    PYTHONPATH=. python benchmarks/verdict.py --data HAM [--models model_cards/lesion model_cards/binary] [--split test]

Prints, as Markdown, for the predicted class of each image of the split: the share of maps that can
be judged, and of those that are judged and not trusted (`Explanation.judged`, `.trusted`). The rule
was chosen on validation.
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
    found: dict[str, list[tuple[bool, bool]]] = {"right": [], "wrong": []}
    for path, truth in zip(part["path"], tables.targets(part, saved.config.task), strict=True):
        one = saved.explain(path)
        right = one.target == saved.classes[truth]
        found["right" if right else "wrong"].append((one.judged, one.judged and not one.trusted))
    lines = []
    for name, seen in found.items():
        judged, beside = (sum(column) / len(seen) for column in zip(*seen, strict=True))
        lines.append(
            f"| {saved.name}, {split} | {name} | {len(seen)} | {judged:.3f} | {beside:.3f} |"
        )
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
