"""An index of similar cases: made by `measure --cases`, measured, verified, and kept."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermhub import layout
from dermhub.data import partition
from dermhub.errors import ConfigError, ModelError
from dermhub.images.drawn_lesions import draw
from dermhub.models.beside import thumbnails
from dermhub.models.classifier import Classifier
from dermhub.release.cases import build, choice
from dermhub.tasks import LESION
from tests.support.tiny import Command, make_config


@pytest.fixture(scope="module")
def indexed(finished_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a real run with an index of all its training images. Read only."""
    from dermhub.cli.main import main

    model = tmp_path_factory.mktemp("indexed") / "model"
    shutil.copytree(finished_run / "model", model)
    images = ["--data", str(tiny_data), "--cases", str(tiny_data / "images"), "--workers", "0"]
    assert main(["measure", str(model), "--refit", *images]) == 0
    return model


@pytest.fixture(scope="module")
def table(tiny_data: Path) -> pd.DataFrame:
    """The table of the data with its splits."""
    rows = pd.read_csv(tiny_data / "tiny_metadata.csv", dtype=str)
    return rows.assign(split=partition.assign(rows))


def copy(indexed: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to change."""
    return Path(shutil.copytree(indexed, tmp_path / "model"))


@pytest.mark.slow
def test_the_index_holds_a_photograph_of_each_training_lesion(
    indexed: Path, table: pd.DataFrame
) -> None:
    index = Classifier(indexed).cases
    assert index is not None
    train = table[table["split"] == "train"]
    assert sorted(e.lesion_id for e in index.entries) == sorted(set(train["lesion_id"]))
    by_id = train.set_index("image_id")
    for entry in index.entries:
        photographs = train["image_id"][train["lesion_id"] == entry.lesion_id]
        assert {entry.image_id, *entry.others} == set(photographs)
        row = by_id.loc[entry.image_id]
        assert (entry.diagnosis, entry.confirmation) == (row["dx"], row["dx_type"])
    # These are nobody's images that we know, so that nobody gets credit.
    assert index.credit == ""


@pytest.mark.slow
def test_figures_and_card_are_what_verify_works_out(
    indexed: Path, command: Command, tmp_path: Path
) -> None:
    assert command("verify", indexed)[0] == 0
    block = json.loads((indexed / layout.METRICS).read_text())["cases"]
    assert block["test"]["n"] == 7
    assert block["latency"]["median_ms"] > 0
    card = (indexed / layout.CARD).read_text()
    assert "### Similar cases" in card
    assert f"{block['lesions']} lesions with one photograph each (" in card
    # Another feature, another diagnosis of a lesion, another figure: each is found.
    folder = copy(indexed, tmp_path)
    rows = pd.read_csv(folder / layout.NEIGHBOURS, keep_default_na=False)
    test = rows["split"] == "test"
    rows.loc[test, "code"] = rows["code"][test].to_numpy()[::-1]
    rows.to_csv(folder / layout.NEIGHBOURS, index=False)
    code, out, _ = command("verify", folder)
    assert code == 2
    assert "metrics.json has cases.test." in out


@pytest.mark.slow
def test_precision_is_counted_by_hand(indexed: Path, table: pd.DataFrame, tiny_data: Path) -> None:
    classifier = Classifier(indexed)
    assert classifier.cases is not None
    right = []
    for _, row in table[table["split"] == "test"].iterrows():
        features = classifier.embed(str(tiny_data / "images" / f"{row['image_id']}.jpg"))
        points = classifier.cases.encode(features).astype(int)
        squares = ((points - classifier.cases.codes.astype(int)) ** 2).sum(axis=1)
        order = sorted(range(len(squares)), key=lambda place: (squares[place], place))
        nearest = [classifier.cases.entries[place].diagnosis for place in order]
        right.append([dx == row["dx"] for dx in nearest])
    block = json.loads((indexed / layout.METRICS).read_text())["cases"]["test"]
    assert block["precision_1"] == pytest.approx(np.mean([each[0] for each in right]))
    assert block["precision_5"] == pytest.approx(np.mean([each[:5] for each in right]))
    averages = []
    for each in right:
        places = [rank for rank, hit in enumerate(each, 1) if hit]
        averages.append(np.mean([number / rank for number, rank in enumerate(places, 1)]))
    assert block["map"] == pytest.approx(np.mean(averages))


@pytest.mark.slow
def test_a_training_image_never_finds_its_own_lesion(
    indexed: Path, table: pd.DataFrame, tiny_data: Path
) -> None:
    classifier = Classifier(indexed)
    train = table[table["split"] == "train"]
    several = train[train["lesion_id"].duplicated(keep=False)]
    assert len(several)
    for _, row in several.iterrows():
        path = tiny_data / "images" / f"{row['image_id']}.jpg"
        # Also of a copy: mirrored, larger, compressed anew.
        stream = io.BytesIO()
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((96, 80)).save(
            stream, "JPEG", quality=60
        )
        for image in (path, stream.getvalue()):
            similar = classifier.similar(image, 50)
            assert row["lesion_id"] not in {case.lesion_id for case in similar.cases}
            assert len(similar.cases) == len(classifier.cases or ()) - 1


@pytest.mark.slow
def test_an_index_stays_and_goes_with_the_weights(
    indexed: Path, command: Command, tmp_path: Path
) -> None:
    folder = copy(indexed, tmp_path)
    before = {name: (folder / name).read_bytes() for name in (layout.CASES, layout.THUMBNAILS)}
    card = (folder / layout.CARD).read_bytes()
    assert command("measure", folder, "--refit")[0] == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert (folder / layout.CARD).read_bytes() == card
    (folder / layout.CASES).write_bytes(b"other")
    with pytest.raises(ModelError, match=r"cases\.safetensors has the sha256 \w{64}, but config"):
        Classifier(folder)


@pytest.mark.slow
def test_only_images_that_may_be_shown(
    finished_run: Path, tiny_data: Path, table: pd.DataFrame, command: Command, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    shown = tmp_path / "shown"
    shown.mkdir()
    options = ("measure", folder, "--data", tiny_data, "--refit", "--cases", shown)
    code, _, err = command(*options)
    assert (code, err.startswith(f"dermhub: {shown}")) == (2, True)
    test = table["image_id"][table["split"] == "test"].iloc[0]
    shutil.copy(tiny_data / "images" / f"{test}.jpg", shown)
    code, _, err = command(*options)
    assert code == 2
    assert re.match(rf"dermhub: {shown} holds none of the \d+ training images \(TEST_", err)
    train = table[table["split"] == "train"].drop_duplicates("dx")["image_id"]
    for name in train:
        shutil.copy(tiny_data / "images" / f"{name}.jpg", shown)
    assert command(*options)[0] == 0
    index = Classifier(folder).cases
    assert index is not None
    assert [entry.image_id for entry in index.entries] == list(train)
    # The model has seen their lesions' other photographs, too.
    for entry in index.entries:
        same = table["image_id"][table["lesion_id"] == entry.lesion_id]
        assert {entry.image_id, *entry.others} == set(same)
    code, _, err = command("measure", folder, "--refit", "--cases", shown)
    assert code == 2
    assert "--cases needs the images that the model was measured on" in err


def test_rare_diagnoses_and_histology_come_first() -> None:
    rows = pd.DataFrame(
        {
            "dx": ["nv"] * 5 + ["df"],
            "dx_type": ["follow_up", "histo", "histo", "consensus", "histo", "consensus"],
        }
    )
    points = np.array([[0, 1], [1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6], [1, 0]], np.float32)
    order = choice.order(rows, points)
    # df takes the first turn; of the nevi 4 lies in the middle, and 1 is farther from it than 2.
    assert order == [5, 4, 2, 1, 3, 0] or order == [5, 4, 1, 2, 3, 0]
    assert order[0] == 5
    assert order[1] == 4
    assert order[4:] == [3, 0]


def test_of_a_lesion_the_photograph_in_its_middle() -> None:
    lesions = pd.Series(["a", "b", "a", "a", "c", "c"])
    features = np.array([[0, 0], [5, 5], [1, 0], [4, 0], [2, 2], [3, 3]], np.float32)
    # The mean of a is (5/3, 0), and 1 is nearest; of two photographs the first is taken.
    assert choice.photographs(lesions, features) == [1, 2, 4]


def test_as_many_lesions_as_the_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame(
        {
            "image_id": [f"I{number}" for number in range(12)],
            "lesion_id": [f"L{number}" for number in range(12)],
            "dx": ["nv"] * 10 + ["mel"] * 2,
        }
    )
    paths = [tmp_path / f"{name}.png" for name in rows["image_id"]]
    for number, path in enumerate(paths):
        draw(number, (100, 100), 0.5).save(path)
    rows["shown"] = paths
    features = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    config = make_config(LESION)
    whole, pictures = build.build(config, rows, rows, features)
    assert (len(whole), len(pictures)) == (12, 12)
    monkeypatch.setattr(build, "LARGEST_THUMBNAILS", build.HEADER + len(pictures.to_bytes()) // 2)
    index, pictures = build.build(config, rows, rows, features)
    kept = [entry.diagnosis for entry in index.entries]
    assert len(pictures) == len(kept) < 12
    # The rare diagnosis is whole.
    assert kept.count("mel") == 2
    for place, entry in enumerate(index.entries):
        expected = thumbnails.make(Image.open(tmp_path / f"{entry.image_id}.png"))
        assert pictures.picture(place) == expected


@pytest.mark.slow
def test_numbers_out_of_range(indexed: Path, photo: Path, tiny_lesion_model: Path) -> None:
    classifier = Classifier(indexed)
    for number in (0, 51, -1, 2.0, True, "6", None):
        with pytest.raises(ConfigError, match=r"expected a whole number from 1 to 50\.$"):
            classifier.similar(photo, number)  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match=r"has no index of similar cases: take a model that has one"
    ):
        Classifier(tiny_lesion_model).similar(photo)
