"""Answers of `dermhub.load`, `predict` and `explain`, checked against the logits by hand."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dermhub.arrays import Floats32
from dermhub.errors import ConfigError, ImageError, ModelError
from dermhub.images import quality
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.photo import Photo
from dermhub.models import catalog
from dermhub.models.classifier import BATCH, Classifier, load
from dermhub.models.prediction import Prediction, softmax
from dermhub.tasks import BINARY, LESION, Task
from dermhub.zones import Threshold
from tests.support.tiny import make_model, pixels


@pytest.fixture(scope="module")
def lesion(tiny_lesion_model: Path) -> Classifier:
    """Load the seven-class model. Read only."""
    return Classifier(tiny_lesion_model)


@pytest.fixture(scope="module")
def binary(tiny_binary_model: Path) -> Classifier:
    """Load the benign / malignant model. Read only."""
    return Classifier(tiny_binary_model)


def adjusted(folder: Path, **changes: Any) -> Classifier:
    """Make a model with another temperature or other thresholds."""
    classifier = Classifier(folder)
    classifier.config = dataclasses.replace(classifier.config, **changes)
    return classifier


def values(prediction: Prediction) -> list[float]:
    """Return the probabilities in the task's order."""
    return list(prediction.probabilities.values())


def drawings(count: int) -> list[Image.Image]:
    """Draw images of different sizes and darkness."""
    return [draw(seed, (60 + 7 * seed, 90 - 3 * seed), seed / count) for seed in range(count)]


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(
    lesion: Classifier, photo: Path
) -> None:
    prediction = lesion.predict(photo)
    logits = lesion.logits([to_rgb(photo)])[0].astype(float)
    powers = np.exp(logits / 1.5)
    assert list(prediction.probabilities) == list(LESION.classes)
    assert values(prediction) == pytest.approx(list(powers / powers.sum()), rel=1e-6)
    assert sum(values(prediction)) == pytest.approx(1, abs=1e-12)
    assert prediction.label == LESION.classes[int(logits.argmax())]
    assert max(values(prediction)) < 0.99


def test_higher_temperature_is_less_sure_of_the_same_class(
    tiny_lesion_model: Path, photo: Path
) -> None:
    cold, hot = (adjusted(tiny_lesion_model, temperature=t).predict(photo) for t in (0.5, 5.0))
    assert cold.label == hot.label
    assert max(values(cold)) > max(values(hot)) > 1 / 7


def test_images_differ(lesion: Classifier) -> None:
    # Guards the other tests: a model that answers the same to everything would pass many of them.
    predictions = lesion.predict([to_rgb(image) for image in drawings(8)])
    assert np.ptp([each.malignancy for each in predictions]) > 0.1


@pytest.mark.parametrize("task", ["lesion", "binary"])
def test_malignancy_is_the_sum_of_the_malignant_classes(
    task: str, lesion: Classifier, binary: Classifier, photo: Path
) -> None:
    prediction = (lesion if task == "lesion" else binary).predict(photo)
    malignant = ("akiec", "bcc", "mel") if task == "lesion" else ("malignant",)
    assert prediction.malignancy == pytest.approx(
        sum(prediction.probabilities[name] for name in malignant), abs=1e-12
    )
    assert 0 < prediction.malignancy < 1


def test_threshold_is_inclusive(tiny_lesion_model: Path, photo: Path) -> None:
    score = Classifier(tiny_lesion_model).predict(photo).malignancy
    for value, called in (
        (score, True),
        (np.nextafter(score, 1), False),
        (np.nextafter(score, 0), True),
    ):
        prediction = adjusted(
            tiny_lesion_model,
            thresholds={"mine": Threshold(float(value), "")},
            highly_suspicious=None,
        ).predict(photo)
        assert prediction.malignancy == score
        assert (prediction.malignant, prediction.threshold) == (called, value)


def test_first_operating_point_is_the_default(lesion: Classifier, photo: Path) -> None:
    prediction = lesion.predict(photo)
    assert (prediction.operating_point, prediction.threshold) == ("sensitivity_95", 0.25)


