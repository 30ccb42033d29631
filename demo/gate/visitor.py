"""The address that a request comes from, and fair shares of what is scarce."""

from __future__ import annotations

import ipaddress

from demo.gate.asgi import Message

OWN_MACHINE = ("127.0.0.1", "::1")
"""Addresses that tell nothing: the owner's programs, or a proxy that doesn't say for whom it asks.

A proxy on this machine that sends X-Forwarded-For has put the visitor's address in their place.
"""


def address_of(scope: Message) -> str | None:
    """Return the address of a request's sender, None where it tells nothing.

    Of IPv6 the first 64 bits count: that much one household has.
    """
    client = scope.get("client")
    return household(client[0]) if client else None


def household(address: str) -> str | None:
    """Return the part of an address that one visitor can't choose, None for this machine."""
    if address in OWN_MACHINE:
        return None
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return household(str(parsed.ipv4_mapped))
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Shares:
    """Amounts that addresses hold at the same time, bounded for each and for all together.

    An address that is None has no share of its own; the bound of all holds for it, too.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self.most, self.most_each = most, most_each
        self.total = 0
        self._held: dict[str, int] = {}

    def has_room(self, address: str | None, amount: int = 1) -> bool:
        """Tell whether an address may hold so much more."""
        return self.total + amount <= self.most and self.has_share(address, amount)

    def has_share(self, address: str | None, amount: int = 1) -> bool:
        """Tell whether so much more would be within the share of an address."""
        return address is None or self._held.get(address, 0) + amount <= self.most_each

    def take(self, address: str | None, amount: int = 1) -> None:
        """Note that an address holds so much more."""
        self.total += amount
        if address is not None:
            self._held[address] = self._held.get(address, 0) + amount

    def give_back(self, address: str | None, amount: int = 1) -> None:
        """Note that an address holds so much less."""
        self.total -= amount
        if address is not None:
            left = self._held.get(address, 0) - amount
            if left > 0:
                self._held[address] = left
            else:
                self._held.pop(address, None)
