"""Class maps as HTML: the photograph once, with a small picture over it for each choice.

There is a map for each class and for each pair of classes. The browser shows the chosen one
(page.js), so that the server keeps nothing of a visit and is asked no second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from PIL import Image

from demo.page.html import data_uri
from demo.reading import Reading
from dermhub import Explanation, plain_name

SHOWN_WIDTH = 640
"""Width, in pixels, of the embedded photograph."""

HEAT_WIDTH, PAIR_WIDTH = 160, 64
"""Width, in pixels, of the map of a class and of a pair.

A map has some 7 x 7 values, so that more pixels would show nothing more.
"""


def maps(reading: Reading) -> str:
    """Return the photograph, the maps over it, and the lists to choose from."""
    photo = shrunk(next(iter(reading.binary.values())).image)
    layers = [*_layers(reading, reading.second.label)]
    return (
        '<section class="derm-map" aria-label="Why: where the evidence lies"><h2>Why: where the '
        "evidence lies</h2>"
        f"{_choices(reading)}"
        f'<div class="stage"><img src="{data_uri(photo, "JPEG")}" alt="The uploaded image">'
        f"{''.join(picture for picture, _ in layers)}</div>"
        '<div class="derm-said" role="status">' + "".join(text for _, text in layers) + "</div>"
        '<label class="derm-slide">Opacity of the map <input type="range" class="derm-opacity" '
        'min="0" max="100" '
        'step="5" value="60" aria-label="Opacity of the map in percent"></label>'
        '<p class="derm-small">Grad-CAM, in the colours of viridis: brighter and more opaque means '
        "more evidence, "
        "relative to that map's own maximum. What lies outside the central square is not seen by "
        "the models. A map "
        "shows where evidence was found, not that it is right.</p></section>"
    )


def shrunk(image: Image.Image) -> Image.Image:
    """Scale a photograph to the width of the page.

    A small one is enlarged, so that every answer looks the same.
    """
    return image.resize(
        (SHOWN_WIDTH, max(round(image.height * SHOWN_WIDTH / image.width), 1)),
        Image.Resampling.BICUBIC,
    )


def _choices(reading: Reading) -> str:
    ranked = sorted(reading.second.probabilities.items(), key=lambda item: -item[1])
    seven = "".join(_option(name, share, name == reading.second.label) for name, share in ranked)
    two = "".join(_option(name, share) for name, share in reading.first.probabilities.items())
    others = "".join(
        f'<option value="{escape(name)}">{escape(plain_name(name))}</option>' for name, _ in ranked
    )
    return (
        '<div class="derm-choose"><label><span>Evidence for</span> <select class="derm-for">'
        f'<optgroup label="Seven classes">{seven}</optgroup>'
        f'<optgroup label="Benign or malignant">{two}</optgroup></select></label>'
        '<label><span>and against</span> <select class="derm-against"><option value="">(no other '
        "class)</option>"
        f"{others}</select></label></div>"
    )


def _option(name: str, share: float, chosen: bool = False) -> str:
    selected = " selected" if chosen else ""
    return (
        f'<option value="{escape(name)}"{selected}>{escape(plain_name(name))} '
        f"({share:.0%})</option>"
    )


def _layers(reading: Reading, chosen: str) -> Iterator[tuple[str, str]]:
    for (target, versus), explanation in reading.lesion.items():
        width = PAIR_WIDTH if versus else HEAT_WIDTH
        yield _layer(explanation, width, (target, versus) == (chosen, ""))
    for explanation in reading.binary.values():
        yield _layer(explanation, HEAT_WIDTH, False)


def _layer(explanation: Explanation, width: int, chosen: bool) -> tuple[str, str]:
    """The picture of a map ("" where it is blank), and what is said below it."""
    key = escape(f"{explanation.target}|{explanation.versus}")
    name, other = plain_name(explanation.target), plain_name(explanation.versus)
    on = " on" if chosen else ""
    if explanation.blank:
        what = f"speaks for {name} rather than {other}" if other else f"speaks for {name}"
        return (
            "",
            f'<p class="derm-of{on}" data-of="{key}">Nothing in this image {escape(what)}.</p>',
        )
    share = explanation.prediction.probabilities[explanation.target]
    what = (
        f"what speaks for {name} and against {other}"
        if other
        else f"the evidence for {name}, probability {share:.0%}"
    )
    verdict = f" {explanation.verdict}"
    picture = (
        f'<img class="heat derm-of{on}" data-of="{key}" '
        f'src="{data_uri(explanation.layer(width), "PNG")}" '
        f'alt="{escape(f"Heat map of {what}.{verdict}")}">'
    )
    mark = (
        ""
        if explanation.trusted or not explanation.judged
        else "<strong>Not to be relied on.</strong> "
    )
    return (
        picture,
        f'<p class="derm-of{on}" data-of="{key}">{mark}{escape(f"Shown: {what}.{verdict}")}</p>',
    )
