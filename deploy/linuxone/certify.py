"""Write the short form of the parity certificate into model cards.

    python certify.py parity.json MODEL_FOLDER ...

A folder whose weights the proof was made with gets it as the block "parity" of metrics.json, any
other one null, and the card is written anew. prove.sh calls this; run it again after `python -m
dermhub measure`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dermhub import files
from dermhub.cards import render
from dermhub.errors import DermhubError
from dermhub.layout import CARD, METRICS
from dermhub.models.model_folder import ModelFolder


def certify(folder: Path, proven: dict[str, dict[str, object]]) -> bool:
    """Write the proof into metrics.json and the card of a folder.

    Returns True where the proof covers the folder's weights.
    """
    config = ModelFolder(folder).config
    content = files.read_json(folder / METRICS)
    proof = proven.get(config.weights_sha256)
    content["parity"] = proof and {"weights_sha256": config.weights_sha256, **proof}
    files.write_json(folder / METRICS, content)
    files.write_text(folder / CARD, render.render(config, content))
    return proof is not None


def main() -> int:
    """Print a line for each folder; exits with 2 where one is no measured model."""
    try:
        proven = files.read_json(Path(sys.argv[1]))
        for name in sys.argv[2:]:
            covered = certify(Path(name), proven)
            print(f"{name}: {'proven' if covered else 'not proven for these weights'}")
    except DermhubError as error:
        print(f"certify.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
