"""One downlink at a time for each device in a network server's queue.

Rules of this file: sans-I/O; values only, times in seconds of the event loop.  A network server sends one downlink after
each uplink, in the order in which they came, whatever has become of their windows: two in its queue, and from then on every
answer comes an uplink late.  So what is published next waits until the one before has gone out, and a newer answer takes the
place of one that waits: it acknowledges the same, and more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST_DEVICES = 8192
"""Devices that are remembered; what is forgotten is published at once."""
LOST, LOST_AFTER = 2, 60.0
"""Uplinks, and seconds, after which a downlink that nobody reported is no longer in the queue: somebody has emptied it.
Both, for many uplinks may come at once that a broker kept."""


@dataclass(slots=True)
class _Device:
    reference: str | None = None
    """Of the downlink in the network server's queue."""
    since: float = 0.0
    uplinks: int = 0
    """Heard since it was published."""
    waiting: bytes | None = None
    """What is published with the next uplink."""


class Turns:
    """Those of all devices."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, _Device] = OrderedDict()

    def __len__(self) -> int:
        return len(self._devices)

    def offer(self, device: str, reference: str, data: bytes, now: float) -> tuple[bool, bool]:
        """Whether `data` is to be published now, as `reference`, or waits; and whether it replaces one that waited."""
        found = self._of(device)
        replaced, found.waiting = found.waiting is not None, None
        if found.reference is None:
            found.reference, found.uplinks, found.since = reference, 0, now
            return True, replaced
        found.waiting = data
        return False, replaced

    def uplink(self, device: str, now: float) -> None:
        """The device was heard: its network sends what is first in its queue."""
        found = self._devices.get(device)
        if found is not None and found.reference is not None:
            found.uplinks += 1
            if found.uplinks >= LOST and now - found.since >= LOST_AFTER:
                found.reference = None

    def due(self, device: str) -> bytes | None:
        """What has waited and may go now, after an uplink that brought no newer answer; it waits no more."""
        found = self._devices.get(device)
        if found is None or found.reference is not None:
            return None
        data, found.waiting = found.waiting, None
        return data

    def gone(self, device: str, reference: str) -> None:
        """What was published as `reference` is in the queue no more."""
        found = self._devices.get(device)
        if found is not None and found.reference == reference:
            found.reference = None

    def _of(self, device: str) -> _Device:
        found = self._devices.setdefault(device, _Device())
        self._devices.move_to_end(device)
        while len(self._devices) > MOST_DEVICES:
            self._devices.popitem(last=False)
        return found
