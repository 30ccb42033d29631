"""Class maps against their closed form.

The head is a mean and a linear layer, so the gradient is w / (h * w).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dermhub.images import heatmap
from dermhub.images import lesion as images_lesion
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.images.decode import to_rgb
from dermhub.images.drawn_lesions import draw
from dermhub.images.lesion import Lesion
from dermhub.images.photo import Photo
from dermhub.images.view import to_array
from dermhub.models import backbone
from dermhub.models.classifier import Classifier
from dermhub.models.engines.pytorch import TorchEngine
from dermhub.models.explanation import Explanation
from dermhub.models.prediction import Prediction
from dermhub.tasks import LESION
from tests.support.tiny import make_model, to_tensor

NOWHERE = Lesion(np.zeros((4, 4), bool), np.zeros((4, 4), bool), 0.0)
"""A lesion that was not found."""

CORNER = np.zeros((4, 4), np.float32)
CORNER[3, 3] = 7.0
"""Evidence in the lower right corner alone."""


@pytest.fixture(scope="module", params=["test_efficientnet", "test_resnet"])
def classifier(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    """Load a seven-class model of either architecture. Read only."""
    return Classifier(
        make_model(tmp_path_factory.mktemp("models") / request.param, LESION, request.param)
    )


@pytest.fixture(scope="module")
def lesion(tiny_lesion_model: Path) -> Classifier:
    """Load the seven-class model of the other tests. Read only."""
    return Classifier(tiny_lesion_model)


def by_hand(
    classifier: Classifier, photo: Path, weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute relu(sum over k of w_k * A_k / (h * w)), from the features and the last layer."""
    with torch.no_grad():
        images = to_tensor(to_rgb(photo), classifier.config.input)[None]
        maps = backbone.features(classifier.model, images)[0].numpy()
    return np.asarray(np.maximum(np.tensordot(weights, maps, axes=1) / maps[0].size, 0))


def rows(classifier: Classifier) -> NDArray[np.float32]:
    """Return the weights (classes, channels) of the last layer."""
    return np.asarray(backbone.classifier(classifier.model).weight.detach().numpy())


def test_map_of_each_class_is_the_closed_form(classifier: Classifier, photo: Path) -> None:
    shown = 0
    for index, name in enumerate(LESION.classes):
        evidence = classifier.explain(photo, name).evidence
        expected = by_hand(classifier, photo, rows(classifier)[index])
        assert evidence.ndim == 2
        assert evidence.dtype == np.float32
        np.testing.assert_allclose(
            evidence, expected, rtol=1e-4, atol=1e-6 * max(float(expected.max()), 1e-6)
        )
        shown += expected.max() > 0
    assert shown >= 3


def test_versus_is_the_difference_of_the_weights(classifier: Classifier, photo: Path) -> None:
    weights, shown = rows(classifier), 0
    for first, second in ((4, 5), (5, 4), (0, 6), (6, 0)):
        explanation = classifier.explain(photo, LESION.classes[first], LESION.classes[second])
        expected = by_hand(classifier, photo, weights[first] - weights[second])
        np.testing.assert_allclose(explanation.evidence, expected, rtol=1e-4, atol=1e-7)
        assert (explanation.target, explanation.versus) == (
            LESION.classes[first],
            LESION.classes[second],
        )
        shown += expected.max() > 0
    assert shown >= 2


def test_maps_of_a_batch_are_the_maps_of_its_images(classifier: Classifier) -> None:
    engine = classifier.engine
    images = np.stack(
        [to_array(draw(seed, (64, 64), 0.5), classifier.config.input) for seed in range(3)]
    )
    directions = np.eye(7, dtype=np.float32)[[4, 0]]
    _, features = engine.forward(images)
    together = engine.class_maps(features, directions)
    assert together.shape == (3, 2, *features.shape[2:])
    assert together.any()
    for image in range(3):
        for place in range(2):
            alone = engine.class_maps(features[image : image + 1], directions[place : place + 1])
            np.testing.assert_allclose(alone[0, 0], together[image, place], rtol=1e-5, atol=1e-7)


