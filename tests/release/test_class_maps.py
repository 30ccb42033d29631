"""Class maps against lesions and destroyed models: by hand, on a tiny model, and in its card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dermhub import files, layout
from dermhub.cards import checklist
from dermhub.data import tables
from dermhub.errors import DataError
from dermhub.evaluation import class_maps
from dermhub.evaluation.class_maps import MAP_COLUMNS, rank_correlation
from dermhub.evaluation.predictions import logit_columns
from dermhub.images import heatmap
from dermhub.images.decode import to_rgb
from dermhub.images.view import InputSpec, to_array
from dermhub.models import backbone
from dermhub.models.classifier import Classifier
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.release import class_maps as release_class_maps
from dermhub.release import measure, randomisation, verify
from dermhub.release.previous import Previous
from dermhub.tasks import LESION
from tests.support.tiny import Command

SQUARE = InputSpec(size=64)
"""Of an image of 48 x 40 pixels, the columns from 4 to 44 are seen."""


@pytest.fixture(scope="module")
def masks(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask for each drawn image, twice as large. Read only.

    It is a square of half the view's side in its middle.
    """
    folder = tmp_path_factory.mktemp("masks")
    levels = np.zeros((80, 96), np.uint8)
    levels[20:60, 28:68] = 255
    for path in (tiny_data / "images").iterdir():
        Image.fromarray(levels).save(folder / f"{path.stem}_segmentation.png")
    return folder


