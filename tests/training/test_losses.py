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
from dermhub.data import partition, tables
from dermhub.errors import ConfigError, LeakError, ModelError
from dermhub.models import backbone
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import BINARY, LESION
from dermhub.training import losses, transfer
from dermhub.training.config import TrainConfig
from dermhub.training.fit import Fit
from tests.support.tiny import TINY_RUN, TINY_SPEC, make_model, run_training

WEIGHTS = Path("model") / "model.safetensors"


def test_without_mixup_the_images_are_the_same_object() -> None:
    views = torch.rand(3, 3, 2, 2)
    mixed, partners, share = losses.mix(views, 0.0, 0.0, np.random.default_rng(0))
    assert mixed is views
    assert partners.tolist() == [0, 1, 2]
    assert share == 1.0


def numbered(height: int, width: int) -> torch.Tensor:
    """Four images (4, 3, height, width) in channels_last; all pixels of image i are i."""
    numbers = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, height, width)
    return numbers.contiguous(memory_format=torch.channels_last)


def test_a_blend_by_hand() -> None:
    views = numbered(2, 2)
    mixed, partners, share = losses.mix(views, 0.4, 0.0, np.random.default_rng(1))
    assert 0 < share < 1
    assert sorted(partners.tolist()) == [0, 1, 2, 3]
    expected = [
        share * image + (1 - share) * partner for image, partner in enumerate(partners.tolist())
    ]
    assert mixed[:, 0, 0, 0].tolist() == pytest.approx(expected)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alphas", [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_a_blend_depends_on_the_generator_alone(alphas: tuple[float, float]) -> None:
    views = torch.rand(8, 3, 2, 2)
    first, again = (losses.mix(views, *alphas, np.random.default_rng([7, 3])) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], losses.mix(views, *alphas, np.random.default_rng([7, 4]))[0])


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_by_hand(seed: int) -> None:
    views = numbered(10, 12)
    before = views.clone()
    mixed, partners, share = losses.mix(views, 0.0, 1.0, np.random.default_rng(seed))
    assert torch.equal(views, before)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= share <= 1
    for image, partner in enumerate(partners.tolist()):
        foreign = mixed[image, 0] != image
        assert set(mixed[image, 0][foreign].tolist()) <= {float(partner)}
        if partner != image:
            assert foreign.float().mean().item() == pytest.approx(1 - share)
            rows = foreign.any(dim=1)
            columns = foreign.any(dim=0)
            # All of a rectangle, and nothing but it.
            assert torch.equal(foreign, rows[:, None] & columns)


def test_cuts_take_from_nothing_to_all() -> None:
    views = torch.rand(2, 3, 16, 16)
    shares = [losses.mix(views, 0.0, 1.0, np.random.default_rng(seed))[2] for seed in range(200)]
    assert min(shares) < 0.15
    assert max(shares) > 0.97


def test_with_both_every_second_batch_is_cut() -> None:
    # A blend of a black and a white image is grey; a cut leaves black and white.
    views = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    mixed = [losses.mix(views, 1.0, 1.0, np.random.default_rng(seed))[0] for seed in range(400)]
    grey = sum(bool(((images > 0) & (images < 1)).any()) for images in mixed)
    # Half of 400 are blended, and half of those with the images' own copies (partners are drawn):
    # 100.
    assert 70 < grey < 130


def test_the_loss_of_a_blend_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    labels = torch.tensor([0, 1])
    partners = torch.tensor([1, 0])
    of_labels = (math.log(4 / 3) + math.log(2)) / 2
    alone = losses.label_loss(logits, labels, partners, 1.0, 0.0).item()
    assert alone == pytest.approx(of_labels)
    of_partners = (math.log(4) + math.log(2)) / 2
    mixed = losses.label_loss(logits, labels, partners, 0.75, 0.0).item()
    assert mixed == pytest.approx(0.75 * of_labels + 0.25 * of_partners)


def test_the_adjusted_loss_by_hand(tiny_data: Path, tmp_path: Path) -> None:
    # A model that says nothing, and a prior of log(4) * 3 / 4 for the nevi and log(4) / -4 for the
    # six others, of which three have no images and count as the rarest: to the loss a nevus has 4 /
    # 10, and each other 1 / 10.
    table = tables.read_table(tiny_data, LESION)
    table["dx"] = table["dx"].replace({"bkl": "nv", "df": "nv", "vasc": "nv"})
    model = backbone.build("test_resnet", 7)
    torch.nn.init.zeros_(backbone.classifier(model).weight)
    torch.nn.init.zeros_(backbone.classifier(model).bias)
    config = TrainConfig(
        model="test_resnet",
        adjust=1.0,
        sampling=1.0,
        label_smoothing=0.0,
        workers=0,
        batch_size=8,
        dropout=0.0,
        bf16="off",
    )
    fit = Fit(model, table, config, TINY_SPEC, tmp_path)
    nevus = torch.full((8,), LESION.classes.index("nv"))
    loss = fit.train_step(torch.zeros(8, 3, 32, 32), nevus, 0)
    assert loss.item() == pytest.approx(math.log(10 / 4))


@pytest.mark.slow
def test_a_run_with_cuts_and_randaugment(tiny_data: Path, tmp_path: Path) -> None:
    options = [*TINY_RUN, "--epochs", 1, "--data", tiny_data, "--sampling", 1]
    files_of = {}
    for name, value in (("cutmix", 1.0), ("randaugment", 9), ("seed", 0)):
        run_training(*options, f"--{name}", value, "--out", tmp_path / name)
        files_of[name] = load_file(tmp_path / name / WEIGHTS)["conv1.0.weight"].numpy().tobytes()
    assert len(set(files_of.values())) == 3
    assert (
        "classes drawn as they are in the data;"
        in (tmp_path / "seed" / "model" / "README.md").read_text()
    )


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
    assert transfer.model_names(named, "teacher") == ["a", "b"]
    assert transfer.model_names("", "teacher") == []


@pytest.mark.parametrize("named", [",", "a,", ",a", "a,,b", " ", "a,a", "a, a"])
def test_teachers_without_a_name_or_named_twice(named: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--teacher is '.*', expected models, each once, with commas"
    ):
        transfer.model_names(named, "teacher")


def test_a_folder_with_a_comma_is_one_teacher(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert transfer.model_names(str(folder), "teacher") == [str(folder)]


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
        "--distillation",
        0.9,
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
