"""Stability, prevalence and several images: figures, by hand where a hand can, and their words."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo.api import Api
from demo.models import ACCURATE, FAST, Models, Pair, offered
from demo.page import prevalence, several, stability
from demo.page.stability import Trial
from demo.read_upload import Uploads
from demo.reading import TITLES, as_record, read, reasons, record
from dermhub.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.errors import ConfigError
from dermhub.images import photo as photo_module
from dermhub.images import quality
from dermhub.images.drawn_lesions import draw
from dermhub.models.classifier import Classifier
from tests.support.readings import HOSTILE, SEVEN, Page, prediction

TESTED = {"sensitivity": 0.9, "specificity": 0.8, "tp": 18, "fn": 2, "fp": 16, "tn": 64}


@pytest.fixture(scope="module")
def pair(tiny_binary_model: Path, tiny_lesion_model: Path) -> Pair:
    """Two tiny models."""
    return Pair(Classifier(tiny_binary_model), Classifier(tiny_lesion_model))


@pytest.mark.parametrize("slash", ["", "/"])
def test_accurate_models_beside_the_given_ones_are_offered(tmp_path: Path, slash: str) -> None:
    for name in ("b", "s", "b-accurate"):
        (tmp_path / name).mkdir()
    given = (f"{tmp_path / 'b'}{slash}", f"{tmp_path / 's'}{slash}")
    assert offered(*given) == {FAST: given}
    (tmp_path / "s-accurate").mkdir()
    assert offered(*given) == {
        FAST: given,
        ACCURATE: (str(tmp_path / "b-accurate"), str(tmp_path / "s-accurate")),
    }


def test_variants_are_what_their_names_say() -> None:
    image = draw(3, (60, 40), 0.8)
    variants = stability.variants(image)
    assert len(variants) == 11
    assert variants["as it is"] is image
    assert variants["turned by 90°"].size == (40, 60)
    assert np.array_equal(np.asarray(variants["turned by 180°"]), np.asarray(image)[::-1, ::-1])
    assert np.array_equal(np.asarray(variants["mirrored"]), np.asarray(image)[:, ::-1])
    mean = {name: float(np.asarray(variant).mean()) for name, variant in variants.items()}
    assert mean["darker by 10%"] == pytest.approx(0.9 * mean["as it is"], rel=0.01)
    assert mean["brighter by 10%"] > mean["as it is"]
    spread = {name: float(np.asarray(variant, float).std()) for name, variant in variants.items()}
    assert spread["less contrast by 10%"] < spread["as it is"] < spread["more contrast by 10%"]


def test_zoom_shows_the_middle_larger() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[15:25, 20:40] = 255  # the middle 20 x 10
    large = np.asarray(stability.zoomed(Image.fromarray(pixels), 2.0))
    assert large.shape == (40, 60, 3)
    bright = np.argwhere(large[..., 0] > 127)
    assert (bright.min(0).tolist(), bright.max(0).tolist()) == ([10, 10], [29, 49])


def test_trials_are_predictions_of_the_variants(pair: Pair, photo: Path) -> None:
    trials = stability.trials(pair, photo.read_bytes())
    assert trials[0].name == "as it is"
    assert trials[0].malignancy == pytest.approx(pair.binary.predict(photo).malignancy, abs=1e-5)
    assert trials[0].label == pair.lesion.predict(photo).label
    turned = Image.open(photo).transpose(Image.Transpose.ROTATE_90)
    assert trials[1].malignancy == pytest.approx(pair.binary.predict(turned).malignancy, abs=1e-5)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often an image is decoded, measured and scaled from now on."""
    calls: Counter[str] = Counter()

    def counting(module: ModuleType, name: str) -> None:
        work = getattr(module, name)

        def wrapped(*given: object) -> object:
            calls[name] += 1
            return work(*given)

        monkeypatch.setattr(module, name, wrapped)

    counting(photo_module, "to_rgb")
    counting(photo_module, "to_array")
    counting(quality, "measure")
    return calls


