"""One device, as a service process knows it while it is heard.

Rules of this file: puts together keys, what came in, what goes out.  No network: addresses are opaque.  Everything here is
made from the store (`load`, with the device's row locked) except where the device was last heard; `version` tells whether
another process has changed the store since.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cbor2

from rataccess import wire
from rataccess.numbers import NumberSet
from rataccess.objects import Service, Urgency
from rataccess.security import Request, SecureContext
from rataccess.services.airway import Airway
from rataccess.services.asking import Asking
from rataccess.services.common import Common, Now
from rataccess.services.floors import Floors, Trust
from rataccess.services.inbound import Inbound, check
from rataccess.services.keyfile import DeviceEntry
from rataccess.services.limits import Allowance
from rataccess.services.outbound import FIRST_WAIT, Outbound
from rataccess.services.paths import Paths
from rataccess.services.schematics import Templates
from rataccess.services.store import Changes, DeviceState, number_set_bytes

NEVER = float("-inf")
_ANSWER_COST = 16
"""What an answer adds to its body besides the token: header 4, option 1, marker 1, code 1, marker 1, tag 8."""
_COMPACT_COST = 10
"""The same in compact form: head 2, tag 8."""
_OWN_NUMBER_COST, _COMPACT_OWN_NUMBER_COST = 6, 5
"""What a sequence number of its own adds to an answer: its length and up to five bytes; five bytes."""
_ERA_COST = 6
"""Most bytes that telling the era adds: the map 1, its key 1, the string 4."""
_NUMBERS_A_SECOND = 8
"""Sequence numbers of our own begin, with each start, at as many for each second since 2020: whatever old copy of the store
was put back, they were not used before, unless one device was sent more than so many in each second of its life (its nonces
would come twice, RFC 8613 section 7.5)."""
PUSH_TOKEN_BYTES = 3
_MOST_OWED = 512
_ROOM_FOR_ALL = 64
"""Bytes from which on an answer can hold the time and byte ranges as well."""
_RANGES_TOLD = (8, 6, 4, 3, 2)
_PACKET_COST = 20
"""Most bytes that a packet adds to its data: the map 1, its key 1, the string's head 3, and controls 1 and 3, which may join
it."""

REACHABLE_FOR = 7 * 86_400.0
"""Seconds after it was heard that a device is sent what waits over an airway that reaches it at any time."""
_UNHURRIED = 60.0
"""Seconds from sending a record over such an airway to sending it again: what the device sends next acknowledges it."""

_NOTHING_RECEIVED = NumberSet()


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
            least=max(0, round((common.now() - wire.EPOCH) * _NUMBERS_A_SECOND)),
        )
        self.allowance = Allowance(common.settings.message_rate, common.settings.byte_rate)
        self.version = -1
        self.stamp = 0
        """The environments' stamp at which the device's was last looked at."""
        self.heard_at = self.push_until = self.awaits_until = NEVER
        self.link: str | None = None
        self.packets: list[tuple[int, bytes, float]] = []
        self._common = common
        self._store = common.store
        self._paths = Paths()
        self._owed: list[int] = []
        """Numbers that came where packets back cost, and of which the device was not told yet."""
        self._floors = Floors(-1, 0)
        self._trust = Trust(common.era)
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
        self._trust.load(self._paths.load(device.paths))
        self._floors = Floors(self.context.highest_seen, self.inbound.received.floor)
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
        paths = self._paths.dump(self._trust.sure)
        self.version += 1
        seen = (number_set_bytes(self.inbound.received), self.context.replay_state(), wall, self.link, paths)
        changes.devices[self.device] = (*seen, self.inbound.kept, self._common.holder, self.version)

    # --- what comes in ---------------------------------------------------------------------------------------------------

    @property
    def address(self) -> Hashable | None:
        """Where the device was last heard."""
        return self._paths.address

    @property
    def _dear(self) -> bool:
        airway = self._paths.airway
        return airway is not None and airway.dear

    def heard(self, address: Hashable, now: Now) -> None:
        """An authentic message came from `address`."""
        push_for = self._common.settings.push_for
        silent = now.monotonic - self.heard_at > push_for
        self._paths.address, self.heard_at = address, now.monotonic
        self.outbound.begin(self._pace(), silent=silent and not self._dear)
        listens = push_for if self._paths.airway is None or not self._paths.airway.unasked else REACHABLE_FOR
        self.push_until = max(self.awaits_until, now.monotonic + listens)

    @contextmanager
    def heard_late(self, address: Hashable) -> Iterator[None]:
        """An authentic message came from `address` that the device sent before others that are here already: a satellite's
        gateway may keep one for hours.  It is answered there; the device is still reached where it was heard since."""
        since, link = self._paths.address, self.link
        self._paths.address = address
        try:
            yield
        finally:
            self._paths.address, self.link = since, link

    def _pace(self) -> float:
        """Seconds from sending a record to sending it again, at first."""
        airway = self._paths.airway
        if airway is None or not (airway.unasked or airway.dear):
            return FIRST_WAIT
        return max(_UNHURRIED, self._common.settings.answer_dear_after if airway.dear else 0.0)

    def apply(self, body: bytes, now: Now, changes: Changes, request: Request | None = None) -> wire.Message:
        """Take the body of an authentic message, that of `request` where it is one's.

        Raises `ObjectError`, with nothing changed, where it is malformed, `LateNumber` where it came too late to be read.
        """
        message = self._decode(body, now, request)
        self.link = self._paths.learn(message.control)
        self.outbound.apply(message, changes)
        brought = self.inbound.apply(message, now.wall, self.link, changes)
        self._floors.note(self.context.highest_seen, self.inbound.received.floor)
        self.allowance.charge(1, max(len(body), brought))  # packed records may unpack to far more than their bytes
        if self.inbound.call_until is not None:
            self.awaits_until = max(self.awaits_until, now.monotonic + self.inbound.call_until - now.wall)
            self.push_until = max(self.push_until, self.awaits_until)
        return message

    def _decode(self, body: bytes, now: Now, request: Request | None) -> wire.Message:
        airway = self._paths.airway
        heard_at = now.wall if airway is None or airway.heard_at is None else airway.heard_at

        def read(floor: int | None) -> wire.Message:
            message = wire.decode_message(body, floor=floor, now=heard_at, compact=airway is not None)
            check(message)
            return message

        if request is None:
            return read(None)
        number = request.identity.sequence_number
        floor, known = self._floors.before(number), self._trust.reads(number)
        if known:
            message = read(floor)
        else:
            with suppress(wire.LateNumber):
                message = read(None)
                self._trust.hears(number, message.control.get(wire.ERA))
                return message
            message = read(floor)
        named = message.control.get(wire.ERA)
        if self._trust.hears(number, named) or (known and named is None):
            return message
        with suppress(wire.LateNumber):
            return read(None)
        return self._unread(message)

    def _unread(self, message: wire.Message) -> wire.Message:
        """What can be taken of `message`, whose record numbers cannot be read: nobody knows what they count from.  It is
        answered, so that the device learns our floor; its records come again."""
        self._common.count("messages whose record numbers could not be read")
        return wire.Message(message.acknowledged, message.control)

    def is_fresh(self, request: Request) -> bool:
        """Whether `request` was sent in this era, as is known: no other can have answered it."""
        since = self._trust.since()
        return since is not None and request.identity.sequence_number >= since

    # --- what goes out ---------------------------------------------------------------------------------------------------

    def answer(self, message: wire.Message, request: Request, now: Now) -> bytes | None:
        """The body of the answer to `message`, which `request` brought; `None` where the device gets none, or not yet."""
        airway = self._paths.airway
        limit = self._limit() - (_ANSWER_COST + len(request.token) if airway is None else _COMPACT_COST)
        if not self.is_fresh(request):
            limit -= _OWN_NUMBER_COST if airway is None else _COMPACT_OWN_NUMBER_COST
        if airway is not None and not self._answers(airway, message, now):
            return None
        own = _numbers(message)
        received = self.inbound.acknowledgement([*own, *self._owed], min(64, limit // 18))
        acknowledged = received if own or received != _NOTHING_RECEIVED else None
        if told := {} if self._trust.since() is not None else {wire.ERA: self._common.era.name}:
            acknowledged, limit = received, limit - _ERA_COST
        control: dict[int, Any] = {}
        if wire.TIME in message.control:
            control[wire.TIME] = round(now.wall * 1000)
        if len(self.inbound.partials) and not (control and limit < _ROOM_FOR_ALL):
            control[wire.PARTIAL] = self._held(message, limit, acknowledged)
        room = limit if limit >= _ROOM_FOR_ALL or not control else 0
        if wanted := self._asking.due(self.inbound.wanted, room, now.monotonic):
            control[wire.WANTED] = wanted
        if airway is not None or self.packets:
            size = self._head_size(acknowledged, control)
            if airway is not None and size > limit:
                self._common.count("answers that fit no packet")
                return None
            packet = self._next_packet(limit - size, now.wall) if self.packets else None
            if packet is not None:
                control[wire.PACKET] = packet
        return self._fill(limit + _ERA_COST * len(told), acknowledged, control | told, now)

    def _head_size(self, acknowledged: NumberSet | None, control: dict[int, Any]) -> int:
        return wire.MessageBuilder(0, floor=None, now=0.0, acknowledged=acknowledged, control=control).size

    def _held(self, message: wire.Message, limit: int, acknowledged: NumberSet | None) -> dict[int, list[int]]:
        """Control 2 of an answer: over an airway as many ranges as fit, for what is not told is sent again."""
        touched = dict[int, list[tuple[int, int]]]()
        parts: list[wire.WireRecord | wire.Piece] = [*message.records, *message.pieces]
        for part in parts:
            if part.offset is not None:
                touched.setdefault(part.number, []).append((part.offset, part.offset + len(part.body)))
        report = self.inbound.partials.report
        if self._paths.airway is not None:
            for most in _RANGES_TOLD:
                held = report(touched, limit, most)
                if self._head_size(acknowledged, {wire.PARTIAL: held}) <= limit:
                    return held
        return report(touched, limit)

    def _answers(self, airway: Airway, message: wire.Message, now: Now) -> bool:
        """Whether a message that came over `airway` is answered at once: where the device asked something or is to hear
        something that does not wait; where packets back cost nothing, also where it brought something."""
        brought = bool(message.records or message.blocks or message.pieces)
        asked = wire.TIME in message.control or not (brought or wire.PACKET in message.control)
        if asked or self.packets:
            return True
        if not airway.dear:
            return brought or self.outbound.due(now.monotonic)
        if brought:
            self._paths.waits(now.wall)
            self._owed = [*self._owed, *_numbers(message)][-_MOST_OWED:]
        return self.outbound.due(now.monotonic, hurried=True) or self._overdue(now)

    def _overdue(self, now: Now) -> bool:
        """Whether records have waited for their acknowledgement for so long that it goes alone."""
        since = self._paths.current.unanswered
        return since is not None and now.wall - since >= self._common.settings.answer_dear_after

    def _fill(self, limit: int, acknowledged: NumberSet | None, control: dict[int, Any], now: Now) -> bytes:
        if acknowledged is not None:
            self._paths.settle()
            self._owed = []
        compact = self._paths.airway is not None
        return self.outbound.fill(limit, acknowledged, control, now.monotonic, now.wall, compact=compact)

    def _limit(self) -> int:
        """Bytes of the largest packet for the address last heard."""
        return self._paths.limit(self._common.settings.answer_bytes)

    def _push_limit(self) -> int:
        if self._paths.airway is not None:
            return self._limit() - self.context.compact_overhead
        return self._limit() - self.context.overhead - (PUSH_TOKEN_BYTES - 2)  # `overhead` counts a token of two

    def may_push(self, now: Now) -> bool:
        """Whether something is due and the device may still be listening."""
        if now.monotonic > self.push_until or self._paths.asked_only:
            return False
        overdue = self._dear and self._overdue(now)
        return bool(self.packets) or overdue or self.outbound.due(now.monotonic, hurried=self._dear)

    def push(self, now: Now) -> bytes | None:
        """The body of an unasked request with what is due; `None` where nothing is."""
        if not self.may_push(now):
            return None
        limit = self._push_limit()
        packet = self._next_packet(limit, now.wall)
        if packet is None and not self.outbound.due(now.monotonic) and not (self._dear and self._overdue(now)):
            return None  # all packets came too late
        control: dict[int, Any] = {} if packet is None else {wire.PACKET: packet}
        if not self._dear:
            return self._fill(limit, None, control, now)
        control[wire.ERA] = self._common.era.name  # or nobody would know how old the acknowledgement is
        return self._fill(limit, self._late(limit, control), control, now)

    def _late(self, limit: int, control: dict[int, Any]) -> NumberSet:
        """What has arrived, for a device that was not told for long: first what it would send again, all of that where it
        fits.  Between records that wait for another link each may be a range of its own."""
        for most in (len(self._owed), 32, 16):
            received = self.inbound.acknowledgement(self._owed, max(1, most))
            if self._head_size(received, control) <= limit:
                return received
        return self.inbound.acknowledgement(self._owed, max(1, limit // 18))

    def packet_body(self, data: bytes, now: Now) -> bytes | None:
        """The body of an unasked request with a packet; `None` where the path last heard takes none, or not that much."""
        if self._paths.asked_only or len(data) + _PACKET_COST > self._push_limit():
            return None
        return self._fill(self._push_limit(), None, {wire.PACKET: data}, now)

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


def _numbers(message: wire.Message) -> list[int]:
    """Of the records that it brought."""
    packed = [number for block in message.blocks for number in block.numbers]
    return [record.number for record in message.records] + packed
