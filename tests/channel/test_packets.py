"""Single packets: sent as they are, received in order of arrival, few of them kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rataccess.channel.packets import MOST_BYTES, MOST_PACKETS
from rataccess.errors import Closed, PacketTooLarge
from tests.channel.rig import MTU, Rig

pytestmark = pytest.mark.looptime


async def test_packets_go_out_as_they_are(rig: Rig) -> None:
    packets = rig.solution.packets
    assert packets.mtu == MTU
    await packets.send(b"one")
    await packets.send(bytes(MTU))
    with pytest.raises(PacketTooLarge):
        await packets.send(bytes(MTU + 1))
    assert rig.exchange.packets == [b"one", bytes(MTU)]
    assert rig.waiting() == [], "nothing is queued"


async def test_hints_tell_the_room_for_an_application(rig: Rig) -> None:
    assert rig.solution.hints == replace(rig.hints, mtu=MTU)
    rig.exchange.room = None
    assert rig.solution.packets.mtu is None
    rig.access.current = None
    assert rig.solution.hints is None


async def test_packets_are_received_in_order(rig: Rig) -> None:
    packets = rig.solution.packets
    assert await packets.receive(2) is None
    assert asyncio.get_running_loop().time() == pytest.approx(2)
    packets.arrived(b"a")
    packets.arrived(b"")
    waiting = asyncio.create_task(packets.receive())
    assert (await waiting, await packets.receive(1), await packets.receive(0)) == (b"a", b"", None)


async def test_two_who_wait_get_one_each(rig: Rig) -> None:
    waiting = [asyncio.create_task(rig.solution.packets.receive()) for _ in range(2)]
    await asyncio.sleep(1)
    rig.solution.packets.arrived(b"a")
    await asyncio.sleep(1)
    rig.solution.packets.arrived(b"b")
    assert sorted(await asyncio.gather(*waiting)) == [b"a", b"b"]  # type: ignore[type-var]


async def test_the_oldest_go_where_nobody_receives(rig: Rig) -> None:
    packets = rig.solution.packets
    for n in range(MOST_PACKETS + 3):
        packets.arrived(n.to_bytes(2, "big"))
    assert packets.dropped == 3
    assert await packets.receive(0) == (3).to_bytes(2, "big")
    for _ in range(10):
        packets.arrived(bytes(MOST_BYTES // 4))
    received = []
    while (data := await packets.receive(0)) is not None:
        received.append(len(data))
    assert received == [MOST_BYTES // 4] * 4
    packets.arrived(b"again")
    assert await packets.receive(0) == b"again"


async def test_closing_ends_waiting(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.solution.packets.receive())
    await asyncio.sleep(1)
    rig.solution.close()
    with pytest.raises(Closed):
        await waiting
