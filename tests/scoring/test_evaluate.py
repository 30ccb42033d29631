"""Evaluation on labelled images: the figures of `predict`, worked out again; images left out."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
import torch

from dermhub.data import partition, tables
from dermhub.errors import DataError, LeakError
from dermhub.evaluation import metrics, robustness, summary
from dermhub.evaluation import predictions as evaluation_predictions
from dermhub.models import backbone
from dermhub.models.classifier import Classifier
from dermhub.models.export import export
from dermhub.models.model_folder import ModelFolder
from dermhub.release import finish
from dermhub.scoring.evaluate import Labelled, evaluate, read_labelled
from dermhub.tasks import BINARY, LESION, Task
from dermhub.training import run
from dermhub.training.config import TrainConfig
from dermhub.training.fit import Fit
from tests.support.tiny import TINY_RUN, TINY_SPEC, run_training

TABLE = "tiny_metadata.csv"


def labels(folder: Path, **columns: list[str]) -> Path:
    """Write a table of the given columns."""
    path = folder / "labels.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def ids(count: int) -> list[str]:
    """List image ids of the tiny data: two photographs of the first lesion, then one of each."""
    return ["TEST_0000", "TEST_0001", *(f"TEST_{number:03d}0" for number in range(1, count - 1))]


def some_of(split: str, count: int) -> list[str]:
    return [name for name, place in partition.shipped().items() if place == split][:count]


@pytest.mark.parametrize("task", [BINARY, LESION], ids=["binary", "lesion"])
def test_the_figures_are_those_of_predict(
    request: pytest.FixtureRequest, tiny_data: Path, task: Task
) -> None:
    classifier = Classifier(request.getfixturevalue(f"tiny_{task.name}_model"))
    whole = read_labelled(tiny_data, tiny_data / TABLE, task).table
    # Every fourth image, so that both go through the network as one batch, and are the same to the
    # bit.
    labelled = Labelled(whole.iloc[::4].reset_index(drop=True), {})
    content = evaluate(classifier, labelled)
    predictions = classifier.predict(list(labelled.table["path"]))

    true = np.array([task.index_of(dx) for dx in labelled.table["dx"]])
    probabilities = np.array([list(p.probabilities.values()) for p in predictions])
    called = np.array([task.classes.index(p.label) for p in predictions])
    sick = np.array([dx in ("akiec", "bcc", "mel") for dx in labelled.table["dx"]])
    score = np.array([p.malignancy for p in predictions])
    assert (content["n"], content["task"]) == (13, task.name)
    assert content["accuracy"] == (called == true).mean()
    assert content["nll"] == metrics.negative_log_likelihood(probabilities, true)
    assert content["nll"] == pytest.approx(
        -np.mean([math.log(row[t]) for row, t in zip(probabilities, true, strict=True)])
    )
    assert content["brier"] == metrics.brier_score(probabilities, true)
    assert content["malignancy_auroc"] == pytest.approx(reference.roc_auc_score(sick, score))
    assert (
        content["confusion_matrix"]
        == metrics.confusion_matrix(true, called, len(task.classes)).tolist()
    )
    point = content["operating_points"]["sensitivity_95"]
    caught = np.array([p.malignant for p in predictions])
    assert [point[name] for name in ("tp", "fn", "fp", "tn")] == [
        (caught & sick).sum(),
        (~caught & sick).sum(),
        (caught & ~sick).sum(),
        (~caught & ~sick).sum(),
    ]


def test_the_figures_are_json(tiny_binary_model: Path, tiny_data: Path) -> None:
    content = evaluate(
        Classifier(tiny_binary_model), read_labelled(tiny_data, tiny_data / TABLE, BINARY)
    )
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (content["n"], content["lesions"], content["model"]) == (49, 42, "tiny-binary")


def test_labels_of_other_classes_are_counted_and_left_out(tiny_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, image_id=ids(6), dx=["nv", "scc", "mel", "SCC ", "unk", "bcc"])
    labelled = read_labelled(tiny_data, path, LESION)
    assert labelled.left_out == {"scc": 2, "unk": 1}
    assert list(labelled.table["dx"]) == ["nv", "mel", "bcc"]
    # An image that is left out needs no file.
    path = labels(tmp_path, image_id=["TEST_0000", "elsewhere"], dx=["nv", "scc"])
    assert read_labelled(tiny_data, path, LESION).left_out == {"scc": 1}


def test_binary_takes_both_its_own_classes_and_diagnoses(tiny_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, image_id=ids(4), dx=["benign", "malignant", "mel", "nv"])
    labelled = read_labelled(tiny_data, path, BINARY)
    assert labelled.left_out == {}
    assert tables.targets(labelled.table, BINARY).tolist() == [0, 1, 1, 0]
    # The other way round there is no telling which malignant class is meant.
    assert read_labelled(tiny_data, path, LESION).left_out == {"benign": 1, "malignant": 1}


def test_nothing_but_labels_of_other_classes(tiny_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, image_id=ids(3), dx=["benign", "malignant", "benign"])
    with pytest.raises(DataError) as caught:
        read_labelled(tiny_data, path, LESION)
    assert str(caught.value) == (
        f"No label of {path} is a class of the task 'lesion': it has benign, malignant, expected "
        "akiec, bcc, bkl, df, mel, nv, vasc."
    )


def test_without_lesion_ids_nothing_is_known_about_the_training(
    tiny_binary_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    path = labels(tmp_path, image_id=ids(4), dx=["nv", "mel", "mel", "nv"])
    content = evaluate(Classifier(tiny_binary_model), read_labelled(tiny_data, path, BINARY))
    assert content["lesions"] is None
    assert content["images_of_training_lesions"] == "unknown: the table has no lesion_id"
    assert content["copies_of_images_learnt_from"] == "unknown: the model has no seen.safetensors"


def test_images_of_lesions_that_the_models_were_trained_on_are_counted(
    tiny_binary_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    lesions = [*some_of("train", 2), *some_of("validation", 1), *some_of("test", 1), "ANOTHER"]
    path = labels(tmp_path, image_id=ids(6), dx=["nv", "mel"] * 3, lesion_id=[lesions[0], *lesions])
    content = evaluate(Classifier(tiny_binary_model), read_labelled(tiny_data, path, BINARY))
    # Two photographs of the first one, one of the second, and validation counts: thresholds were
    # chosen there.
    assert (content["n"], content["lesions"], content["images_of_training_lesions"]) == (6, 5, 4)


def test_copies_are_counted_whatever_the_table_says(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    classifier, table = Classifier(finished_run / "model"), tables.read_table(tiny_data, LESION)
    split_ids = {
        split: list(table["image_id"][table["split"] == split]) for split in partition.SPLITS
    }
    names = [*split_ids["train"][:3], split_ids["validation"][0], split_ids["test"][0]]
    dx = list(table.set_index("image_id")["dx"].loc[names])
    # Without lesion ids, with unknown ones, and with one of HAM10000's test lesions, of which more
    # is known.
    for lesions, expected in (
        ([], 4),
        ([f"X{n}" for n in range(5)], 4),
        ([some_of("test", 1)[0], *"ABCD"], 3),
    ):
        columns = {"lesion_id": lesions} if lesions else {}
        path = labels(tmp_path, image_id=names, dx=dx, **columns)
        content = evaluate(classifier, read_labelled(tiny_data, path, LESION))
        assert content["copies_of_images_learnt_from"] == expected


def test_an_export_knows_what_its_model_has_seen(
    finished_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    classifier, table = Classifier(finished_run / "model"), tables.read_table(tiny_data, LESION)
    export(classifier, tmp_path / "model.onnx")
    names = list(table["image_id"][table["split"] == "train"][:2])
    path = labels(tmp_path, image_id=names, dx=["nv", "mel"])
    content = evaluate(Classifier(tmp_path / "model.onnx"), read_labelled(tiny_data, path, LESION))
    assert content["copies_of_images_learnt_from"] == 2


def test_a_split_keeps_its_own_lesions(tiny_data: Path, tmp_path: Path) -> None:
    lesions = [*some_of("train", 2), *some_of("test", 3)]
    path = labels(
        tmp_path, image_id=ids(5), dx=["scc", "nv", "mel", "nv", "unk"], lesion_id=lesions
    )
    labelled = read_labelled(tiny_data, path, BINARY, "test")
    assert list(labelled.table["lesion_id"]) == lesions[2:4]
    assert labelled.left_out == {"unk": 1}


def test_a_split_needs_lesion_ids(tiny_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, image_id=ids(2), dx=["nv", "mel"])
    with pytest.raises(
        DataError, match=r"^--split test needs a column lesion_id in .*, which has image_id, dx: n"
    ):
        read_labelled(tiny_data, path, BINARY, "test")


def test_a_missing_column_is_named_among_the_tables_own(tiny_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, photo=ids(2), finding=["nv", "mel"], case=["1", "2"])
    with pytest.raises(DataError) as caught:
        read_labelled(tiny_data, path, BINARY, "test", "image=photo,dx=finding")
    assert str(caught.value) == (
        f"--split test needs a column lesion_id in {path}, which has photo, finding, case: name "
        "the one with the lesions of HAM10000, as in --columns lesion=COLUMN."
    )


def test_the_split_of_a_table_is_that_of_its_own_column(tiny_data: Path, tmp_path: Path) -> None:
    table = pd.read_csv(tiny_data / TABLE).head(6)
    table["set"] = ["test", "train", "test", "val", "train", "test"]
    path = tmp_path / "own_splits.csv"
    table.to_csv(path, index=False)
    labelled = read_labelled(tiny_data, path, LESION, "test", "split=set")
    assert list(labelled.table["image_id"]) == list(table["image_id"].iloc[[0, 2, 5]])
    table["set"] = "train"
    table.to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        read_labelled(tiny_data, path, LESION, "test", "split=set")
    assert str(caught.value) == (
        f"No image of {path} is in the test split: its own column of splits has train."
    )


def test_a_split_needs_lesions_of_ham10000(tiny_data: Path) -> None:
    with pytest.raises(
        DataError, match=r"^No lesion of .* is in the test split of HAM10000: leave --split out\.$"
    ):
        read_labelled(tiny_data, tiny_data / TABLE, BINARY, "test")


def test_a_bias_of_each_class_makes_up_for_even_draws(tiny_data: Path, tmp_path: Path) -> None:
    # A model that knows nothing, and draws all classes alike. Of seven images, five are nevi.
    table = tables.read_table(tiny_data, LESION)
    table["dx"] = table["dx"].replace(dict.fromkeys(("akiec", "bcc", "df", "vasc"), "nv"))
    held_out = table[table["split"] == "validation"]
    more = [held_out.assign(lesion_id=held_out["lesion_id"] + f"-{n}") for n in range(5)]
    table = pd.concat([table, *more], ignore_index=True)
    model = backbone.build("test_resnet", 7)
    torch.nn.init.zeros_(backbone.classifier(model).weight)
    config = TrainConfig(model="test_resnet", sampling=0.0, workers=0, batch_size=8)
    _, chosen, selection = finish.choose(Fit(model, table, config, TINY_SPEC, tmp_path), {})
    assert max(chosen.bias, key=chosen.bias.__getitem__) == "nv"
    assert selection["bias"] == chosen.bias
    scores = selection["cross_validation"]
    assert scores["temperature_and_bias"]["nll"] < scores["temperature"]["nll"]
    # 35 training images, and the four classes without images count as one each.
    assert chosen.prior["nv"] == pytest.approx(25 / 39)
    assert chosen.prior["mel"] == pytest.approx(5 / 39)
    assert chosen.prior["df"] == pytest.approx(1 / 39)


def test_the_saved_model_has_the_figures_of_its_metrics(
    finished_run: Path, tiny_data: Path
) -> None:
    written = json.loads((finished_run / "model" / "metrics.json").read_text())
    table = tables.read_table(tiny_data, LESION)
    for split in ("validation", "test"):
        part = table[table["split"] == split].reset_index(drop=True)
        again = evaluate(Classifier(finished_run / "model"), Labelled(part, {}))
        for name in (
            "n",
            "lesions",
            "accuracy",
            "nll",
            "ece",
            "per_class",
            "confusion_matrix",
            "operating_points",
        ):
            assert again[name] == written[split][name], name
        for name, row in again["rules"].items():
            assert row.items() <= written[split]["rules"][name].items()


def test_the_shipped_predictions_give_the_same_figures(finished_run: Path) -> None:
    written = json.loads((finished_run / "model" / "metrics.json").read_text())
    table = pd.read_csv(finished_run / "model" / "predictions.csv")
    assert Counter(table["split"]) == {"validation": 7, "test": 7}
    part = table[table["split"] == "test"]
    config = ModelFolder(finished_run / "model").config
    logits = part[[f"logit_{name}" for name in LESION.classes]].to_numpy(np.float32)
    again = summary.summarize(logits, tables.targets(part, LESION), config)
    assert again == {name: written["test"][name] for name in again}


def test_histology_only_is_measured_on_histology_only(finished_run: Path, tiny_data: Path) -> None:
    written = json.loads((finished_run / "model" / "metrics.json").read_text())["test"][
        "histology_only"
    ]
    table = tables.read_table(tiny_data, LESION)
    part = table[(table["split"] == "test") & (table["dx_type"] == "histo")].reset_index(drop=True)
    again = evaluate(Classifier(finished_run / "model"), Labelled(part, {}))
    assert {name: again[name] for name in written} == pytest.approx(written)
    assert 0 < written["n"] < 7


def test_what_is_broken_down_comes_from_the_shipped_predictions(
    finished_run: Path, tiny_data: Path
) -> None:
    content = json.loads((finished_run / "model" / "metrics.json").read_text())
    config = ModelFolder(finished_run / "model").config
    rows = pd.read_csv(finished_run / "model" / "predictions.csv")
    rows = rows[rows["split"] == "test"].reset_index(drop=True)
    table = (
        tables.read_table(tiny_data, LESION)
        .set_index("image_id")
        .loc[rows["image_id"]]
        .reset_index()
    )
    table[evaluation_predictions.logit_columns(LESION)] = rows[
        evaluation_predictions.logit_columns(LESION)
    ]
    columns = list(robustness.TRAITS)
    table[columns] = rows[columns]
    again = summary.break_down(table, config)
    assert set(again) >= {
        "intervals",
        "subgroups",
        "worst_errors",
        "calibration",
        "retest",
        "skin",
        "resolution",
    }
    assert again == {name: content["test"][name] for name in again}
    assert again["intervals"]["lesions"] == content["test"]["lesions"]
    assert set(again["subgroups"]) == {"sex", "age", "localization", "dx_type"}
    assert len(again["worst_errors"]) == content["test"]["n"] - round(
        content["test"]["accuracy"] * 7
    )
    assert content["overlap"] == 0


def test_a_leaky_split_gets_no_model_folder(tiny_data: Path, tmp_path: Path) -> None:
    table = tables.read_table(tiny_data, LESION)
    config = TrainConfig(model="test_resnet", workers=0, batch_size=8)
    fit = Fit(backbone.build("test_resnet", 7), table, config, TINY_SPEC, tmp_path)
    lesion = table["lesion_id"][table["lesion_id"].duplicated()].iloc[0]
    fit.table.loc[table["lesion_id"] == lesion, "split"] = ["train", "test"]
    with pytest.raises(
        LeakError, match=rf"^1 lesion\(s\) stand in more than one split \({lesion}\)"
    ):
        finish.finish(fit, tmp_path / "model", {})
    assert partition.overlap(fit.table) == 1
    assert not (tmp_path / "model").exists()


def test_describe_counts_each_split(tiny_data: Path) -> None:
    table = tables.read_table(tiny_data, BINARY)
    table["split"] = [
        "train" if row < 14 else "validation" if row < 21 else "test" for row in range(49)
    ]
    train = summary.describe(table, BINARY)["train"]
    # The first fourteen images are two diagnoses of six lesions, of which the first has two
    # photographs.
    assert (train["images"], train["lesions"]) == (14, 12)
    assert train["classes"] == {"benign": 0, "malignant": 14}
    assert train["dx"] == {"akiec": 7, "bcc": 7}
    # Ages: 21 to 25, 26 twice and 28 to 31; those of lesions 0 (two photographs) and 7 are empty.
    assert train["age"] == {"median": 26.0, "q25": 23.5, "q75": 28.5, "unknown": 3}


@pytest.mark.slow
def test_a_run_on_poor_data_ends_with_a_model(tiny_data: Path, tmp_path: Path) -> None:
    # No ages, sexes, histology or dermatofibroma, and bcc in training alone: figures that are
    # undefined are left out.
    folder = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    table = pd.read_csv(folder / TABLE)
    table = table[table["dx"] != "df"]
    of_class = table["lesion_id"].str[-3:].astype(int) % 6
    table["split"] = np.select(
        [(of_class < 4) | (table["dx"] == "bcc"), of_class == 4], ["train", "validation"], "test"
    )
    table = table.assign(age=np.nan, sex=np.nan, dx_type="follow_up")
    table.to_csv(folder / TABLE, index=False)
    run_training(
        "--data", folder, *TINY_RUN, "--epochs", 1, "--sampling", 0, "--out", tmp_path / "run"
    )
    content = json.loads((tmp_path / "run" / "model" / "metrics.json").read_text())
    # A class without training images counts as one image.
    prior = ModelFolder(tmp_path / "run" / "model").config.prior
    assert prior["df"] == pytest.approx(1 / (content["data"]["train"]["images"] + 1))
    assert content["test"]["per_class"]["bcc"]["auroc"] is None
    assert "histology_only" not in content["test"]
    assert "age" not in content["data"]["train"]
    assert (
        Classifier(tmp_path / "run" / "model").predict(folder / "images" / "TEST_0000.jpg").label
        in LESION.classes
    )


def test_the_provenance_names_no_place_on_the_machine() -> None:
    config = TrainConfig(
        data="/some/where/photos", out="/else/where", init="/weights/resnet18.safetensors"
    )
    begun = {"table_sha256": "0" * 64, "revision": "unknown"}
    history = [{"seconds": n, "images_per_second": 60 / n} for n in (2.0, 60.0, 3.0)]
    table = pd.DataFrame({"lesion_id": ["A", "A", "B"], "split": ["train", "train", "test"]})
    provenance = run.provenance(config, begun, history, table)
    assert "/" not in json.dumps(provenance)
    assert provenance["options"]["init"] == "resnet18.safetensors"
    assert provenance["data"]["source"] == "photos"
    assert (
        provenance["data"]["images"],
        provenance["data"]["lesions"],
        provenance["data"]["ham10000_lesions"],
    ) == (
        3,
        2,
        False,
    )
    assert (provenance["epoch_seconds"], provenance["images_per_second"]) == (3.0, 20.0)


@pytest.mark.parametrize("moved", [False, True])
def test_only_the_shipped_splits_count_as_ham10000(moved: bool) -> None:
    # A card that says so promises that test lesions were never trained on, which another split
    # column may break.
    table = pd.DataFrame(list(partition.shipped().items())[:20], columns=["lesion_id", "split"])
    if moved:
        table.loc[7, "split"] = "test" if table["split"][7] == "train" else "train"
    history = [{"seconds": 1.0, "images_per_second": 1.0}]
    provenance = run.provenance(
        TrainConfig(data="d"), {"table_sha256": "", "revision": ""}, history, table
    )
    assert provenance["data"]["ham10000_lesions"] is not moved
