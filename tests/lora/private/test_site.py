"""Nodes and a hub on virtual chips: packets to the services and back, whatever the ether does."""

from __future__ import annotations

import asyncio

import cbor2
import pytest

from rataccess.driver import Evidence, Forgetful, MovesMessages, RadioMessage, Rationed
from rataccess.errors import AttachFailed, DiskFull, NotNow, PacketTooLarge, TransportBroken
from rataccess_drivers.lora.private.driver import LoraPrivateDriver
from rataccess_drivers.lora.private.frame import Frame, Kind, encode
from tests.lora.chips.virtual import virtual_chip
from tests.lora.private.site import MANAGEMENT, NETWORK, SOLUTION, Site, heard

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def answer(address: int, data: bytes, network: int = NETWORK) -> bytes:
    return b"RA\x01" + cbor2.dumps(["lora", f"{network:02x}{address:04x}", data])


def message(data: bytes) -> RadioMessage:
    return RadioMessage(data)


@pytest.mark.parametrize("kinds", [("sx1262", "sx1276"), ("sx1276", "sx1262")])
async def test_there_and_back(kinds: tuple[str, str]) -> None:
    async with Site(hub=kinds[0]).working() as site:
        node = site.node(kind=kinds[1])
        await node.open()
        assert (await node.status()).evidence is Evidence.PORT
        await node.attach()
        assert (await node.status()).evidence is Evidence.BEARER
        handover = await node.send_message(message(SOLUTION + b"hello"))
        assert handover is not None
        (frame,) = await heard(site.solution)
        assert frame[:3] == b"RA\x01"
        kind, name, data, told = cbor2.loads(frame[3:])
        assert (kind, name, data) == ("lora", "2a0005", SOLUTION + b"hello")
        assert (told["room"], told["unasked"]) == (node.message_hints.mtu, True)
        assert told["heard_at"] == pytest.approx(site.clock.wall(), abs=1)
        site.solution.say(answer(5, SOLUTION + b"answer"))
        async with asyncio.timeout(10):
            assert await node.receive_message() == message(SOLUTION + b"answer")
        assert await node.send_message(message(MANAGEMENT + b"x")) is not None
        assert len(await heard(site.management)) == 1
        status = await node.status()
        assert status.signal_dbm is not None
        await node.aclose()
    assert site.hub_chip.violations == []


async def test_it_is_what_it_says() -> None:
    node = Site().node()
    assert isinstance(node, MovesMessages)
    assert isinstance(node, Rationed)
    hints = node.message_hints
    assert hints.compact
    assert hints.acknowledges_handover
    assert hints.mtu == 240
    assert hints.overhead == 6
    with pytest.raises(PacketTooLarge):
        await node.send_message(message(bytes(241)))


async def test_largest_messages_both_ways() -> None:
    async with Site().working() as site:
        node = site.node(address=0x1234)
        await node.open()
        assert await node.send_message(message(SOLUTION + bytes(239))) is not None
        await heard(site.solution)
        site.solution.say(answer(0x1234, SOLUTION + bytes(239)))
        async with asyncio.timeout(20):
            assert len((await node.receive_message()).data) == 240
        await node.aclose()


async def test_without_a_hub_nothing_is_attached() -> None:
    node = Site().node()
    await node.open()
    with pytest.raises(AttachFailed, match="no hub") as caught:
        await node.attach()
    assert caught.value.retry_after
    assert await node.send_message(message(SOLUTION)) is None
    await node.aclose()


async def test_a_hub_that_is_gone_is_told_and_found_again() -> None:
    async with Site().working() as site:
        chip = site.chip()
        node = site.node(chip=chip)
        await node.open()
        await node.attach()
        told: list[Evidence] = []
        node.on_status(lambda status: told.append(status.evidence))
        site.ether.obstruct(chip.station, 200)
        assert await node.send_message(message(SOLUTION)) is None
        assert told == []
        assert await node.send_message(message(SOLUTION)) is None
        assert told == [Evidence.RADIO]
        with pytest.raises(AttachFailed):
            await node.attach()
        site.ether.clear()
        await node.attach()
        assert (await node.status()).evidence is Evidence.BEARER
        await node.aclose()


