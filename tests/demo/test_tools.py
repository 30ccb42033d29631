"""Stability, prevalence and many images: figures, by hand where a hand can, and their words."""

from __future__ import annotations

import csv
import importlib.util
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
from demo.page import examples, figures, prevalence, several, stability
from demo.page.stability import Trial
from demo.read_upload import Uploads, for_visitor
from demo.reading import TITLES, as_record, read, record
from dermhub.errors import ConfigError, ImageError
from dermhub.images import photo as photo_module
from dermhub.images import quality
from dermhub.images.concern import NOT_DERMATOSCOPIC, Concern
from dermhub.images.drawn_lesions import draw
from dermhub.models.assessment import assess
from dermhub.models.catalog import shipped
from dermhub.models.classifier import Classifier
from tests.support.readings import HOSTILE, SEVEN, Page, predictions, shares

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
    warnings: list[str] = []
    assert offered(*given, warnings.append) == {FAST: given}
    (tmp_path / "s-accurate").mkdir()
    assert offered(*given, warnings.append) == {
        FAST: given,
        ACCURATE: (str(tmp_path / "b-accurate"), str(tmp_path / "s-accurate")),
    }
    assert warnings == []


def test_accurate_models_that_can_not_be_run_are_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in an environment without PyTorch.
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    given = (str(tmp_path / "b"), str(tmp_path / "s"))
    for name in ("b-accurate", "s-accurate"):
        (tmp_path / name).mkdir()
    warnings: list[str] = []
    (tmp_path / "b-accurate" / "model.onnx").touch()
    assert offered(*given, warnings.append) == {FAST: given}
    assert warnings == [
        "the larger models are not offered: they have no model.onnx, and PyTorch, which would run "
        "them, is not installed."
    ]
    (tmp_path / "s-accurate" / "model.onnx").touch()
    assert offered(*given, warnings.append).keys() == {FAST, ACCURATE}
    assert len(warnings) == 1


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


def test_trials_are_assessments_of_the_variants(pair: Pair, photo: Path) -> None:
    trials = stability.trials(pair, photo.read_bytes())
    assert [trial.name for trial in trials] == list(stability.variants(Image.open(photo)))
    turned = Image.open(photo).transpose(Image.Transpose.ROTATE_90)
    for trial, image in zip(trials, (Image.open(photo), turned), strict=False):
        expected = assess(pair.binary.predict(image), pair.lesion.predict(image))
        assert trial.assessment.malignancy == pytest.approx(expected.malignancy, abs=1e-5)
        assert trial.label == expected.diagnoses[0].code


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

    counting(photo_module, "open_file")
    counting(photo_module, "to_array")
    counting(quality, "measure")
    return calls


def test_both_models_share_one_look_at_an_upload(
    pair: Pair, photo: Path, counted: Counter[str]
) -> None:
    assert pair.binary.config.input == pair.lesion.config.input
    content = photo.read_bytes()
    read(pair, content)
    assert counted == {"open_file": 1, "to_array": 1, "measure": 1}
    counted.clear()
    record(pair, content)
    assert counted == {"open_file": 1, "to_array": 1, "measure": 1}


def test_each_variant_is_looked_at_once(pair: Pair, photo: Path, counted: Counter[str]) -> None:
    # The image itself and ten variants, by both models.
    stability.trials(pair, photo.read_bytes())
    assert counted == {"open_file": 1, "to_array": 11, "measure": 11}


def trial(name: str, **malignant: float) -> Trial:
    """A trial with chosen probabilities of malignant classes; a mole has the rest."""
    return Trial(name, assess(*predictions(shares(**malignant))))


def test_a_stable_answer() -> None:
    trials = (trial("as it is", mel=0.3), trial("mirrored", mel=0.4), trial("turned", mel=0.35))
    assert stability.holds(trials)
    words = "Stable: flagged in all 2 copies (35-40%)."
    assert stability.verdict(trials) == words
    page = Page(stability.as_html(trials))
    assert page.of("data-say") == [words]
    assert "changed" not in page.text


