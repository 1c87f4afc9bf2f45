"""Records for one device: inbound objects and its environment, sent until it acknowledges them.

Rules of this file: which record goes into which message, and what an acknowledgement settles.  No keys, no network, no
clock: times are given, in seconds of the monotonic clock unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rataccess import wire
from rataccess.numbers import NumberSet
from rataccess.objects import Urgency
from rataccess.services.store import Changes, Device, DeviceState, ServiceStore
from rataccess.wire import Message, MessageBuilder, Reach, WireRecord

FIRST_WAIT = 1.0
"""Seconds from sending a record to sending it again, doubled each time: LTE answers in 0.1, RFC 7252 waits for 2."""
_MOST_DOUBLINGS = 6
_SMALLEST_FRAGMENT = 16
_SMALLEST_COMPACT = 4
"""The same in compact form, where a whole packet may hold 51 bytes."""
_MORE_COST = 3
"""Bytes of control 3 (`{3: true}`)."""
MOST_IN_MEMORY = 64
"""Waiting records looked at for one message."""


@dataclass(slots=True)
class Waiting:
    """What is remembered of a record that waits, while the device's session is in memory."""

    queue_id: int = -1
    attempts: int = 0
    due_at: float = 0.0
    hurried: bool | None = None
    """Whether it is worth a packet of its own where that costs; `None` until it was looked at."""

    def sent(self, now: float, first: float) -> None:
        """It has gone out once more; the first time it waits `first` seconds."""
        self.due_at = now + first * 2.0 ** min(self.attempts, _MOST_DOUBLINGS)
        self.attempts += 1


