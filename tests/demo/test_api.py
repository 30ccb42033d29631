"""/explain: its picture is of the size that is shown, and its figures are of the photograph."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo.api import Api
from demo.models import Pair
from demo.read_upload import Uploads
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from tests.support.one_pair import OnePair


@pytest.fixture(scope="module")
def pair(tiny_binary_model: Path, tiny_lesion_model: Path) -> Pair:
    """Two tiny models."""
    return Pair(Classifier(tiny_binary_model), Classifier(tiny_lesion_model))


def explained(pair: Pair, folder: Path, image: Image.Image) -> tuple[dict[str, Any], Image.Image]:
    """What /explain says of an image, and the picture that comes with it."""
    image.save(folder / "photo.png")
    record = Api(OnePair(pair), Uploads(folder)).explain(str(folder / "photo.png"), picture=True)
    content = base64.b64decode(record["overlay"].removeprefix("data:image/png;base64,"))
    return record, Image.open(io.BytesIO(content))


def test_the_picture_of_an_ordinary_image_is_the_whole(pair: Pair, tmp_path: Path) -> None:
    image = draw(5, (600, 450), 0.7)
    record, overlay = explained(pair, tmp_path, image)
    why = pair.lesion.explain(image)
    assert overlay.size == (600, 450)
    assert np.array_equal(np.asarray(overlay), np.asarray(why.overlay))
    assert record["probability"] == why.prediction.probabilities[why.target]
    assert (record["inside"], record["verdict"]) == (why.inside, why.verdict)


@pytest.mark.slow
def test_the_picture_of_a_large_image_is_small(pair: Pair, tmp_path: Path) -> None:
    image = draw(5, (520, 390), 0.7).resize((2600, 1950))
    record, overlay = explained(pair, tmp_path, image)
    why = pair.lesion.explain(image)
    # 2600 / 1280 is rounded up to 3.
    assert overlay.size == (867, 650)
    shown = np.asarray(overlay.resize((100, 75)), float)
    assert np.abs(shown - np.asarray(why.overlay.resize((100, 75)), float)).mean() < 3
    # The model has seen the whole photograph.
    assert record["probability"] == why.prediction.probabilities[why.target]
    assert record["lesion_share"] == pytest.approx(why.lesion_share, abs=0.01)
    assert record["inside"] == pytest.approx(why.inside, abs=0.01)