def test_an_answer_that_is_not_stable() -> None:
    trials = (
        trial("as it is", mel=0.3),
        trial("mirrored", mel=0.05),
        trial("darker by 10%", mel=0.55),
    )
    assert not stability.holds(trials)
    words = (
        "Not stable: flagged in 1 of 2 copies (5-55%). The likeliest diagnosis changed in 1 of 2."
    )
    assert stability.verdict(trials) == words
    page = Page(stability.as_html(trials))
    assert "low (changed)" in page.text
    assert "melanoma (changed)" in page.text
    assert page.text.count("(changed)") == 2
    assert [one.record["zone"] for one in trials] == ["suspicious", "low", "suspicious"]


def test_the_api_and_the_page_say_the_same(pair: Pair, photo: Path) -> None:
    answer: Any = record(pair, photo.read_bytes())
    shown = read(pair, photo.read_bytes()).assessment
    assert answer["zone"] == shown.zone
    assert answer["malignancy"] == shown.malignancy
    assert answer["malignant"] == shown.flagged
    assert (answer["title"], answer["summary"]) == (shown.title, shown.summary)
    assert [reason["sentence"] for reason in answer["reasons"]] == [
        note.sentence for note in shown.notes
    ]


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({}, []),
        ({"concerns": (Concern("blurred", "B."), Concern("seen", "S."))}, ["seen", "quality"]),
        ({"malignancy": 0.1}, ["disagreement"]),
        ({"conformal": tuple(SEVEN), "conformal_level": 0.9}, ["undecided"]),
        ({"concerns": (Concern(NOT_DERMATOSCOPIC, "N."),)}, ["not-dermatoscopic"]),
    ],
)
def test_reasons_of_the_api(options: dict[str, Any], codes: list[str]) -> None:
    first, second = predictions(**options)
    answer: Any = as_record(first, second, assess(first, second))
    assert [reason["code"] for reason in answer["reasons"]] == codes
    assert all(reason["title"] == TITLES[reason["code"]] for reason in answer["reasons"])
    assert answer["confident"] == (not codes)
    assert answer["refused"] == (codes == ["not-dermatoscopic"])
    # Doubt hides no zone.
    assert answer["zone"] == "highly suspicious"


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


def test_whole_people_add_up() -> None:
    # Of 1,000 people 20 are ill: 18 found, 2 missed; of 980 others 196 are flagged.
    of = prevalence.people(prevalence.figures(TESTED, 0.02))
    assert of == {
        "people": 1000,
        "sick": 20,
        "found": 18,
        "missed": 2,
        "false": 196,
        "flagged": 214,
        "cleared": 784,
        "right_of_100": 8,
    }
    for permille in (1, 7, 333, 500):
        some = prevalence.people(prevalence.figures(TESTED, permille / 1000))
        assert some["sick"] == permille
        assert some["found"] + some["missed"] + some["false"] + some["cleared"] == 1000


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
    expected = assess(pair.binary.predict(sent[0][0]), pair.lesion.predict(sent[0][0]))
    assert records[0]["malignancy"] == expected.malignancy
    assert records[0]["probabilities"] == pair.lesion.predict(sent[0][0]).probabilities
    assert str(tmp_path) not in str(records)


def row(file: str, **malignant: float) -> dict[str, Any]:
    """A row with chosen probabilities of malignant classes."""
    first, second = predictions(shares(**malignant))
    answer = as_record(first, second, assess(first, second))
    return {"file": file, "error": "", "picture": "data:,", **answer}


def test_the_table_has_the_most_suspicious_first() -> None:
    refused = {**row("boat.png", mel=0.7), "refused": True}
    broken = {"file": HOSTILE, "error": "The file is a text file."}
    rows = [row("mole.png", mel=0.1), broken, refused, row("a.png", mel=0.3), row("b.png", bcc=0.8)]
    text = several.as_html(rows)
    page = Page(text)
    assert "<script" not in text
    assert page.of("data-say") == [
        "5 images done: 1 highly suspicious, 1 suspicious, 1 low, 1 not dermatoscopic, 1 not "
        "opened."
    ]
    names = ["b.png", "a.png", "mole.png", "boat.png"]
    assert page.of("data-name") == names
    # The place of each among the files that came.
    assert page.of("data-row") == ["4", "3", "0", "2"]
    order = [page.text.index(name) for name in (*names, HOSTILE)]
    assert order == sorted(order)
    # A percentage for every image that could be opened.
    assert re.findall(r">(\d+%)</span><span class=\"bar\"", text) == ["80%", "30%", "10%", "70%"]
    assert "Most likely a mole (70%), but melanoma is possible (30%)." in page.text
    # A refusal hides no suspicion.
    assert page.text.count("If it is one, the AI finds it highly suspicious.") == 1


