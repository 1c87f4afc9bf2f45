"""The gateways: where each can be reached, and how much it has been on the air.

Rules of this file: values and arithmetic; times are given, in seconds of the event loop.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from rataccess.errors import ObjectError
from rataccess.lorawan.regions import Region
from rataccess.objects import decode, encode
from rataccess.services.crowd import origin_of

HOUR = 3600.0
"""What a duty cycle is measured over (EN 300 220-1 clause 5.4.1)."""
SILENT = 90.0
"""Seconds after which a gateway that says nothing cannot be sent to: the forwarder asks every 5 to 10 s.  For as long its
name is that host's which asked last: nobody else gets what is for it."""
MOST_GATEWAYS = 256


@dataclass(slots=True)
class Gateway:
    """One gateway."""

    eui: str
    address: Any = None
    """Where it last asked for downlinks from; before it has, where it sends from: some use one socket for both."""
    version: int = 2
    asked: bool = False
    heard_at: float = float("-inf")
    asked_at: float = float("-inf")
    spent: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    """Begin and length of transmissions in the last hour, by sub-band."""

    def spoke(self, address: Any, version: int, now: float, *, asks: bool) -> bool:
        """A datagram in its name came; `asks`: for downlinks.  Whether it is believed: not from another host than the one
        that asked for downlinks a short while ago.  Another port is the same gateway's, behind a NAT that forgot it, and so
        is another IPv6 address of the same network."""
        held = self.asked and now - self.asked_at <= SILENT
        if held and origin_of(host_of(address)) != origin_of(host_of(self.address)):
            return False
        self.heard_at = now
        if asks:
            self.address, self.version, self.asked, self.asked_at = address, version, True, now
        elif not self.asked:
            self.address, self.version = address, version
        return True

    def reachable(self, now: float) -> bool:
        """Whether a downlink can be given to it."""
        return self.address is not None and now - self.heard_at <= SILENT

    def may_send(self, region: Region, frequency: int, airtime: float, now: float) -> bool:
        """Whether the law's duty cycle leaves room for `airtime` seconds."""
        if not region.bands:
            return True
        band = region.band(frequency)
        if band is None:
            return False  # nothing is allowed there
        spent = self.spent.setdefault(band.name, deque())
        while spent and spent[0][0] + spent[0][1] < now - HOUR:
            spent.popleft()
        return sum(length for _, length in spent) + airtime <= band.share * HOUR

    def charge(self, region: Region, frequency: int, airtime: float, at: float) -> None:
        """It is sending for so long."""
        band = region.band(frequency)
        if band is not None:
            self.spent.setdefault(band.name, deque()).append((at, airtime))

    def refund(self, region: Region, frequency: int, airtime: float, at: float) -> None:
        """It did not, after all."""
        band = region.band(frequency)
        spent = self.spent.get(band.name) if band is not None else None
        if spent is not None and (at, airtime) in spent:
            spent.remove((at, airtime))

    def packed(self, now: float, wall: float) -> bytes:
        """What is kept of the last hour: the law does not forget when a service restarts."""
        ages = [[band, wall - (now - at), length] for band, spent in self.spent.items() for at, length in spent]
        return encode(ages)

    def restore(self, data: bytes, now: float, wall: float | None) -> None:
        """What was kept; where no clock can be believed (`wall` is `None`) all of it counts as just sent.

        Raises `ObjectError` where it cannot be read.
        """
        found: Any = decode(data)
        try:
            for band, at, length in found:
                age = 0.0 if wall is None else min(HOUR, max(0.0, wall - at))
                self.spent.setdefault(str(band), deque()).append((now - age, float(length)))
        except (TypeError, ValueError) as error:
            raise ObjectError(f"what is kept of gateway {self.eui} cannot be read: {error}") from error


def host_of(address: Any) -> Any:
    """What an address has in common with those of the same host: all but its port."""
    return address[0] if isinstance(address, tuple) else address


class Gateways:
    """Those that were heard, the latest of them."""

    def __init__(self, known: frozenset[str] | None) -> None:
        """`known`: the EUIs that are listened to; `None`: any."""
        self._known = known
        self._by_eui: OrderedDict[str, Gateway] = OrderedDict()

    def heard(self, eui: str) -> Gateway | None:
        """The gateway with that EUI; `None` where it is not listened to."""
        if self._known is not None and eui not in self._known:
            return None
        found = self._by_eui.setdefault(eui, Gateway(eui))
        self._by_eui.move_to_end(eui)
        if len(self._by_eui) > MOST_GATEWAYS:
            del self._by_eui[self._dispensable()]
        return found

    def _dispensable(self) -> str:
        """The one silent for longest, of those that were on the air lately only where all were: the law remembers those."""
        *others, _ = self._by_eui
        return next((eui for eui in others if not any(self._by_eui[eui].spent.values())), others[0])