def test_both_models_share_one_look_at_an_upload(
    pair: Pair, photo: Path, counted: Counter[str]
) -> None:
    assert pair.binary.config.input == pair.lesion.config.input
    content = photo.read_bytes()
    read(pair, content)
    assert counted == {"to_rgb": 1, "to_array": 1, "measure": 1}
    counted.clear()
    record(pair, content)
    assert counted == {"to_rgb": 1, "to_array": 1, "measure": 1}


def test_each_variant_is_looked_at_once(pair: Pair, photo: Path, counted: Counter[str]) -> None:
    # The image itself and ten variants, by both models, and why an answer would be withheld.
    stability.check(pair, photo.read_bytes())
    assert counted == {"to_rgb": 1, "to_array": 11, "measure": 11}


def test_an_answer_that_holds() -> None:
    trials = (Trial("as it is", 0.3, True, "mel"), Trial("mirrored", 0.4, True, "mel"))
    assert stability.holds(trials)
    words = (
        "The answer holds in all 1 variants. The probability of malignancy lies between 30.0% and "
        "40.0%."
    )
    assert stability.verdict(trials) == words
    page = Page(stability.as_html(trials, 0.1))
    assert page.of("data-say") == [words]
    assert "changed" not in page.text


def test_an_answer_that_does_not_hold() -> None:
    trials = (
        Trial("as it is", 0.3, True, "mel"),
        Trial("mirrored", 0.05, False, "mel"),
        Trial("darker by 10%", 0.3, True, "nv"),
    )
    assert not stability.holds(trials)
    verdict = stability.verdict(trials)
    assert (
        "does not hold, do not rely on it: the call changes when the image is mirrored;" in verdict
    )
    assert "the most probable class changes when it is darker by 10%." in verdict
    page = Page(stability.as_html(trials, 0.1))
    assert "benign (changed)" in page.text
    assert "melanocytic nevus (changed)" in page.text
    assert page.text.count("(changed)") == 2


def test_agreement_without_a_confident_answer_is_no_answer_that_holds() -> None:
    trials = (Trial("as it is", 0.3, True, "mel"), Trial("mirrored", 0.4, True, "mel"))
    words = (
        "No confident answer: the two models disagree. That all 1 variants give the same does not "
        "change this. The probability of malignancy lies between 30.0% and 40.0%."
    )
    assert stability.verdict(trials, TITLES["disagreement"]) == words
    page = Page(stability.as_html(trials, 0.1, TITLES["disagreement"]))
    assert page.of("data-say") == [words]
    assert "holds" not in page.text
    differing = (trials[0], Trial("mirrored", 0.05, False, "mel"))
    verdict = stability.verdict(differing, TITLES["quality"])
    assert verdict.startswith(
        "No confident answer: the image is not good enough; nor does it hold: the call changes "
        "when the image is mir"
    )


def test_the_code_that_withholds_an_answer_has_a_title() -> None:
    assert NOT_DERMATOSCOPIC in TITLES


def test_what_withholds_an_answer_is_what_the_api_says(pair: Pair, photo: Path) -> None:
    reasons: Any = record(pair, photo.read_bytes())["reasons"]
    assert stability.withheld(pair, photo.read_bytes()) == (reasons[0]["title"] if reasons else "")
    noise = io.BytesIO()
    Image.new("RGB", (300, 200)).save(noise, "PNG")
    assert stability.withheld(pair, noise.getvalue()) in TITLES.values()


def test_prevalence_by_hand() -> None:
    # Of 1,000 images 20 are malignant: 18 found, 2 missed; of 980 others 196 are false alarms.
    values = prevalence.figures(TESTED, 0.02)
    assert values["ppv"] == pytest.approx(18 / 214)
    assert (values["missed"], values["false_alarms"]) == (pytest.approx(2), pytest.approx(196))
    assert values["bounds"] == dict.fromkeys(("ppv", "npv", "missed", "false_alarms"))


def test_prevalence_at_the_bounds_of_the_intervals() -> None:
    bounds = {"sensitivity": [0.8, 1.0], "specificity": [0.7, 0.9]}
    values = prevalence.figures({**TESTED, "intervals": bounds}, 0.1)
    # Of 1,000: 80 to 100 of 100 found; 270 down to 90 of 900 false alarms.
    assert values["bounds"]["missed"] == [pytest.approx(0), pytest.approx(20)]
    assert values["bounds"]["false_alarms"] == [pytest.approx(90), pytest.approx(270)]
    assert values["bounds"]["ppv"] == [pytest.approx(80 / 350), pytest.approx(100 / 190)]


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan")])
def test_a_prevalence_that_is_none(wrong: float) -> None:
    with pytest.raises(
        ConfigError, match=r"^The prevalence is .*, expected a share from 0 to 1\.$"
    ):
        prevalence.figures(TESTED, wrong)