def test_the_csv(pair: Pair, sent: list[tuple[str, str]], tmp_path: Path) -> None:
    records = list(several.rows(pair, sent, Uploads(tmp_path), pictures=True))
    page = Page(several.as_html(records))
    rows = list(csv.DictReader(io.StringIO(page.of("data-csv")[0])))
    # A spreadsheet must not compute a name.
    assert [row["file"] for row in rows] == ["a.png", HOSTILE, "'=1+1"]
    assert rows[1]["error"] == records[1]["error"]
    assert float(rows[0]["p_mel"]) == pytest.approx(records[0]["probabilities"]["mel"], abs=1e-6)
    assert [row["zone"] for row in rows] == [records[0]["zone"], "", records[2]["zone"]]
    assert {row["called"] for row in rows} <= {"malignant", "benign", None, ""}
    assert "picture" not in rows[0]


def test_rows_of_the_api_hold_no_pictures(
    pair: Pair, sent: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert not any("picture" in row for row in several.rows(pair, sent, Uploads(tmp_path)))


def test_a_check_on_its_way_says_how_far_it_is() -> None:
    page = Page(several.progress([row("a.png", bcc=0.8)], 3))
    assert page.all("progress", max="3", value="1")
    assert "1 of 3 images done: 1 highly suspicious" in page.text


def test_too_many_files_are_told_how_many_may_come() -> None:
    assert several.too_many(101).startswith("101 files came, but 100 can be checked in one go")


def test_figures_are_counts_at_the_cut_in_use() -> None:
    bounds = {"sensitivity": [0.84, 0.96], "specificity": [0.7, 0.9]}
    assert figures.flagged(TESTED, bounds) == {
        "cancers": 20,
        "found": 18,
        "found_share": "90%, 95% interval 84 to 96%",
        "harmless": 80,
        "alarms": 16,
        "alarms_share": "20%, 95% interval 10 to 30%",
    }
    assert figures.flagged(TESTED, {})["found_share"] == "90%"


def test_a_visitor_reads_of_a_file_and_not_of_data() -> None:
    shown = for_visitor(ImageError("the uploaded data is a PDF document."))
    assert shown == "The file is a PDF document."


def test_the_label_of_an_example_comes_from_its_name() -> None:
    assert examples.label_of("/x/3-basal-cell-carcinoma.jpg") == "Basal cell carcinoma"


def test_our_own_examples_are_small_and_credited() -> None:
    paths = [Path(path) for path in examples.listed(examples.SHIPPED)]
    words = (examples.SHIPPED / "README.md").read_text(encoding="utf-8")
    assert len(paths) == 6
    for path in paths:
        assert path.stat().st_size <= 10_000
        assert f"`{path.name}`" in words
    assert "CC BY-NC" in words
    assert "10.1038/sdata.2018.161" in words
    # All photographs are of the test split, by the partition that every model was trained with.
    ids = re.findall(r"ISIC_\d+", words)
    assert len(ids) == len(set(ids)) == 5
    for model in shipped().values():
        with (model / "predictions.csv").open(encoding="utf-8", newline="") as file:
            split = {row["image_id"]: row["split"] for row in csv.DictReader(file)}
        assert {split[name] for name in ids} == {"test"}


def test_figures_of_the_shipped_models_are_whole() -> None:
    folders = shipped()
    if not folders:
        pytest.skip("model_cards/ holds no model")
    pair = Pair(Classifier(folders["binary"]), Classifier(folders["lesion"]))
    text = Page(figures.summary(pair)).text
    assert "Only those that were biopsied" in text
    assert "Another hospital (PH2, Portugal)" in text
    tested = pair.tested
    assert f"Of {tested['tp'] + tested['fn']} cancers {tested['tp']} were flagged" in text
    more = Page(figures.details(pair))
    assert "Mostly light skin." in more.text
    assert more.of("download") == ["dermhub-lesion.md", "dermhub-binary.md"]
