"""What of the records that wait goes into one message, and in which form: in blocks, plain, or as a byte range.

Rules of this file: it takes records out of staging and puts them into a message builder; it sends nothing and judges no
link.  The most urgent records go first.  Of each queue and urgency a message holds those that have waited longest, none of
them left out: what finds no room waits again, before all others.

A round gathers about as many records as will fit, judged by what the last ones of their kind took, and then encodes each
queue's records together.  A queue is in one round in one form only, so that the end of a block leaves nothing out.  Where
little room is left, one queue's records have it, as long as they last: a block's head takes as much as many records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rataccess.errors import ObjectError, TemplateError
from rataccess.exchange.staging import MOST_URGENT_FIRST, Outgoing, Part, Place, Staging
from rataccess.objects import Urgency, decode
from rataccess.template import MOST_RECORDS, Template, TemplateBook
from rataccess.wire import MessageBuilder, Reach, encode_block, fit_block, fragment

LEAST_RANGE = 16
"""A byte range smaller than this is left for the next packet, unless it is the rest of an object."""
FIRST_GUESS = 4.0
"""Bytes that a record in a block takes, before any of its kind was packed."""
LEAST_GUESS = 0.1
BLOCK_HEAD = 16
"""Bytes of a block that do not grow with its records, about: else a block of few, in a small packet, would make all of them
look dear, and the next packet would be filled with small blocks."""
SMALL = 128
"""Bytes of room in which the records of one queue go before those of others."""
SPREAD = 4
"""So many times what fits is gathered then at most, to find that queue's among others."""
SLACK = 1.1
"""So many times more records are gathered than are thought to fit: what is left over is cheap to put back."""
PLAIN_FRAME = 4
"""Bytes beside its object that a plain record takes at least, among others: head 1, step of time 2 or more, 1 to spare."""
LEAST_ROOM = 4
"""Bytes: no record is smaller."""

Kind = tuple[int, int]
"""Queue id and schema; schema 0 for plain records."""


@dataclass(slots=True)
class Load:
    """What one round has gathered."""

    units: dict[Kind, list[Outgoing]] = field(default_factory=dict)
    kinds: dict[int, Kind] = field(default_factory=dict)
    costs: dict[Kind, float] = field(default_factory=dict)
    size: float = 0.0
    """Bytes that all of it is thought to take."""
    count: int = 0
    first: Kind | None = None
    """Of the record that has waited longest."""

    def add(self, kind: Kind, item: Outgoing, cost: float) -> None:
        """Gather one more."""
        self.first = self.first or kind
        self.units.setdefault(kind, []).append(item)
        self.kinds[kind[0]] = kind
        self.costs[kind] = self.costs.get(kind, 0.0) + cost
        self.size += cost
        self.count += 1

    def fills(self, room: int) -> bool:
        """Whether it is thought to take so many bytes."""
        if self.alone(room) and self.first is not None:
            return self.costs[self.first] >= room or self.size >= SPREAD * room
        return self.size >= room

    def alone(self, room: int) -> bool:
        """Whether the records of one kind have so much room for themselves."""
        return room < SMALL and self.first is not None and self.first[1] > 0


@dataclass(slots=True)
class Filling:
    """One message while it is filled."""

    builder: MessageBuilder
    least: int
    """The smallest byte range worth a message of its own."""
    floor: int | None
    now: float
    reach: Reach | None = None
    """Where the message goes in compact form: a record that is alone in it may take a dense one."""
    parts: list[Part] = field(default_factory=list)
    held: list[Outgoing] = field(default_factory=list)
    """Taken out of staging, and not in the message yet."""
    place: Place = (0, 0)


