"""The answer as HTML: a reading at a glance, then the figures, then why.

Where anything speaks against a confident answer, that is the headline, and what the models computed
all the same is folded away below it. Every text that depends on an upload is escaped, and pictures
are embedded.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from demo.models import Pair
from demo.page.html import NOTICE, bar, either, note, table
from demo.page.maps import maps
from demo.reading import Reading, Reason
from dermhub import Prediction, Threshold, plain_name

EMPTY = (
    f"{note('The answer appears here.')}"
    '<p class="derm-small">It needs a dermatoscopic image of one pigmented lesion: a close-up '
    "through a dermatoscope, "
    "not an ordinary photograph.</p>"
)

ASK = (
    '<div class="derm-problem" role="alert" data-say="Confirm first that this is research '
    'software."><strong>One thing '
    "first.</strong> Tick the box above to confirm that this is research software; then the answer "
    "appears here.</div>"
)

BUSY = '<p class="derm-note derm-busy" role="status">Reading eleven variants of the image ...</p>'


def waiting(loaded: bool) -> str:
    """Return what stands in place of the old answer while the new one is computed."""
    text = (
        "Reading the image ..."
        if loaded
        else "Loading the models; this takes some seconds, once ..."
    )
    return f'<p class="derm-note derm-busy" role="status">{text}</p>'


def answer(reading: Reading, pair: Pair) -> str:
    """Return all that the page says of an image."""
    return as_html(reading, pair.point, pair.tested)


def as_html(reading: Reading, point: Threshold, tested: dict[str, Any]) -> str:
    """Return the answer from its parts.

    `point` is the operating point of the binary model, `tested` its counts on the test split.
    """
    first, why = reading.first, reading.reasons
    figures = f'<div class="derm-two">{ranking(reading.second)}{maps(reading)}</div>'
    if why:
        say = why[0].title
        body = (
            '<section class="derm-head derm-withheld" '
            f'role="alert"><h2>{escape(say)}</h2>{_reasons(why)}</section>'
            '<details class="derm-details"><summary>What the models computed all the same</summary>'
            "<h2>Probability of malignancy: "
            f"{first.malignancy:.1%}</h2>{_scale(first)}{figures}</details>"
        )
    else:
        say = f"Probability of malignancy {first.malignancy:.1%}. {_call(first)}"
        body = (
            '<section class="derm-head"><h2>Probability of malignancy: '
            f"{first.malignancy:.1%}</h2>{_scale(first)}"
            f'<p class="derm-call">{_call(first)}</p>'
            f"<p>{track_record(first.malignant, point, tested)}</p></section>{figures}"
        )
    return (
        f'<div class="derm" data-say="{escape(say)}">{body}<p class="derm-small">{NOTICE}</p></div>'
    )


def _reasons(why: Sequence[Reason]) -> str:
    return "".join(
        # The first title is the headline already.
        (f"<h3>{escape(reason.title)}</h3>" if reason.title != why[0].title else "")
        + f"<p>{escape(reason.sentence)}</p>"
        for reason in why
    )


def _call(first: Prediction) -> str:
    if first.malignant:
        return f"At or above the operating threshold of {first.threshold:.1%}: called malignant."
    return f"Below the operating threshold of {first.threshold:.1%}: called benign."


def _scale(first: Prediction) -> str:
    # The words end or begin at the tick, whichever side has more room.
    side = (
        f"margin-left:{first.threshold:.2%}"
        if first.threshold < 0.5
        else f"text-align:right;width:{first.threshold:.2%}"
    )
    return (
        f'<div class="derm-scale">{bar(first.malignancy, first.threshold)}<span class="mark" '
        f'style="{side}">'
        f"operating threshold {first.threshold:.1%}</span></div>"
    )


def track_record(called: bool, point: Threshold, tested: dict[str, Any]) -> str:
    """Say where the threshold comes from, and how often its call was wrong on test images."""
    sick, healthy = tested["tp"] + tested["fn"], tested["tn"] + tested["fp"]
    wrong = (
        f"called {tested['fp']:,} of {healthy:,} images of benign lesions malignant"
        if called
        else f"called {tested['fn']:,} of {sick:,} images of malignant lesions benign"
    )
    aim = f"{escape(point.aim)}, chosen on {escape(point.split)} images"
    return f"The threshold stands for {aim}. On test images, the model {wrong}."


def ranking(second: Prediction) -> str:
    """Return the prediction set in words, and the seven classes, the most probable first."""
    ranked = sorted(second.probabilities.items(), key=lambda item: -item[1])
    rows = [
        (f"{escape(plain_name(name))} {bar(share)}", f"<code>{escape(name)}</code>", f"{share:.1%}")
        for name, share in ranked
    ]
    head = ("class", "code", "probability")
    caption = "The model's probabilities; the true diagnosis may be none of these."
    shown = in_words(second) + table(caption, head, rows)
    return f'<section aria-label="Seven classes"><h2>Seven classes</h2>{shown}</section>'


def in_words(second: Prediction) -> str:
    """Return the prediction set as a sentence; "" for a model that has none."""
    if not second.conformal_level:
        return ""
    names = (
        either([escape(plain_name(name)) for name in second.conformal])
        or "none of the seven classes"
    )
    codes = either([f"<code>{escape(name)}</code>" for name in second.conformal])
    return (
        '<p class="derm-set">What remains possible: '
        f"<strong>{names}</strong>{codes and f' ({codes})'}.</p>"
        '<p class="derm-small">Sets like this one hold the right class of '
        f"{second.conformal_level:.0%} of the lesions "
        "of each class, if yours come from where the models' data came from.</p>"
    )
