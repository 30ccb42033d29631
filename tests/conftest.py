"""Fixtures of all tests: two tiny models, a tiny data folder, a trained run, and a drawn photo.

Everything is drawn or seeded here; no test needs data, weights or a network.

The tests run in two processes (pytest-xdist), and each makes its own fixtures. The process that
hands tests out imports this file, too: the fixtures import PyTorch late, so that it starts at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dermhub.cli.main import main as dermhub_main
from dermhub.tasks import BINARY, LESION, LESION_NAMES
from tests.support import hub_environment
from tests.support.hub_server import Hub

if TYPE_CHECKING:
    from tests.support.tiny import Command

pytest_plugins = ["tests.support.demo_process", "tests.support.browser"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors are slower with more threads, and the tests should not take a whole machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_lesion_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model folder of the seven-class task. Read only.

    Its outputs differ from image to image.
    """
    from tests.support.tiny import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny-lesion", LESION)


@pytest.fixture(scope="session")
def indexed_model(tiny_lesion_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with an index of similar cases, seven drawn images. Read only."""
    from tests.support.cases import add_index

    folder = tmp_path_factory.mktemp("indexed") / "model"
    shutil.copytree(tiny_lesion_model, folder)
    add_index(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_binary_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model folder of the benign / malignant task. Read only."""
    from tests.support.tiny import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny-binary", BINARY)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like HAM10000. Read only.

    It has a metadata table and 49 drawn JPEGs of 42 lesions, six a class.
    """
    import pandas as pd

    from dermhub.images.drawn_lesions import draw
    from tests.support.tiny import DARKNESS

    folder = tmp_path_factory.mktemp("tiny-data")
    (folder / "images").mkdir()
    rows = []
    for number, (dx, lesion) in enumerate(
        (dx, lesion) for dx in LESION_NAMES for lesion in range(6)
    ):
        for photo in range(2 if lesion == 0 else 1):
            image_id = f"TEST_{number:03d}{photo}"
            draw(10 * number + photo, (48, 40), DARKNESS[dx]).save(
                folder / "images" / f"{image_id}.jpg"
            )
            rows.append(
                {
                    "lesion_id": f"LESION_{number:03d}",
                    "image_id": image_id,
                    "dx": dx,
                    "dx_type": "histo" if number % 2 else "follow_up",
                    "age": 20 + number if number % 7 else None,
                    "sex": ("female", "male", "unknown")[number % 3],
                    "localization": ("back", "face")[number % 2],
                }
            )
    pd.DataFrame(rows).to_csv(folder / "tiny_metadata.csv", index=False)
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub on a loopback port, which the real client speaks to, and an empty cache."""
    shutil.rmtree(hub_environment.HOME / "hub", ignore_errors=True)
    server = Hub()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def model(tiny_lesion_model: Path) -> dict[str, bytes]:
    """The files of a published model, and two that must never be fetched."""
    published = {path.name: path.read_bytes() for path in tiny_lesion_model.iterdir()}
    others = {
        "README.md": b"---\nlicense: mit\n---\n",
        "metrics.json": b"{}",
        "figures/roc.png": b"png",
    }
    return {**published, **others, "pytorch_model.bin": b"pickle", "modeling.py": b"code"}


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn lesion as a JPEG of 200 x 150 pixels. Read only."""
    from dermhub.images.drawn_lesions import draw

    path = tmp_path_factory.mktemp("photo") / "lesion.jpg"
    draw(3, (200, 150), 0.8).save(path, quality=95)
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `python -m dermhub` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        """Run one command."""
        code = dermhub_main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def finished_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real training run on the tiny data, seven classes, six epochs. Read only."""
    from tests.support.tiny import TINY_RUN, run_training

    out = tmp_path_factory.mktemp("runs") / "tiny"
    run_training("--data", tiny_data, "--out", out, *TINY_RUN)
    return out
