"""The gate: its distances by hand, its limit, the images it accepts, and files that are no gate."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dermhub import layout, tensors
from dermhub.arrays import Floats32
from dermhub.data import tables
from dermhub.errors import ModelError
from dermhub.images.drawn_lesions import draw
from dermhub.images.view import InputSpec, to_array
from dermhub.models import ood_gate
from dermhub.models.classifier import Classifier
from dermhub.models.ood_gate import LOOKS, OodGate
from dermhub.scoring import inference
from dermhub.tasks import LESION
from tests.support.tiny import TINY_SPEC, Command, add_file

PLAIN = InputSpec(size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def by_hand() -> OodGate:
    """Make a gate for two features, with a known first axis.

    Of its statistics only the first counts.
    """
    looks = np.zeros((LOOKS, LOOKS), np.float32)
    looks[0, 0] = 2
    return OodGate(
        mean=np.array([1, 1], np.float32),
        axes=np.array([[1, 0]], np.float32),
        look_mean=np.ones(LOOKS, np.float32),
        look_axes=looks,
        scales=np.array([4, 8], np.float32),
    )


def row(first: float, second: float, look: float = 1.0) -> list[float]:
    """Return a row like those of `feature_vector`, for two features and the first statistic.

    All other statistics are as expected.
    """
    return [first, second, look, *[1.0] * (LOOKS - 1)]


def drawn(seeds: range, spec: InputSpec = TINY_SPEC) -> Floats32:
    """Return the inputs (N, 3, 64, 64) of a model for drawn lesions."""
    return np.stack([to_array(draw(seed, (72, 64), seed % 7 / 7), spec) for seed in seeds])


def samples(count: int, seed: int = 0) -> Floats32:
    """Draw rows like those of `feature_vector`, with 40 features and the statistics.

    Only the first eight features vary much.
    """
    rng = np.random.default_rng(seed)
    spread = np.append(np.full(8, 5.0), np.full(32 + LOOKS, 0.5))
    return np.asarray(rng.normal(size=(count, 40 + LOOKS)) * spread, np.float32)


def fit(training: Floats32, validation: Floats32) -> OodGate:
    """Fit a gate for validation images that are all malignant."""
    return ood_gate.fit(training, validation, np.ones(len(validation), bool))


def test_score_by_hand() -> None:
    described = np.array(
        [row(1, 1), row(9, 1), row(1, 5), row(1, -3), row(1, 1, 5), row(3, 3, 3)], np.float32
    )
    # Along the known axis nothing is strange. |5 - 1| / 4; 2 * |5 - 1| / 8; 2 / 4 + 2 * 2 / 8.
    assert by_hand().score(described) == pytest.approx([0, 0, 1, 1, 1, 1])


def test_features_are_mean_and_spread_of_each_map() -> None:
    maps = np.array(
        [[[[1, 3], [1, 3]], [[5, 5], [5, 5]]], [[[0, 0], [0, 8]], [[-1, 1], [-1, 1]]]], np.float32
    )
    images = drawn(range(2))
    features = ood_gate.feature_vector(maps, images, TINY_SPEC)
    # Of 1, 3, 1, 3: mean 2, standard deviation 1. Of 0, 0, 0, 8: mean 2, and the root of (3 * 2**2
    # + 6**2) / 4 = 12.
    assert features[:, :4] == pytest.approx(np.array([[2, 5, 1, 0], [2, 0, 12**0.5, 1]]))
    assert np.array_equal(features[:, 4:], ood_gate.image_statistics(images, TINY_SPEC))


def test_score_of_other_features_is_refused() -> None:
    with pytest.raises(
        ModelError,
        match=r"^The gate was fitted on 2 features, but the model has 3: measure the model",
    ):
        by_hand().score(np.zeros((1, 3 + LOOKS), np.float32))


def test_statistics_of_an_even_picture() -> None:
    image = np.broadcast_to(
        np.array([0.8, 0.6, 0.4], np.float32)[None, :, None, None], (1, 3, 64, 64)
    )
    statistics = ood_gate.image_statistics(image, PLAIN)[0]
    # Four rings of the same colour, no spread in any, no change of grey, red-green and blue-green,
    # and no extremes.
    assert statistics == pytest.approx(
        [*[0.8, 0.6, 0.4] * 4, *[0] * 12, *[np.log(1e-3)] * 6, *[0.8, 0.6, 0.4] * 2], abs=1e-5
    )


def test_statistics_see_the_ring_and_the_direction() -> None:
    image = np.zeros((1, 3, 64, 64), np.float32)
    image[:, :, 20:44, 20:44] = 1
    statistics = ood_gate.image_statistics(image, PLAIN)[0]
    # The square is 0.375 wide to each side: it covers the innermost ring and ends within the
    # second.
    assert statistics[:3] == pytest.approx([1, 1, 1])
    assert statistics[6:12] == pytest.approx([0] * 6)
    stripes = np.zeros((1, 3, 64, 64), np.float32)
    stripes[:, :, ::4] = stripes[:, :, 1::4] = 1
    changes = ood_gate.image_statistics(stripes, PLAIN)[0, 24:26]
    assert changes == pytest.approx([np.log(1.001), np.log(1e-3)], abs=1e-5)


def test_statistics_do_not_depend_on_the_normalisation() -> None:
    image = to_array(draw(3, (72, 64), 0.5), PLAIN)[None]
    other = to_array(draw(3, (72, 64), 0.5), TINY_SPEC)[None]
    assert ood_gate.image_statistics(other, TINY_SPEC) == pytest.approx(
        ood_gate.image_statistics(image, PLAIN), abs=1e-5
    )


@pytest.mark.parametrize("size", [16, 33, 48, 64, 100])
def test_statistics_of_inputs_of_any_size(size: int) -> None:
    spec = InputSpec(size=size)
    statistics = ood_gate.image_statistics(to_array(draw(3, (72, 64), 0.5), spec)[None], spec)
    assert statistics.shape == (1, LOOKS)
    assert np.isfinite(statistics).all()
    assert statistics[0, :3] == pytest.approx(
        ood_gate.image_statistics(drawn(range(3, 4)), TINY_SPEC)[0, :3], abs=0.12
    )


@pytest.mark.parametrize(("count", "rejected"), [(20, 0), (100, 1), (199, 1), (235, 2)])
def test_limit_rejects_one_malignant_validation_image_in_a_hundred(
    count: int, rejected: int
) -> None:
    held = samples(3 * count, 1)
    malignant = np.arange(3 * count) % 3 == 1
    score = ood_gate.fit(samples(200), held, malignant).score(held)[malignant]
    assert (score > 1).sum() == rejected
    assert np.sort(score)[-1 - rejected] == pytest.approx(1, abs=1e-4)


def test_limit_without_malignant_images_counts_all() -> None:
    held = samples(100, 1)
    assert (ood_gate.fit(samples(200), held, np.zeros(100, bool)).score(held) > 1).sum() == 1


def test_what_training_varies_in_is_not_strange() -> None:
    fitted = fit(samples(200), samples(100, 1))
    inside, outside = np.zeros((2, 1, 40 + LOOKS), np.float32)
    inside[:, 0], outside[:, 30] = 15, 15
    assert fitted.score(inside)[0] < 1 < fitted.score(outside)[0]
    strange = np.zeros((1, 40 + LOOKS), np.float32)
    # The picture counts a tenth of the features.
    for value, rejected in ((25, False), (60, True)):
        strange[:, 41] = value
        assert (fitted.score(strange)[0] > 1) == rejected, value


def test_axes_are_no_more_than_the_images_give() -> None:
    assert fit(samples(300), samples(50)).axes.shape == (20, 40)
    assert fit(samples(5), samples(50)).axes.shape == (4, 40)
    lone = fit(samples(1), samples(1))
    assert lone.axes.shape == (0, 40)
    assert np.isfinite(lone.score(samples(3))).all()


def test_file_round_trip() -> None:
    fitted = fit(samples(200), samples(100, 1))
    again = OodGate.from_bytes(fitted.to_bytes(), "gate.safetensors")
    assert np.array_equal(again.score(samples(50, 2)), fitted.score(samples(50, 2)))
    assert again.to_bytes() == fitted.to_bytes()


def test_file_is_little_endian_everywhere() -> None:
    content = by_hand().to_bytes()
    swapped = OodGate(**{name: array.astype(">f4") for name, array in vars(by_hand()).items()})
    assert swapped.to_bytes() == content
    assert np.array([4, 8], "<f4").tobytes() in content


def changed(**arrays: object) -> bytes:
    """Return the file of a gate with arrays replaced, added, or (None) left out."""
    every = {**vars(by_hand()), **arrays}
    return tensors.write(
        {name: np.asarray(array) for name, array in every.items() if array is not None}
    )


NO_GATE = [
    (b"", "is no complete safetensors file"),
    (b"PK\x03\x04 a zip", "is no complete safetensors file"),
    (by_hand().to_bytes()[:-4], "is no complete safetensors file"),
    (changed(scales=None), "is no gate: it holds axes, look_axes, look_mean, mean."),
    (
        changed(more=np.zeros(1)),
        "is no gate: it holds axes, look_axes, look_mean, mean, more, scales.",
    ),
    (tensors.write({}), "is no gate: it holds nothing."),
    (
        changed(mean=np.float32(1)),
        "expected mean as finite float32 of shape (0,), got float32 of ().",
    ),
    (
        changed(mean=np.ones(3, np.float32)),
        "expected axes as finite float32 of shape (1, 3), got float32 of (1, 2).",
    ),
    (
        changed(mean=np.ones(2)),
        "expected mean as finite float32 of shape (2,), got float64 of (2,).",
    ),
    (
        changed(axes=np.float32(1)),
        "expected axes as finite float32 of shape (2,), got float32 of ().",
    ),
    (
        changed(look_mean=np.ones(35, np.float32)),
        "expected look_mean as finite float32 of shape (36,)",
    ),
    (
        changed(look_axes=np.ones((36, 35), np.float32)),
        "expected look_axes as finite float32 of shape (36, 36)",
    ),
    (
        changed(mean=np.array([1, np.nan], np.float32)),
        "expected mean as finite float32 of shape (2,)",
    ),
    (
        changed(scales=np.array([1, np.inf], np.float32)),
        "expected scales as finite float32 of shape (2,)",
    ),
    (changed(scales=np.array([1], np.float32)), "expected scales as finite float32 of shape (2,)"),
    (
        changed(scales=np.array([1, 0], np.float32)),
        "its scales are [1.0, 0.0], expected numbers above 0.",
    ),
    (
        changed(scales=np.array([-1, 1], np.float32)),
        "its scales are [-1.0, 1.0], expected numbers above 0.",
    ),
]


@pytest.mark.parametrize(("content", "message"), NO_GATE, ids=range(len(NO_GATE)))
def test_file_that_is_no_gate(content: bytes, message: str) -> None:
    with pytest.raises(ModelError) as raised:
        OodGate.from_bytes(content, "here/gate.safetensors")
    assert str(raised.value).startswith("here/gate.safetensors is no ")
    assert message in str(raised.value)


@pytest.fixture
def gated(tiny_lesion_model: Path, tmp_path: Path) -> Path:
    """Make a model folder with a gate that was fitted on drawn lesions, and accepts all of them."""
    folder = Path(shutil.copytree(tiny_lesion_model, tmp_path / "gated"))
    images = drawn(range(60))
    _, maps = Classifier(folder).engine.forward(images)
    described = ood_gate.feature_vector(maps, images, TINY_SPEC)
    fitted = fit(described[:40], described[40:])
    add_file(folder, layout.OOD_GATE, fitted.to_bytes())
    return folder


def test_classifier_withholds_an_answer_about_another_kind_of_image(gated: Path) -> None:
    classifier = Classifier(gated)
    concern, *others = classifier.predict(np.full((96, 108, 3), (20, 90, 240), np.uint8)).concerns
    assert [concern.code for concern in others] == ["blurred", "too-dark"]
    assert (concern.code, concern.sentence) == ("not-dermatoscopic", ood_gate.SENTENCE)
    predictions = classifier.predict([draw(seed, (108, 96), seed % 7 / 7) for seed in range(10)])
    assert sum(bool(prediction.concerns) for prediction in predictions) <= 2
    assert (
        classifier.explain(np.zeros((64, 72, 3), np.uint8)).prediction.abstention
        == ood_gate.SENTENCE
    )


@pytest.mark.slow
def test_command_says_what_is_no_lesion(gated: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "sky.png"
    draw(3).point(lambda value: 255 - value // 8).save(path)
    code, out, _ = command("predict", path, "--model", gated, "--format", "json")
    (row,) = json.loads(out)
    assert code == 0
    assert row["concerns"][0] == {"code": "not-dermatoscopic", "sentence": ood_gate.SENTENCE}
    assert row["abstention"] == ood_gate.SENTENCE
    _, out, _ = command("predict", path, "--model", gated)
    assert [line.strip() for line in out.splitlines()].count(ood_gate.SENTENCE) == 1


@pytest.mark.parametrize(
    "content", [by_hand().to_bytes()[:-4], changed(scales=np.zeros(2, np.float32))]
)
def test_model_whose_gate_is_damaged(gated: Path, content: bytes) -> None:
    (gated / layout.OOD_GATE).write_bytes(content)
    with pytest.raises(
        ModelError, match=r"gate\.safetensors has the sha256 \w{64}, but config\.json states"
    ):
        Classifier(gated)
    add_file(gated, layout.OOD_GATE, content)
    with pytest.raises(ModelError, match=r"gate\.safetensors is no "):
        Classifier(gated)


def test_gate_of_another_model(gated: Path, photo: Path) -> None:
    add_file(gated, layout.OOD_GATE, by_hand().to_bytes())
    with pytest.raises(
        ModelError, match=r"^The gate was fitted on 2 features, but the model has \d+: measure"
    ):
        Classifier(gated).predict(photo)


def test_a_finished_run_ships_its_gate(finished_run: Path) -> None:
    folder = finished_run / "model"
    content = (folder / layout.OOD_GATE).read_bytes()
    stated = json.loads((folder / "config.json").read_text())["dermhub"]
    assert stated["files"][layout.OOD_GATE] == hashlib.sha256(content).hexdigest()
    assert stated["conformal"]["level"] == 0.9
    assert OodGate.from_bytes(content, layout.OOD_GATE).axes.shape[0] > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_every_second_training_image_is_varied(
    finished_run: Path, tiny_data: Path, workers: int
) -> None:
    saved = Classifier(finished_run / "model")
    paths = sorted(map(str, tiny_data.rglob("*.jpg")))[:6]
    plain, varied = inference.outputs(saved, paths), inference.varied_outputs(saved, paths, workers)
    same = [
        np.allclose(row, other, atol=1e-5)
        for row, other in zip(plain.described, varied.described, strict=True)
    ]
    assert same == [True, False] * 3
    assert np.array_equal(varied.described, inference.varied_outputs(saved, paths).described)


def test_the_gate_of_a_run_was_fitted_on_varied_images(finished_run: Path, tiny_data: Path) -> None:
    saved, table = Classifier(finished_run / "model"), tables.read_table(tiny_data, LESION)
    paths = {
        split: list(table["path"][table["split"] == split]) for split in ("train", "validation")
    }
    limits = inference.outputs(saved, paths["validation"]).described
    fitted, plain = (
        fit(look(saved, paths["train"]).described, limits)
        for look in (inference.varied_outputs, inference.outputs)
    )
    kept = OodGate.from_bytes(saved.engine.folder.read(layout.OOD_GATE), layout.OOD_GATE)
    assert np.allclose(kept.mean, fitted.mean, atol=1e-5)
    assert not np.allclose(kept.mean, plain.mean, atol=1e-5)