class Filler:
    """Fills the messages of one exchange."""

    def __init__(self, staging: Staging, templates: TemplateBook | None) -> None:
        self._staging = staging
        self._templates = templates
        self._took: dict[Kind, float] = {}
        """Bytes a record, of the last block of each kind."""

    def fill(
        self, filling: Filling, plain: Callable[[Urgency], bool], allowed: Callable[[Outgoing, int], bool]
    ) -> tuple[list[Part], bool]:
        """Put records in; returns them, and whether one found no room.

        `plain`: whether records of an urgency that do not restrict the links may go; `allowed`: whether a record may go in a
        body of so many bytes.  Raises `StoreError` where records cannot be read; all wait as before then.
        """
        crowded = False
        try:
            for urgency in MOST_URGENT_FIRST:
                filling.place, going = (0, 0), self._staging.may_have(urgency)
                while going and not crowded:
                    load, going = self._gather(filling, urgency, plain(urgency), allowed)
                    crowded = not self._place(filling, load)
                    going = going and load.count > 0
                if crowded or any(item.alone for item, _, _ in filling.parts[:1]):
                    break
        except BaseException:
            self._staging.put_back(filling.held)
            self._staging.untake(filling.parts)
            raise
        return filling.parts, crowded

    # --- gathering -----------------------------------------------------------------------------------------------------

    def _gather(
        self, filling: Filling, urgency: Urgency, plain: bool, allowed: Callable[[Outgoing, int], bool]
    ) -> tuple[Load, bool]:
        """Take about as many records as will fit; returns them, and whether more may follow."""
        load, builder, held = Load(), filling.builder, filling.held
        taken, room = builder.size, builder.room_left
        for item in held:  # the one that ended the round before
            load.add(self._kind(item), item, self._cost(item))
            if item.alone or item.missing is not None:
                return load, not item.alone

        def fits(item: Outgoing) -> bool:
            return allowed(item, taken + min(room, int(load.size)) + len(item.record.body))

        while not load.fills(room) and load.count < MOST_RECORDS:
            item_or_none, filling.place = self._staging.pull(urgency, plain, fits, filling.place)
            if item_or_none is None:
                return load, False
            item = item_or_none
            held.append(item)
            kind, cost = self._kind(item), self._cost(item)
            solitary = item.alone or item.missing is not None
            strange = load.kinds.get(kind[0], kind) != kind or (not kind[1] and load.size + cost > room)
            if load.count and (solitary or strange):
                return load, True
            load.add(kind, item, cost)
            if solitary:
                return load, not item.alone
        return load, True

    def _kind(self, item: Outgoing) -> Kind:
        packed = item.packable and item.missing is None and self._template(item) is not None
        return item.wire.queue_id, (item.record.template or 0) if packed else 0

    def _template(self, item: Outgoing) -> Template | None:
        schema = item.record.template
        return None if schema is None or self._templates is None else self._templates.find(schema)

    def _cost(self, item: Outgoing) -> float:
        kind = self._kind(item)
        if kind[1]:
            return self._took.get(kind, FIRST_GUESS) / SLACK
        return len(item.record.body) + PLAIN_FRAME

    # --- placing -------------------------------------------------------------------------------------------------------

    def _place(self, filling: Filling, load: Load) -> bool:
        """Put a round's records into the message; returns whether all found room.  What ended the round stays held."""
        left, later = list[Outgoing](), load.size
        alone = load.alone(filling.builder.room_left)
        for kind, items in load.units.items():
            later = 0.0 if alone else later - load.costs[kind]
            count = self._pack(filling, kind, items, int(later)) if kind[1] else self._add_each(filling, items)
            left += items[count:]
        filling.held = filling.held[load.count :]  # gathered in this order; what ended the round stays
        if left:
            self._staging.put_back([*left, *filling.held])
            filling.held = []
        return not left

    def _add_each(self, filling: Filling, items: Sequence[Outgoing]) -> int:
        """Add plain records, or what fits of them; returns how many are in it with nothing left to be sent."""
        for count, item in enumerate(items):
            if not self._add(filling, item):
                return count
        return len(items)

    def _pack(self, filling: Filling, kind: Kind, items: Sequence[Outgoing], later: int) -> int:
        """Add a block of records, or plain ones where they are smaller; returns how many found room.

        `later`: bytes that are kept for what comes after it.
        """
        template, builder = self._template(items[0]), filling.builder
        assert template is not None
        room = builder.room_left - later
        if room < LEAST_ROOM:
            return 0
        for item in items:
            if item.value is None:
                item.value = decode(item.record.body)
        packed = self._fit(filling, template, items, room)
        if packed is None:
            return self._unpacked(filling, template, items[0])
        count, block, lone = packed
        size = len(block if lone is None else lone)
        if self._plain_is_smaller(filling, items[:count], size):
            return self._add_each(filling, items[:count])
        if not builder.add_block(block, lone):
            return 0
        self._took[kind] = max(LEAST_GUESS, (size - BLOCK_HEAD) / count)
        filling.parts += [(item, 0, 0) for item in items[:count]]
        for item in items[:count]:
            item.value = None
        return count

    def _fit(
        self, filling: Filling, template: Template, items: Sequence[Outgoing], room: int
    ) -> tuple[int, bytes, bytes | None] | None:
        """How many records make a block of at most `room` bytes, that block, and the dense form where it is of one that may
        be the only one in its message; `None` where not even one fits."""
        records, values = [item.wire for item in items], [item.value for item in items]
        fitted = fit_block(
            records, values, template, floor=filling.floor, now=filling.now, limit=room, reach=filling.reach
        )
        if filling.reach is None or (fitted is not None and fitted[0] > 1):
            return None if fitted is None else (*fitted, None)
        lone = self._dense(filling, template, items[0])
        if fitted is not None:
            return (*fitted, lone)
        block = None
        if lone is not None:
            block = encode_block(records[:1], values[:1], template, floor=filling.floor, now=filling.now)
        return None if block is None else (1, block, lone)

    def _dense(self, filling: Filling, template: Template, item: Outgoing) -> bytes | None:
        try:
            columns = template.pack_columns([item.value])
        except (TemplateError, ObjectError):
            return None
        return filling.builder.packed(item.wire, columns)

    def _unpacked(self, filling: Filling, template: Template, item: Outgoing) -> int:
        """Not even the first record went into a block: plain where it does not fit its template or an empty message."""
        try:
            template.check(item.value)
        except (TemplateError, ObjectError):
            item.packable = False
            item.value = None
            return self._add_each(filling, [item])
        return 0 if filling.builder.count else self._add_each(filling, [item])

    def _plain_is_smaller(self, filling: Filling, items: Sequence[Outgoing], size: int) -> bool:
        if sum(len(item.record.body) for item in items) > size:
            return False
        lone = None if filling.builder.count else filling.reach
        trial = MessageBuilder(filling.builder.room_left, floor=filling.floor, now=filling.now, dense=lone)
        return all(trial.add(item.wire) for item in items) and trial.size <= size

    def _add(self, filling: Filling, item: Outgoing) -> bool:
        """Add a record, or what fits of it; returns whether nothing of it is left to be sent."""
        builder = filling.builder
        if item.alone and builder.count:
            return False
        if item.missing is None:
            if builder.add(item.wire):
                filling.parts.append((item, 0, 0))
                return True
            if builder.count:
                return False  # it may well fit whole into the next packet
        start, end = item.split()[0]
        size = min(builder.room(item.wire, start, told=item.told), end - start)
        worth = min(LEAST_RANGE if builder.count else filling.least, end - start)
        if size < worth or not builder.add(fragment(item.wire, start, size), told=item.told):
            self._unsplit(item)
            return False
        filling.parts.append((item, start, start + size))
        rest = [(start + size, end)] if start + size < end else []
        item.missing = rest + item.split()[1:]
        return not item.missing

    def _unsplit(self, item: Outgoing) -> None:
        """Nothing of it has left in parts: another packet may take it whole."""
        if item.missing == [(0, len(item.record.body))] and not item.flights:
            item.missing = None
