"""The terms of the loss, by hand."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dermhub import files
from dermhub.data import partition
from dermhub.errors import ConfigError, LeakError, ModelError
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from dermhub.training import losses, transfer
from tests.support.tiny import TINY_RUN, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"


def test_without_mixup_the_images_are_the_same_object() -> None:
    views = torch.rand(3, 3, 2, 2)
    mixed, partners, share = losses.mix(views, 0.0, np.random.default_rng(0))
    assert mixed is views
    assert partners.tolist() == [0, 1, 2]
    assert share == 1.0


def numbered(height: int, width: int) -> torch.Tensor:
    """Four images (4, 3, height, width) in channels_last; all pixels of image i are i."""
    numbers = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, height, width)
    return numbers.contiguous(memory_format=torch.channels_last)


def test_a_blend_by_hand() -> None:
    views = numbered(2, 2)
    mixed, partners, share = losses.mix(views, 0.4, np.random.default_rng(1))
    assert 0 < share < 1
    assert sorted(partners.tolist()) == [0, 1, 2, 3]
    expected = [
        share * image + (1 - share) * partner for image, partner in enumerate(partners.tolist())
    ]
    assert mixed[:, 0, 0, 0].tolist() == pytest.approx(expected)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_a_blend_depends_on_the_generator_alone() -> None:
    views = torch.rand(8, 3, 2, 2)
    first, again = (losses.mix(views, 0.2, np.random.default_rng([7, 3])) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], losses.mix(views, 0.2, np.random.default_rng([7, 4]))[0])


def test_the_loss_of_a_blend_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    labels = torch.eye(2, dtype=torch.bool)
    partners = torch.tensor([1, 0])
    of_labels = (math.log(4 / 3) + math.log(2)) / 2
    alone = losses.label_loss(logits, labels, partners, 1.0, 0.0).item()
    assert alone == pytest.approx(of_labels)
    of_partners = (math.log(4) + math.log(2)) / 2
    mixed = losses.label_loss(logits, labels, partners, 0.75, 0.0).item()
    assert mixed == pytest.approx(0.75 * of_labels + 0.25 * of_partners)


def test_smoothed_labels_are_torchs() -> None:
    logits = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 6, 3, 3, 1, 5])
    possible = losses.memberships(LESION)[labels]
    ours = losses.label_loss(logits, possible, torch.arange(6), 1.0, 0.1)
    torchs = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert ours.item() == pytest.approx(torchs.item(), abs=1e-6)


def test_a_label_without_a_diagnosis_by_hand() -> None:
    # Of akiec, bcc, bkl, df, mel, nv, vasc: benign are 0.2 + 0.05 + 0.3 + 0.05, malignant 0.4.
    logits = torch.tensor([[0.1, 0.05, 0.2, 0.05, 0.25, 0.3, 0.05]]).log().expand(2, 7)
    possible = losses.memberships(LESION)[torch.tensor([7, 8])]
    loss = losses.label_loss(logits, possible, torch.arange(2), 1.0, 0.0).item()
    assert loss == pytest.approx(-(math.log(0.6) + math.log(0.4)) / 2)


def test_such_a_label_moves_all_benign_classes_alike() -> None:
    logits = torch.zeros(1, 7, requires_grad=True)
    possible = losses.memberships(LESION)[torch.tensor([7])]
    losses.label_loss(logits, possible, torch.arange(1), 1.0, 0.0).backward()  # type: ignore[no-untyped-call]
    # p(class) for the malignant ones, p(class) - p(class) / p(benign) = 1/7 - 1/4 for the others.
    benign = pytest.approx(1 / 7 - 1 / 4)
    malignant = pytest.approx(1 / 7)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [
        malignant,
        malignant,
        benign,
        benign,
        malignant,
        benign,
        benign,
    ]


def test_a_student_that_agrees_has_nothing_to_learn() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    # Only differences between logits count.
    assert losses.distillation_loss(logits, logits + 3.0).item() == pytest.approx(0, abs=1e-6)


def test_the_divergence_by_hand() -> None:
    # Softened by 2, the teacher says 3/4 and 1/4, the student 1/2 and 1/2.
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.zeros(1, 2)
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert losses.distillation_loss(student, teacher).item() == pytest.approx(expected)


def test_a_lesion_model_teaches_the_sums_of_its_probabilities() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            # Of akiec, bcc, bkl, df, mel, nv, vasc.
            probabilities = torch.tensor([[0.1, 0.05, 0.2, 0.05, 0.25, 0.3, 0.05]])
            return probabilities.log().expand(len(images), 7)

    groups = [BINARY.classes.index(str(BINARY.class_of(name))) for name in LESION.classes]
    logits = transfer.Grouped(Fixed(), groups)(torch.zeros(2, 3, 4, 4))
    assert logits.softmax(dim=1).tolist() == [pytest.approx([0.6, 0.4])] * 2


def test_several_teachers_teach_the_mean_of_their_probabilities() -> None:
    class Fixed(torch.nn.Module):
        def __init__(self, *probabilities: float) -> None:
            super().__init__()
            self.logits = torch.tensor([probabilities]).log() + 3.0  # only differences count

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 2)

    mean = transfer.Mean([Fixed(0.9, 0.1), Fixed(0.3, 0.7), Fixed(0.6, 0.4)])
    logits = mean(torch.zeros(2, 3, 4, 4))
    assert logits.exp().tolist() == [pytest.approx([0.6, 0.4])] * 2


@pytest.mark.parametrize("named", ["a,b", " a , b"])
def test_teachers_are_named_with_commas_between_them(named: str) -> None:
    assert transfer.teacher_names(named) == ["a", "b"]
    assert transfer.teacher_names("") == []


@pytest.mark.parametrize("named", [",", "a,", ",a", "a,,b", " ", "a,a", "a, a"])
def test_teachers_without_a_name_or_named_twice(named: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--teacher is '.*', expected models, each once, with commas"
    ):
        transfer.teacher_names(named)


def test_a_folder_with_a_comma_is_one_teacher(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert transfer.teacher_names(str(folder)) == [str(folder)]


@pytest.mark.slow
def test_a_run_with_two_teachers_names_both(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run / "model", tmp_path / "second")
    both = f"{finished_run / 'model'},{tmp_path / 'second'}"
    options = [*TINY_RUN, "--epochs", 1, "--data", tiny_data, "--teacher", both]
    run_training(*options, "--out", tmp_path / "taught")
    card = (tmp_path / "taught" / "model" / "README.md").read_text()
    assert "--teacher tiny,second " in card
    assert (
        "\nThe model also learned from the mean answers of 2 other models (`--teacher`):\n" in card
    )
    sha256 = ModelFolder(finished_run / "model").config.weights_sha256
    assert card.count(f"weights with sha256 `{sha256[:12]}`") == 2
    assert str(tmp_path) not in card


def test_one_of_two_teachers_does_not_exist(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"^There is no model 'nowhere'"):
        run_training(
            *TINY_RUN,
            "--data",
            tiny_data,
            "--teacher",
            f"{finished_run / 'model'},nowhere",
            "--out",
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_lesion_model_teaches_a_binary_one(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    options = [*TINY_RUN, "--task", "binary", "--epochs", 1, "--data", tiny_data]
    run_training(*options, "--teacher", finished_run / "model", "--out", tmp_path / "taught")
    run_training(*options, "--out", tmp_path / "alone")
    taught, alone = (load_file(tmp_path / name / WEIGHTS) for name in ("taught", "alone"))
    assert not torch.equal(taught["conv1.0.weight"], alone["conv1.0.weight"])


@pytest.mark.slow
def test_a_run_with_a_teacher_and_mixup(
    tiny_data: Path, finished_run: Path, tmp_path: Path
) -> None:
    options = [*TINY_RUN, "--epochs", 2, "--data", tiny_data, "--mixup", 0.2]
    run_training(
        *options,
        "--teacher",
        finished_run / "model",
        "--out",
        tmp_path / "taught",
    )
    run_training(*options, "--out", tmp_path / "alone")
    taught, alone = (load_file(tmp_path / name / WEIGHTS) for name in ("taught", "alone"))
    assert not torch.equal(taught["conv1.0.weight"], alone["conv1.0.weight"])
    card = (tmp_path / "taught" / "model" / "README.md").read_text()
    assert "--teacher tiny " in card
    teacher = ModelFolder(finished_run / "model").config
    assert (
        "\nThe model also learned from the answers of another model (`--teacher`):\n"
        f"`{teacher.architecture}`, task `lesion`, weights with sha256 "
        f"`{teacher.weights_sha256[:12]}`;\nit had learned "
    ) in card
    assert str(tmp_path) not in card


def test_a_teacher_of_another_task(tiny_data: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "teacher", BINARY)
    with pytest.raises(
        ConfigError, match=r"^--teacher is a model of the task 'binary', expected 'lesion'.$"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--teacher", folder, "--out", tmp_path / "run")


def test_a_teacher_that_may_have_seen_the_test_lesions(tiny_data: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "teacher", LESION)
    with pytest.raises(
        LeakError, match="was trained on another table, and may have seen the lesions"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--teacher", folder, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_knew_some_of_the_test_lesions_as_further_images(
    tiny_data: Path, tmp_path: Path
) -> None:
    # Each of the two tables is divided without a leak, but one's training images are held out by
    # the other.
    folder = make_model(tmp_path / "teacher", LESION)
    config = ModelFolder(folder).config
    data = {
        "table_sha256": "0" * 64,
        "partition_sha256": partition.shipped_hash(),
        "ham10000_lesions": True,
    }
    files.write_json(
        folder / "config.json",
        dataclasses.replace(config, provenance={**config.provenance, "data": data}).to_json(),
    )
    with pytest.raises(
        LeakError, match="was trained on another table, and may have seen the lesions"
    ):
        run_training(*TINY_RUN, "--data", tiny_data, "--teacher", folder, "--out", tmp_path / "run")
