"""python -m dermhub evaluate: figures by hand, and one sentence for labels that can't be used."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from dermhub.data import partition
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from tests.support.tiny import Command

IDS = [f"photo-{number}" for number in range(6)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn images. Read only."""
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(IDS):
        draw(number, (72, 64), number / 5).save(folder / f"{name}.png")
    return folder


def labels(folder: Path, **columns: list[str]) -> Path:
    path = folder / "labels.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def how_read(count: int) -> str:
    """The line on stderr that says how the table was read."""
    return (
        "dermhub: read labels.csv as HAM10000: image from `image_id`, diagnosis from `dx`; "
        f"{count} images.\n"
    )


def not_named(images: Path, count: int, names: str) -> str:
    """The line on stderr about images that have no row in the table."""
    return (
        f"dermhub: {images}: {count} image(s) there are named by no row of the table, and not used "
        f"({names}).\n"
    )


def called(model: Path, images: Path) -> list[str]:
    """The class that the model gives to each image."""
    classifier = Classifier(model)
    return [classifier.predict(images / f"{name}.png").label for name in IDS]


def test_figures_by_hand(
    command: Command, tiny_lesion_model: Path, images: Path, tmp_path: Path
) -> None:
    classifier = Classifier(tiny_lesion_model)
    answers = [classifier.predict(images / f"{name}.png") for name in IDS]
    assert len({answer.label for answer in answers}) > 1
    # The first four labels are the model's own answers, the last two are not.
    wrong = ["nv" if answer.label != "nv" else "mel" for answer in answers]
    dx = [answer.label for answer in answers[:4]] + wrong[4:]
    table = labels(tmp_path, image_id=IDS, dx=dx)
    options = ["--model", tiny_lesion_model, "--images", images, "--labels", table, "--workers", 0]
    code, out, err = command("evaluate", *options)
    assert (code, err) == (0, how_read(6))
    content = json.loads(out)
    assert (content["model"], content["task"], content["n"]) == ("tiny-lesion", "lesion", 6)
    assert content["accuracy"] == pytest.approx(4 / 6)
    sick = [name in ("akiec", "bcc", "mel") for name in dx]
    point = content["operating_points"]["sensitivity_95"]
    assert point["tp"] == sum(
        answer.malignancy >= 0.25 for answer, is_sick in zip(answers, sick, strict=True) if is_sick
    )
    assert point["fp"] == sum(
        answer.malignancy >= 0.25
        for answer, is_sick in zip(answers, sick, strict=True)
        if not is_sick
    )
    assert sum(point[name] for name in ("tp", "fn", "fp", "tn")) == 6
    assert sum(content["confusion_matrix"][i][i] for i in range(7)) == 4


def test_labels_outside_the_task_are_counted_and_left_out(
    command: Command, tiny_lesion_model: Path, images: Path, tmp_path: Path
) -> None:
    answers = called(tiny_lesion_model, images)
    table = labels(
        tmp_path, image_id=IDS, dx=["scc", answers[1], answers[2], "unknown", "SCC", answers[5]]
    )
    code, out, err = command(
        "evaluate", "--model", tiny_lesion_model, "--images", images, "--labels", table
    )
    content = json.loads(out)
    assert (code, content["n"], content["accuracy"]) == (0, 3, 1.0)
    assert content["left_out"] == {"scc": 2, "unknown": 1}
    left_out = "dermhub: left out, no class of the task 'lesion': 2 x scc, 1 x unknown.\n"
    assert err == left_out + how_read(6)


def test_image_ids_with_an_extension(
    command: Command, tiny_lesion_model: Path, images: Path, tmp_path: Path
) -> None:
    names = [f"{IDS[0]}.png", f"{IDS[1]}.JPG", IDS[2], *IDS[3:]]
    table = labels(tmp_path, image_id=names, dx=called(tiny_lesion_model, images))
    code, out, _ = command(
        "evaluate", "--model", tiny_lesion_model, "--images", images, "--labels", table
    )
    assert (code, json.loads(out)["accuracy"]) == (0, 1.0)