class Outbound:
    """What waits for one device."""

    def __init__(self, store: ServiceStore, device: Device, count: Callable[[str], None]) -> None:
        self._store = store
        self._device = device.id
        self._count = count
        self._waiting: dict[int, Waiting] = {}
        self._ranges: dict[int, list[int]] = {}
        self._last = 0
        self._reserved: set[int] = set()
        self._first_wait = FIRST_WAIT
        self._compact = False
        self._full = False
        """Whether the device has no room for what is its application's."""
        self.peer: NumberSet | None = None
        """What the device has acknowledged in this run."""

    def __len__(self) -> int:
        return len(self._waiting)

    def load(self, state: DeviceState, *, elsewhere: bool) -> None:
        """Go on from what is kept; `elsewhere`: another process has heard the device meanwhile."""
        waiting = self._waiting
        self._waiting = {number: waiting.get(number) or Waiting() for number in state.pending}
        self._ranges = {number: edges for number, edges in self._ranges.items() if number in self._waiting}
        self._last, self._reserved = state.device.last_number, state.reserved
        if elsewhere:
            self.peer = (
                None  # it may be far behind: whole numbers again, until the device has acknowledged something here
            )

    def due(self, now: float, *, hurried: bool = False) -> bool:
        """Whether a record may be sent at `now`; `hurried`: one that is worth a packet of its own where that costs."""
        return any(
            waiting.due_at <= now and self._may_go(number) and not (hurried and not self._is_hurried(number, waiting))
            for number, waiting in list(self._waiting.items())
        )

    def _is_hurried(self, number: int, waiting: Waiting) -> bool:
        """Urgent records, and the answers to calls."""
        if waiting.hurried is None:
            record = self._read(number)
            urgent = record is not None and record.urgency >= Urgency.PROMPT
            waiting.hurried = urgent or (record is not None and record.queue_id == wire.CALL_QUEUE)
        return waiting.hurried

    def _may_go(self, number: int) -> bool:
        """Whether the device takes it: what is in reserved queues, replies and its environment among it, in any case."""
        return not self._full or number in self._reserved

    def begin(self, first_wait: float, *, silent: bool) -> None:
        """The device is heard where what goes out is sent again after `first_wait` seconds: after a silence (`silent`), and
        where less stands against sending than before, everything goes at the next occasion."""
        if silent or first_wait < self._first_wait:
            self.hurry()
        self._first_wait = first_wait

    def hurry(self) -> None:
        """Send everything at the next occasion."""
        for waiting in self._waiting.values():
            waiting.attempts, waiting.due_at = 0, 0.0

    # --- what the device says -----------------------------------------------------------------------------------------

    def apply(self, message: Message, changes: Changes) -> None:
        """Settle what the device acknowledges, and learn which parts of large records it holds."""
        if wire.PACKET not in message.control:  # an application's packet says nothing besides
            full, self._full = self._full, message.control.get(wire.FULL) is True
            if full and not self._full:
                self.hurry()
        if message.acknowledged is not None:
            self._acknowledge(message.acknowledged, changes)
        for number, edges in message.control.get(wire.PARTIAL, {}).items():
            waiting = self._waiting.get(number)
            if waiting is not None and self._ranges.get(number) != edges:
                self._ranges[number] = edges
                waiting.attempts, waiting.due_at = 0, 0.0

    def _acknowledge(self, acknowledged: NumberSet, changes: Changes) -> None:
        if acknowledged.floor > self._last:
            self._count("acknowledged what was never sent")
            self._store.renumber(self._device, acknowledged.floor)
            self.load(self._store.load_devices([self._device])[self._device], elsewhere=False)
        if self.peer is None or acknowledged.floor >= self.peer.floor:
            self.peer = acknowledged
        for number in [number for number in self._waiting if number in acknowledged]:
            waiting = self._waiting.pop(number)
            self._ranges.pop(number, None)
            changes.acknowledged.append((self._device, number))
            if waiting.queue_id >= wire.FIRST_FREE_QUEUE:
                changes.known_queues.add((self._device, waiting.queue_id))

    # --- what the device is told --------------------------------------------------------------------------------------

    def control(self) -> dict[int, Any]:
        """`base`, where numbers are void (an environment that a newer one replaced) and the device may wait for them."""
        base = min(self._waiting, default=self._last + 1)
        floor = 0 if self.peer is None else self.peer.floor
        return {wire.BASE: base} if base > floor + 1 and self._waiting else {}

    def fill(
        self,
        limit: int,
        acknowledged: NumberSet | None,
        control: dict[int, Any],
        now: float,
        wall: float,
        *,
        compact: bool = False,
    ) -> bytes:
        """A message of at most `limit` bytes with `acknowledged`, `control` and the records that are due.

        What is put in counts as sent.  Control 3 says that more waits.  `compact`: it goes in compact form, and may be
        under way for long: numbers are whole.
        """
        self._compact = compact
        due = [number for number, waiting in self._waiting.items() if waiting.due_at <= now and self._may_go(number)]
        due.sort(key=lambda number: (number not in self._reserved, number))
        if not due:
            return self._builder(limit, acknowledged, control, wall).finish()
        control = control | self.control()
        trial = self._builder(limit - _MORE_COST, acknowledged, control, wall)
        chosen, more = self._choose(trial, due)
        if not more:
            self._mark(chosen, now)
            return trial.finish()
        final = self._builder(limit, acknowledged, control | {wire.MORE: True}, wall)
        added = [record for record in chosen if final.add(record)]
        if self._compact and not added:
            self._count("records that fit no packet")  # asking for more would bring no more
            return self._builder(limit, acknowledged, control, wall).finish()
        self._mark(added, now)
        return final.finish()

    def _builder(
        self, limit: int, acknowledged: NumberSet | None, control: dict[int, Any], wall: float
    ) -> MessageBuilder:
        floor = None if self.peer is None or self._compact else self.peer.floor
        dense = Reach(None, self._last, wall) if self._compact else None
        return MessageBuilder(limit, floor=floor, now=wall, acknowledged=acknowledged, control=control, dense=dense)

    def _mark(self, records: list[WireRecord], now: float) -> None:
        for record in records:
            waiting = self._waiting[record.number]
            waiting.queue_id = record.queue_id
            waiting.sent(now, self._first_wait)

    def _choose(self, builder: MessageBuilder, due: list[int]) -> tuple[list[WireRecord], bool]:
        chosen: list[WireRecord] = []
        for number in due[:MOST_IN_MEMORY]:
            record = self._read(number)
            if record is None:
                continue
            if builder.add(record):
                chosen.append(record)
                continue
            part = self._part(builder, record) if not chosen else None
            if part is not None and builder.add(part):
                chosen.append(part)
            return chosen, True
        return chosen, len(due) > MOST_IN_MEMORY

    def _read(self, number: int) -> WireRecord | None:
        row = self._store.outbound(self._device, number)
        if row is None:  # taken away by another process a moment ago
            self._waiting.pop(number, None)
            return None
        queue_id, name, urgency, created_at, body = row
        return WireRecord(number, queue_id, Urgency(urgency), body, created_at, name)

    def _part(self, builder: MessageBuilder, record: WireRecord) -> WireRecord | None:
        """The first byte range of `record` that the device does not hold, as much of it as fits."""
        edges = self._ranges.get(record.number, [])
        start, end = 0, len(record.body)
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            if start < low:
                end = min(end, low)
                break
            start = max(start, high)
        if start >= end:  # it claims to hold everything: begin again
            start, end = 0, len(record.body)
        room = min(builder.room(record, start), end - start)
        least = _SMALLEST_COMPACT if self._compact else _SMALLEST_FRAGMENT
        return wire.fragment(record, start, room) if room >= min(least, end - start) else None
