"""Joining, uplinks, downlinks and what is refused: the MAC in virtual time before a small network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from rataccess.driver import Forgetful
from rataccess.errors import DiskFull, KeyStoreError, NotNow, PacketTooLarge, SequenceExhausted, TransportBroken
from rataccess.lorawan import crypto
from rataccess.lorawan.addresses import gps_time
from rataccess.lorawan.commands import (
    DeviceTimeAns,
    DeviceTimeReq,
    DutyCycleReq,
    LinkAdrReq,
    LinkCheckAns,
    RxTimingSetupReq,
)
from rataccess.lorawan.frame import JoinAccept, encode_frequencies, encode_masks
from rataccess.lorawan.regions import AU915, EU868, REGIONS, US915, Region
from rataccess_drivers.lora.mac import Done, Listen, Received
from rataccess_drivers.lora.mac.exchange import State
from rataccess_drivers.lora.mac.joining import Joining
from rataccess_drivers.lora.mac.session import SessionFile
from tests.lorawan.small_network import APP_KEY, DEV_EUI, Bench, joined, nothing, only_in

AS923 = REGIONS["AS923"]


# --- joining ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_join_then_an_uplink_and_a_downlink_in_every_region(region: Region) -> None:
    bench = joined(region)
    bench.send(b"hello")
    assert bench.last.payload == b"hello"
    assert (bench.last.fcnt, bench.last.port, bench.last.adr) == (0, 2, True)
    done = bench.send(b"more", only_in(2, lambda: bench.network.downlink(b"down", 1)))
    assert done.received == (Received(1, b"down"),)
    assert [each.window for each in bench.windows[-2:]] == [1, 2]
    assert bench.windows[-1].frequency == region.rx2_frequency
    assert not bench.windows[-1].modulation.crc
    assert bench.windows[-1].at - bench.windows[-2].at == 1.0


def test_windows_of_a_join_request() -> None:
    """5 s and 6 s after its end (RP002-1.0.3)."""
    bench = Bench()
    assert not bench.run(bench.mac.join(bench.clock.now)).joined
    sent = bench.sent[-1]
    end = sent.at + sent.action.airtime
    assert [each.at - end for each in bench.windows] == pytest.approx([5.0, 6.0])
    assert bench.windows[0].frequency == sent.action.frequency


def test_join_accept_settles_the_session() -> None:
    bench = Bench()
    cflist = encode_frequencies([867_100_000, 867_300_000, 0, 902_300_000, 867_900_000])
    assert bench.join(rx1_dr_offset=2, rx2_dr=3, rx_delay=5, cflist=cflist).joined
    session = bench.mac.session
    assert session is not None
    assert session.enabled == frozenset({0, 1, 2, 3, 4, 7})
    bench.send()
    assert bench.windows[-1].modulation.spreading_factor == 9
    sent = bench.sent[-1]
    assert bench.windows[-2].at - sent.at - sent.action.airtime == pytest.approx(5.0)
    assert bench.windows[-2].modulation.spreading_factor == sent.action.modulation.spreading_factor + 2


def test_cflist_of_a_fixed_plan_switches_channels() -> None:
    bench = Bench(US915)
    assert bench.join(rx2_dr=8, cflist=encode_masks([0xFF00, 0, 0, 0, 0x0002])).joined
    session = bench.mac.session
    assert session is not None
    assert session.enabled == US915.sub_band_mask(2)


def test_a_fixed_plan_stays_in_the_sub_band_that_answered() -> None:
    bench = Bench(US915)
    for _ in range(2):  # sub-band 1, narrow and wide
        bench.run(bench.mac.join(bench.clock.now))
        bench.clock.now += 20
    assert bench.join(rx2_dr=8).joined
    session = bench.mac.session
    assert session is not None
    assert session.enabled == US915.sub_band_mask(2)
    assert {each.action.modulation.bandwidth for each in bench.sent} == {125_000, 500_000}


def test_sub_band_setting() -> None:
    bench = joined(US915, sub_band=3)
    for _ in range(16):
        bench.send()
    mask = US915.sub_band_mask(3)
    frequencies = {US915.channels[each].frequency for each in mask}
    used = [each.action.frequency for each in bench.sent]
    assert set(used) <= frequencies
    assert len(set(used[:8])) == 8, "each channel once before any comes again"


def test_join_data_rates_take_turns() -> None:
    bench = Bench()
    factors = []
    for _ in range(7):
        bench.clock.now += 20
        bench.run(bench.mac.join(bench.clock.now))
        factors.append(bench.sent[-1].action.modulation.spreading_factor)
    assert factors == [7, 8, 9, 10, 11, 12, 7]


def test_dev_nonces_are_counted_on_disk() -> None:
    bench = Bench()
    for count in range(5):
        bench.clock.now += 30
        bench.mac.join(bench.clock.now)  # killed while it sends
        bench.restart()
        assert bench.mac.join_attempts == count + 1
    bench.clock.now += 30
    assert bench.join().joined
    assert bench.network.dev_nonces == [5]
    bench.restart()
    assert bench.mac.join_attempts == 0


def test_join_back_off() -> None:
    """1 % of the first hour, 0.1 % of the next ten, 0.01 % of each day after (LoRaWAN L2 1.0.4, chapter 7)."""
    memory, airtime, spent, now = Forgetful(), 1.5, [], 0.0
    joining = Joining(memory, "join", Random(1), 0.0)
    for step in range(100):
        if step % 5 == 4:
            joining = Joining(memory, "join", Random(step), now)  # restarts reset nothing
        now += joining.wait(now, airtime)
        now += joining.wait(now, airtime)
        joining.take(now, airtime)
        spent.append(now)
    for begin, end, limit in ((0, 3600, 36.0), (3600, 39_600, 36.0), (39_600, 126_000, 8.7), (126_000, 212_400, 8.7)):
        count = sum(1 for each in spent if begin <= each < end)
        assert count * airtime <= limit, (begin, count)
    assert spent[-1] > 126_000, "the test has to reach the last of the periods"
    assert sum(1 for each in spent if each < 3600) > 12


def test_join_too_soon_is_not_now() -> None:
    bench = Bench()
    bench.run(bench.mac.join(bench.clock.now))
    with pytest.raises(NotNow) as error:
        bench.mac.join(bench.clock.now)
    assert 0 < error.value.retry_after <= 15
    assert len(bench.network.dev_nonces) == 1
    bench.restart()
    with pytest.raises(NotNow):
        bench.mac.join(bench.clock.now)


def test_dev_nonces_run_out() -> None:
    joining = Joining(Forgetful(), "join", Random(1), 0.0)
    joining._write(type(joining._state)(next_dev_nonce=0xFFFF))
    assert joining.take(0.0, 0.1) == 0xFFFF
    with pytest.raises(SequenceExhausted, match="AppKey"):
        joining.take(0.0, 0.1)


def test_lost_dev_nonces_are_not_begun_anew() -> None:
    memory = Forgetful()
    memory.put("join", b"\xff\xff")
    with pytest.raises(KeyStoreError, match="DevNonces"):
        Joining(memory, "join", Random(1), 0.0).take(0.0, 0.1)
    assert memory.get("join") == b"\xff\xff", "for whoever wants to look"


def test_a_session_outlives_lost_dev_nonces() -> None:
    """It needs none; without one there is nothing to live on."""
    bench = joined()
    (key,) = [each for each in bench.memory._values if "/join/" in each]
    bench.memory.put(key, b"\xff\xff")
    bench.restart()
    assert bench.send(b"x", lambda _: bench.network.downlink(b"down", 2)).heard
    with pytest.raises(KeyStoreError, match="DevNonces"):
        bench.mac.join(bench.clock.now)
    bench.mac.forget_session()
    with pytest.raises(KeyStoreError, match="DevNonces"):
        bench.restart()


# --- sessions outlive processes ---------------------------------------------------------------------------------------


def test_restart_without_rejoin() -> None:
    bench = joined()
    bench.send()
    bench.send(b"x", lambda _: bench.network.downlink(b"down", 2, commands=[RxTimingSetupReq(3)]))
    before, used = bench.mac.session, bench.mac.next_fcnt
    bench.restart()
    assert bench.mac.session is not None
    assert before is not None
    assert bench.mac.session.replace(adr_ack_cnt=0) == before.replace(adr_ack_cnt=0)
    assert bench.mac.next_fcnt >= used
    done = bench.send(b"again", lambda _: bench.network.downlink(b"down", 2))
    assert done.heard
    assert bench.last.payload == b"again"
    assert len(bench.network.dev_nonces) == 1


def test_a_kill_between_reserving_and_sending_skips_numbers() -> None:
    bench = joined()
    writes = []
    put_now = bench.memory.put_now

    def counted(key: str, value: bytes) -> None:
        put_now(key, value)
        writes.append(key)

    bench.memory.put_now = counted  # type: ignore[method-assign]
    for _ in range(60):
        bench.send(b"x")
    assert writes.count("driver/field/session") == 1, "not a write for each uplink"
    seen = {each.fcnt for each in bench.network.uplinks}
    bench.clock.now += 60
    action = bench.mac.send(bench.clock.now, 2, b"never heard")
    assert action.data
    bench.restart()
    bench.send(b"x")
    assert bench.last.fcnt not in seen
    assert bench.last.fcnt > max(seen) + 1


def test_another_key_or_region_has_no_session() -> None:
    bench = joined()
    bench.settings = {}
    other = Bench(AS923, memory=bench.memory, clock=bench.clock)
    assert other.mac.session is None
    bench.restart()
    assert bench.mac.session is not None


def test_a_damaged_session_is_none() -> None:
    """One altered bit could use a counter twice, or name a receive window that there is not: each uplink would fail."""
    bench = joined()
    bench.send(b"x")
    bench.mac.give_back()
    memory = bench.memory
    file = SessionFile(memory, "driver/field/session", bench.mac.settings.identity)
    whole = memory.get("driver/field/session")
    assert whole is not None
    assert file.read() is not None
    for at in range(len(whole)):
        memory.put("driver/field/session", whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert file.read() is None
    memory.put("driver/field/session", whole[:-1])
    bench.restart()
    assert bench.mac.session is None
    assert bench.join().joined


def test_not_joined() -> None:
    with pytest.raises(TransportBroken, match="joined"):
        Bench().mac.send(0.0, 2, b"x")


def test_used_up_counters_end_the_session() -> None:
    bench = joined()
    bench.mac._next_fcnt = 0xFFFFFFFF
    bench.clock.now += 60
    bench.mac.send(bench.clock.now, 2, b"last")
    bench.mac.abandon()
    with pytest.raises(TransportBroken):
        bench.mac.send(bench.clock.now + 60, 2, b"over")
    assert bench.mac.session is None


def test_keys_are_in_no_text() -> None:
    bench = joined()
    session = bench.mac.session
    assert session is not None
    text = f"{bench.mac!r} {session!r} {bench.mac.settings!r} {session.keys!r}"
    for key in (APP_KEY, session.nwk_s_key, session.app_s_key):
        assert key.hex() not in text
        assert repr(key)[2:-1] not in text


# --- confirmed, repeated, acknowledged --------------------------------------------------------------------------------


def test_an_unanswered_confirmed_uplink_goes_again_with_the_next_counter() -> None:
    """Clauses 4.3.1.3 and figure 9: NbTrans copies of a frame, and then the payload in another; more copies are dropped."""
    bench = joined()
    done = bench.send(b"alarm", confirmed=True)
    assert done == Done(fcnt=3)
    assert [each.fcnt for each in bench.network.uplinks] == [0, 1, 2, 3]
    assert {each.payload for each in bench.network.uplinks} == {b"alarm"}
    gaps = [
        later.at - earlier.at - earlier.action.airtime
        for earlier, later in zip(bench.sent[1:], bench.sent[2:], strict=False)
    ]
    assert all(2.0 + 1.0 <= gap <= 2.0 + 3.2 for gap in gaps), "1 to 3 s after RX2"
    ended = bench.sent[-1].at + bench.sent[-1].action.airtime
    with pytest.raises(NotNow):
        bench.mac.send(bench.clock.now, 2, b"next")
    bench.send(b"next")
    assert bench.last.fcnt == 4
    assert bench.sent[-1].at - ended >= 2.0 + 1.0, "RETRANSMIT_TIMEOUT is before any new uplink"


def test_nb_trans_copies_come_before_another_counter() -> None:
    bench = joined()
    bench.order(LinkAdrReq(tx_power=0, data_rate=5, ch_mask=0b111, nb_trans=3))
    bench.send(b"alarm", confirmed=True)
    assert [each.fcnt for each in bench.network.uplinks] == [0, 1, 1, 1, 2]
    heard = bench.network.heard
    assert heard[-4] == heard[-3] == heard[-2] != heard[-1]


def test_a_repetition_in_another_frame_is_reserved_and_fits() -> None:
    """Its counter is on disk before it is used; where the answers that it must carry leave no room it is given up."""
    bench = joined(attempts=70)
    bench.clock.now += 3600
    bench.mac.settings = replace(bench.mac.settings, patience=1e9)
    bench.send(b"alarm", confirmed=True)
    assert bench.mac.session is not None
    assert bench.mac.session.fcnt_up_limit >= bench.mac.next_fcnt == 70
    tight = joined(data_rate=5)
    tight.order(LinkAdrReq(tx_power=0, data_rate=1, ch_mask=0b111))
    tight.send(b"answers it")
    full = tight.mac.room
    tight.clock.now += tight.mac.wait(tight.clock.now, full)
    action = tight.step(tight.mac.send(tight.clock.now, 2, bytes(full), confirmed=True))
    tight.mac.ask_time()
    tight.mac.ask_link()
    done = tight.run(action)
    assert done == Done(fcnt=2)
    assert len(tight.network.uplinks) == 3


def test_confirmed_uplink_acknowledged() -> None:
    bench = joined()
    done = bench.send(b"alarm", only_in(2, lambda: bench.network.downlink(ack=True)), confirmed=True)
    assert done.acknowledged
    assert len(bench.network.heard) == 2


def test_a_downlink_without_ack_does_not_acknowledge() -> None:
    bench = joined()
    answers = iter([b"first"])
    done = bench.send(
        b"alarm",
        lambda _: bench.network.downlink(next(answers), 2) if bench.network.fcnt_down == 0 else None,
        confirmed=True,
    )
    assert not done.acknowledged
    assert done.received == (Received(2, b"first"),)
    assert len(bench.network.heard) == 1 + 1, "any downlink ends the repetitions (clauses 4.3.1.3 and 5.2)"


def test_confirmed_downlink_is_acknowledged_with_the_next_uplink_only() -> None:
    bench = joined()
    bench.send(b"x", lambda _: bench.network.downlink(b"order", 2, confirmed=True))
    assert bench.mac.owes
    bench.send(b"y")
    assert bench.last.ack
    assert not bench.mac.owes
    bench.send(b"z")
    assert not bench.last.ack


def test_fpending_is_told() -> None:
    bench = joined()
    bench.send(b"x", lambda _: bench.network.downlink(b"one", 2, fpending=True))
    assert bench.mac.more_waits
    bench.send(b"", lambda _: bench.network.downlink(b"two", 2), port=None)
    assert not bench.mac.more_waits
    assert bench.last.port is None


def test_device_time_and_link_check() -> None:
    bench = joined()
    unasked = [LinkCheckAns(20, 3), DeviceTimeAns(1, 0)]
    bench.send(b"x", lambda _: bench.network.downlink(commands=unasked))
    assert (bench.mac.link, bench.mac.time) == (None, None)
    bench.mac.ask_time()
    bench.mac.ask_link()
    room = bench.mac.room
    gps = int(gps_time(1_800_000_000.0))
    bench.send(b"x", lambda _: bench.network.downlink(commands=[LinkCheckAns(20, 3), DeviceTimeAns(gps, 128)]))
    assert bench.last.fopts == DeviceTimeReq().encode() + b"\x02"
    assert bench.mac.room == room + 2
    assert bench.mac.link == LinkCheckAns(20, 3)
    sent = bench.sent[-1]
    assert bench.mac.time is not None
    assert bench.mac.time[0] == 1_800_000_000.5
    assert bench.mac.time[1] == pytest.approx(sent.at + sent.action.airtime)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_payload_limit_follows_the_data_rate() -> None:
    bench = joined(data_rate=0)
    assert bench.mac.room == 51
    with pytest.raises(PacketTooLarge) as error:
        bench.mac.send(bench.clock.now, 2, bytes(52))
    assert (error.value.size, error.value.limit) == (52, 51)
    bench.send(bytes(51))
    assert joined(data_rate=5).mac.room == 242


def test_slow_data_rates_of_11_bytes_are_not_for_data() -> None:
    for region, room in ((US915, 53), (AU915, 53), (AS923, 53), (EU868, 51)):
        bench = joined(region, data_rate=min(region.join_data_rates))
        assert bench.mac.room == room
    assert joined(US915, data_rate=0, min_data_rate=0).mac.room == 11


def test_duty_cycle_is_not_now_and_survives_a_restart() -> None:
    bench = joined(data_rate=0)
    while not bench.mac.wait(bench.clock.now, 51):
        bench.run(bench.mac.send(bench.clock.now, 2, bytes(51)))
    with pytest.raises(NotNow) as error:
        bench.mac.send(bench.clock.now, 2, bytes(51))
    assert error.value.retry_after > 60
    sent = sum(each.action.airtime for each in bench.sent)
    assert 36 - 2.5 < sent <= 36
    wait = bench.mac.wait(bench.clock.now, 51)
    bench.restart()
    assert wait <= bench.mac.wait(bench.clock.now, 51) <= wait + 30, "the pause of a restart counts as none"
    assert not [each for each in bench.ledger.allowances() if each.name.startswith("868-868.6") and each.left > 2500]


def test_repetitions_end_where_the_duty_cycle_does() -> None:
    bench = joined(data_rate=0)
    bench.send(bytes(51))
    for _ in range(3):
        done = bench.run(bench.mac.send(bench.clock.now, 2, bytes(51), confirmed=True))
        bench.clock.now += 3
    assert not done.acknowledged
    assert len(bench.network.heard) == 1 + 1 + 4 + 4 + 3, "the last one is given up rather than sent an hour later"
    assert bench.mac.state is State.IDLE


def test_repetitions_keep_the_networks_silence() -> None:
    bench = joined(US915)
    bench.order(DutyCycleReq(max_dcycle=4))
    bench.send(b"x")
    bench.clock.now += 60
    bench.send(b"x", confirmed=True)
    last = bench.sent[-4:]
    assert len({bench.network.uplinks[-at].payload for at in range(1, 5)}) == 1
    for earlier, later in pairwise(last):
        assert later.at - earlier.at >= earlier.action.airtime * 16


def test_power_follows_antenna_and_limit() -> None:
    bench = joined(antenna_gain=2.5)
    bench.send()
    assert bench.sent[-1].action.power_dbm == 13
    bench = joined(max_power=10)
    assert bench.sent[-1].action.power_dbm == 10


# --- what is refused --------------------------------------------------------------------------------------------------

Forged = Callable[[Bench], bytes]


def _flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _old(bench: Bench) -> bytes:
    return bench.network.downlink(b"old", 2, fcnt=3)


def _foreign(bench: Bench) -> bytes:
    return bench.network.downlink(b"x", 2, dev_addr=0x26012346)


def _join_accept(bench: Bench) -> bytes:
    return crypto.seal_join_accept(APP_KEY, JoinAccept(99, 0x13, 1))


REFUSED: dict[str, Forged] = {
    "wrong MIC": lambda bench: _flip(bench.network.downlink(b"x", 2)),
    "altered payload": lambda bench: _flip(bench.network.downlink(b"x", 2), 9),
    "old FCnt": _old,
    "gap": lambda bench: bench.network.downlink(b"x", 2, fcnt=5 + 16385),
    "foreign DevAddr": _foreign,
    "join-accept nobody asked for": _join_accept,
    "MAC commands cut short": lambda bench: bench.network.downlink(fopts=b"\x08\x02\x05\x00"),
    "MAC commands on port 0 cut short": lambda bench: bench.network.downlink(b"\x08\x02\x03\x51", 0),
    "an uplink": lambda bench: bench.network.heard[-1],
    "nothing": lambda bench: b"",
    "noise": lambda bench: bytes(range(200)),
    "one octet": lambda bench: b"\x60",
}


@pytest.mark.parametrize("forged", REFUSED.values(), ids=REFUSED)
def test_refused_downlinks_leave_the_state_untouched(forged: Forged) -> None:
    bench = joined()
    bench.send(b"x", lambda _: bench.network.downlink(b"first", 2, fcnt=5, commands=[RxTimingSetupReq(1)]))
    bench.mac.ask_time()
    kept = dict(bench.memory._values)
    done = bench.send(b"y", lambda _: forged(bench))
    assert bench.mac.session is not None
    assert done == Done(fcnt=1)
    assert sum(bench.mac.rejected.values()) == 2, "both windows"
    changed = {key for key, value in bench.memory._values.items() if kept[key] != value}
    assert changed == {"driver/field/airtime"}
    assert bench.mac.session.fcnt_down == 5
    assert bench.mac.time is None
    genuine = bench.network.downlink(b"z", 2, fcnt=6)
    assert bench.send(b"z", lambda _: genuine).received == (Received(2, b"z"),)


def test_a_replay_is_refused() -> None:
    bench = joined()
    frame = bench.network.downlink(b"once", 2)
    assert bench.send(b"x", lambda _: frame).received
    assert not bench.send(b"y", lambda _: frame).heard
    assert bench.mac.rejected.total() == 2


def test_a_broken_frame_in_rx1_does_not_cost_rx2() -> None:
    bench = joined()
    answer = {1: b"\x60broken frame", 2: bench.network.downlink(b"whole", 2)}
    assert bench.send(b"x", lambda listen: answer[listen.window]).received == (Received(2, b"whole"),)


def test_counters_beyond_16_bits() -> None:
    bench = joined()
    session = bench.mac.session
    assert session is not None
    bench.mac._session = session.replace(fcnt_down=0x1FFFE, fcnt_up_limit=0x30000)
    bench.mac._next_fcnt = 0x20001
    bench.network.first_fcnt = 0x20000
    assert bench.send(b"x", lambda _: bench.network.downlink(b"a", 2, fcnt=0x1FFFF)).heard
    assert bench.send(b"x", lambda _: bench.network.downlink(b"b", 2, fcnt=0x20000)).heard


@pytest.mark.parametrize(
    "accept",
    [
        lambda bench: _flip(bench.network.take_in()),
        lambda bench: crypto.seal_join_accept(bytes(16), JoinAccept(9, 0x13, 1)),
        lambda bench: bench.network.take_in(rx1_dr_offset=7),
        lambda bench: bench.network.take_in(rx2_dr=12),
        lambda bench: bytes(17),
        lambda bench: bench.network.heard[-1],
    ],
    ids=["wrong MIC", "another key", "offset of another region", "data rate of another region", "nothing", "echo"],
)
def test_refused_join_accepts(accept: Forged) -> None:
    bench = Bench()
    assert not bench.run(bench.mac.join(bench.clock.now), lambda _: accept(bench)).joined
    assert bench.mac.session is None
    assert bench.mac.rejected.total() == 2
    bench.clock.now += 30
    assert bench.join().joined


def test_join_nonce_must_grow() -> None:
    bench = joined()
    first = bench.network.join_nonce
    before = bench.mac.session
    bench.clock.now += 30
    stale = crypto.seal_join_accept(APP_KEY, JoinAccept(first, 0x13, 0x26012345))
    assert not bench.run(bench.mac.join(bench.clock.now), lambda _: stale).joined
    assert bench.mac.session == before, "the old session lives on"
    bench.restart()
    bench.clock.now += 30
    assert not bench.run(bench.mac.join(bench.clock.now), lambda _: stale).joined
    bench.clock.now += 30
    assert bench.join().joined
    assert bench.mac.next_fcnt == 0


def test_join_nonces_of_networks_that_do_not_count_them() -> None:
    bench = Bench(settings={"join_nonce": "any"})
    bench.network.join_nonce = 999_999
    assert bench.join().joined
    bench.clock.now += 30
    last = crypto.seal_join_accept(APP_KEY, JoinAccept(1_000_000, 0x13, 0x26012345))
    assert not bench.run(bench.mac.join(bench.clock.now), lambda _: last).joined, "the last one again is a replay"
    assert bench.mac.rejected == {"StaleJoinNonce": 2}
    bench.clock.now += 30
    bench.network.join_nonce = 4
    assert bench.join().joined


def test_out_of_turn_is_a_defect() -> None:
    bench = joined()
    with pytest.raises(RuntimeError):
        bench.mac.silent(0.0)
    bench.clock.now += 10
    bench.mac.send(bench.clock.now, 2, b"x")
    with pytest.raises(RuntimeError):
        bench.mac.send(bench.clock.now, 2, b"x")
    bench.mac.abandon()
    assert isinstance(bench.step(bench.mac.send(bench.clock.now, 2, b"x")), Listen)
    assert DEV_EUI
    assert nothing(bench.windows[-1]) is None


class FailingMemory(Forgetful):
    """A disk that is full from the given write on."""

    def __init__(self) -> None:
        super().__init__()
        self.full_for: str | None = None

    def put_now(self, key: str, value: bytes) -> None:
        if self.full_for is not None and self.full_for in key:
            raise DiskFull("no room")
        self.put(key, value)


@pytest.mark.parametrize("what", ["session", "airtime"])
def test_a_full_disk_lets_nothing_out(what: str) -> None:
    memory = FailingMemory()
    bench = Bench(memory=memory)
    assert bench.join().joined
    memory.full_for = what
    bench.clock.now += 60
    with pytest.raises(DiskFull):
        bench.mac.send(bench.clock.now, 2, b"x")
    memory.full_for = None
    assert bench.send(b"y").fcnt == (0 if what == "session" else 1)
    memory.full_for = "session"
    with pytest.raises(DiskFull):
        bench.send(b"z", lambda _: bench.network.downlink(b"not kept", 2))
    memory.full_for = None
    bench.mac.silent(bench.clock.now)
    bench.mac.silent(bench.clock.now)
    frame = bench.network.downlink(b"kept", 2, fcnt=0)
    assert bench.send(b"z", lambda _: frame).received == (Received(2, b"kept"),)


def test_what_may_be_forgotten_does_not_stop_an_uplink() -> None:
    memory = FailingMemory()
    bench = Bench(US915, memory=memory)
    assert bench.join(rx2_dr=8).joined
    bench.order(DutyCycleReq(max_dcycle=4))
    bench.clock.now += bench.mac.wait(bench.clock.now, 1)
    action = bench.mac.send(bench.clock.now, 2, b"x")
    memory.full_for = "session"
    assert bench.run(action).fcnt == 1
    bench.mac.give_back()
    bench.restart()
    assert bench.mac.next_fcnt == 64, "what was not given back is skipped"


def test_a_full_disk_lets_no_join_request_out() -> None:
    memory = FailingMemory()
    bench = Bench(memory=memory)
    memory.full_for = "join"
    with pytest.raises(DiskFull):
        bench.mac.join(bench.clock.now)
    memory.full_for = None
    assert bench.join().joined
    assert bench.network.dev_nonces == [0]
