"""Feeding bytes to an engine in every way in which a port may deliver them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rataccess_drivers.at.commands import Command, UrcPattern
from rataccess_drivers.at.engine import AtEngine, Event
from rataccess_drivers.at.registration import is_registration_urc

URCS = (
    UrcPattern("+CEREG:", when_solicited=is_registration_urc),
    UrcPattern("+CREG:", when_solicited=is_registration_urc),
    UrcPattern("+QIURC:", binary_field=2),
    UrcPattern('+QIURC: "pdpdeact"'),
    UrcPattern("+CMTI:"),
    UrcPattern("RDY"),
)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` cut at the positions `cuts`."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[first:last] for first, last in pairwise(edges) if first < last]


def play(command: Command | None, chunks: Iterable[bytes], urcs: Sequence[UrcPattern] = URCS) -> list[Event]:
    """The events of a fresh engine that runs `command` and receives `chunks`."""
    engine = AtEngine(urcs)
    if command is not None:
        engine.start(command)
    return [event for chunk in chunks for event in engine.receive(chunk)]


def play_every_way(command: Command | None, data: bytes, urcs: Sequence[UrcPattern] = URCS) -> list[Event]:
    """The events, which must be the same whole, byte by byte, and cut in two anywhere."""
    events = play(command, [data], urcs)
    assert play(command, [data[index : index + 1] for index in range(len(data))], urcs) == events
    for cut in range(1, len(data)):
        assert play(command, [data[:cut], data[cut:]], urcs) == events, f"cut at {cut}"
    return events