@pytest.mark.parametrize("factor", [7, 9])
async def test_two_hubs_in_one_network_do_not_drown_each_other(factor: int) -> None:
    """Equally far from the node, they acknowledge each frame at the same moment: neither is heard."""
    site = Site(spreading_factor=factor)
    first, site.hub_chip = site.hub_chip, virtual_chip("sx1262", site.ether, name="second", position=(200.0, 0.0))
    second, site.hub_chip = site.new_bridge(), first
    second._chance.seed(99)
    running = asyncio.create_task(second.run())
    async with site.working():
        node = site.node(attempts=6)
        await node.open()
        await node.attach()
        for number in range(4):
            assert await node.send_message(message(SOLUTION + bytes([number]))) is not None
        assert (
            site.bridge.hub.counters["acknowledged by another hub"] + second.hub.counters["acknowledged by another hub"]
        )
        assert all(len(uplink.heard) == 4 for uplink in (site.uplinks[1], site.uplinks[3])), "each hub has each once"
        await node.aclose()
    running.cancel()
    await asyncio.wait({running})


async def test_a_full_disk_is_no_fault_of_the_radio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent that cannot be kept first; the transceiver stays as it is, at both ends."""
    monkeypatch.setattr("rataccess_drivers.lora.private.options.WRITTEN_AHEAD", 0.0)
    site, memory = Site(), FullAtTimes()
    site.memory = hub = FullAtTimes()
    site.bridge = site.new_bridge()
    async with site.working():
        node = site.node(memory=memory)
        await node.open()
        await node.attach()
        memory.full = True
        with pytest.raises(NotNow, match="kept") as caught:
            await node.send_message(message(SOLUTION + b"x"))
        assert caught.value.retry_after == 30
        assert (await node.status()).evidence is Evidence.BEARER
        memory.full, hub.full = False, True
        assert await node.send_message(message(SOLUTION + b"x")) is None, "no acknowledgement was sent"
        assert site.bridge.working
        assert not [name for name in site.bridge.counters if "radio" in name]
        hub.full = False
        assert await node.send_message(message(SOLUTION + b"back")) is not None
        await node.aclose()


class FullAtTimes(Forgetful):
    """A disk that may be full."""

    full = False

    def put_now(self, key: str, value: bytes) -> None:
        if self.full:
            raise DiskFull("no room")
        self.put(key, value)


async def test_lost_acknowledgements_double_nothing() -> None:
    async with Site().working() as site:
        chip = site.chip()
        node = site.node(chip=chip)
        await node.open()
        await node.attach()
        chip.station.loss_rate = 0.6
        for number in range(12):
            await node.send_message(message(SOLUTION + bytes([number])))
        chip.station.loss_rate = 0.0
        await node.send_message(message(SOLUTION + b"end"))
        found = [cbor2.loads(frame[3:])[2] for frame in site.solution.heard]
        assert found == [SOLUTION + bytes([number]) for number in range(12)] + [SOLUTION + b"end"]
        assert site.bridge.hub.counters["duplicates"] > 0
        await node.aclose()


async def test_two_hidden_nodes_at_once() -> None:
    """Neither hears the other; both are heard by the hub."""
    async with Site().working() as site:
        chips = [site.chip(position=(100.0, 0.0), name="a"), site.chip(position=(-100.0, 0.0), name="b")]
        site.ether.obstruct(chips[0].station, 300, chips[1].station)
        nodes = [site.node(number + 1, chip=chip) for number, chip in enumerate(chips)]
        for node in nodes:
            await node.open()

        async def chatter(node: LoraPrivateDriver, number: int) -> int:
            sent = [await node.send_message(message(SOLUTION + bytes([number, each]))) for each in range(8)]
            return sum(handover is not None for handover in sent)

        taken = await asyncio.gather(*(chatter(node, number) for number, node in enumerate(nodes)))
        assert sum(taken) >= 14
        found = [cbor2.loads(frame[3:])[2] for frame in site.solution.heard]
        assert len(found) == len(set(found))
        assert len(found) >= sum(taken)
        for node in nodes:
            await node.aclose()


async def test_nodes_that_hear_each_other_wait() -> None:
    async with Site().working() as site:
        nodes = [site.node(number, chip=site.chip(name=f"n{number}")) for number in (1, 2, 3)]
        for node in nodes:
            await node.open()
        sent = await asyncio.gather(*(node.send_message(message(SOLUTION + bytes(100))) for node in nodes))
        assert all(sent)
        for node in nodes:
            await node.aclose()


async def test_a_node_that_sleeps_gets_answers_after_sending() -> None:
    async with Site().working() as site:
        node = site.node(listen="after sending")
        await node.open()
        await node.attach()
        await asyncio.sleep(30)
        site.solution.say(answer(5, SOLUTION + b"late"))
        await asyncio.sleep(30)
        assert await node.send_message(message(SOLUTION + b"up")) is not None
        async with asyncio.timeout(5):
            assert await node.receive_message() == message(SOLUTION + b"late")
        before = len(site.ether.log)
        await asyncio.sleep(100)
        assert len(site.ether.log) == before
        await node.aclose()


async def test_what_is_not_ours_changes_nothing() -> None:
    """Wrong check, foreign network, other address, the other end's, replays: counted."""
    async with Site().working() as site:
        stranger = site.node(9, chip=site.chip(name="stranger"))
        await stranger._radio.open()
        channel = stranger._plan.channel

        async def say(data: bytes) -> None:
            where = {"frequency": channel.frequency, "modulation": channel.modulation}
            await stranger._radio.transmit(data, power_dbm=14, sync_word=0x12, **where)  # type: ignore[arg-type]
            await asyncio.sleep(1)

        counters = site.bridge.hub.counters
        good = [Frame(Kind.DATA, NETWORK, 5, number, False, True, SOLUTION + bytes([number])) for number in (1, 2)]
        await say(encode(good[0])[:-1] + b"\0")
        await say(b"x")
        await say(encode(Frame(Kind.DATA, NETWORK + 1, 5, 1, False, True, SOLUTION)))
        await say(encode(Frame(Kind.DATA, NETWORK, 5, 1, True, True, SOLUTION)))
        await say(encode(Frame(Kind.ACK, NETWORK, 5, 1, False, True, b"ab")))
        names = ("wrong check", "too short", "foreign network", "not for this end", "stale acknowledgements")
        assert {name: counters[name] for name in names} == dict.fromkeys(names, 1)
        assert not site.solution.heard
        before = len(site.ether.log)
        for frame in (*good, good[0], good[1]):
            await say(encode(frame))
        assert len(site.solution.heard) == 2
        assert counters["replays"] == 1
        assert counters["duplicates"] == 1
        assert len(site.ether.log) == before + 4 + 3  # the replay has no answer
        await stranger._radio.aclose()


