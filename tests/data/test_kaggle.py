"""Data through kagglehub's real client: from its cache without a request, and in one sentence
without a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dermhub.data import kaggle
from dermhub.errors import ConfigError, DownloadError
from tests.support.tiny import run_training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty kagglehub cache."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_cached_copy_needs_no_network(cache: Path) -> None:
    # Every socket is blocked here: a single request would fail.
    dataset = cache / "datasets" / "kmader" / "skin-cancer-mnist-ham10000"
    (dataset / "versions" / "2").mkdir(parents=True)
    (dataset / "2.complete").touch()
    (dataset / "versions" / "2" / "HAM10000_metadata.csv").write_text("image_id,dx\n")
    assert kaggle.download() == dataset / "versions" / "2"


def test_the_handle_names_a_version() -> None:
    # Without one, kagglehub asks the server each time, and the data could change under a published
    # figure.
    assert kaggle.HAM10000 == "kmader/skin-cancer-mnist-ham10000/versions/2"


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_no_network_is_one_sentence() -> None:
    with pytest.raises(DownloadError) as caught:
        kaggle.download()
    text = str(caught.value)
    assert text.startswith(f"{kaggle.HAM10000} could not be fetched from Kaggle (")
    assert text.endswith(
        "connect to the network and try again, or give a folder that holds the data with --data."
    )
    assert "\n" not in text
    assert len(text) < 450


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_no_network_is_an_os_error_as_well() -> None:
    with pytest.raises(OSError, match="could not be fetched"):
        kaggle.download()


@pytest.mark.parametrize(
    "handle",
    [
        *(
            "nonsense",
            "a/b/c/d/e/f",
            "",
            "a/b/versions/0",
            "a/b/versions/latest",
            "../../etc",
            "a/..",
            "a/b ",
        ),
        *("a/b/versions/2/../../..", "https://www.kaggle.com/datasets/a/b"),
    ],
)
def test_a_handle_that_is_none(handle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kaggle.download(handle)
    assert str(caught.value) == (
        f"--data is {handle!r}, expected a folder, kaggle:OWNER/NAME or "
        "kaggle:OWNER/NAME/versions/N, as in the dataset's address on kaggle.com."
    )


@pytest.mark.parametrize(
    "handle", ["a/b", "fanconic/skin-cancer-malignant-vs-benign", kaggle.HAM10000]
)
def test_a_handle(handle: str) -> None:
    assert kaggle.parse(f"kaggle:{handle}") == handle


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_run_without_data_and_network_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        run_training("--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_without_data_and_network(tmp_path: Path) -> None:
    # Port 9 is that of "discard": nothing answers there, and requests fail at once.
    proxies = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    environment = {
        **os.environ,
        **proxies,
        "KAGGLEHUB_CACHE": str(tmp_path / "cache"),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    command = [sys.executable, str(ROOT / "train.py"), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "train.py: kmader/skin-cancer-mnist-ham10000/versions/2 could not be fetched"
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
