"""Places that differ between a clone and an installed package, and how to install what is missing.

A clone has its models and programs beside `dermhub/`. In a wheel they lie inside it, so that
nothing with a general name such as `demo` comes among the packages of others; pyproject.toml says
what goes where.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "timm", "jinja2", "yaml", "pandas"), "train"),
    **{"gradio": "demo", "mcp": "mcp", "onnx": "export", "pyarrow": "parquet"},
    **{"pydicom": "dicom", "pillow_heif": "heic"},
}
"""Package -> the extra of dermhub that brings it, where it needs others of it, too."""

OUTSIDE = {"pydicom": "pydicom", "pillow_heif": "pillow-heif"}
"""Package that the requirements of a clone leave out -> its name for pip."""


def model_cards() -> Path:
    """Return the folder of the shipped models, which need not be there."""
    return PACKAGE / "model_cards" if is_package() else PACKAGE.parent / "model_cards"


def programs() -> Path:
    """Return the folder of app.py, train.py and demo/, which need not be there."""
    return PACKAGE / "programs" if is_package() else PACKAGE.parent


def is_package() -> bool:
    """Tell whether this is a wheel's content, with everything inside the package."""
    return (PACKAGE / "programs").is_dir()


def advice(package: str) -> str:
    """Say how to install a package that is missing, as a command."""
    if not is_package():
        alone = OUTSIDE.get(package)
        return f"pip install {alone}" if alone else "pip install -r requirements.txt"
    name = package.partition(".")[0]
    # Of dermhub, which is installed, pip only adds what the extra names.
    return f"pip install 'dermhub[{EXTRAS[name]}]'" if name in EXTRAS else f"pip install {name}"