def test_classes_and_name(lesion: Classifier, binary: Classifier) -> None:
    assert lesion.classes == LESION.classes
    assert binary.classes == BINARY.classes
    assert (lesion.name, binary.name) == ("tiny-lesion", "tiny-binary")


def test_a_task_of_ones_own(tmp_path: Path, photo: Path) -> None:
    task = Task("three", ("nv", "mel", "other"), frozenset({"mel", "other"}))
    prediction = Classifier(make_model(tmp_path / "own", task)).predict(photo)
    assert list(prediction.probabilities) == ["nv", "mel", "other"]
    assert prediction.malignancy == pytest.approx(1 - prediction.probabilities["nv"], abs=1e-12)


def test_one_image_gives_one_and_a_list_gives_a_list(lesion: Classifier, photo: Path) -> None:
    single = lesion.predict(photo)
    assert isinstance(single, Prediction)
    for several in (lesion.predict([photo]), lesion.predict((photo,))):
        assert several == [single]
    assert lesion.predict([]) == lesion.predict(()) == []


def test_the_other_images_of_a_batch_do_not_matter(lesion: Classifier) -> None:
    images = drawings(BATCH + 3)
    together = lesion.predict([to_rgb(image) for image in images])
    assert len(together) == BATCH + 3
    for image, prediction in zip(images, together, strict=True):
        alone = lesion.predict(image)
        # Convolutions add in another order for another batch size: a few units in the last place of
        # float32.
        assert values(alone) == pytest.approx(values(prediction), abs=1e-5)
        assert alone.label == prediction.label


def test_predicting_twice_gives_the_same_bits(lesion: Classifier, photo: Path) -> None:
    assert lesion.predict(photo) == lesion.predict(photo)


def test_kinds_of_input_may_be_mixed(lesion: Classifier, photo: Path) -> None:
    predictions = lesion.predict(
        [photo, str(photo), photo.read_bytes(), Image.open(photo), np.asarray(Image.open(photo))]
    )
    # Places in a batch are worked on in different blocks, and round differently.
    assert (
        max(each.malignancy for each in predictions) - min(each.malignancy for each in predictions)
        < 1e-6
    )


def test_a_photo_gives_what_its_file_gives(lesion: Classifier, photo: Path) -> None:
    opened = Photo.open(photo)
    assert lesion.predict(opened) == lesion.predict(photo)
    # Again, from what the photo has kept.
    assert lesion.predict(opened) == lesion.predict(photo)
    assert lesion.predict([opened, photo]) == lesion.predict([photo, photo])
    for target, explanation in lesion.explain_all(opened).items():
        expected = lesion.explain(photo, target)
        assert explanation.prediction == expected.prediction
        assert np.array_equal(explanation.evidence, expected.evidence)
        assert np.array_equal(np.asarray(explanation.overlay), np.asarray(expected.overlay))
        assert explanation.image is opened.rgb
        assert explanation.lesion is opened.lesion
    assert set(lesion.explain_pairs(opened)) == set(lesion.explain_pairs(photo))


def test_an_iterator_is_taken_one_by_one_and_in_batches(lesion: Classifier) -> None:
    images = tuple(drawings(BATCH + 3))
    batches: list[int] = []
    forward = lesion.engine.forward

    def watched(batch: Floats32) -> tuple[Floats32, Floats32]:
        batches.append(len(batch))
        return forward(batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesion.engine, "forward", watched)
        whole = lesion.predict(images)
        assert lesion.predict(iter(images)) == whole
        assert batches == [4, 3, 4, 3]
        other = lesion.predict((image for image in images), batch=3)
        assert batches[4:] == [3, 3, 1]
    for mine, its in zip(other, whole, strict=True):
        assert values(mine) == pytest.approx(values(its), abs=1e-5)
    assert lesion.predict(iter([])) == []
    with pytest.raises(ConfigError, match=r"^The batch is 0, expected at least 1\.$"):
        lesion.predict(images, batch=0)


