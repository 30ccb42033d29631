"""The prevalence tab: the meaning of a call where malignant lesions are as rare as a user says."""

from __future__ import annotations

from html import escape
from typing import Any

from demo.models import Pair
from demo.page.html import table
from dermhub import ConfigError, at_prevalence

HEAD = ("what", "value", "at the bounds of the 95% intervals")


def share_of(percent: float) -> float:
    """Return a prevalence, sent in percent, as a share.

    Raises ConfigError for all but a number from 0 to 100.
    """
    if not isinstance(percent, int | float):
        raise ConfigError("No prevalence was sent: expected a number from 0 to 100.")
    if not 0 <= percent <= 100:
        raise ConfigError(f"The prevalence is {percent} %, expected a number from 0 to 100.")
    return percent / 100


def figures(tested: dict[str, Any], prevalence: float) -> dict[str, Any]:
    """Return the predictive values at a prevalence from 0 to 1, and the shares they come from.

    `tested` is what metrics.json says of the operating point on test; the bounds of `ppv`, `npv`,
    `missed` and `false_alarms` are at the bounds of the two shares (None where there are none).
    Raises ConfigError otherwise.
    """
    point = at_prevalence(tested["sensitivity"], tested["specificity"], prevalence)
    bounds = tested.get("intervals", {})
    ranges: dict[str, Any] = dict.fromkeys(point)
    if bounds.get("sensitivity") and bounds.get("specificity"):
        # Each is monotonous in both shares, so the corners of the two intervals bound it.
        low, high = (
            at_prevalence(bounds["sensitivity"][i], bounds["specificity"][i], prevalence)
            for i in (0, 1)
        )
        for name in point:
            if low[name] is not None and high[name] is not None:
                ranges[name] = sorted((float(low[name] or 0), float(high[name] or 0)))
    return {
        "prevalence": prevalence,
        "sensitivity": tested["sensitivity"],
        "specificity": tested["specificity"],
        **point,
        "bounds": ranges,
    }


def html(pair: Pair, percent: float) -> str:
    """Return the predictive values in words, for a prevalence in percent."""
    values = figures(pair.tested, share_of(percent))
    malignant = 10 * percent
    detected, alarms = malignant - values["missed"], values["false_alarms"]
    rows = [
        (
            "Probability of cancer where the call is malignant (PPV)",
            _share(values["ppv"]),
            _between(values, "ppv", _share),
        ),
        (
            "Probability of no cancer where the call is benign (NPV)",
            _share(values["npv"]),
            _between(values, "npv", _share),
        ),
        (
            "Cancers missed, of 1,000 images",
            count(values["missed"]),
            _between(values, "missed", count),
        ),
        ("False alarms, of 1,000 images", count(alarms), _between(values, "false_alarms", count)),
    ]
    digits = ".0f" if min(detected, values["missed"]) >= 10 else ".1f"
    both = f"{detected:{digits}} are found and {values['missed']:{digits}} missed"
    say = f"Of 1,000 images, {count(malignant)} are malignant: {both}."
    called = f"{count(detected + alarms)} are called malignant, {count(alarms)} of them falsely."
    sensitivity = detected / malignant if malignant else 0.0
    return (
        f'<div class="derm" data-say="{say} {called}"><p class="derm-call">{say} {called}</p>'
        f"{_strip(sensitivity, 'Of the malignant, those that are found')}"
        f"{_strip(values['ppv'] or 0.0, 'Of those called malignant, the malignant ones')}"
        f"{table('At the operating threshold of the fast model', HEAD, rows)}"
        f'<p class="derm-small">From a sensitivity of {values["sensitivity"]:.1%} and a '
        f"specificity of {values['specificity']:.1%} on test images ({escape(pair.binary.name)}, "
        f"threshold {pair.point.value:.1%}), where {_tested(pair.tested):.1%} of the images were "
        "malignant. Both may "
        "be lower in a clinic that differs from where the data came from.</p></div>"
    )


def count(number: float) -> str:
    """Write a number of images among 1,000 in the digits that it deserves."""
    return f"{number:,.0f}" if number >= 9.95 or number == round(number) else f"{number:.1f}"


def _share(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.1%}"


def _between(values: dict[str, Any], name: str, as_text: Any) -> str:
    bounds = values["bounds"][name]
    return "" if bounds is None else f"{as_text(bounds[0])} to {as_text(bounds[1])}"


def _tested(tested: dict[str, Any]) -> float:
    sick = tested["tp"] + tested["fn"]
    return float(sick / (sick + tested["fp"] + tested["tn"]))


def _strip(share: float, words: str) -> str:
    """Return a strip as long as a share is large, named in words; the rest is hatched."""
    return (
        f'<div class="derm-strip"><span>{words}: {share:.1%}</span><span class="two" '
        'aria-hidden="true">'
        f'<i style="width:{share:.2%}"></i></span></div>'
    )
