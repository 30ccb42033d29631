"""Verification: a real folder passes, and every change of a figure, a row or a file is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper

from dermhub import files
from dermhub.cards import render
from dermhub.data import partition
from dermhub.errors import DataError, LeakError, ModelError
from dermhub.evaluation.predictions import logit_columns
from dermhub.layout import EXTERNAL, GRAPH, WEIGHTS
from dermhub.models import catalog, export
from dermhub.models.classifier import Classifier
from dermhub.models.engines import graph_weights, select
from dermhub.models.engines.onnx_runtime import OnnxEngine
from dermhub.models.model_folder import ModelFolder
from dermhub.release import verify
from dermhub.tasks import LESION
from tests.support.tiny import Command, add_file

MODELS = [pytest.param(path, id=name) for name, path in catalog.shipped().items()] or [
    pytest.param(None, id="none", marks=pytest.mark.skip("no model is shipped in model_cards"))
]


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the model of a real run, to damage."""
    return Path(shutil.copytree(finished_run / "model", tmp_path / "model"))


def change(path: Path, edit: Callable[[Any], object]) -> None:
    """Edit a JSON file in place."""
    content = json.loads(path.read_text())
    edit(content)
    files.write_json(path, content)


def change_rows(path: Path, edit: Callable[[pd.DataFrame], object]) -> None:
    """Edit a table in place, or put in its place what `edit` returns."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = edit(table)
    (changed if isinstance(changed, pd.DataFrame) else table).to_csv(path, index=False)


def first(folder: Path) -> str:
    report = verify.verify(folder)
    assert report.differences
    return report.differences[0]


@pytest.mark.slow
def test_a_real_card_is_what_its_predictions_give(folder: Path) -> None:
    report = verify.verify(folder)
    assert report.differences == ()
    assert report.figures > 300


def test_the_command(folder: Path, command: Command) -> None:
    code, out, err = command("verify", folder)
    assert (code, err) == (0, "")
    assert re.match(rf"{folder}: \d+ figures and the card are what the predictions give\.\n", out)
    assert "Not recomputed: the time of an answer" in out
    change(folder / "metrics.json", lambda c: c["test"].update(accuracy=0.999, brier=0.001))
    code, out, err = command("verify", folder, folder.parent / "none")
    assert code == 2
    assert re.match(
        rf"{folder}: metrics.json has test.accuracy 0.999, the predictions give 0\.\d+\.\n", out
    )
    assert "2 difference(s) in" in out
    assert "none" in err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("test", "accuracy"), 0.5001),
        (("test", "n"), 8),
        (("test", "per_class", "mel", "recall"), 0.123),
        (("test", "operating_points", "youden", "tp"), 99),
        (("test", "intervals", "bounds", "accuracy"), [0.1, 0.9]),
        (("test", "subgroups", "sex", "male", "n"), 99),
        (("test", "worst_errors"), []),
        (("test", "calibration", "slope"), 1.0),
        (("test", "retest", "lesions"), 5),
        (("test", "skin", "dark"), 3),
        (("test", "resolution", "half", "auroc"), 0.987),
        (("test", "compression", "webp_80", "auroc"), 0.987),
        (("test", "compression", "jpeg_50", "labels_changed", "share"), 0.987),
        (("test", "conformal", "coverage"), 0.9001),
        (("validation", "ece"), 0.0),
        (("data", "test", "images"), 8),
        (("external",), {"n": 200}),
        (("overlap",), 1),
        (("selection", "split"), "test"),
        (("selection", "temperature"), 9.0),
        (("selection", "cross_validation"), {}),
        (("test", "rules", "balanced_label", "balanced_accuracy"), 0.999),
        (("validation", "rules", "label", "melanoma_recall"), 0.123),
        (("selection", "ece_before_temperature"), 0.9),
        (("weights", "megabytes"), 9.5),
    ],
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else "",
)
def test_each_figure_is_compared(folder: Path, place: tuple[str, ...], value: object) -> None:
    def edit(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        assert content[place[-1]] != value
        content[place[-1]] = value

    change(folder / "metrics.json", edit)
    assert first(folder).startswith(f"metrics.json has {'.'.join(place)}")


def test_a_bias_is_compared(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["dermhub"]["bias"] = dict.fromkeys(LESION.classes, 0.0) | {"nv": 9.0}

    change(folder / "config.json", edit)
    differences = verify.verify(folder).differences
    assert any(
        re.match(r"config\.json has bias\.nv 9\.0, the validation images give ", sentence)
        for sentence in differences
    )
    assert any("metrics.json has selection.bias {}, expected {" in each for each in differences)


def test_a_prior_is_compared_with_the_counts(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["dermhub"]["prior"] |= {"nv": 0.2, "mel": 3 / 35 - 1 / 35 + 1 / 7 - 2 / 35}
        shares = content["dermhub"]["prior"]
        shares["bcc"] += 1 - sum(shares.values())

    change(folder / "config.json", edit)
    assert any(
        sentence.startswith("config.json has prior.nv 0.2, the counts of metrics.json give 0.142")
        for sentence in verify.verify(folder).differences
    )


def test_a_folder_of_an_earlier_version_has_no_such_figures(folder: Path) -> None:
    # One temperature, no prior and no rules, as dermhub wrote them before.
    change(folder / "config.json", lambda c: c["dermhub"].pop("prior"))

    def edit(content: dict[str, Any]) -> None:
        content["selection"].pop("cross_validation")
        for split in ("validation", "test"):
            content[split].pop("rules")

    change(folder / "metrics.json", edit)
    (sentence,) = verify.verify(folder).differences
    # The card is that of the newer figures.
    assert sentence.startswith("README.md has in line ")


@pytest.mark.parametrize("place", ["accuracy", "per_class", "intervals"])
def test_a_figure_that_is_gone_or_new_is_told(folder: Path, place: str) -> None:
    change(folder / "metrics.json", lambda c: c["test"].pop(place))
    assert first(folder).startswith(f"metrics.json has test.{place} None, ")
    change(folder / "metrics.json", lambda c: c["test"].update({place: None, "praise": 1.0}))
    assert (
        "metrics.json has test.praise 1.0, the predictions give None"
        in verify.verify(folder).differences
    )


def test_a_changed_prediction_is_told(folder: Path) -> None:
    name = logit_columns(LESION)[0]
    change_rows(folder / "predictions.csv", lambda t: t.loc.__setitem__((10, name), "9.5"))
    assert " the predictions give " in first(folder)


def test_a_changed_label_is_told(folder: Path) -> None:
    change_rows(folder / "predictions.csv", lambda t: t.loc.__setitem__((10, "dx"), "nv"))
    assert " the predictions give " in first(folder)


def test_a_changed_threshold_or_temperature_is_told(folder: Path) -> None:
    change(folder / "config.json", lambda c: c["dermhub"].update(temperature=3.0))
    assert " the predictions give " in first(folder)


@pytest.mark.parametrize("place", ["temperature", "thresholds", "conformal"])
def test_what_was_not_chosen_on_validation_is_told(folder: Path, place: str) -> None:
    """A config.json that was tuned on other images, with figures and card to match."""

    def edit(content: Any) -> None:
        block = content["dermhub"]
        if place == "temperature":
            block["temperature"] += 0.01
        elif place == "thresholds":
            block["thresholds"]["youden"]["value"] += 0.01
        else:
            block["conformal"]["least"]["mel"] += 0.01

    change(folder / "config.json", edit)
    config = ModelFolder(folder).config
    content = files.read_json(folder / "metrics.json")
    recomputed = verify.recompute(ModelFolder(folder))
    content |= {name: recomputed[name] for name in ("validation", "test")}
    files.write_json(folder / "metrics.json", content)
    files.write_text(folder / "README.md", render.render(config, content))
    name = {"thresholds": "thresholds.youden", "conformal": "conformal.least.mel"}.get(place, place)
    assert re.fullmatch(
        rf"config\.json has {name} [\d.]+, the validation images give [\d.]+", first(folder)
    )


def test_a_changed_card_is_told(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("## Limits", "## Praise"))
    assert re.fullmatch(
        r"README.md has in line \d+ '## Praise', the figures give '## Limits'", first(folder)
    )
    (folder / "README.md").write_text(text + "\nAnd more.\n")
    assert first(folder) == "README.md is longer or shorter than the card that the figures give"


def test_changed_weights_are_told(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert re.fullmatch(
        r"model.safetensors has the sha256 \w{64}, config.json states \w{64}", first(folder)
    )
    path.unlink()
    assert first(folder) == "there is no model.safetensors, of which config.json states the sha256"


def test_changed_files_beside_the_weights_are_told(folder: Path) -> None:
    (folder / "seen.safetensors").write_bytes(b"other")
    assert re.match(r"seen.safetensors has the sha256 \w{64}, config.json states ", first(folder))


def test_weights_of_another_measurement_are_told(folder: Path) -> None:
    change(folder / "metrics.json", lambda c: c["weights"].update(sha256="0" * 64))
    assert first(folder).startswith(
        f"metrics.json has weights.sha256 '{'0' * 64}', config.json states "
    )


def test_a_leaky_table_is_refused(folder: Path) -> None:
    table = pd.read_csv(folder / "predictions.csv")
    lesion = table["lesion_id"][table["split"] == "test"].iloc[0]
    change_rows(folder / "predictions.csv", lambda t: t.loc.__setitem__((0, "lesion_id"), lesion))
    with pytest.raises(
        LeakError, match=rf"^1 lesion\(s\) stand in more than one split \({lesion}\)"
    ):
        verify.verify(folder)


def test_training_lesions_among_the_test_images_of_ham10000_are_refused(folder: Path) -> None:
    change(
        folder / "config.json",
        lambda c: c["dermhub"]["provenance"]["data"].update(ham10000_lesions=True),
    )
    lesions = {
        split: [n for n, s in partition.shipped().items() if s == split]
        for split in partition.SPLITS
    }

    def rename(table: pd.DataFrame) -> None:
        table["lesion_id"] = [lesions[split][row] for row, split in enumerate(table["split"])]
        table.loc[9, "lesion_id"] = lesions["train"][0]

    change_rows(folder / "predictions.csv", rename)
    with pytest.raises(
        LeakError, match=rf"^1 lesion\(s\) are not in the split .* \({lesions['train'][0]}\): "
    ):
        verify.verify(folder)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda t: t.drop(columns="logit_mel"), r"lacks the column\(s\) logit_mel: "),
        (lambda t: t.loc.__setitem__((2, "logit_mel"), "much"), r"has line\(s\) 4 with "),
        (lambda t: t.loc.__setitem__((2, "logit_mel"), "inf"), r"has line\(s\) 4 with "),
        (lambda t: t.loc.__setitem__((2, "logit_mel"), ""), r"has line\(s\) 4 with "),
        (lambda t: t.loc.__setitem__((3, "dx"), "scc"), r"has line\(s\) 5 with "),
        (lambda t: t.loc.__setitem__((3, "split"), "train"), r"has line\(s\) 5 with "),
        (lambda t: t.loc.__setitem__((3, "image_id"), t["image_id"][0]), r"has line\(s\) 5 with "),
        (lambda t: t.loc.__setitem__((3, "age"), "old"), r"has line\(s\) 5 with "),
        (lambda t: t.loc.__setitem__((len(t) - 1, "sharpness"), "abc"), r"has line\(s\) \d+ with "),
        (
            lambda t: t.loc.__setitem__((len(t) - 1, "label_jpeg_50"), "x"),
            r"has line\(s\) \d+ with ",
        ),
        (lambda t: t[t["split"] != "test"], r"has no image of the split\(s\) test: "),
    ],
    ids=[
        "column",
        "word",
        "infinite",
        "empty",
        "diagnosis",
        "split",
        "twice",
        "age",
        "sharpness",
        "label",
        "no test",
    ],
)
def test_tables_that_are_damaged(
    folder: Path, edit: Callable[[pd.DataFrame], object], problem: str
) -> None:
    change_rows(folder / "predictions.csv", edit)
    with pytest.raises(
        DataError, match=rf"^{folder / 'predictions.csv'} {problem}.*measure the model again\.$"
    ):
        verify.verify(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'"'])
def test_files_that_are_none(folder: Path, content: bytes) -> None:
    (folder / "predictions.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"predictions.csv is no CSV table|lacks the column"):
        verify.verify(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "predictions.csv", "README.md"])
def test_files_that_are_not_there(folder: Path, name: str) -> None:
    (folder / name).unlink()
    sentences = {"config.json": f"^{folder} is not a model folder: it has no config.json"}
    with pytest.raises(
        (DataError, ModelError),
        match=sentences.get(name, rf"^{folder / name} can't be read \(.*No such file"),
    ):
        verify.verify(folder)


def test_metrics_that_are_no_object(folder: Path) -> None:
    (folder / "metrics.json").write_text("[]")
    with pytest.raises(
        DataError, match=r"^.*metrics.json is no JSON object: measure the model again\.$"
    ):
        verify.verify(folder)
    (folder / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"^.*metrics.json is not valid JSON"):
        verify.verify(folder)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a,b\n1,2\n", r"lacks the column\(s\) source, image_id, dx, "),
        (
            f"source,image_id,dx,{','.join(logit_columns(LESION))}\nph2,A,bkl,0,0,0,0,0,0,0\n",
            r"has line\(s\) 2 with ",
        ),
        (
            f"source,image_id,dx,{','.join(logit_columns(LESION))}\nph2,A,nv,0,0,x,0,0,0,0\n",
            r"has line\(s\) 2 with ",
        ),
        ("", r"can't be read "),
    ],
    ids=["columns", "diagnosis", "number", "empty"],
)
def test_external_tables_that_are_damaged(folder: Path, rows: str, problem: str) -> None:
    (folder / EXTERNAL).write_text(rows)
    with pytest.raises(
        DataError, match=rf"^{folder / EXTERNAL} {problem}.*measure the model again\.$"
    ):
        verify.verify(folder)


def test_rounding_is_no_difference() -> None:
    assert verify.same(0.1234561, 0.123456)
    assert verify.same(1.0, 1)
    assert not verify.same(0.12347, 0.123456)
    assert not verify.same(3, 4)
    assert not verify.same(None, 0.0)
    assert not verify.same(True, 1)


def test_with_the_images_the_logits_are_worked_out_again(
    folder: Path, tiny_data: Path, command: Command
) -> None:
    code, out, err = command("verify", folder, "--images", tiny_data, "--workers", 0)
    assert (code, err) == (0, "")
    assert "figures, the card and the logits of 14 images are what the predictions give." in out
    from dermhub.release import verify

    name = logit_columns(LESION)[0]
    change_rows(folder / "predictions.csv", lambda t: t.loc.__setitem__((3, name), "19.5"))
    count, differences = verify.check_logits(folder, tiny_data)
    assert (count, len(differences)) == (14, 1)
    assert re.match(
        r"the weights give TEST_\d+ probabilities that differ by [01]\.\d{4} from those of ",
        differences[0],
    )


def test_a_graph_of_other_weights_is_told(folder: Path, tiny_data: Path) -> None:
    graph = onnx.load_model_from_string((folder / GRAPH).read_bytes())
    # Another bias of the last layer, which raises the first of seven logits by 1.
    (last,) = (each for each in graph.graph.node if each.op_type == "Gemm")
    last.input[2] = "another"
    values = np.eye(7, dtype=np.float32)[0]
    graph.graph.initializer.append(numpy_helper.from_array(values, "another"))
    before = Classifier(folder).engine
    add_file(folder, GRAPH, graph.SerializeToString())
    assert verify.verify(folder).differences == (
        f"{folder / GRAPH} is not the graph of model.safetensors (its 'another' is none of the "
        "weights): fetch the model again, or remove the graph from config.json and "
        "measure the model",
    )
    weights = (folder / WEIGHTS).read_bytes()
    joined = graph_weights.join(graph.SerializeToString(), weights)
    other = OnnxEngine(ModelFolder(folder), joined.content)
    assert export.difference(select.load_torch(ModelFolder(folder)), before) <= export.LIMIT
    assert export.difference(select.load_torch(ModelFolder(folder)), other) > 0.01
    with pytest.raises(ModelError, match=r"is not the graph of model\.safetensors"):
        verify.check_logits(folder, tiny_data)


@pytest.mark.slow
@pytest.mark.parametrize("folder", MODELS)
def test_every_shipped_card_recomputes_itself(folder: Path) -> None:
    assert verify.verify(folder).differences == ()
