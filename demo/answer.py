"""Predictions and class maps -> the HTML that the demo shows. Pictures are embedded: nothing is written to disk.

Every text that depends on an upload is escaped. Switching the class and the opacity of a map happens in the
browser, so the server keeps nothing of a visit.
"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from PIL import Image

from dermhub.classifier import Explanation
from dermhub.config import Threshold
from dermhub.labels import TASKS, plain_name

SHOWN_WIDTH = 640
"""Largest width, in pixels, of the embedded photograph and its heat maps."""

EMPTY = '<p class="derm-note">The answer appears here.</p>'
WAITING = '<p class="derm-note" role="status">Reading the image ...</p>'

CSS = """
.derm-note {opacity: .8; padding: 1em 0}
.derm-problem {border-left: 5px solid #b45309; padding: .8em 1em; background: var(--background-fill-secondary)}
.derm h3 {margin: 1.1em 0 .3em}
.derm table {border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; border: 0 !important}
.derm tr {border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important}
.derm th, .derm td {padding: .3em .6em .3em 0 !important; text-align: left; border: 0 !important}
.derm tbody th {font-weight: 400}
.derm caption {text-align: left; opacity: .8; padding-bottom: .3em}
.derm .bar {position: relative; display: block; height: .9em; min-width: 3em; background: var(--border-color-primary)}
.derm .bar i {display: block; height: 100%; background: #0072B2}
.derm .bar b {position: absolute; top: -.3em; bottom: -.3em; width: 3px; background: var(--body-text-color)}
.derm-call {font-size: 1.15em; font-weight: 600; margin: .2em 0}
.derm-map {--heat: .6; margin-top: .4em}
.derm-map .stage {position: relative; display: inline-block; line-height: 0; width: 100%; max-width: 30em}
.derm-map .stage > img:first-child {width: 100%}
.derm-map .stage img {max-width: 100%; margin: 0}
.derm-map .heat {position: absolute; inset: 0; width: 100%; height: 100%; opacity: var(--heat); display: none}
.derm-map label {display: inline-block; margin: 0 .9em .4em 0; cursor: pointer}
.derm-map .blank {display: none}
@media (max-width: 640px) {.derm .code {display: none}}
""" + "".join(
    f'.derm-map:has(input[value="{name}"]:checked) .of-{name} {{display: block}}\n'
    for task in TASKS.values()
    for name in task.classes
)


def problem(message: str) -> str:
    """A message in place of an answer."""
    return f'<div class="derm-problem" role="alert"><strong>No answer.</strong> {escape(message)}</div>'


def answer(
    binary: dict[str, Explanation], lesion: dict[str, Explanation], point: Threshold, tested: dict[str, Any]
) -> str:
    """The answer of both models: malignancy against the operating point, the seven classes, and the maps.

    `point` is the binary model's operating point and `tested` what metrics.json says of it on test.
    """
    first, second = next(iter(binary.values())).prediction, next(iter(lesion.values())).prediction
    parts = [_malignancy(first.malignancy, first.malignant, point, tested)]
    if first.malignant != second.malignant:
        parts.append(
            f'<div class="derm-problem" role="alert"><strong>The two models disagree.</strong> The seven-class model '
            f"gives its malignant classes together {second.malignancy:.0%}, which is "
            f"{'at or above' if second.malignant else 'below'} its own operating point of {second.threshold:.0%}. "
            "Rely on neither.</div>"
        )
    shown = _shrunk(next(iter(binary.values())).image)
    parts += [_ranking(second.probabilities), _maps("Why: the seven classes", lesion, second.label, shown)]
    parts.append(_maps("Why: benign or malignant", binary, first.label, shown))
    parts.append(
        '<p class="derm-note">Grad-CAM: brighter and more opaque means more evidence for the chosen class, scaled to '
        "that map's own maximum. Areas outside the central square are not seen by the models. A map shows where "
        "evidence was found, not that it is right.</p>"
    )
    return f'<div class="derm">{"".join(parts)}</div>'


def _malignancy(score: float, called: bool, point: Threshold, tested: dict[str, Any]) -> str:
    sick, healthy = tested["tp"] + tested["fn"], tested["tn"] + tested["fp"]
    if called:
        call = "At or above the operating point: called malignant."
        record = f"On test images, the model also called {tested['fp']} of {healthy} benign ones malignant."
    else:
        call = "Below the operating point: called benign."
        record = f"On test images, the model called {tested['fn']} of {sick} malignant ones benign."
    return (
        f"<h3>Probability of malignancy: {score:.1%}</h3>{_bar(score, point.value)}"
        f'<p class="derm-call">{call}</p><p>The operating point is {point.value:.1%} ({escape(point.aim)}, chosen on '
        f"{escape(point.split)} images). {record}</p>"
    )


def _ranking(probabilities: dict[str, float]) -> str:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    rows = "".join(
        f'<tr><th scope="row">{escape(plain_name(name))}</th><td class="code"><code>{escape(name)}</code></td>'
        f"<td>{value:.1%}</td><td>{_bar(value)}</td></tr>"
        for name, value in ranked
    )
    return (
        "<h3>Seven classes</h3><table><caption>Calibrated probabilities; the true diagnosis may be none of these."
        '</caption><thead><tr><th scope="col">class</th><th scope="col" class="code">code</th>'
        '<th scope="col">probability</th><th scope="col"><span class="sr-only"></span></th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _maps(title: str, explanations: dict[str, Explanation], selected: str, photo: Image.Image) -> str:
    group = f"map-{len(explanations)}"
    choices, layers = [], []
    for name, explanation in explanations.items():
        checked = " checked" if name == selected else ""
        share = explanation.prediction.probabilities[name]
        choices.append(
            f'<label><input type="radio" name="{group}" value="{escape(name)}"{checked}> {escape(plain_name(name))}'
            f" ({share:.0%})</label>"
        )
        if explanation.blank:
            layers.append(
                f'<p class="blank of-{escape(name)}">Nothing in this image speaks for {escape(plain_name(name))}.</p>'
            )
        else:
            heat = _data_uri(explanation.layer(photo.width // 2), "PNG")
            text = f"Heat map of the evidence for {plain_name(name)}, probability {share:.0%}"
            layers.append(f'<img class="heat of-{escape(name)}" src="{heat}" alt="{escape(text)}">')
    stage = "".join(one for one in layers if one.startswith("<img"))
    notes = "".join(one for one in layers if one.startswith("<p"))
    slider = (
        '<label>Opacity of the map <input type="range" min="0" max="1" step="0.05" value="0.6" '
        "oninput=\"this.closest('.derm-map').style.setProperty('--heat', this.value)\"></label>"
    )
    return (
        f'<h3>{title}</h3><div class="derm-map"><div role="radiogroup" aria-label="{title}">{"".join(choices)}</div>'
        f'<div class="stage"><img src="{_data_uri(photo, "JPEG")}" alt="The uploaded image">{stage}</div>'
        f"{notes}<div>{slider}</div></div>"
    )


def _bar(value: float, mark: float | None = None) -> str:
    tick = "" if mark is None else f'<b style="left:calc({mark:.2%} - 1px)"></b>'
    return f'<span class="bar" aria-hidden="true"><i style="width:{value:.2%}"></i>{tick}</span>'


def _shrunk(image: Image.Image) -> Image.Image:
    # A small image is enlarged, so that page and maps look the same for every upload.
    return image.resize(
        (SHOWN_WIDTH, max(round(image.height * SHOWN_WIDTH / image.width), 1)), Image.Resampling.BICUBIC
    )


def _data_uri(image: Image.Image, kind: str) -> str:
    stream = io.BytesIO()
    # The copy carries no EXIF, no ICC profile, no file name of the upload, and no comment, which Pillow would keep.
    image.save(stream, kind, **({"quality": 88, "comment": b""} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
