"""The section of a model card on other machines: the short form of the parity certificate of its weights."""

from __future__ import annotations

from typing import Any

from dermhub.config import ModelConfig

ORDER = ("logits", "probabilities", "heat map")
"""The columns; ONNX files are compared by what they answer, not by their logits."""


def parity(config: ModelConfig, content: dict[str, Any]) -> str:
    """What was proven on s390x for the weights that config.json names; plain words where it was not.

    The block `parity` of metrics.json comes from deploy/linuxone/certify.py and states the weights it was made with. A
    metrics.json without it is older than the section.
    """
    if "parity" not in content:
        return ""
    block = content["parity"]
    if block is None or block["weights_sha256"] != config.weights_sha256:
        return """## Parity

Not proven for these weights: nobody has compared their answers on s390x with those on x86-64."""
    mine, other = block["torch"]
    rows = "\n".join(
        f"| {runtime} | {' | '.join(f'{found[key]:.1e}' if key in found else '' for key in ORDER)} |"
        for runtime, found in (
            (f"PyTorch {other}", block["largest_difference"]["pytorch"]),
            (f"ONNX Runtime {block['onnxruntime']}", block["largest_difference"]["onnx"]),
        )
    )
    images = "1 drawn image" if block["images"] == 1 else f"{block['images']} drawn images"
    return f"""## Parity

Answers on s390x (IBM LinuxONE, big-endian) with Debian's own builds, against PyTorch {mine} on x86-64: the same
classes, calls, prediction sets and concerns on {images}, and these largest differences. Proven
on {block["date"]} under emulation, not on a LinuxONE (`deploy/linuxone/PARITY.md`).

| on s390x | {" | ".join(ORDER)} |
|---|---|---|---|
{rows}"""