@pytest.mark.parametrize("wrong", [-1, 101, float("nan")])
def test_a_percentage_that_is_none(tmp_path: Path, wrong: float) -> None:
    answer = Api(Models({}), Uploads(tmp_path)).at_prevalence(wrong)
    assert answer["error"] == f"The prevalence is {wrong} %, expected a number from 0 to 100."


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.26, "0.3"), (9.4, "9.4"), (9.96, "10"), (361.4, "361")]
)
def test_numbers_of_lesions(number: float, text: str) -> None:
    assert prevalence.count(number) == text


@pytest.fixture
def sent(tmp_path: Path) -> list[tuple[str, str]]:
    """Three uploads: a drawing, a text, and a drawing whose name begins like a formula."""
    draw(3, (90, 60), 0.8).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    draw(4, (90, 60), 0.1).save(tmp_path / "c.png")
    return [
        (str(tmp_path / "a.png"), "a.png"),
        (str(tmp_path / "b.png"), HOSTILE),
        (str(tmp_path / "c.png"), "=1+1"),
    ]


def test_a_row_for_every_file(pair: Pair, sent: list[tuple[str, str]], tmp_path: Path) -> None:
    records = list(several.rows(pair, sent, Uploads(tmp_path)))
    assert [record["file"] for record in records] == ["a.png", HOSTILE, "=1+1"]
    assert [bool(record["error"]) for record in records] == [False, True, False]
    assert records[0]["malignancy"] == pair.binary.predict(sent[0][0]).malignancy
    assert records[0]["probabilities"] == pair.lesion.predict(sent[0][0]).probabilities
    assert str(tmp_path) not in str(records)


def test_the_table_and_its_csv(pair: Pair, sent: list[tuple[str, str]], tmp_path: Path) -> None:
    records = list(several.rows(pair, sent, Uploads(tmp_path)))
    text = several.as_html(records, 3)
    assert "<script" not in text
    page = Page(text)
    assert HOSTILE in page.text
    assert "3 of 3 images are read." in page.text
    (link,) = page.all("a", download="dermhub.csv")
    content = base64.b64decode(re.sub("^.*base64,", "", link["href"])).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert [row["file"] for row in rows] == [
        "a.png",
        HOSTILE,
        "'=1+1",
    ]  # a spreadsheet must not compute a name
    assert rows[1]["error"] == records[1]["error"]
    assert float(rows[0]["p_mel"]) == pytest.approx(records[0]["probabilities"]["mel"], abs=1e-6)
    assert {row["called"] for row in rows} <= {"malignant", "benign", None, ""}


def test_a_table_on_its_way_says_how_far_it_is(
    pair: Pair, sent: list[tuple[str, str]], tmp_path: Path
) -> None:
    records = [next(several.rows(pair, sent, Uploads(tmp_path)))]
    page = Page(several.as_html(records, 3))
    assert page.all("progress", max="3", value="1")
    assert "1 of 3 images are read." in page.text
    assert not page.all("a")


def test_a_row_without_a_confident_answer_says_why_and_no_figure() -> None:
    first = prediction(
        {"benign": 0.3, "malignant": 0.7}, 0.7, concerns=(Concern("blurred", "It is blurred."),)
    )
    second = prediction(SEVEN, 0.66)
    row = {"file": "a.png", "error": "", **as_record(first, second, reasons(first, second))}
    text = Page(several.as_html([row], 1)).text
    assert "No confident answer: the image is not good enough. It is blurred." in text
    assert "70" not in text
    assert "melanoma" not in text
    (line,) = csv.DictReader(io.StringIO(several.as_csv([row])))
    assert (line["confident"], line["malignancy"]) == ("no", "0.700000")
    assert "It is blurred." in line["reasons"]
