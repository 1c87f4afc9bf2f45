"""One device, as a service process knows it while it is heard.

Rules of this file: puts together keys, what came in, what goes out.  No network: addresses are opaque.  Everything here is
made from the store (`load`, with the device's row locked) except where the device was last heard; `version` tells whether
another process has changed the store since.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cbor2

from rataccess import wire
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency
from rataccess.security import SecureContext
from rataccess.services.airway import Airway
from rataccess.services.asking import Asking
from rataccess.services.inbound import Inbound, check
from rataccess.services.keyfile import DeviceEntry
from rataccess.services.limits import Allowance
from rataccess.services.outbound import Outbound
from rataccess.services.schematics import Templates
from rataccess.services.settings import ServerSettings
from rataccess.services.store import Changes, DeviceState, ServiceStore, number_set_bytes
from rataccess.template import Template

NEVER = float("-inf")
_ANSWER_COST = 16
"""What an answer adds to its body besides the token: header 4, option 1, marker 1, code 1, marker 1, tag 8."""
_COMPACT_COST = 10
"""The same in compact form: head 2, tag 8."""
PUSH_TOKEN_BYTES = 3
_SMALLEST_ANSWER = 48
"""A device that asks for less gets this: head, acknowledgement and time."""
_ROOM_FOR_ALL = 64
"""Bytes from which on an answer can hold the time and byte ranges as well."""
_MOST_PATHS = 8
"""Addresses remembered of one device: it has a few radios, and NATs give each a new address at times."""
_PACKET_COST = 20
"""Most bytes that a packet adds to its data: the map 1, its key 1, the string's head 3, and controls 1 and 3, which may join
it."""

_NOTHING_RECEIVED = NumberSet()


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, in seconds."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Common:
    """What all sessions of a service process have in common."""

    service: Service
    store: ServiceStore
    settings: ServerSettings
    templates: Mapping[int, Template]
    """Of the configuration, by id."""
    count: Callable[[str], None]
    holder: str
    """This process's name among those that share the store."""


class Path(NamedTuple):
    """One way over which a device is heard, as it told."""

    link: str | None = None
    limit: int | None = None
    """Bytes of the largest CoAP message back."""
    asked_only: bool = False
    """Whether it hears nothing there but answers."""