@pytest.fixture(scope="module")
def measured(
    finished_run: Path, tiny_data: Path, masks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model whose maps were held against the masks. Read only."""
    folder = Path(
        shutil.copytree(finished_run / "model", tmp_path_factory.mktemp("measured") / "model")
    )
    measure.measure(ModelFolder(folder), tables.read_table(tiny_data, LESION), masks=masks)
    return folder


@pytest.fixture
def test_images(tiny_data: Path) -> pd.DataFrame:
    """The test rows of the drawn images."""
    table = tables.read_table(tiny_data, LESION)
    return table[table["split"] == "test"]


def content(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return read


def rows(count: int, **columns: Any) -> pd.DataFrame:
    """Rows of maps.csv, by default equal ones.

    Lesions cover a quarter of the view, half of the energy is inside, and every peak hits.
    """
    usual = {"lesion_share": 0.25, "inside": 0.5, "hit": 1, "inside_other": 0.25, "hit_other": 0}
    return pd.DataFrame({"image_id": [f"I{n}" for n in range(count)], **usual, **columns})[
        ["image_id", *MAP_COLUMNS]
    ]


def predictions(count: int, dx: str = "nv", called: str = "nv") -> pd.DataFrame:
    """Rows of predictions.csv, two images a lesion, all of one diagnosis and one answer."""
    logits = {name: float(name == f"logit_{called}") for name in logit_columns(LESION)}
    ids = {
        "image_id": [f"I{n}" for n in range(count)],
        "lesion_id": [f"L{n // 2}" for n in range(count)],
    }
    return pd.DataFrame({**ids, "split": "test", "dx": dx, **logits})


def of_maps(table: pd.DataFrame, test: pd.DataFrame, folder: Path) -> dict[str, Any]:
    return class_maps.map_figures(table, test, ModelFolder(folder).config)


def test_a_mask_as_the_model_sees_it(tmp_path: Path) -> None:
    Image.new("RGB", (48, 40)).save(tmp_path / "a.png")
    levels = np.zeros((40, 48), np.uint8)
    levels[:, :24] = 255
    Image.fromarray(levels).save(tmp_path / "a_segmentation.png")
    # Left of the view's middle, and what lies left of the view is cut off.
    seen = release_class_maps.mask_in_view(tmp_path, "a", str(tmp_path / "a.png"), SQUARE)
    assert seen.shape == (64, 64)
    assert seen[:, :32].all()
    assert not seen[:, 32:].any()
    levels[:] = 0
    levels[:, :4] = 255
    Image.fromarray(levels).save(tmp_path / "a_segmentation.png")
    assert not release_class_maps.mask_in_view(tmp_path, "a", str(tmp_path / "a.png"), SQUARE).any()


def test_energy_and_peak_of_a_known_map() -> None:
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    # On the mask's own grid nothing is scaled: three of four parts of the energy are left, the peak
    # as well.
    evidence = np.zeros((64, 64), np.float32)
    evidence[10, 10], evidence[50, 50] = 3, 1
    assert heatmap.energy_inside(evidence, left) == pytest.approx(0.75)
    assert heatmap.energy_inside(evidence, ~left) == pytest.approx(0.25)
    assert heatmap.peak_inside(evidence, left)
    assert not heatmap.peak_inside(evidence, ~left)
    even = np.ones((2, 2), np.float32)
    assert heatmap.energy_inside(even, left) == pytest.approx(left.mean())


def test_figures_by_hand(finished_run: Path) -> None:
    # Six lesions of two images; in the last four lesions nothing is inside and nothing hit.
    inside = [0.75] * 4 + [0.0] * 8
    figures = of_maps(
        rows(12, inside=inside, hit=[1] * 4 + [0] * 8), predictions(12), finished_run / "model"
    )
    row = figures["all"]
    assert (row["n"], row["lesions"]) == (12, 6)
    assert (row["lesion_share"], row["inside_other"], row["hit_other"]) == (0.25, 0.25, 0)
    assert row["inside"] == pytest.approx(0.25)
    assert row["ratio"] == pytest.approx(1.0)
    assert row["hit"] == pytest.approx(1 / 3)
    assert row["bounds"]["lesion_share"] is None  # the same in every resample
    low, high = row["bounds"]["inside"]
    assert low < 0.25 < high
    # Images of a lesion come together: shares of lesions, hits being all or none of one, are
    # sixths.
    assert [round(edge * 6, 4) % 1 for edge in row["bounds"]["hit"]] == pytest.approx(
        [0, 0], abs=1e-4
    )
    assert figures["right"] == row == figures["per_class"]["nv"]
    assert (
        figures["wrong"]["n"],
        figures["wrong"]["inside"],
        figures["wrong"]["bounds"]["inside"],
    ) == (
        0,
        None,
        None,
    )


def test_the_other_map_is_of_another_lesion_with_the_same_answer() -> None:
    called = np.array([0, 0, 1, 0, 0, 1, 2])
    lesions = np.array(["A", "A", "B", "C", "D", "B", "E"])
    # Of class 0 (rows 0, 1, 3, 4), two rows on; both of class 1 are of one lesion, and of class 2
    # there is one.
    partners = release_class_maps.partner_of_other_lesion(called, lesions)
    assert partners.tolist() == [3, 4, -1, 0, 1, -1, -1]
    # Two rows on is the same lesion, and the next one is not.
    called = np.zeros(4, np.int64)
    lesions = np.array(["A", "B", "A", "C"])
    partners = release_class_maps.partner_of_other_lesion(called, lesions)
    assert partners.tolist() == [3, 3, 1, 1]


def test_images_without_another_map_are_no_part_of_its_mean(finished_run: Path) -> None:
    # Six of twelve have no other map, three of the others a blank one.
    table = rows(
        12, inside_other=[np.nan] * 9 + [0.5] * 3, hit_other=[np.nan] * 6 + [0] * 3 + [1] * 3
    )
    row = of_maps(table, predictions(12), finished_run / "model")["all"]
    assert (row["n"], row["inside_other"], row["hit_other"]) == (12, 0.25, 0.5)
    table[["inside_other", "hit_other"]] = np.nan
    row = of_maps(table, predictions(12), finished_run / "model")["all"]
    assert (row["inside"], row["inside_other"], row["hit_other"]) == (0.5, None, None)


def test_right_and_wrong_answers(finished_run: Path) -> None:
    test = pd.concat([predictions(10), predictions(10, "mel", "nv")], ignore_index=True)
    figures = of_maps(rows(20, hit=[1] * 10 + [0] * 10), test, finished_run / "model")
    assert (figures["right"]["hit"], figures["wrong"]["hit"], figures["all"]["hit"]) == (1, 0, 0.5)
    assert (
        figures["per_class"]["nv"]["hit"],
        figures["per_class"]["mel"]["hit"],
        figures["per_class"]["df"]["n"],
    ) == (1, 0, 0)


def test_what_is_left_out_and_what_counts_as_nothing(finished_run: Path) -> None:
    share = [0.0, 0.0, 1.0, 0.95] + [0.25] * 10
    inside = [0.0, 0.0, 1.0, 1.0, np.nan] + [0.5] * 9
    hit = [0, 0, 1, 1, 0] + [1] * 9
    figures = of_maps(
        rows(14, lesion_share=share, inside=inside, hit=hit),
        predictions(14),
        finished_run / "model",
    )
    assert (
        figures["images"],
        figures["outside_view"],
        figures["whole_view"],
        figures["blank"],
    ) == (
        14,
        2,
        2,
        1,
    )
    assert (figures["all"]["n"], figures["all"]["hit"]) == (10, 0.9)
    assert figures["all"]["inside"] == pytest.approx(0.45)


def test_rank_correlation_by_hand() -> None:
    left = np.array(
        [[1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 2, 2], [5, 5, 5, 5], [1, 2, 3, 4]], np.float32
    )
    right = np.array(
        [[2, 4, 6, 99], [4, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4], [7, 7, 7, 7]], np.float32
    )
    correlations = rank_correlation(left, right)
    # The third: ranks 1.5 1.5 3.5 3.5 against 1 2 3 4, so 4 / sqrt(4 * 5).
    assert correlations[:3].tolist() == [1.0, -1.0, pytest.approx(4 / np.sqrt(20))]
    assert np.isnan(correlations[3])
    assert correlations[4] == 0


def test_maps_are_those_of_the_predicted_class(
    tiny_lesion_model: Path, test_images: pd.DataFrame
) -> None:
    classifier = Classifier(tiny_lesion_model)
    paths = list(test_images["path"])
    batch = np.stack([to_array(to_rgb(path), classifier.config.input) for path in paths])
    maps = randomisation.predicted_maps(classifier.engine, batch)
    for evidence, path in zip(maps, paths, strict=True):
        np.testing.assert_allclose(
            evidence, classifier.explain(path).evidence, rtol=1e-4, atol=1e-6
        )


@pytest.mark.slow
def test_an_identical_model_has_the_same_maps_and_a_random_one_has_not(
    tiny_lesion_model: Path, test_images: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(ModelFolder(tiny_lesion_model))
    before = {name: value.clone() for name, value in engine.model.state_dict().items()}
    block = randomisation.cascade(engine, test_images)
    assert all(
        torch.equal(value, before[name]) for name, value in engine.model.state_dict().items()
    )
    assert (block["images"], block["draws"], len(block["stages"])) == (7, 5, 7)
    assert (block["stages"][0]["layer"], block["stages"][-1]["layer"]) == (
        "classifier",
        "conv_stem",
    )
    assert abs(block["stages"][-1]["correlation"]) < 0.5
    assert block == randomisation.cascade(engine, test_images)
    monkeypatch.setattr(backbone, "renew", lambda *_: None)
    for stage in randomisation.cascade(engine, test_images)["stages"]:
        assert (stage["correlation"], stage["lowest"], stage["highest"], stage["bounds"]) == (
            1.0,
            1.0,
            1.0,
            None,
        )


def test_drawing_weights_leaves_the_random_numbers_of_others(tiny_lesion_model: Path) -> None:
    engine = TorchEngine(ModelFolder(tiny_lesion_model))
    state = torch.get_rng_state()
    batch = np.zeros((2, 3, 64, 64), np.float32)
    maps = randomisation.maps_of_draw(engine, batch, np.array([0, 1]), 0)
    assert (len(maps), maps[0].shape) == (7, (2, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_renewing_a_stage_leaves_the_others() -> None:
    model = backbone.build("test_resnet", 3)
    fresh = backbone.build("test_resnet", 3)
    model(torch.randn(4, 3, 32, 32))  # batch norms have counted
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = backbone.stage_names(model)
    assert (len(names), names[-1]) == (6, ["fc.weight", "fc.bias"])
    backbone.renew(model, fresh, names[4])
    due = fresh.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, (due if name.startswith("layer4") else before)[name]), name
    assert not torch.equal(due["layer4.0.bn1.running_mean"], before["layer4.0.bn1.running_mean"])


@pytest.mark.slow
def test_the_model_folder_tells_it(measured: Path) -> None:
    block = content(measured)["maps"]
    table = pd.read_csv(measured / layout.MAPS)
    assert (block["images"], block["all"]["n"], len(table)) == (7, 7, 7)
    # A square of half the view's side covers a quarter of it, in whichever of its places.
    assert table["lesion_share"].tolist() == pytest.approx([0.25] * 7)
    assert len(block["cascade"]["stages"]) == 6
    text = (measured / "README.md").read_text()
    assert "### Class maps, on test\n\nGrad-CAM of the predicted class" in text
    assert re.search(r"^\| `fc` \| -?\d\.\d{3}.* \|$", text, re.MULTILINE)
    assert verify.verify(measured).differences == ()
    assert {outcome.item for outcome in checklist.lint(measured).missing} <= {"code revision"}


@pytest.mark.slow
def test_without_masks_it_is_kept_while_the_weights_are_the_same(
    measured: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "model"))
    table = tables.read_table(tiny_data, LESION)
    before = content(folder)["maps"]
    measure.measure(ModelFolder(folder), table)
    assert content(folder)["maps"] == before
    assert (folder / layout.MAPS).read_bytes() == (measured / layout.MAPS).read_bytes()
    other = content(folder)
    other["weights"]["sha256"] = "0" * 64
    files.write_json(folder / "metrics.json", other)
    assert Previous.read(ModelFolder(folder)).cascade is None
    test = table[table["split"] == "test"]
    release_class_maps.write(folder, Classifier(folder), test, np.zeros(len(test), np.int64), None)
    assert not (folder / layout.MAPS).exists()


def test_a_model_without_any_says_so(finished_run: Path) -> None:
    assert content(finished_run / "model")["maps"] is None
    assert (
        "### Class maps, on test\n\n**None.**" in (finished_run / "model" / "README.md").read_text()
    )


def test_a_changed_table_is_told(measured: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "model"))
    table = pd.read_csv(folder / layout.MAPS)
    table.assign(lesion_share=[0.0, *table["lesion_share"][1:]]).to_csv(
        folder / layout.MAPS, index=False
    )
    assert (
        verify.verify(folder)
        .differences[0]
        .startswith("metrics.json has maps.outside_view 0, the predictions give 1")
    )
    (folder / layout.MAPS).unlink()
    assert verify.verify(folder).differences[0].startswith("metrics.json has maps {")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop(columns="hit"), r"lacks the column\(s\) hit"),
        (lambda t: t[1:], "is not of the 7 test images, in their order"),
        (
            lambda t: t.assign(inside=1.5),
            r"has line\(s\) 2, 3, 4.* with something else than a number from 0 to 1",
        ),
        (
            lambda t: t.assign(hit="yes"),
            r"has line\(s\) .* with something else than a number from 0 to 1",
        ),
        (
            lambda t: t.assign(lesion_share=None),
            r"has line\(s\) .* with something else than a number from 0 to 1",
        ),
    ],
)
def test_a_damaged_table(
    measured: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], problem: str
) -> None:
    table = pd.read_csv(measured / layout.MAPS)
    change(table).to_csv(tmp_path / "maps.csv", index=False)
    with pytest.raises(DataError, match=rf"maps\.csv {problem}: measure the model again\.$"):
        class_maps.read_maps(tmp_path / "maps.csv", table[["image_id"]])


@pytest.mark.slow
def test_a_refit_holds_other_answers_against_the_masks(
    measured: Path, tiny_data: Path, masks: Path, tmp_path: Path, command: Command
) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "model"))
    before = pd.read_csv(folder / layout.MAPS)
    (folder / layout.MAPS).unlink()
    code, _, err = command(
        *("measure", folder, "--refit", "--data", tiny_data, "--masks", masks, "--workers", 0)
    )
    assert (code, err) == (0, "")
    # The answers are the same, and so are the maps of them.
    pd.testing.assert_frame_equal(before, pd.read_csv(folder / layout.MAPS), atol=1e-4)
    assert json.loads((folder / layout.METRICS).read_text())["maps"]["cascade"]["draws"] == 5
    few = Path(shutil.copytree(masks, tmp_path / "few"))
    (few / f"{before['image_id'][0]}_segmentation.png").unlink()
    code, _, err = command(
        *("measure", folder, "--refit", "--data", tiny_data, "--masks", few, "--workers", 0)
    )
    assert code == 2
    assert "lacks the masks of 1 of the 7 test images" in err


def test_masks_that_are_missing(
    finished_run: Path, tiny_data: Path, masks: Path, tmp_path: Path, command: Command
) -> None:
    folder = Path(shutil.copytree(finished_run / "model", tmp_path / "model"))
    few = Path(shutil.copytree(masks, tmp_path / "masks"))
    before = (folder / "metrics.json").read_bytes()
    table = tables.read_table(tiny_data, LESION)
    name = table["image_id"][table["split"] == "test"].iloc[0]
    (few / f"{name}_segmentation.png").unlink()
    code, _, err = command("measure", folder, "--data", tiny_data, "--masks", few)
    assert (code, (folder / "metrics.json").read_bytes()) == (2, before)
    assert err == (
        f"dermhub: {few} lacks the masks of 1 of the 7 test images ({name}): expected "
        "<image_id>_segmentation.png for each, as in HAM10000's lesion segmentations.\n"
    )


def test_masks_that_are_none(
    test_images: pd.DataFrame, masks: Path, tmp_path: Path, tiny_lesion_model: Path
) -> None:
    classifier = Classifier(tiny_lesion_model)
    name = test_images["image_id"].iloc[0]
    called = np.zeros(len(test_images), np.int64)
    folder = Path(shutil.copytree(masks, tmp_path / "masks"))
    path = folder / f"{name}_segmentation.png"
    Image.new("L", (40, 48), 255).save(path)
    with pytest.raises(
        DataError,
        match=rf"{name}_segmentation\.png has 40 x 48 pixels, but {name} 48 x 40: expected",
    ):
        release_class_maps.against_masks(classifier, test_images, called, folder)
    for damaged in (b"no image", (masks / path.name).read_bytes()[:60]):
        path.write_bytes(damaged)
        with pytest.raises(
            DataError,
            match=rf"{name}_segmentation\.png can't be read \(.*\): expected a PNG in which",
        ):
            release_class_maps.against_masks(classifier, test_images, called, folder)
