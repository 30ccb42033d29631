"""Fair shares of the queue, and an honest estimate of the wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

BATCH = 2
"""Images from which a request is a batch, which takes the time of many."""

FEWEST = 2
"""Requests that a visit and an address may have in the smallest queue."""


class Asking(Protocol):
    """A request that comes."""

    @property
    def visit(self) -> str | None:
        """Name of the visit; None for a client that sends none."""

    @property
    def address(self) -> str | None:
        """Address of the client, None where it tells nothing."""

    @property
    def kind(self) -> str:
        """Name of the functions that share places at work."""

    @property
    def images(self) -> int:
        """Images that it asks about."""

    @property
    def seconds(self) -> float:
        """Seconds that it takes, by the times of earlier ones."""


class Standing(Asking, Protocol):
    """A request that waits or is worked on; `seconds` are those that it still takes."""

    @property
    def running(self) -> bool:
        """False where it waits."""


def refusal(
    asking: Asking, standing: Sequence[Standing], limit: int, places: int
) -> tuple[str, str]:
    """Return why a request may not wait and the sentence for it, both empty where it may.

    `limit` requests may wait, and `places` of its kind are worked on at a time. An address may have
    half of the places, a visit a quarter, and batches together a quarter, so that there is always
    room for somebody else's single image.
    """
    waiting = [item for item in standing if not item.running]
    if len(waiting) >= limit:
        return "busy", (
            f"The server is busy: {len(waiting)} requests wait and yours would be number "
            f"{len(waiting) + 1}. Try again in about {wait(asking, standing, places)} seconds."
        )
    half, quarter = max(limit // 2, FEWEST), max(limit // 4, FEWEST)
    of_visit = [item for item in waiting if asking.visit and item.visit == asking.visit]
    of_address = [item for item in waiting if asking.address and item.address == asking.address]
    for mine, most in ((of_visit, quarter), (of_address, half)):
        if len(mine) >= most:
            return "share", (
                f"{len(mine)} requests of yours wait, as many as one visitor may have. Try again "
                f"in about {wait(asking, mine, places)} seconds."
            )
    if asking.images >= BATCH and sum(item.images >= BATCH for item in waiting) >= quarter:
        return "busy", (
            f"The server is busy: {quarter} batches of images wait, as many as may. Try again in "
            f"about {wait(asking, standing, places)} seconds."
        )
    return "", ""


def wait(asking: Asking, standing: Sequence[Standing], places: int) -> int:
    """Return the seconds until a request would be answered after all that stand before it.

    At least 1.
    """
    before = sum(item.seconds for item in standing if item.kind == asking.kind)
    return max(round(before / places + asking.seconds), 1)