def test_one_forward_pass_and_no_backward_pass(tiny_lesion_model: Path, photo: Path) -> None:
    classifier = Classifier(tiny_lesion_model)
    assert isinstance(classifier.engine, TorchEngine)
    model, folded = classifier.model, classifier.engine.folded
    forward: list[int] = []
    backward: list[str] = []
    stem = folded.get_submodule("conv_stem")
    stem.register_forward_hook(lambda _, inputs, __: forward.append(len(inputs[0])))
    # A second pass would have to be through the other model.
    model.get_submodule("conv_stem").register_forward_hook(
        lambda _, inputs, __: forward.append(len(inputs[0]))
    )
    for name, module in (*model.named_modules(), *folded.named_modules()):
        module.register_full_backward_hook(lambda *_, name=name: backward.append(name))
    classifier.explain(photo)
    assert forward == [1]
    classifier.explain_all(photo)
    assert forward == [1, 1]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(name.startswith(("conv_stem", "blocks", "bn1")) for name in backward)


def test_explain_pairs_is_explain_of_each_class_and_each_pair(
    lesion: Classifier, photo: Path
) -> None:
    explanations = lesion.explain_pairs(photo)
    assert list(explanations)[:8] == [*((name, "") for name in lesion.classes), ("akiec", "bcc")]
    assert len(explanations) == 49
    for target, versus in [("mel", ""), ("mel", "nv"), ("nv", "mel")]:
        alone = lesion.explain(photo, target, versus or None)
        explanation = explanations[target, versus]
        assert (explanation.target, explanation.versus) == (target, versus)
        assert explanation.prediction == alone.prediction
        np.testing.assert_array_equal(explanation.evidence, alone.evidence)


def test_explain_all_is_explain_of_each_class(lesion: Classifier, photo: Path) -> None:
    every = lesion.explain_all(photo)
    assert list(every) == list(LESION.classes)
    for name, explanation in every.items():
        alone = lesion.explain(photo, name)
        assert np.array_equal(explanation.evidence, alone.evidence)
        assert (explanation.target, explanation.versus, explanation.view) == (name, "", alone.view)
        assert explanation.prediction == alone.prediction


def test_prediction_beside_a_map_is_the_prediction(lesion: Classifier, photo: Path) -> None:
    explanation = lesion.explain(photo)
    assert explanation.prediction == lesion.predict(photo)
    assert explanation.target == explanation.prediction.label


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off_around(
    lesion: Classifier, photo: Path, switched_off: Any
) -> None:
    with switched_off():
        evidence = lesion.explain(photo, "mel").evidence
    assert evidence.any()
    assert np.array_equal(evidence, lesion.explain(photo, "mel").evidence)


def explained(
    evidence: NDArray[np.float32], size: tuple[int, int], view: tuple[float, float, float, float]
) -> Explanation:
    """Make an explanation with a given map."""
    prediction = Prediction("mel", {"mel": 1.0}, 1.0, 0.5, "youden")
    photo = Photo(Image.new("RGB", size, (200, 150, 120)))
    return Explanation(prediction, "mel", "", evidence, photo, view, NOWHERE)


def test_heat_map_lies_over_the_part_that_the_model_saw(lesion: Classifier) -> None:
    wide, tall = draw(3, (300, 100), 0.8), draw(3, (100, 300), 0.8)
    across, down = (lesion.explain_all(image) for image in (wide, tall))
    name = next(name for name in across if not (across[name].blank or down[name].blank))
    heat = across[name].heatmap
    assert heat.shape == (100, 300)
    assert heat.dtype == np.float32
    assert not heat[:, :100].any()
    assert not heat[:, 200:].any()
    assert 0.9 < heat[:, 100:200].max() <= 1
    assert heat.min() == 0
    heat = down[name].heatmap
    assert heat.shape == (300, 100)
    assert not heat[:100].any()
    assert not heat[200:].any()
    assert heat[100:200].any()


