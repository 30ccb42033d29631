"""The meaning of an alarm where skin cancer is as rare as a user says."""

from __future__ import annotations

from typing import Any

from demo.models import Pair
from demo.page.html import fill
from dermhub import ConfigError, at_prevalence

PEOPLE = 1000
"""People of whom the page tells."""


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


def people(values: dict[str, Any]) -> dict[str, int]:
    """Return whole people of `PEOPLE` for what `figures` gives; the parts add up to the whole."""
    sick = round(PEOPLE * values["prevalence"])
    missed = min(round(values["missed"]), sick)
    alarms = min(round(values["false_alarms"]), PEOPLE - sick)
    found = sick - missed
    return {
        "people": PEOPLE,
        "sick": sick,
        "found": found,
        "missed": missed,
        "false": alarms,
        "flagged": found + alarms,
        "cleared": PEOPLE - sick - alarms,
        "right_of_100": round(100 * found / (found + alarms)) if found + alarms else 0,
    }


def html(pair: Pair, people_of_1000: float) -> str:
    """Return what alarms mean where so many of 1,000 people have skin cancer, as HTML."""
    values = figures(pair.tested, share_of(people_of_1000 / 10))
    return fill("prevalence.html.jinja", of=people(values))
