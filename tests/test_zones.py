"""Zones of suspicion: their order, their cuts, and that they rise with the probability."""

from __future__ import annotations

import json

import pytest

from dermhub.zones import Threshold, Zone, Zones

ZONES = Zones(Threshold(0.08, "lower"), Threshold(0.5, "upper"))


def test_zones_are_ordered_and_are_text() -> None:
    assert sorted(["suspicious", "highly suspicious", "low"], key=lambda word: Zone(word).rank) == [
        *Zone
    ]
    # By the alphabet "highly suspicious" would come first.
    assert Zone.LOW < Zone.SUSPICIOUS < Zone.HIGHLY_SUSPICIOUS
    assert Zone.HIGHLY_SUSPICIOUS > "low"
    assert not Zone.LOW > Zone.LOW
    assert Zone.SUSPICIOUS >= Zone.SUSPICIOUS
    assert Zone.SUSPICIOUS <= "suspicious"
    assert max(Zone.LOW, Zone.HIGHLY_SUSPICIOUS, Zone.SUSPICIOUS) is Zone.HIGHLY_SUSPICIOUS
    assert json.dumps({"zone": Zone.HIGHLY_SUSPICIOUS}) == '{"zone": "highly suspicious"}'


@pytest.mark.parametrize(
    ("malignancy", "zone"),
    [
        (0.0, Zone.LOW),
        (0.0799, Zone.LOW),
        (0.08, Zone.SUSPICIOUS),
        (0.4999, Zone.SUSPICIOUS),
        (0.5, Zone.HIGHLY_SUSPICIOUS),
        (1.0, Zone.HIGHLY_SUSPICIOUS),
        (float("nan"), Zone.HIGHLY_SUSPICIOUS),
    ],
)
def test_a_cut_belongs_to_the_zone_above(malignancy: float, zone: Zone) -> None:
    assert ZONES.of(malignancy) is zone


def test_the_zone_rises_with_the_probability() -> None:
    ranks = [ZONES.of(step / 1000).rank for step in range(1001)]
    assert ranks == sorted(ranks)
    assert [ranks.count(rank) for rank in range(3)] == [80, 420, 501]


def test_cuts_may_be_equal_but_not_crossed() -> None:
    same = Zones(Threshold(0.5, ""), Threshold(0.5, ""))
    assert [same.of(value) for value in (0.4, 0.5)] == [Zone.LOW, Zone.HIGHLY_SUSPICIOUS]
    with pytest.raises(ValueError, match=r"begins at 0.4, expected at least 0.5"):
        Zones(Threshold(0.5, ""), Threshold(0.4, ""))