class Session:
    """One device's state.  `heard_at` and `push_until` are on the monotonic clock.

    Before the first `load` it can tell what is genuine, and nothing else.
    """

    def __init__(self, entry: DeviceEntry, device: int, common: Common) -> None:
        self.kid = bytes.fromhex(entry.kid)
        self.entry = entry
        self.device = device
        self.context = SecureContext(
            sender_id=b"",
            recipient_id=self.kid,
            secret=bytes.fromhex(entry.secret),
            memory=common.store,
            name=f"device.{entry.kid}",
        )
        self.allowance = Allowance(common.settings.message_rate, common.settings.byte_rate)
        self.version = -1
        self.stamp = 0
        """The environments' stamp at which the device's was last looked at."""
        self.address: Hashable | None = None
        self.heard_at = self.push_until = NEVER
        self.link: str | None = None
        self.packets: list[tuple[int, bytes, float]] = []
        self._common = common
        self._store = common.store
        self._paths: dict[str, Path] = {}
        self._environment: bytes | None = None
        self._asking = Asking()
        self.inbound: Inbound
        self.outbound: Outbound

    def __repr__(self) -> str:
        return f"<Session {self.entry.serial_number} kid={self.entry.kid} version={self.version}>"

    # --- the store -----------------------------------------------------------------------------------------------------

    def load(self, state: DeviceState, changes: Changes) -> None:
        """Go on from what is kept, with the device's row locked.  Raises `KeyStoreError`: it has lost sequence numbers."""
        device, common = state.device, self._common
        self.context.take_over(device.replay)
        templates = Templates(state.schemas, common.templates)
        calls = common.service is Service.SOLUTION
        self.inbound = Inbound(self._store, state, templates, common.settings, common.count, calls=calls)
        if self.version < 0:
            self.outbound = Outbound(self._store, device, common.count)
        self.outbound.load(state, elsewhere=device.holder != common.holder)
        self.packets = state.packets
        self._environment = device.environment
        self._paths = {}
        for key, *path in cbor2.loads(device.paths) if device.paths else ():
            self._paths[key] = Path(*path)
        self.version = device.version
        if any(templates.find(schema) is not None for schema in state.awaited_schemas):
            self.inbound.file_blocks(changes)
            changes.kept[self.device] = self.inbound.kept

    def push_environment(self, stamp: int, now: float) -> bool:
        """Within a transaction: put the merged environment among the records for the device, where it is another than the
        last one put there; whether it was (the session has to be loaded anew then)."""
        self.stamp = stamp
        merged = self._store.environment(self.entry.serial_number, self.entry.fleets)
        encoded = cbor2.dumps(dict(sorted(merged.items())))
        if encoded == (self._environment or cbor2.dumps({})):
            return False
        self._store.enqueue(self.device, wire.ENVIRONMENT_QUEUE, encoded, Urgency.PROMPT, now)
        return True

    def save(self, wall: float, changes: Changes) -> None:
        """Have the received numbers and the replay window kept with the rest of the batch."""
        paths = cbor2.dumps([[key, *path] for key, path in self._paths.items()])
        self.version += 1
        seen = (number_set_bytes(self.inbound.received), self.context.replay_state(), wall, self.link, paths)
        changes.devices[self.device] = (*seen, self.inbound.kept, self._common.holder, self.version)

    # --- what comes in ---------------------------------------------------------------------------------------------------

    def heard(self, address: Hashable, now: Now) -> None:
        """An authentic message came from `address`."""
        push_for = self._common.settings.push_for
        if now.monotonic - self.heard_at > push_for:
            self.outbound.hurry()
        self.address, self.heard_at = address, now.monotonic
        self.push_until = max(self.push_until, now.monotonic + push_for)

    def apply(self, body: bytes, now: Now, changes: Changes) -> wire.Message:
        """Take the body of an authentic message; raises `ObjectError`, with nothing changed, where it is malformed."""
        heard_at = self.address.heard_at if isinstance(self.address, Airway) else None
        message = wire.decode_message(body, floor=self.inbound.received.floor, now=heard_at or now.wall)
        check(message)
        self.link = self._learn_path(message.control)
        self.outbound.apply(message, changes)
        brought = self.inbound.apply(message, now.wall, self.link, changes)
        self.allowance.charge(1, max(len(body), brought))  # packed records may unpack to far more than their bytes
        if self.inbound.call_until is not None:
            self.push_until = max(self.push_until, now.monotonic + self.inbound.call_until - now.wall)
        return message

    def _learn_path(self, control: dict[int, Any]) -> str | None:
        """The link that the message came over: what the device last said of it to this address, or its network does."""
        key, address = str(self.address), self.address
        path = self._paths.pop(key, Path())
        if isinstance(address, Airway):
            self._paths[key] = Path(address.link or address.kind, address.room, not address.unasked)
        else:
            told = control.get(wire.LINK, path.link) or None
            self._paths[key] = Path(
                told.replace("\0", "") if told else None,
                control.get(wire.ANSWER_LIMIT, path.limit) or None,
                control.get(wire.ASKED_ONLY, path.asked_only),
            )
        while len(self._paths) > _MOST_PATHS:
            del self._paths[next(iter(self._paths))]
        return self._paths[key].link

    # --- what goes out ---------------------------------------------------------------------------------------------------

    def answer(self, message: wire.Message, token: bytes, now: Now) -> bytes:
        """The body of the answer to `message`."""
        limit = self._limit() - (_COMPACT_COST if isinstance(self.address, Airway) else _ANSWER_COST + len(token))
        control: dict[int, Any] = {}
        if wire.TIME in message.control:
            control[wire.TIME] = round(now.wall * 1000)
        if len(self.inbound.partials) and not (control and limit < _ROOM_FOR_ALL):
            touched = {record.number for record in message.records if record.offset is not None}
            control[wire.PARTIAL] = self.inbound.partials.report(touched, limit)
        room = limit if limit >= _ROOM_FOR_ALL or not control else 0
        if wanted := self._asking.due(self.inbound.wanted, room, now.monotonic):
            control[wire.WANTED] = wanted
        own = [record.number for record in message.records]
        own += [number for block in message.blocks for number in block.numbers]
        received = self.inbound.acknowledgement(own, min(64, limit // 18))
        known = own or received != _NOTHING_RECEIVED
        acknowledged = received if known else None
        if self.packets:
            head = wire.MessageBuilder(limit, floor=None, now=now.wall, acknowledged=acknowledged, control=control)
            packet = self._next_packet(limit - head.size, now.wall)
            if packet is not None:
                control[wire.PACKET] = packet
        return self.outbound.fill(limit, acknowledged, control, now.monotonic, now.wall)

    def _limit(self) -> int:
        """Bytes of the largest CoAP message for the address last heard."""
        told, most = self._path.limit, self._common.settings.answer_bytes
        if isinstance(self.address, Airway):
            return min(most, self.address.room)
        return most if told is None else min(most, max(_SMALLEST_ANSWER, told))

    @property
    def _path(self) -> Path:
        """What is known of the way that the device was last heard over."""
        return self._paths.get(str(self.address), Path())

    def _push_limit(self) -> int:
        if isinstance(self.address, Airway):
            return self._limit() - self.context.compact_overhead
        return self._limit() - self.context.overhead - (PUSH_TOKEN_BYTES - 2)  # `overhead` counts a token of two

    def may_push(self, now: float) -> bool:
        """Whether something is due and the device may still be listening."""
        listens = now <= self.push_until and not self._path.asked_only
        return listens and (bool(self.packets) or self.outbound.due(now))

    def push(self, now: Now) -> bytes | None:
        """The body of an unasked request with what is due; `None` where nothing is."""
        limit = self._push_limit()
        packet = self._next_packet(limit, now.wall)
        if packet is None and not self.outbound.due(now.monotonic):
            return None
        return self.outbound.fill(limit, None, {} if packet is None else {wire.PACKET: packet}, now.monotonic, now.wall)

    def packet_body(self, data: bytes, now: Now) -> bytes | None:
        """The body of an unasked request with a packet; `None` where the path last heard takes none, or not that much."""
        if self._path.asked_only or len(data) + _PACKET_COST > self._push_limit():
            return None
        return self.outbound.fill(self._push_limit(), None, {wire.PACKET: data}, now.monotonic, now.wall)

    def _next_packet(self, room: int, now: float) -> bytes | None:
        """The first packet that still may go and fits, taken: it is never sent again."""
        for item in list(self.packets):
            packet, data, expires_at = item
            if expires_at <= now:
                self.packets.remove(item)
                self._common.count("packets that came too late")
            elif len(data) + _PACKET_COST > self._limit():
                self.packets.remove(item)
                self._common.count("packets that fit no message")
            elif len(data) + _PACKET_COST <= room:
                self.packets.remove(item)
                if self._store.take_packet(packet):
                    self._common.count("packets for devices")
                    return data
        return None