def test_a_large_photo_gives_what_its_pixels_give(lesion: Classifier) -> None:
    # Both see its working copy.
    rgb = draw(3, (1700, 1200), 0.8)
    large = lesion.predict(rgb)
    assert large.concerns == quality.judge(Photo(rgb).quality)
    logits = lesion.logits([rgb])
    assert values(large) == softmax(logits, lesion.config.temperature)[0].tolist()


def test_no_images_have_no_logits(lesion: Classifier) -> None:
    assert lesion.logits([]).shape == (0, 7)


def test_bad_image_in_a_list_is_named(lesion: Classifier, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"^There is no file {tmp_path / 'none.jpg'}.$"):
        lesion.predict([photo, tmp_path / "none.jpg"])


@pytest.mark.parametrize(
    "several", [{1, 2}, iter([1]), {"image": 1}, np.zeros((2, 40, 40, 3), np.uint8), None]
)
def test_only_lists_tuples_and_iterators_hold_several_images(
    lesion: Classifier, several: Any
) -> None:
    with pytest.raises(ImageError, match=r"^Expected a"):
        lesion.predict(several)


def test_images_and_weights_stay_as_they_are(tiny_lesion_model: Path) -> None:
    classifier = Classifier(tiny_lesion_model)
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    array = pixels()
    copy = array.copy()
    classifier.predict([array] * 3)
    classifier.explain_all(array)
    assert np.array_equal(array, copy)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in classifier.model.state_dict().items()
    )
    assert not classifier.model.training


def test_load_takes_a_folder_in_any_spelling(
    tiny_lesion_model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_lesion_model.parent)
    expected = Classifier(tiny_lesion_model).predict(photo)
    for name in (
        tiny_lesion_model,
        str(tiny_lesion_model),
        "tiny-lesion",
        f"tiny-lesion{os.sep}",
        "./tiny-lesion",
    ):
        classifier = load(name)
        assert classifier.name == "tiny-lesion"
        assert classifier.predict(photo) == expected


def test_load_takes_the_id_of_a_shipped_model(
    tiny_lesion_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "MODEL_CARDS", tiny_lesion_model.parent)
    assert set(catalog.shipped()) >= {"tiny-lesion"}
    assert load("tiny-lesion").folder == tiny_lesion_model
    with pytest.raises(
        ModelError,
        match=r"There is no model 'tiny-lesin': .*tiny-lesion.*Did you mean 'tiny-lesion'",
    ):
        load("tiny-lesin")


def test_folders_without_a_configuration_are_not_shipped_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("")
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path)
    assert catalog.shipped() == {}
    with pytest.raises(
        ModelError,
        match=r"^There is no model 'notes': .* \(no model is shipped here\) or ",
    ):
        load("notes")
    monkeypatch.setattr(catalog, "MODEL_CARDS", tmp_path / "nowhere")
    assert catalog.shipped() == {}


def test_load_of_what_is_no_model(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"is not a model folder: it has no config.json"):
        load(tmp_path)
    with pytest.raises(ModelError, match=r"lesion\.jpg is not a model folder: it has no config"):
        load(photo)
    for name in ("nothing", "a\0b"):
        with pytest.raises(ModelError, match=r"^There is no model "):
            load(name)


@pytest.mark.parametrize("given", [("melanoma", None), ("mel", "melanoma")])
def test_unknown_class(lesion: Classifier, photo: Path, given: tuple[str, str | None]) -> None:
    expected = (
        "^The model has no class 'melanoma', expected one of akiec, bcc, bkl, df, mel, nv, vasc.$"
    )
    with pytest.raises(ConfigError, match=expected):
        lesion.explain(photo, *given)


def test_a_class_against_itself(lesion: Classifier, photo: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^'mel' can't be contrasted with itself: give another class"
    ):
        lesion.explain(photo, "mel", "mel")


def test_unknown_class_suggests_the_nearest(binary: Classifier, photo: Path) -> None:
    with pytest.raises(ConfigError, match=r"no class 'malignent', .*Did you mean 'malignant'"):
        binary.explain(photo, "malignent")
