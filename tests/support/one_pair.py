"""Models of a demo that are the same two, whatever kind is asked for."""

from __future__ import annotations

from demo.models import Models, Pair


class OnePair(Models):
    """The same two models of every kind."""

    def __init__(self, pair: Pair) -> None:
        super().__init__({"fast": ("binary", "lesion")})
        self.one = pair

    def pair(self, kind: str) -> Pair:  # noqa: ARG002
        """Return the models."""
        return self.one
