"""Where a packet came from that did not come by UDP, and how an answer gets there.

Rules of this file: values only.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Airway(NamedTuple):
    """A device as one network knows it: the address of packets in the compact form (docs/wire.md).

    It proves nothing: a packet is genuine where it unprotects.  Two airways are the same address where way, kind and name
    are.
    """

    way: str
    """The way in, by its name in the configuration: who sends the answer."""
    kind: str
    """`deveui`, `imei`, `lora` or `notecard`, as in `DeviceEntry.identities`."""
    name: str
    """Lower case."""
    link: str = ""
    """What records that came this way are filed under, such as `lorawan` or `sbd`."""
    room: int = 48
    """Bytes of the largest packet back."""
    unasked: bool = False
    """Whether the device can be reached at any time (a ring alert, a class C device); else only after it was heard."""
    dear: bool = False
    """Whether each packet back costs: nothing is sent that could wait."""
    heard_at: float | None = None
    """When the network received the packet, in seconds since 1970, where it says."""
    via: Hashable = None
    """What the way in wants to be told again when it sends the answer, such as the address that a frame came from."""

    @property
    def place(self) -> str:
        """What tells this address from others, for as long as the device is reached there."""
        return f"{self.way}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.place