def test_strongest_evidence_is_one_and_in_its_place() -> None:
    heat = explained(CORNER, (40, 40), (0, 0, 40, 40)).heatmap
    assert heat.max() == heat[38, 38] == 1
    assert heat[2, 2] == heat[38, 2] == heat[2, 38] == 0


def test_only_the_shape_of_the_evidence_counts() -> None:
    evidence = np.random.default_rng(0).random((4, 4), np.float32)
    first, second = (explained(evidence * scale, (50, 40), (5, 0, 45, 40)) for scale in (1, 1024))
    np.testing.assert_allclose(first.heatmap, second.heatmap, atol=1e-6)


def test_map_without_evidence_is_blank_and_hides_nothing() -> None:
    explanation = explained(np.zeros((2, 2), np.float32), (50, 40), (5, 0, 45, 40))
    assert explanation.blank
    assert not explanation.heatmap.any()
    assert explanation.overlay.tobytes() == explanation.image.tobytes()
    assert explanation.layer(25).getchannel("A").getextrema() == (0, 0)
    assert not explained(np.eye(2, dtype=np.float32), (50, 40), (5, 0, 45, 40)).blank


def test_overlay_covers_the_strongest_evidence_most() -> None:
    explanation = explained(CORNER, (40, 40), (0, 0, 40, 40))
    overlay = explanation.overlay
    assert (overlay.mode, overlay.size) == ("RGB", (40, 40))
    assert overlay.getpixel((2, 2)) == (200, 150, 120)
    # viridis' yellow (253, 231, 37) covers 0.6: 200 * 0.4 + 253 * 0.6 = 231.8, 150 * 0.4 + 231 *
    # 0.6 = 198.6, 70.2.
    assert overlay.getpixel((38, 38)) == pytest.approx((232, 199, 70), abs=1)


def test_colours_of_a_layer() -> None:
    layer = heatmap.heat_layer(np.array([[0.0, 0.25, 0.375, 1.0]], np.float32))
    assert layer.mode == "RGBA"
    # 0.375 lies halfway between the second and third colour: (46, 113.5, 139).
    expected = [(68, 1, 84, 0), (59, 82, 139, 64), (46, 114, 140, 96), (253, 231, 37, 255)]
    for place, colour in enumerate(expected):
        assert layer.getpixel((place, 0)) == pytest.approx(colour, abs=1)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((600, 450), 320, (320, 240)),
        ((450, 600), 320, (320, 427)),
        ((33, 47), 320, (320, 456)),
        ((40, 40), 7, (7, 7)),
    ],
)
def test_layer_has_the_width_asked_for(
    lesion: Classifier, size: tuple[int, int], width: int, expected: tuple[int, int]
) -> None:
    layer = lesion.explain(draw(5, size, 0.7)).layer(width)
    assert (layer.mode, layer.size) == ("RGBA", expected)


@pytest.mark.parametrize(
    ("size", "height"), [((32, 640), 6400), ((33, 659), 6390), ((640, 32), 16), ((659, 33), 16)]
)
def test_narrowest_image_still_has_maps(
    lesion: Classifier, size: tuple[int, int], height: int
) -> None:
    explanation = lesion.explain(draw(5, size, 0.7))
    assert explanation.layer(320).size == (320, height)
    assert explanation.overlay.size == size


def test_layer_is_transparent_where_the_model_did_not_look() -> None:
    explanation = explained(np.ones((3, 3), np.float32), (300, 100), (100, 0, 200, 100))
    cover = np.asarray(explanation.layer(150).getchannel("A"))
    assert cover.shape == (50, 150)
    assert not cover[:, :50].any()
    assert not cover[:, 100:].any()
    assert (cover[:, 50:100] == 255).all()


