"""Connections that strangers may hold open: at most so many, shared fairly among the hosts that they come from.

Rules of this file: who is there and who gives way; no socket.  Where one more comes than there is room for, the oldest of
the host that holds most goes: whoever opens many closes its own, and one that is served at once is not the oldest for long.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable


class Crowd:
    """Those who are there."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Hashable, tuple[str, Callable[[], bool]]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, who: Hashable, address: object, give_way: Callable[[], bool]) -> bool:
        """`who` has come from `address`; whether it may stay.  `give_way` ends it later on, and says whether it could."""
        self._held[who] = origin_of(address), give_way
        if len(self._held) <= self._most or self._one_leaves(who):
            return True
        self.leave(who)
        return False

    def _one_leaves(self, newest: Hashable) -> bool:
        held = Counter(host for host, _ in self._held.values())
        for who, (_, give_way) in sorted(self._held.items(), key=lambda each: -held[each[1][0]]):  # the oldest first
            if who is not newest and give_way():
                self.leave(who)
                return True
        return False

    def leave(self, who: Hashable) -> None:
        """It has ended."""
        self._held.pop(who, None)


def origin_of(address: object) -> str:
    """What one host can have many of counts as one: an IPv6 network of 64 bits (RFC 4291 section 2.5.4)."""
    text = str(address).partition("%")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
