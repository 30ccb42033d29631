"""The option --device of the commands that run a model."""

from __future__ import annotations

import argparse


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option: where the model computes."""
    parser.add_argument(
        "--device",
        default="cpu",
        choices=("cpu", "cuda", "auto"),
        help="compute on the processor, on an NVIDIA GPU, or there if one can be used (default: "
        "cpu)",
    )
