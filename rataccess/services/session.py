"""One device, as a service knows it while it is heard.

Rules of this file: puts together keys, what came in, what goes out.  No network: addresses are opaque.  Everything here can
be made again from the store, except where the device was last heard.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import cbor2

from rataccess import wire
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency
from rataccess.security import SecureContext
from rataccess.services.inbound import ANSWER_LIMIT, Inbound, check
from rataccess.services.keyfile import DeviceEntry
from rataccess.services.outbound import Outbound
from rataccess.services.settings import ServerSettings
from rataccess.services.store import Changes, Device, ServiceStore, number_set_bytes

NEVER = float("-inf")
_ANSWER_COST = 16
"""What an answer adds to its body besides the token: header 4, option 1, marker 1, code 1, marker 1, tag 8."""
PUSH_TOKEN_BYTES = 3
_SMALLEST_ANSWER = 48
"""A device that asks for less gets this: head, acknowledgement and time."""
_ROOM_FOR_ALL = 64
"""Bytes from which on an answer can hold the time and byte ranges as well."""
_MOST_PATHS = 8
"""Addresses remembered of one device: it has a few radios, and NATs give each a new address at times."""


_NOTHING_RECEIVED = NumberSet()


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


class Session:
    """One device's state.  `heard_at` is on the monotonic clock."""

    def __init__(
        self,
        entry: DeviceEntry,
        store: ServiceStore,
        service: Service,
        settings: ServerSettings,
        count: Callable[[str], None],
        now: float,
    ) -> None:
        kid = bytes.fromhex(entry.kid)
        self.kid = kid
        self.entry = entry
        self.device: Device = store.device(entry.serial_number, kid)
        self.context = SecureContext(
            sender_id=b"",
            recipient_id=kid,
            secret=bytes.fromhex(entry.secret),
            memory=store,
            name=f"device.{entry.kid}",
            replay_state=self.device.replay,
        )
        self._store = store
        self._service = service
        self._push_for = settings.push_for
        self._most = settings.answer_bytes
        self._paths: dict[str, tuple[str | None, int | None]] = {}
        for key, link, limit in cbor2.loads(self.device.paths) if self.device.paths else ():
            self._paths[key] = link, limit
        if service is Service.MANAGEMENT:
            self._push_environment(now)
        self.inbound = Inbound(store, self.device, settings.partial_bytes, count)
        self.outbound = Outbound(store, self.device, count)
        self.address: Hashable | None = None
        self.heard_at = NEVER
        self.link: str | None = None
        self.generation = 0

    def __repr__(self) -> str:
        return f"<Session {self.entry.serial_number} kid={self.entry.kid} received={self.inbound.received.floor}>"

    def refresh(self, entry: DeviceEntry, now: float) -> None:
        """Another process has changed the store or the key file: look at both again (`now` in wall seconds)."""
        self.entry = entry
        if self._service is Service.MANAGEMENT:
            self._push_environment(now)
        self.outbound.refresh()

    def _push_environment(self, now: float) -> None:
        """Put the merged environment among the records for the device, where it is another than the last one put there."""
        merged = self._store.environment(self.entry.serial_number, self.entry.fleets)
        encoded = cbor2.dumps(dict(sorted(merged.items())))
        if encoded != (self.device.environment or cbor2.dumps({})):
            self._store.enqueue(self.device.id, wire.ENVIRONMENT_QUEUE, encoded, Urgency.PROMPT, now)
            self.device.environment = encoded

    def heard(self, address: Hashable, now: Now) -> None:
        """An authentic message came from `address`."""
        if now.monotonic - self.heard_at > self._push_for:
            self.outbound.hurry()
        self.address, self.heard_at = address, now.monotonic

    def apply(self, body: bytes, now: Now, changes: Changes) -> wire.Message:
        """Take the body of an authentic message; raises `ObjectError`, with nothing changed, where it is malformed."""
        message = wire.decode_message(body, floor=self.inbound.received.floor, now=now.wall)
        check(message)
        self.link = self._learn_path(message.control)
        self.outbound.apply(message, changes)
        self.inbound.apply(message, now.wall, self.link, changes)
        return message

    def _learn_path(self, control: dict[int, Any]) -> str | None:
        """The link that the message came over: what the device last said of it to this address."""
        key = str(self.address)
        link, limit = self._paths.pop(key, (None, None))
        self._paths[key] = control.get(wire.LINK, link) or None, control.get(ANSWER_LIMIT, limit) or None
        while len(self._paths) > _MOST_PATHS:
            del self._paths[next(iter(self._paths))]
        return self._paths[key][0]

    def save(self, wall: float, changes: Changes) -> None:
        """Have the received numbers and the replay window kept with the rest of the batch."""
        paths = cbor2.dumps([[key, *path] for key, path in self._paths.items()])
        replay, more = self.context.replay_state(), (0, None, self.device.version)
        row = (number_set_bytes(self.inbound.received), replay, wall, self.link, paths, *more)
        changes.devices[self.device.id] = row

    def answer(self, message: wire.Message, token: bytes, now: Now) -> bytes:
        """The body of the answer to `message`."""
        limit = self._limit() - _ANSWER_COST - len(token)
        control: dict[int, Any] = {}
        if wire.TIME in message.control:
            control[wire.TIME] = round(now.wall * 1000)
        if len(self.inbound.partials) and not (control and limit < _ROOM_FOR_ALL):
            touched = {record.number for record in message.records if record.offset is not None}
            control[wire.PARTIAL] = self.inbound.partials.report(touched, limit)
        received = self.inbound.acknowledgement(message.records, min(64, limit // 18))
        known = message.records or received != _NOTHING_RECEIVED
        return self.outbound.fill(limit, received if known else None, control, now.monotonic, now.wall)

    def _limit(self) -> int:
        """Bytes of the largest CoAP message for the address last heard."""
        told = self._paths.get(str(self.address), (None, None))[1]
        return self._most if told is None else min(self._most, max(_SMALLEST_ANSWER, told))

    def may_push(self, now: float) -> bool:
        """Whether a record is due and the device was heard a short while ago."""
        return now - self.heard_at <= self._push_for and self.outbound.due(now)

    def push(self, now: Now) -> bytes:
        """The body of an unasked request with records that are due."""
        limit = self._limit() - self.context.overhead - (PUSH_TOKEN_BYTES - 2)  # `overhead` counts a token of two
        return self.outbound.fill(limit, None, {}, now.monotonic, now.wall)
