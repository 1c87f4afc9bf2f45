"""Our own network server, before virtual gateways and devices with a codec of their own."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from rataccess.errors import StoreUnreachable
from rataccess.objects import Service
from rataccess.services import provisioning
from rataccess.services.airway import Airway
from rataccess.services.ways.semtech.gateways import MOST_GATEWAYS, SILENT, Gateway, Gateways
from rataccess.services.ways.semtech.network import MOST_COPIES
from rataccess_hil.lora.regions import REGIONS
from tests.ways.farm import DEV_EUI, farm
from tests.ways.ways_world import APP_KEY

NAME = f"{DEV_EUI:016x}"
pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("region", sorted(REGIONS))
async def test_join_uplink_and_answer_in_every_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    sub_band = 2 if region in ("US915", "AU915") else None
    async with farm(tmp_path, monkeypatch, region=region, sub_band=sub_band) as made:
        finished = await made.send(b"\x20hello")
        assert made.heard.packets[0][0] == b"\x20hello"
        airway = made.airways[0]
        assert airway[:4] == ("farm", "deveui", NAME, "lorawan")
        assert (airway.dear, airway.unasked) == (False, False)
        assert finished.downlink is not None
        assert (finished.downlink.port, finished.downlink.data, finished.downlink.window) == (2, b"re:\x20hello", 1)
        assert made.counted["joins"] == 1
        assert made.gateways[0].errors == []


async def test_the_room_is_that_of_the_window_after_the_uplink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        for rate, room in ((0, 51), (3, 115), (5, 242)):
            made.device.rate = rate
            made.heard.answer = lambda data, airway: made.way.send(airway, bytes(airway.room))
            finished = await made.send(b"\x20")
            assert made.airways[-1].room == room
            assert finished.downlink is not None
            assert len(finished.downlink.data) == room
            await asyncio.sleep(200)


async def test_confirmed_uplinks_and_mac_commands_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.heard.answer = None
        finished = await made.send(b"\x20", confirmed=True)
        assert finished.ok
        assert finished.attempts == 1
        made.device.requests = b"\x02\x0d"  # LinkCheckReq, DeviceTimeReq
        finished = await made.send(b"\x20")
        assert finished.downlink is not None
        assert len(finished.downlink.told) == 2
        assert made.airways[-1].room == 242 - 3 - 6
        assert (await made.send(b"\x20")).downlink is None


async def test_a_session_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        assert (await made.send(b"\x20one")).downlink is not None
        before = made.device.session
        assert before is not None
        counters = before.up, before.down
        await made.restart()
        finished = await made.send(b"\x20two", confirmed=True)
        assert finished.ok
        assert finished.downlink is not None
        assert made.device.session is before
        assert before.up == counters[0] + 1
        assert before.down >= 64 > counters[1]
        assert [data for data, _ in made.heard.packets] == [b"\x20one", b"\x20two"]
        # and what was recorded before the restart is nothing now
        pushed = [each for each in made.datagrams if each[3] == 0 and b'"rxpk"' in each]
        for each in pushed:
            made.way._take(each, lambda _: None)
        await asyncio.sleep(10)
        assert len(made.heard.packets) == 2
        assert made.counted["replayed join-requests"] == 1
        assert made.counted["replayed uplinks"] >= 1


async def test_after_kills_no_counter_and_no_nonce_is_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        counters, chance = list[int](), random.Random(3)
        for number in range(12):
            made.device.send(bytes([0x20, number]), 2, confirmed=True)
            await asyncio.sleep(chance.choice([0.05, 0.15, 0.5, 1.1, 30.0]))
            await made.kill()
            assert (await made._finished.get()).ok  # it sends again what was not acknowledged
            assert made.device.session is not None
            counters.append(made.device.session.down)
            await asyncio.sleep(10)
        assert counters == sorted(set(counters))
        assert sorted({data[1] for data, _ in made.heard.packets}) == list(range(12))
        made.device.dev_nonce -= 1
        assert not (await made.join()).ok
        assert (await made.join()).ok


async def test_what_is_not_ours_or_forged_is_counted_and_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        session = made.device.session
        assert session is not None
        made.device.dev_nonce -= 1
        assert not (await made.join()).ok
        assert made.counted["replayed join-requests"] == 1
        made.device.set_app_key(bytes(16))
        assert not (await made.join()).ok
        assert made.counted["join-requests with a wrong MIC"] == 1
        made.device.dev_eui += 1
        assert not (await made.join()).ok
        assert made.counted["join-requests of unknown devices"] == 1
        made.device.session = session
        session.keys = made.device._session(0, type(session.keys)(bytes(16), bytes(16))).keys
        made.device.retries = 0
        assert not (await made.send(b"\x20", confirmed=True)).ok
        assert made.counted["uplinks with a wrong MIC"] == 1
        session.address ^= 1
        assert not (await made.send(b"\x20", confirmed=True)).ok
        assert made.counted["uplinks of unknown sessions"] == 1
        assert made.heard.packets == []


async def test_a_device_that_begins_anew_may_where_its_key_or_join_eui_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:

        async def again() -> bool:
            made.device.dev_nonce -= 1
            return (await made.join()).ok

        assert not await again()
        made.device.join_eui += 1
        assert await again()
        await made.restart()
        assert not await again()
        made.device.join_eui -= 1
        assert not await again()
        provisioning.set_app_key(made.world.settings, made.world.service, "SN1", bytes(reversed(APP_KEY)))
        made.device.set_app_key(bytes(reversed(APP_KEY)))
        assert await again()
        assert (await made.send(b"\x20hello")).downlink is not None
        assert made.counted["replayed join-requests"] == 3
        [state] = made.way.network._states.values()
        assert state.join_nonce == 3  # ever higher, whatever the key


async def test_the_key_file_decides_who_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.device.retries = 0
        provisioning.set_app_key(made.world.settings, made.world.service, "SN1", None)
        assert not (await made.send(b"\x20", confirmed=True)).ok
        provisioning.set_app_key(made.world.settings, made.world.service, "SN1", APP_KEY)
        assert (await made.send(b"\x20", confirmed=True)).ok


async def test_gateways_that_are_made_up_make_no_work_and_displace_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        taken = made.way._take

        def crowd(datagram: bytes, address: object) -> None:
            taken(datagram, address)
            if datagram[3] == 0 and b'"rxpk"' in datagram:
                for number in range(2 * MOST_GATEWAYS):
                    taken(datagram[:4] + number.to_bytes(8, "big") + datagram[12:], address)

        monkeypatch.setattr(made.way, "_take", crowd)
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert len(made.heard.packets) == 1
        assert max(len(each.copies) for each in made.way.network._recent.values()) == MOST_COPIES
        [(_, gateway)] = [each for each in made.way._gateways._by_eui.items() if any(each[1].spent.values())]
        made.way._gateways.heard("f" * 16)
        assert made.way._gateways.heard(gateway.eui) is gateway


async def test_the_better_of_two_gateways_answers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch, gateways=2) as made:
        sent = [each.counts["txnb"] for each in made.gateways]
        made.device.requests = b"\x02"
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert len(made.heard.packets) == 1
        assert [each.counts["txnb"] for each in made.gateways] == [sent[0], sent[1] + 1]  # the nearer one
        assert made.counted["copies of uplinks"] == 2
        [link_check] = finished.downlink.told
        assert (link_check.what, link_check.values[1]) == ("link_check", 2)
        made.ether.obstruct(made.gateways[1].station, 100.0)
        assert (await made.send(b"\x20hello")).downlink is not None


async def test_what_the_better_gateway_refuses_the_other_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch, gateways=2) as made:
        other, better = made.gateways
        monkeypatch.setattr(better, "_refusal", lambda *_: "COLLISION_PACKET")
        sent = other.counts["txnb"]
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert (finished.downlink.window, finished.downlink.data) == (2, b"re:\x20hello")
        assert made.counted["downlinks that a gateway refused"] == 1
        assert other.counts["txnb"] == sent + 1


async def test_a_new_join_takes_over_once_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        await made.send(b"\x20one")
        first = made.device.session
        assert (await made.join()).ok
        second, made.device.session = made.device.session, first
        assert (await made.send(b"\x20two")).downlink is not None  # somebody may have kept a join-request back
        made.device.session = second
        assert (await made.send(b"\x20three")).downlink is not None
        made.device.session, made.device.retries = first, 0
        assert not (await made.send(b"\x20four", confirmed=True)).ok
        assert [data[1:] for data, _ in made.heard.packets] == [b"one", b"two", b"three"]


async def test_a_device_that_is_heard_well_is_told_to_be_quick_and_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.heard.answer = None
        made.device.rate = 0
        for _ in range(22):
            await made.send(b"\x20")
            await asyncio.sleep(10)
        assert made.device.rate == 5
        assert made.device.power_index > 0
        assert made.way.network._states[NAME].current.power == made.device.power_index  # type: ignore[union-attr]


async def test_packets_for_the_other_service_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        await made.send(b"\x00", port=1)
        await made.send(b"\x20", port=7)
        assert made.heard.packets == []
        assert made.counted["packets for the other service"] == 1
        assert made.counted["uplinks on the port of another"] == 1


async def test_nothing_joins_while_the_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch, joined=False) as made:
        made.store.broken = StoreUnreachable("away")
        assert not (await made.join()).ok
        made.store.broken = None
        assert (await made.join()).ok


async def test_what_could_not_be_kept_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.heard.away = True
        asyncio.get_running_loop().call_later(5.0, setattr, made.heard, "away", False)
        finished = await made.send(b"\x20", confirmed=True)
        assert finished.ok
        assert finished.attempts > 1
        assert [data for data, _ in made.heard.packets] == [b"\x20"]


async def test_only_gateways_that_are_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch, joined=False, gateways=1) as made:
        assert made.gateways[0].counts["pull_acks"] == 1
        made.way._gateways = Gateways(frozenset({"00000000000000ff"}))
        assert not (await made.join()).ok
        assert made.counted["datagrams of unknown gateways"] > 0


async def test_a_gateway_that_is_too_slow_for_rx1_is_given_rx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.gateways[
            0
        ]._backhaul = 0.6  # there 0.6 s, gathering 0.2 s, back 0.6 s: too late for RX1, its refusal for RX2
        made.heard.answer = None
        made.way.send(Airway("farm", "deveui", NAME), b"\x20small")
        made.way._send_for(Service.MANAGEMENT, Airway("farm", "deveui", NAME), b"\x00later")
        finished = await made.send(b"\x20")
        assert finished.downlink is None
        assert made.gateways[0].errors[0] == "TOO_LATE"
        await asyncio.sleep(5)
        made.gateways[0]._backhaul = 0.02
        finished = await made.send(b"\x20")
        assert finished.downlink is not None
        assert finished.downlink.data == b"\x20small"
        assert finished.downlink.pending
        finished = await made.send(b"\x20")
        assert finished.downlink is not None
        assert (finished.downlink.port, finished.downlink.data) == (1, b"\x00later")


async def test_an_answer_that_missed_its_window_makes_no_other_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        made.heard.answer = None
        await made.send(b"\x20one")
        made.way.send(Airway("farm", "deveui", NAME), b"\x20too late for its window")
        made.heard.answer = lambda data, airway: made.way.send(airway, b"re:" + data)
        finished = await made.send(b"\x20two")
        assert finished.downlink is not None
        assert (finished.downlink.data, finished.downlink.pending) == (b"re:\x20two", False)
        assert made.counted["answers that a newer one replaced"] == 1


async def test_a_copy_that_was_long_under_way_is_no_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch, gateways=2) as made:
        sent = [each.counts["txnb"] for each in made.gateways]
        made.gateways[0]._backhaul = 1.4
        finished = await made.send(b"\x20", confirmed=True)
        assert finished.ok
        await asyncio.sleep(10)
        assert made.counted["repeated uplinks"] == 0
        assert made.counted["copies of uplinks"] == 2  # of the join-request, and this one
        assert [each.counts["txnb"] for each in made.gateways] == [sent[0], sent[1] + 1]
        assert made.gateways[0].errors == []
        # what the device sends again because it heard no answer is answered again
        made.gateways[0]._backhaul = 0.02
        refusals = ["TOO_LATE"] * 4
        for each in made.gateways:
            monkeypatch.setattr(each, "_refusal", lambda *_: refusals.pop() if refusals else "")
        finished = await made.send(b"\x20", confirmed=True)
        assert finished.ok
        assert finished.attempts > 1
        assert made.counted["repeated uplinks"] == finished.attempts - 1


async def test_what_a_gateway_refuses_for_rx1_goes_into_rx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        gateway, refusals = made.gateways[0], ["COLLISION_PACKET"]
        monkeypatch.setattr(gateway, "_refusal", lambda *_: refusals.pop(0) if refusals else "")
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert (finished.downlink.window, finished.downlink.data) == (2, b"re:\x20hello")
        refusals[:] = ["COLLISION_PACKET"]
        made.heard.answer = lambda data, airway: made.way.send(airway, bytes(100))  # too much for RX2's data rate
        assert (await made.send(b"\x20")).downlink is None
        made.heard.answer = None
        finished = await made.send(b"\x20")  # so it waited for the next uplink
        assert finished.downlink is not None
        assert (finished.downlink.window, len(finished.downlink.data)) == (1, 100)
        assert made.counted["downlinks that a gateway refused"] == 2


async def test_no_gateway_is_longer_on_the_air_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        region, loop = made.way.network.region, asyncio.get_running_loop()
        gateway = made.way._gateways.heard(f"{made.gateways[0].eui:016x}")
        assert gateway is not None
        gateway.charge(region, 868_300_000, 36.0, loop.time())
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert finished.downlink.window == 2
        await made.restart()  # which forgets none of what was sent
        again = made.way._gateways.heard(gateway.eui)
        assert again is not None
        band = region.band(868_300_000)
        assert band is not None
        assert 36.0 <= sum(length for _, length in again.spent[band.name]) < 36.1
        again.charge(region, region.rx2_frequency, 360.0, loop.time())
        assert (await made.send(b"\x20hello")).downlink is None
        assert made.counted["downlinks that no gateway could send"] == 1
        for spent in again.spent.values():  # an hour later
            spent.extend((at - 4000, length) for at, length in [spent.popleft() for _ in range(len(spent))])
        made.heard.answer = None
        finished = await made.send(b"\x20")
        assert finished.downlink is not None
        assert (finished.downlink.window, finished.downlink.data) == (1, b"re:\x20hello")


async def test_nobody_else_gets_what_is_for_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        [gateway], loop = made.way._gateways._by_eui.values(), asyncio.get_running_loop()
        stolen: list[bytes] = []
        pull = b"\x02\x00\x01\x02" + made.gateways[0].eui.to_bytes(8, "big")
        for _ in range(20):
            made.way._take(pull, stolen.append)
        finished = await made.send(b"\x20hello")
        assert finished.downlink is not None
        assert {each[3] for each in stolen} == {4}  # PULL_ACK, and no PULL_RESP
        assert made.counted["datagrams in the name of another gateway"] == 20
        assert caplog.text.count("as which another host asked") == 1
        assert "whoever reaches UDP port 1700 is believed" in caplog.text
        # uplinks that come in its name from elsewhere are heard; what is there of its counter decides nothing
        taken = made.way._take
        monkeypatch.setattr(
            made.way, "_take", lambda data, _: taken(data, stolen.append) if data[3] == 0 else taken(data, _)
        )
        assert (await made.send(b"\x20elsewhere")).downlink is None
        assert made.heard.packets[-1][0] == b"\x20elsewhere"
        monkeypatch.setattr(made.way, "_take", taken)
        # and once the gateway has been silent for long, whoever asks is it
        await made.gateways[0].aclose()
        await asyncio.sleep(100)
        made.way._take(pull, stolen.append)
        assert gateway.address == stolen.append
        assert gateway.reachable(loop.time())


async def test_networks_that_gateways_may_be_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path, monkeypatch, joined=False, allowed=("192.0.2.0/24",)) as made:
        assert not (await made.join()).ok
        assert made.counted["datagrams from addresses that are not allowed"] > 0
        assert made.gateways[0].counts["pull_acks"] == 0
        assert "is believed" not in caplog.text


def test_a_gateway_behind_a_nat_is_answered_at_its_newest_port() -> None:
    gateway = Gateway("00")
    assert gateway.spoke(("192.0.2.1", 1000), 2, 0.0, asks=True)
    assert gateway.spoke(("192.0.2.1", 1001), 2, 1.0, asks=False)
    assert gateway.address == ("192.0.2.1", 1000)
    assert gateway.spoke(("192.0.2.1", 1002), 1, 2.0, asks=True)
    assert not gateway.spoke(("192.0.2.2", 1002), 2, 3.0, asks=True)
    assert (gateway.address, gateway.version, gateway.heard_at) == (("192.0.2.1", 1002), 1, 2.0)
    assert gateway.spoke(("::ffff:192.0.2.1", 1, 0, 0), 2, 4.0, asks=True)
    assert gateway.spoke(("2001:db8::1", 1, 0, 0), 2, 4.0 + SILENT + 1, asks=True)
    assert gateway.spoke(("2001:db8::2", 1, 0, 0), 2, 5.0 + SILENT + 1, asks=True)  # its privacy address of today


async def test_anything_from_the_network_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        push = next(each for each in made.datagrams if b'"rxpk"' in each)
        answers: list[bytes] = []
        for at in range(0, len(push), 7):
            made.way._take(push[:at], answers.append)
            made.way._take(push[:at] + bytes([push[at] ^ 0x55]) + push[at + 1 :], answers.append)
        await asyncio.sleep(10)
        assert {each[3] for each in answers} <= {1, 4}  # PUSH_ACK and PULL_ACK
        assert (await made.send(b"\x20hello")).downlink is not None
        assert len(made.heard.packets) == 1


async def test_a_gateway_that_has_not_asked_yet_is_answered_where_it_sends_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with farm(tmp_path, monkeypatch) as made:
        gateway = made.way._gateways.heard(f"{made.gateways[0].eui:016x}")
        assert gateway is not None
        asked = gateway.address
        gateway.address, gateway.asked = None, False  # as after a start of the service
        assert (await made.send(b"\x20hello")).downlink is not None
        gateway.address, gateway.asked = asked, True
        gateway.spoke(lambda _: None, 2, gateway.heard_at, asks=False)
        assert gateway.address is asked
        assert not gateway.reachable(gateway.heard_at + 100)