def held(
    evidence: NDArray[np.float32],
    mask: NDArray[np.bool_],
    target: str = "mel",
    concerns: tuple[Concern, ...] = (),
) -> Explanation:
    """Make an explanation with a given map of a square image, and a given lesion."""
    lesion = Lesion(mask, np.zeros_like(mask), 0.5)
    prediction = Prediction("mel", {"mel": 1.0, "nv": 0.0}, 1.0, 0.5, "youden", concerns=concerns)
    photo = Photo(Image.new("RGB", (80, 40), (200, 150, 120)))
    return Explanation(prediction, target, "", evidence, photo, (20, 0, 60, 40), lesion)


HALF = np.zeros((64, 128), bool)
HALF[:, 64:] = True
"""Mask of the right half of an image, and of the central square that a model sees."""


def test_energy_and_peak_inside_a_mask() -> None:
    mask = np.zeros((4, 4), bool)
    mask[2:, 2:] = True
    assert heatmap.energy_inside(CORNER, mask) == 1
    assert heatmap.energy_inside(CORNER, ~mask) == 0
    # In proportion to the peak: 0.25 + 0.5 of 0.25 + 0.5 + 1.
    three = np.zeros((4, 4), np.float32)
    three[0, 0], three[0, 3], three[3, 3] = 8, 2, 4
    assert heatmap.energy_inside(three, ~mask) == pytest.approx(1.25 / 1.75)
    assert (
        heatmap.peak_inside(three, mask),
        heatmap.peak_inside(three, ~mask),
    ) == (False, True)
    nothing = np.zeros((4, 4), np.float32)
    assert (
        heatmap.energy_inside(nothing, mask),
        heatmap.peak_inside(nothing, ~mask),
    ) == (0, False)


def test_an_even_map_has_the_share_of_the_lesion() -> None:
    even = held(np.ones((3, 3), np.float32), HALF)
    assert even.lesion_share == 0.5
    assert even.inside == pytest.approx(0.5)
    assert even.trusted
    assert even.verdict == (
        "50% of the evidence lies inside the central lesion, which covers 50% of what the model "
        "saw."
    )


def test_a_map_beside_the_lesion_is_not_trusted() -> None:
    beside = np.array([[1, 0], [1, 0]], np.float32)
    explanation = held(beside, HALF)
    assert 0 < explanation.inside < 0.2
    assert not explanation.trusted
    assert explanation.verdict == (
        f"The model looked outside the lesion: only {explanation.inside:.0%} of the evidence lies "
        "inside it, though it covers 50% of what the model saw; do not rely on this answer."
    )
    assert held(beside, HALF, "nv").verdict.endswith("; do not rely on this map.")
    assert held(beside, ~HALF).trusted


def test_what_can_not_be_judged_is_not_trusted() -> None:
    lost = explained(CORNER, (40, 40), (0, 0, 40, 40))
    assert (lost.lesion_share, lost.inside, lost.trusted) == (0, 0, False)
    assert lost.verdict == "No lesion was found in the image, so the map can't be judged."
    empty = held(np.zeros((2, 2), np.float32), HALF)
    assert (empty.inside, empty.trusted) == (0, False)
    assert empty.verdict == "The map is empty, so there is nothing to judge."
    even = np.ones((2, 2), np.float32)
    other = held(even, HALF, concerns=(Concern(NOT_DERMATOSCOPIC, "No."),))
    assert (other.judged, other.trusted) == (False, False)
    assert (
        other.verdict == "This doesn't look like a dermatoscopic image, so the map can't be judged."
    )
    whole = held(even, np.ones_like(HALF))
    assert (whole.lesion_share, whole.judged, whole.trusted) == (1, False, False)
    assert (
        whole.verdict
        == "The lesion fills nearly all that the model saw, so the map can't be judged."
    )
    assert held(even, HALF, concerns=(Concern("blurred", "No."),)).trusted


def test_the_lesion_of_an_explanation_is_the_one_that_is_found(lesion: Classifier) -> None:
    image = draw(3, (200, 150), 0.8)
    true = images_lesion.find_lesion(image).over((200, 150))[:, 25:175]
    explanation = lesion.explain(image)
    assert explanation.lesion_share == pytest.approx(true.mean(), abs=0.02)
    assert 0 <= explanation.inside <= 1
