"""The real kagglehub client against a loopback Kaggle: what goes well, and every way in which it
fails.
"""

from __future__ import annotations

import gc
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kagglesdk import kaggle_env

import train
from dermhub.cards import checklist
from dermhub.data import kaggle, tables
from dermhub.errors import DataError, DownloadError
from dermhub.tasks import BINARY, LESION
from tests.support import kaggle_server
from tests.support.kaggle_server import Kaggle
from tests.support.tiny import TINY_RUN, run_training

# The client leaves the connection of a download that broke off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

NAME = "someone/lesions"
MIB = 2**20
BIG = {"images/big.jpg": bytes(range(256)) * (10 * MIB // 1024)}
FILES = {"table.csv": b"image_id,dx\n", "images/a.jpg": bytes(range(256)) * 40}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    """A loopback Kaggle with two versions of one dataset; an empty cache, and nobody's
    credentials.
    """
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("no_proxy", "localhost")
    # Its handler writes to the standard output of the test that first imported it, which is closed
    # by now.
    logging.getLogger("kagglehub").setLevel(logging.ERROR)
    with kaggle_server.serve() as running:
        address = f"http://localhost:{running.port}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
        running.publish(NAME, 1, {**FILES, "table.csv": b"the first one\n"})
        running.publish(NAME, 2, FILES)
        yield running
    gc.collect(1)  # the young objects; all of them would take a second


def held(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def failure(handle: str) -> str:
    """The sentence of a download that fails."""
    with pytest.raises(DownloadError) as caught:
        kaggle.download(handle)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 450
    return text


def test_a_version_is_fetched_once(
    server: Kaggle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = kaggle.download(f"{NAME}/versions/1")
    assert folder == tmp_path / "cache" / "datasets" / NAME / "versions" / "1"
    assert held(folder) == {**FILES, "table.csv": b"the first one\n"}
    # A progress bar, with bytes.
    assert re.search(r"100%.*B/s", capfd.readouterr().err)
    assert server.asked == [
        "POST /v1/datasets.DatasetApiService/DownloadDataset",
        f"GET /archives/{NAME}/1.zip",
    ]
    assert kaggle.download(f"{NAME}/versions/1") == folder
    assert len(server.asked) == 2


def test_without_a_version_the_newest_is_asked_for(server: Kaggle) -> None:
    folder = kaggle.download(NAME)
    assert held(folder) == FILES
    assert kaggle.pinned(NAME, folder) == f"{NAME}/versions/2"
    server.publish(NAME, 3, FILES)
    assert kaggle.download(NAME).name == "3"
    assert sum("GetDataset" in line for line in server.asked) == 2
    assert sum("GET " in line for line in server.asked) == 2


def test_a_cached_version_is_used_where_there_is_no_network(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kaggle.download(f"{NAME}/versions/2")
    # Port 9 is that of "discard": nothing answers there.
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://localhost:9"
    )
    capsys.readouterr()
    assert kaggle.download(f"{NAME}/versions/2") == folder
    assert capsys.readouterr().err == ""
    assert kaggle.download(NAME) == folder
    assert (
        capsys.readouterr().err
        == "dermhub: Kaggle can't be reached; taking version 2 from the cache.\n"
    )
    text = failure(f"{NAME}/versions/1")
    assert text.startswith(f"{NAME}/versions/1 could not be fetched from Kaggle (")
    assert text.endswith(
        "connect to the network and try again, or give a folder that holds the data with --data."
    )
    assert failure("someone/else").startswith("someone/else could not be fetched from Kaggle (")
    assert held(folder) == FILES
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 401), ("wrong", 403)],
    ids=["no credentials", "somebody else's credentials"],
)
def test_a_dataset_that_needs_an_account(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch, token: str, status: int
) -> None:
    server.token = "right"
    if token:
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    assert failure(f"{NAME}/versions/2") == (
        f"Kaggle does not give {NAME}/versions/2 to this user ({status}): set KAGGLE_API_TOKEN to "
        "a token from kaggle.com/settings and accept the dataset's terms on its page, or give a "
        "folder with --data."
    )
    monkeypatch.setenv("KAGGLE_API_TOKEN", "right")
    assert held(kaggle.download(f"{NAME}/versions/2")) == FILES


@pytest.mark.parametrize(
    "handle", ["someone/else", f"{NAME}/versions/7", "nobody/lesions/versions/1"]
)
@pytest.mark.usefixtures("server")
def test_a_dataset_that_is_not_there(handle: str) -> None:
    assert failure(handle) == (
        f"Kaggle has no dataset {handle} (404): check owner, name and version on kaggle.com, or "
        "give a folder with --data."
    )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble(server: Kaggle, status: int) -> None:
    server.status = status
    assert failure(NAME) == (
        f"Kaggle answered {NAME} with an error ({status}): try again later, or give a folder with "
        "--data."
    )


def test_a_damaged_download_is_thrown_away(server: Kaggle, tmp_path: Path) -> None:
    server.wrong_md5 = True
    assert failure(f"{NAME}/versions/2") == (
        f"The download of {NAME}/versions/2 was damaged on its way (its md5 is not the one that "
        "Kaggle states) and was thrown away: try again."
    )
    assert held(tmp_path / "cache") == {}
    server.wrong_md5 = False
    assert held(kaggle.download(f"{NAME}/versions/2")) == FILES


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server: Kaggle) -> None:
    server.publish(NAME, 2, BIG)
    # The client keeps whole MiB, and before it resumes it opens the archive once to see how long it
    # is.
    server.cuts = [3 * MIB // 2, None, 5 * MIB // 4]
    assert held(kaggle.download(f"{NAME}/versions/2")) == BIG
    ranges = [line.rpartition(" ")[2] for line in server.asked if "bytes=" in line]
    assert ranges == [f"bytes={MIB}-", f"bytes={2 * MIB}-"]


def test_a_download_that_breaks_off_again_and_again_is_kept(server: Kaggle, tmp_path: Path) -> None:
    server.publish(NAME, 2, BIG)
    server.cuts = [3 * MIB // 2, None, 10, None, 5 * MIB // 4]
    assert failure(f"{NAME}/versions/2") == (
        f"The download of {NAME}/versions/2 broke off 3 times; 2.1 MB have arrived and are kept: "
        "try again, and it goes on from there."
    )
    assert [path.stat().st_size for path in (tmp_path / "cache").rglob("*.archive")] == [2 * MIB]
    assert held(kaggle.download(f"{NAME}/versions/2")) == BIG
    assert server.asked[-1].endswith(f"bytes={2 * MIB}-")


def test_what_is_no_archive_is_thrown_away(server: Kaggle, tmp_path: Path) -> None:
    # As from a network that answers everything with its own login page.
    good, server.archives[NAME, 2] = server.archives[NAME, 2], b"<html>Please log in</html>"
    assert failure(f"{NAME}/versions/2") == (
        f"What arrived for {NAME}/versions/2 is no archive and was thrown away: try again, or "
        "download it in a browser and give its folder with --data."
    )
    assert held(tmp_path / "cache") == {}
    server.archives[NAME, 2] = good
    assert held(kaggle.download(f"{NAME}/versions/2")) == FILES


def test_a_full_disk(server: Kaggle, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    home = tmp_path / "cache" / "datasets" / NAME
    home.mkdir(parents=True)
    (home / "2.archive").symlink_to("/dev/full")
    server.publish(NAME, 2, {"big": bytes(3_000_000)})
    assert failure(f"{NAME}/versions/2") == (
        f"There is no space left for {NAME}/versions/2 in {home}: make room, or set "
        "KAGGLEHUB_CACHE to a folder with space."
    )


@pytest.mark.parametrize("trouble", ["status", "md5", "cut", "gone", "archive"])
def test_the_good_copy_is_never_lost(server: Kaggle, trouble: str) -> None:
    folder = kaggle.download(f"{NAME}/versions/1")
    before = held(folder)
    if trouble == "status":
        server.status = 500
    elif trouble == "md5":
        server.wrong_md5 = True
    elif trouble == "cut":
        server.cuts = [10, 10, 10, 10, 10]
    elif trouble == "gone":
        server.archives.clear()
    else:
        server.archives[NAME, 2] = b"no archive"
    failure(f"{NAME}/versions/2")
    assert held(folder) == before
    count = len(server.asked)
    assert kaggle.download(f"{NAME}/versions/1") == folder
    assert len(server.asked) == count


def test_a_copy_that_was_not_finished_is_fetched_again(server: Kaggle) -> None:
    folder = kaggle.download(f"{NAME}/versions/2")
    (folder.parent.parent / "2.complete").unlink()
    (folder / "table.csv").unlink()
    assert held(kaggle.download(f"{NAME}/versions/2")) == FILES
    assert len(server.asked) == 4


def test_the_layout_of_the_benign_and_malignant_dataset(server: Kaggle, tiny_data: Path) -> None:
    images = sorted((tiny_data / "images").iterdir())
    files = {
        f"{part}/{dx}/{path.name}": path.read_bytes()
        for start, (part, dx) in enumerate(
            (p, d) for p in ("train", "test") for d in ("benign", "malignant")
        )
        for path in images[start * 12 : start * 12 + 12]
    }
    server.publish("fanconic/skin-cancer-malignant-vs-benign", 1, files)
    table = tables.read_table(kaggle.download("fanconic/skin-cancer-malignant-vs-benign"), BINARY)
    assert table.groupby(["split", "dx"]).size().to_dict() == {
        **{("test", dx): 12 for dx in ("benign", "malignant")},
        **{("train", dx): 11 for dx in ("benign", "malignant")},
        **{("validation", dx): 1 for dx in ("benign", "malignant")},
    }


def test_a_layout_that_is_not_expected(server: Kaggle) -> None:
    server.publish(NAME, 3, {"a.csv": b"x\n1\n", "b.csv": b"x\n1\n", "photo.jpg": b"x"})
    folder = kaggle.download(NAME)
    with pytest.raises(DataError) as caught:
        tables.read_table(folder, LESION)
    assert str(caught.value) == (
        f"{folder} holds 2 CSV tables, expected one with the columns image_id, dx and lesion_id, "
        "or folders train|test/benign|malignant. There are a.csv, b.csv."
    )


@pytest.mark.slow
def test_a_run_names_the_version_that_it_used(
    server: Kaggle, tiny_data: Path, tmp_path: Path
) -> None:
    server.publish_folder("someone/drawings", 4, tiny_data)
    out = tmp_path / "run"
    run_training("--data", "kaggle:someone/drawings", *TINY_RUN, "--epochs", 1, "--out", out)
    config = json.loads((out / "model" / "config.json").read_text())["dermhub"]["provenance"]
    assert config["data"]["source"] == "kaggle: someone/drawings/versions/4"
    text = (out / "model" / "README.md").read_text()
    assert "--data kaggle:someone/drawings/versions/4" in text
    assert "datasets:\n- someone/drawings\n" in text
    assert {o.item for o in checklist.lint(out / "model").missing} <= {"code revision"}
    # Resumed, it takes that version, whatever is new, and asks nobody.
    server.publish("someone/drawings", 5, FILES)
    handle = kaggle.parse(train.options(["--resume", str(out)])[0].data)
    count = len(server.asked)
    assert kaggle.pinned(handle, kaggle.download(handle)) == handle == "someone/drawings/versions/4"
    assert len(server.asked) == count
