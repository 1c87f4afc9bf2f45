"""The air: range, capture, orthogonality, obstruction, half a preamble."""

from __future__ import annotations

import asyncio

import pytest

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.ether import Ether, Heard, Listener, Position, Station

pytestmark = pytest.mark.looptime

SF7 = Waveform(868_100_000, 7)
SF9 = Waveform(868_100_000, 9)


def hear(ether: Ether, station: Station, wave: Waveform, heard: list[Heard], capacity: int = 1) -> Listener:
    return ether.listen(
        station,
        lambda other: wave.same_channel(other) and other.spreading_factor == wave.spreading_factor,
        capacity=capacity,
        on_packet=heard.append,
    )


def place(name: str, position: Position = (0.0, 0.0)) -> Station:
    return Station(name, position)


async def test_a_packet_arrives_whole_at_its_end() -> None:
    ether, heard = Ether(), list[Heard]()
    start = asyncio.get_running_loop().time()
    listener = hear(ether, place("gateway"), SF7, heard)
    packet = ether.transmit(place("device", (1000.0, 0.0)), SF7, b"hello", 14.0)
    await asyncio.sleep(1)
    listener.close()
    assert [each.data for each in heard] == [b"hello"]
    assert heard[0].intact
    assert heard[0].at == pytest.approx(start + SF7.time_on_air(5))
    assert heard[0].rssi_dbm == pytest.approx(14 - 31.2 - 90, abs=0.1)
    assert packet.heard_by == ["gateway"]


@pytest.mark.parametrize(("metres", "sf7", "sf12"), [(3000, True, True), (8000, False, True), (14_000, False, False)])
async def test_range_grows_with_the_spreading_factor(metres: float, sf7: bool, sf12: bool) -> None:
    for factor, reaches in ((7, sf7), (12, sf12)):
        ether, heard, wave = Ether(), list[Heard](), Waveform(868_100_000, factor)
        listener = hear(ether, place("gateway"), wave, heard)
        ether.transmit(place("device", (metres, 0.0)), wave, b"hello", 14.0)
        await asyncio.sleep(3)
        listener.close()
        assert bool(heard) is reaches


async def test_a_lorry_before_the_gateway_and_away_again() -> None:
    ether, heard = Ether(), list[Heard]()
    gateway, device = place("gateway"), place("device", (2000.0, 0.0))
    listener = hear(ether, gateway, SF7, heard)
    ether.obstruct(gateway)
    ether.transmit(device, SF7, b"one")
    await asyncio.sleep(1)
    ether.clear()
    ether.transmit(device, SF7, b"two")
    await asyncio.sleep(0.01)
    ether.obstruct(gateway, 40.0, device)
    await asyncio.sleep(1)
    ether.obstruct(gateway, 0.0, device)
    ether.transmit(device, SF7, b"three")
    await asyncio.sleep(1)
    listener.close()
    assert [(each.intact, each.data == b"three") for each in heard] == [(False, False), (True, True)]


async def test_of_two_on_the_same_factor_the_stronger_survives_by_capture() -> None:
    ether, heard = Ether(), list[Heard]()
    listener = hear(ether, place("gateway"), SF7, heard)
    ether.transmit(place("near", (100.0, 0.0)), SF7, b"near")
    ether.transmit(place("far", (1000.0, 0.0)), SF7, b"far!")
    await asyncio.sleep(1)
    assert [(each.data, each.intact) for each in heard] == [(b"near", True)]
    heard.clear()
    ether.transmit(place("one", (500.0, 0.0)), SF7, b"one")
    ether.transmit(place("two", (0.0, 500.0)), SF7, b"two")
    await asyncio.sleep(1)
    listener.close()
    assert heard
    assert not any(each.intact for each in heard)


async def test_a_much_stronger_one_takes_the_receiver_during_the_preamble() -> None:
    ether, heard = Ether(), list[Heard]()
    listener = hear(ether, place("gateway"), SF7, heard)
    ether.transmit(place("far", (1500.0, 0.0)), SF7, b"far!")
    await asyncio.sleep(6 * SF7.symbol_time)
    ether.transmit(place("near", (50.0, 0.0)), SF7, b"near")
    await asyncio.sleep(1)
    listener.close()
    assert [(each.data, each.intact) for each in heard] == [(b"near", True)]


async def test_other_spreading_factors_do_not_disturb_unless_they_shout() -> None:
    ether, slow, fast = Ether(), list[Heard](), list[Heard]()
    gateway = place("gateway")
    listeners = [hear(ether, gateway, SF7, fast), hear(ether, gateway, SF9, slow)]
    ether.transmit(place("one", (500.0, 0.0)), SF9, b"slow")
    ether.transmit(place("two", (0.0, 500.0)), SF7, b"fast")
    await asyncio.sleep(1)
    assert [each.intact for each in (*slow, *fast)] == [True, True]
    slow.clear()
    ether.transmit(place("one", (2000.0, 0.0)), SF9, b"slow")
    ether.transmit(place("two", (0.0, 20.0)), SF7, b"fast")
    await asyncio.sleep(1)
    assert [each.intact for each in slow] == [False]
    for each in listeners:
        each.close()


@pytest.mark.parametrize(("late_symbols", "heard_at_all"), [(3.5, True), (4.5, False)])
async def test_a_receiver_that_opens_late_needs_four_symbols(late_symbols: float, heard_at_all: bool) -> None:
    ether, heard = Ether(), list[Heard]()
    ether.transmit(place("device", (10.0, 0.0)), SF7, b"hello")
    await asyncio.sleep(late_symbols * SF7.symbol_time)
    listener = hear(ether, place("gateway"), SF7, heard)
    await asyncio.sleep(1)
    listener.close()
    assert bool(heard) is heard_at_all


async def test_neighbouring_channels_and_what_was_cut_short() -> None:
    ether, heard = Ether(), list[Heard]()
    listener = hear(ether, place("gateway"), SF7, heard)
    device = place("device", (10.0, 0.0))
    ether.transmit(device, Waveform(868_300_000, 7), b"elsewhere")
    await asyncio.sleep(1)
    assert not heard
    packet = ether.transmit(device, SF7, b"hello")
    await asyncio.sleep(0.02)
    before = device.airtime
    ether.abort(packet)
    assert device.airtime < before
    await asyncio.sleep(1)
    listener.close()
    assert [each.intact for each in heard] == [False]


async def test_what_a_station_loses_for_no_reason_is_the_seeds() -> None:
    async def run(seed: int) -> list[bool]:
        ether, heard = Ether(seed), list[Heard]()
        gateway = place("gateway")
        gateway.loss_rate = 0.5
        listener = hear(ether, gateway, SF7, heard)
        for _ in range(20):
            ether.transmit(place("device", (10.0, 0.0)), SF7, b"hello")
            await asyncio.sleep(1)
        listener.close()
        return [each.intact for each in heard]

    first = await run(5)
    assert first == await run(5)
    assert 3 < sum(first) < 17


async def test_activity_and_power_in_the_air() -> None:
    ether = Ether()
    gateway = place("gateway")
    assert not ether.activity(gateway, SF7)
    quiet = ether.rssi(gateway, 868_100_000, 125_000)
    ether.transmit(place("device", (100.0, 0.0)), SF7, b"hello")
    assert ether.activity(gateway, SF7)
    assert not ether.activity(gateway, SF9)
    assert ether.rssi(gateway, 868_100_000, 125_000) > quiet + 30
    await asyncio.sleep(1)
    assert not ether.activity(gateway, SF7)