async def test_only_nodes_of_the_list_are_served() -> None:
    site = Site()
    site.bridge = site.new_bridge(nodes=(6,))
    async with site.working():
        refused, served = site.node(5), site.node(6, chip=site.chip(name="six"))
        await refused.open()
        await served.open()
        with pytest.raises(AttachFailed):
            await refused.attach()
        await served.attach()
        site.solution.say(answer(5, SOLUTION))
        assert site.bridge.counters["packets that no node takes"] == 1
        await refused.aclose()
        await served.aclose()


async def test_malformed_answers_are_counted() -> None:
    async with Site().working() as site:
        for datagram in (
            b"",
            b"RA\x01",
            b"RA\x02\x80",
            answer(5, SOLUTION, network=1),
            answer(0, SOLUTION),
            b"RA\x01" + cbor2.dumps(["deveui", "2a0005", b"x"]),
            b"RA\x01" + cbor2.dumps(["lora", "zz", b"x"]),
            b"RA\x01" + cbor2.dumps(["lora", "2a0005", "text"]),
            b"RA\x01" + cbor2.dumps(["lora", "2a0005", b""]),
            b"RA\x01" + cbor2.dumps(5),
        ):
            site.solution.say(datagram)
        assert site.bridge.counters["malformed relay frames"] == 10
        site.solution.say(answer(5, bytes(241)))
        assert site.bridge.counters["packets that no node takes"] == 1