@pytest.mark.parametrize(
    "names", [("nv", "mel"), ("benign", "malignant"), ("Vasc ", "BCC"), ("df", "malignant")]
)
def test_binary_takes_its_own_classes_and_the_seven(
    command: Command, tiny_binary_model: Path, images: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    # Two images are labelled against the model, so that an accuracy of 1 can't come from anything
    # else.
    answers = called(tiny_binary_model, images)
    dx = [names[(name == "malignant") != (i < 2)] for i, name in enumerate(answers)]
    table = labels(tmp_path, image_id=IDS, dx=dx)
    code, out, err = command(
        "evaluate", "--model", tiny_binary_model, "--images", images, "--labels", table
    )
    content = json.loads(out)
    assert (code, err, content["left_out"]) == (0, how_read(6), {})
    assert content["accuracy"] == pytest.approx(4 / 6)


def test_labels_of_one_class(
    command: Command, tiny_binary_model: Path, images: Path, tmp_path: Path
) -> None:
    table = labels(tmp_path, image_id=IDS, dx=["mel"] * 6)
    code, out, err = command(
        "evaluate", "--model", tiny_binary_model, "--images", images, "--labels", table
    )
    content = json.loads(out)
    assert (code, err) == (0, how_read(6))
    right = sum(name == "malignant" for name in called(tiny_binary_model, images))
    assert content["accuracy"] == pytest.approx(right / 6)
    # Nothing benign to tell malignant images from.
    assert content["malignancy_auroc"] is None
    assert content["per_class"]["benign"]["recall"] is None


def test_out_holds_what_would_be_printed(
    command: Command, tiny_binary_model: Path, images: Path, tmp_path: Path
) -> None:
    table = labels(tmp_path, image_id=IDS[:2], dx=["nv", "mel"])
    out = tmp_path / "new" / "figures.json"
    options = ["--model", tiny_binary_model, "--images", images, "--labels", table]
    printed = command("evaluate", *options)[1]
    assert command("evaluate", *options, "--out", out, "--workers", 0) == (
        0,
        f"{out}: 2 images\n",
        how_read(2) + not_named(images, 4, "photo-2.png, photo-3.png, photo-4.png and 1 more"),
    )
    assert json.loads(out.read_text()) == json.loads(printed)


def test_images_of_training_lesions_are_warned_of(
    command: Command, tiny_binary_model: Path, images: Path, tmp_path: Path
) -> None:
    places = partition.shipped()
    trained = next(lesion for lesion, split in places.items() if split == "train")
    tested = next(lesion for lesion, split in places.items() if split == "test")
    table = labels(
        tmp_path, image_id=IDS[:3], dx=["nv", "mel", "nv"], lesion_id=[trained, trained, tested]
    )
    options = ["--model", tiny_binary_model, "--images", images, "--labels", table, "--workers", 0]
    code, out, err = command("evaluate", *options)
    assert (code, json.loads(out)["images_of_training_lesions"]) == (0, 2)
    read = (
        "dermhub: read labels.csv as HAM10000: image from `image_id`, diagnosis from `dx`, lesion "
        "from `lesion_id`; 3 images, 2 lesions.\n"
    )
    # Rows of other splits name their images, too.
    read += not_named(images, 3, "photo-3.png, photo-4.png, photo-5.png")
    assert err.startswith(
        "dermhub: WARNING: 2 of 3 images show lesions that the HAM10000 models were trained"
    )
    code, out, err = command("evaluate", *options, "--split", "test")
    assert (code, err, json.loads(out)["n"]) == (0, read, 1)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "can't be read as a CSV table ("),
        ("image_id,dx\n", [], "has a heading but no rows."),
        (
            "image,dx\na,nv\n",
            [],
            "lacks the column(s) image_id; it has image, dx. Expected image_id and dx, or their",
        ),
        ("image,label\na,nv\n", [], "lacks the column(s) image_id, dx; it has image, label."),
        (
            "image_id,dx\nphoto-1,nv\nphoto-1.png,nv\n",
            [],
            "lists 1 image id(s) more than once (photo-1)",
        ),
        ("image_id,dx\nphoto-1,\n", [], "has an empty dx in line(s) 2."),
        ("image_id,dx\nphoto-1,nv\nphoto-9,nv\n", [], "1 of 2 image ids have no file below"),
        (
            "image_id,dx\nphoto-1,scc\n",
            [],
            "is a class of the task 'binary': it has scc, expected benign, malignant.",
        ),
        (
            "image_id,dx\nphoto-1,nv\n",
            ["--split", "test"],
            "--split test needs a column lesion_id in",
        ),
        ("image_id,dx\nphoto-1,nv\n", ["--labels", "none.csv"], "There is no file none.csv"),
        ("image_id,dx\nphoto-1,nv\n", ["--images", "none"], "There is no folder none"),
        ("image_id,dx\nphoto-1,nv\n", ["--model", "none"], "There is no model 'none'"),
        ("image_id,dx\nphoto-1,nv\n", ["--workers", "-1"], "--workers is -1, expected at least 0."),
        (
            "image_id,dx\nphoto-1,nv\n",
            ["--out", "/dev/null/f.json"],
            "/dev/null/f.json can't be written (",
        ),
    ],
)
def test_input_that_can_not_be_used(
    command: Command,
    tiny_binary_model: Path,
    images: Path,
    tmp_path: Path,
    content: str,
    options: list[str],
    message: str,
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(content)
    usual = ["--model", tiny_binary_model, "--images", images, "--labels", table, "--workers", 0]
    code, out, err = command("evaluate", *usual, *options)
    assert (code, out) == (2, "")
    assert err.startswith("dermhub: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_without_images(command: Command, tiny_binary_model: Path, tmp_path: Path) -> None:
    table = labels(tmp_path, image_id=["a"], dx=["nv"])
    code, out, err = command(
        "evaluate", "--model", tiny_binary_model, "--images", tmp_path, "--labels", table
    )
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: {tmp_path} holds no images (.jpg, ")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(
    command: Command, tiny_binary_model: Path, tmp_path: Path, workers: int
) -> None:
    draw(1).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    table = labels(tmp_path, image_id=["whole", "cut"], dx=["nv", "mel"])
    given = [
        "--model",
        tiny_binary_model,
        "--images",
        tmp_path,
        "--labels",
        table,
        "--workers",
        workers,
    ]
    code, out, err = command("evaluate", *given)
    assert (code, out) == (2, "")
    assert err.startswith(f"dermhub: {tmp_path / 'cut.png'} is damaged or cut short")
    assert err.count("\n") == 1


def test_a_device_that_is_not_there(
    command: Command, tiny_lesion_model: Path, images: Path, tmp_path: Path
) -> None:
    table = labels(tmp_path, image_id=IDS, dx=["nv"] * 6)
    given = ["--model", tiny_lesion_model, "--images", images, "--labels", table]
    if not torch.cuda.is_available():
        code, out, err = command("evaluate", *given, "--device", "cuda")
        assert (code, out) == (2, "")
        assert err.startswith("dermhub: ")
        assert err.count("\n") == 1
        assert "cuda" in err.lower()
    # Where none can be used, "auto" is the processor.
    assert command("evaluate", *given, "--device", "auto")[0] == 0