async def test_while_the_internet_is_away_messages_wait_at_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from rataccess_drivers.lora.private import bridge

    monkeypatch.setattr(bridge, "KEPT", 2)
    async with Site().working() as site:
        node = site.node()
        await node.open()
        site.solution.reachable = False
        taken = [await node.send_message(message(SOLUTION + bytes([number]))) for number in range(3)]
        assert [each is not None for each in taken] == [True, True, False]
        assert site.bridge.hub.counters["messages without room"] >= 1
        site.solution.reachable = True
        frames = await heard(site.solution, 2)
        assert sorted(cbor2.loads(frame[3:])[2] for frame in frames) == [SOLUTION + b"\0", SOLUTION + b"\1"]
        await node.aclose()


async def test_the_duty_cycle_is_never_exceeded_and_survives_a_restart() -> None:
    """868.8 MHz: 0.1 %, 3.6 s an hour."""
    async with Site(frequency=868_800_000, spreading_factor=9).working() as site:
        memory = Forgetful()
        chip = site.chip()
        node = site.node(chip=chip, memory=memory)
        await node.open()
        frame = node._plan.channel.modulation.time_on_air(101 + 6)
        for _ in range(int(3.6 / frame)):
            assert await node.send_message(message(SOLUTION + bytes(100))) is not None
        with pytest.raises(NotNow) as caught:
            await node.send_message(message(SOLUTION + bytes(100)))
        assert 0 < caught.value.retry_after <= 3620
        assert chip.station.airtime <= 3.6
        allowance = next(each for each in node.allowances() if "868.7" in each.name)
        assert allowance.limit == 3600
        assert allowance.left < 700
        await node.aclose()
        again = site.node(chip=chip, memory=memory)
        await again.open()
        with pytest.raises(NotNow) as caught:
            await again.send_message(message(SOLUTION + bytes(100)))
        await asyncio.sleep(caught.value.retry_after)
        assert await again.send_message(message(SOLUTION + b"new" + bytes(97))) is not None
        await again.aclose()
        assert site.hub_chip.station.airtime <= 2 * 3.6


async def test_a_radio_that_fails_ends_everything_that_waits() -> None:
    async with Site().working() as site:
        chip = site.chip()
        node = site.node(chip=chip)
        await node.open()
        await node.attach()
        told: list[Evidence] = []
        node.on_status(lambda status: told.append(status.evidence))
        waiting = asyncio.create_task(node.receive_message())
        await asyncio.sleep(1)
        chip.unplug()
        with pytest.raises(TransportBroken):
            await waiting
        assert told == [Evidence.NONE]
        with pytest.raises(TransportBroken):
            await node.send_message(message(SOLUTION))
        chip.faults.bus_error = None
        await node.recoveries[0].run()
        await node.open()
        await node.attach()
        await node.aclose()


async def test_the_bridge_repairs_its_own_radio() -> None:
    async with Site().working() as site:
        node = site.node()
        await node.open()
        await node.attach()
        site.hub_chip.power(False)
        await asyncio.sleep(20)
        assert await node.send_message(message(SOLUTION)) is None
        site.hub_chip.power(True)
        await asyncio.sleep(60)
        assert await node.send_message(message(SOLUTION)) is not None
        assert site.bridge.working
        await node.aclose()


async def test_cancelled_messages_leave_room_for_the_next() -> None:
    async with Site().working() as site:
        node = site.node()
        await node.open()
        for pause in (0.0, 0.02, 0.1, 0.2, 0.4):
            sending = asyncio.create_task(node.send_message(message(SOLUTION + bytes(150))))
            await asyncio.sleep(pause)
            sending.cancel()
            await asyncio.wait({sending})
            assert await node.send_message(message(SOLUTION + bytes(20))) is not None
        await node.aclose()
