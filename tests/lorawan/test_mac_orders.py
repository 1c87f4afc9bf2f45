"""MAC commands obeyed, and ADR: LoRaWAN L2 1.0.4 chapter 5 and clause 4.3.1.1, RP002-1.0.3 for what regions allow."""

from __future__ import annotations

import pytest

from rataccess.errors import NotNow
from rataccess.lorawan.commands import (
    Command,
    DevStatusAns,
    DevStatusReq,
    DlChannelAns,
    DlChannelReq,
    DutyCycleAns,
    DutyCycleReq,
    LinkAdrAns,
    LinkAdrReq,
    NewChannelAns,
    NewChannelReq,
    RxParamSetupAns,
    RxParamSetupReq,
    RxTimingSetupAns,
    RxTimingSetupReq,
    TxParamSetupAns,
    TxParamSetupReq,
    Unknown,
    decode_commands,
)
from rataccess.lorawan.regions import AU915, EU868, REGIONS, US915
from rataccess_drivers.lora.mac.session import Session
from tests.lorawan.small_network import Bench, joined

AS923 = REGIONS["AS923"]


def session(bench: Bench) -> Session:
    found = bench.mac.session
    assert found is not None
    return found


def answers(bench: Bench) -> list[Command | Unknown]:
    """What the next uplink says."""
    bench.send(b"x")
    return decode_commands(bench.last.fopts, uplink=True)


# --- LinkADRReq -------------------------------------------------------------------------------------------------------


def test_link_adr_sets_everything() -> None:
    bench = joined(data_rate=0)
    bench.order(LinkAdrReq(tx_power=3, data_rate=4, ch_mask=0b011, nb_trans=2))
    assert (session(bench).dr, session(bench).tx_power, session(bench).nb_trans) == (4, 3, 2)
    assert session(bench).enabled == frozenset({0, 1})
    assert answers(bench) == [LinkAdrAns(True, True, True)]
    assert bench.sent[-1].action.power_dbm == EU868.max_eirp - 6
    assert bench.sent[-1].action.modulation.spreading_factor == 8
    assert len(bench.network.heard) == 1 + 1 + 2, "NbTrans: twice"
    assert bench.mac.room == 242


def test_link_adr_is_all_or_nothing() -> None:
    for wrong in (
        LinkAdrReq(tx_power=1, data_rate=4, ch_mask=0b1000),  # a channel that is not defined
        LinkAdrReq(tx_power=1, data_rate=7, ch_mask=0b111),  # FSK
        LinkAdrReq(tx_power=14, data_rate=4, ch_mask=0b111),
        LinkAdrReq(tx_power=1, data_rate=4, ch_mask=0, ch_mask_cntl=0),  # nothing left
    ):
        bench = joined(data_rate=0)
        before = session(bench)
        bench.order(wrong)
        found = session(bench)
        assert found.replace(fcnt_down=None) == before.replace(
            fcnt_down=None, fcnt_up_limit=found.fcnt_up_limit, adr_ack_cnt=0
        )
        (answer,) = answers(bench)
        assert isinstance(answer, LinkAdrAns)
        assert not (answer.channel_mask_ack and answer.data_rate_ack and answer.power_ack)


def test_link_adr_block_is_one_order() -> None:
    """Clause 5.2: masks in order, the rest from the last, one answer for each, all the same."""
    bench = joined(US915)
    off = LinkAdrReq(tx_power=15, data_rate=15, ch_mask=0x0002, ch_mask_cntl=7)
    some = LinkAdrReq(tx_power=5, data_rate=3, ch_mask=0xFF00, nb_trans=1)
    bench.order(off, some)
    assert session(bench).enabled == US915.sub_band_mask(2)
    assert (session(bench).dr, session(bench).tx_power) == (3, 5)
    assert answers(bench) == [LinkAdrAns(True, True, True)] * 2
    before = session(bench)
    bench.order(off, LinkAdrReq(tx_power=1, data_rate=9, ch_mask=0x00FF))
    assert session(bench).enabled == before.enabled
    assert answers(bench) == [LinkAdrAns(True, False, True)] * 2


def test_link_adr_of_two_blocks() -> None:
    bench = joined()
    bench.order(
        LinkAdrReq(tx_power=1, data_rate=5, ch_mask=0b1),
        DevStatusReq(),
        LinkAdrReq(tx_power=0, data_rate=5, ch_mask=0x80),
    )
    assert session(bench).enabled == frozenset({0})
    found = answers(bench)
    assert found[0] == LinkAdrAns(True, True, True)
    assert found[2] == LinkAdrAns(False, True, True)


def test_without_adr_only_channels_are_the_networks() -> None:
    """Each part is accepted or refused by itself then: an acceptance of what is not done would mislead the network."""
    bench = joined(adr=False, data_rate=3)
    bench.order(LinkAdrReq(tx_power=7, data_rate=0, ch_mask=0b1, nb_trans=3))
    assert (session(bench).dr, session(bench).tx_power, session(bench).nb_trans) == (3, 0, 1)
    assert session(bench).enabled == frozenset({0})
    assert answers(bench) == [LinkAdrAns(True, False, False)]
    assert not bench.last.adr
    bench.order(LinkAdrReq(tx_power=0, data_rate=3, ch_mask=0b10))
    assert answers(bench) == [LinkAdrAns(True, True, True)], "what is so already is accepted"
    bench.order(LinkAdrReq(tx_power=15, data_rate=15, ch_mask=0b1000))
    assert answers(bench) == [LinkAdrAns(False, True, True)]
    assert session(bench).enabled == frozenset({1})


def test_keep_means_keep() -> None:
    bench = joined(data_rate=5)
    bench.order(LinkAdrReq(tx_power=2, data_rate=15, ch_mask=0b111, nb_trans=0))
    assert (session(bench).dr, session(bench).tx_power, session(bench).nb_trans) == (5, 2, 1)
    bench.order(LinkAdrReq(tx_power=15, data_rate=1, ch_mask=0b111, nb_trans=3))
    assert (session(bench).dr, session(bench).tx_power, session(bench).nb_trans) == (1, 2, 3)
    bench.order(LinkAdrReq(tx_power=15, data_rate=1, ch_mask=0b111, nb_trans=0))
    assert session(bench).nb_trans == 1, "0 is the default, not the last one (clause 5.2)"


# --- the others -------------------------------------------------------------------------------------------------------


def test_rx_param_setup() -> None:
    bench = joined()
    bench.order(RxParamSetupReq(rx2_dr=3, rx1_dr_offset=2, frequency=869_525_000))
    assert answers(bench) == [RxParamSetupAns(True, True, True)]
    assert bench.windows[-2].modulation.spreading_factor == 12 - 3
    assert bench.windows[-1].modulation.spreading_factor == 9
    for wrong, expected in (
        (RxParamSetupReq(rx2_dr=3, rx1_dr_offset=6, frequency=869_525_000), (True, True, False)),
        (RxParamSetupReq(rx2_dr=9, rx1_dr_offset=1, frequency=869_525_000), (True, False, True)),
        (RxParamSetupReq(rx2_dr=0, rx1_dr_offset=1, frequency=915_000_000), (False, True, True)),
    ):
        before = session(bench)
        bench.order(wrong)
        assert (session(bench).rx2_dr, session(bench).rx1_dr_offset) == (before.rx2_dr, before.rx1_dr_offset)
        assert answers(bench) == [RxParamSetupAns(*expected)]


def test_sticky_answers_are_repeated_until_a_downlink() -> None:
    bench = joined()
    bench.order(DevStatusReq(), RxTimingSetupReq(delay=4), DutyCycleReq(0))
    assert answers(bench) == [DevStatusAns(battery=0, margin=5), RxTimingSetupAns(), DutyCycleAns()], "in order"
    assert answers(bench) == [RxTimingSetupAns()]
    bench.restart()
    assert answers(bench) == [RxTimingSetupAns()]
    sent = bench.sent[-1]
    assert bench.windows[-2].at - sent.at - sent.action.airtime == pytest.approx(4.0)
    room = bench.mac.room
    bench.send(b"x", lambda _: bench.network.downlink())
    assert answers(bench) == []
    assert bench.mac.room == room + 1


def test_answers_that_do_not_fit_are_cut_off() -> None:
    """Chapter 5: all answers go in one frame, which ends with the last that fits; the network asks again."""
    bench = joined()
    frequencies = [867_100_000 + 200_000 * each for each in range(5)]
    bench.order(*[NewChannelReq(3 + at, each, 0, 5) for at, each in enumerate(frequencies[:2])])
    bench.order(*[DlChannelReq(3, each) for each in frequencies[:3]], DevStatusReq(), DevStatusReq(), DevStatusReq())
    first, second = answers(bench), answers(bench)
    assert len(bench.last.fopts) <= 15
    assert first == [*[DlChannelAns(True, True)] * 3, *[DevStatusAns(0, 5)] * 3]
    assert second == [DlChannelAns(True, True)] * 3
    bench.order(*[DevStatusReq()] * 7)
    assert [len(answers(bench)) for _ in range(2)] == [5, 0], "of three octets each"


def test_answers_never_fill_more_than_the_data_rate_carries() -> None:
    """US915 DR0 takes 11 octets, FOpts 15: a frame with all answers could never be sent, nor any after it."""
    bench = joined(US915, data_rate=0, min_data_rate=0)
    bench.order(*[DevStatusReq()] * 5)
    assert bench.mac.room == 2
    bench.send(b"", port=None)
    assert len(bench.last.fopts) == 9
    assert bench.mac.room == 11


def test_new_channel() -> None:
    bench = joined()
    bench.order(NewChannelReq(3, 867_100_000, 0, 5))
    assert answers(bench) == [NewChannelAns(True, True)]
    assert 3 in session(bench).enabled
    for _ in range(30):
        bench.send(b"x")
    assert 867_100_000 in {each.action.frequency for each in bench.sent}
    bench.order(NewChannelReq(3, 0))
    assert answers(bench) == [NewChannelAns(True, True)]
    assert session(bench).enabled == frozenset({0, 1, 2})


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (NewChannelReq(0, 867_100_000, 0, 5), NewChannelAns(False, False)),
        (NewChannelReq(16, 867_100_000, 0, 5), NewChannelAns(False, False)),
        (NewChannelReq(3, 902_300_000, 0, 5), NewChannelAns(False, True)),
        (NewChannelReq(3, 868_800_000, 7, 7), NewChannelAns(True, False)),
        (NewChannelReq(3, 867_100_000, 5, 0), NewChannelAns(True, False)),
    ],
)
def test_new_channel_refused(request_: NewChannelReq, answer: NewChannelAns) -> None:
    bench = joined()
    bench.order(request_)
    assert answers(bench) == [answer]
    assert session(bench).added == {}


def test_downlink_channel() -> None:
    bench = joined()
    bench.order(*[DlChannelReq(each, 869_525_000) for each in range(3)], DlChannelReq(9, 868_100_000))
    assert answers(bench) == [*[DlChannelAns(True, True)] * 3, DlChannelAns(True, False)]
    assert bench.windows[-2].frequency == 869_525_000


def test_a_fixed_plan_drops_orders_for_channels() -> None:
    bench = joined(US915)
    bench.order(
        NewChannelReq(3, 902_300_000, 0, 3), DlChannelReq(0, 923_300_000), TxParamSetupReq(5), RxTimingSetupReq(2)
    )
    assert answers(bench) == [RxTimingSetupAns()]


def test_tx_param_setup_frees_of_dwell_time() -> None:
    bench = joined(AU915, min_data_rate=0, sub_band=2)
    assert bench.mac.room == 11
    bench.order(TxParamSetupReq(max_eirp=9, uplink_dwell=False, downlink_dwell=False))
    assert answers(bench) == [TxParamSetupAns()]
    bench.order(LinkAdrReq(tx_power=0, data_rate=0, ch_mask=0xFF00))
    answers(bench)
    assert bench.mac.room == 51
    bench.order(TxParamSetupReq(max_eirp=5, uplink_dwell=True))
    assert session(bench).dr == 2
    bench.send(b"x")
    assert bench.sent[-1].action.power_dbm == 16
    assert bench.sent[-1].action.airtime <= 0.4
    loud = joined(AS923)
    loud.order(TxParamSetupReq(max_eirp=15))
    loud.send(b"x")
    assert loud.sent[-1].action.power_dbm == AS923.max_eirp, "36 dBm are more than the region allows (clause 5.8)"
    silent = joined(EU868)
    silent.order(TxParamSetupReq(max_eirp=5))
    assert answers(silent) == []


def test_duty_cycle_of_the_network() -> None:
    bench = joined(US915)
    bench.order(DutyCycleReq(max_dcycle=7))
    assert answers(bench) == [DutyCycleAns()]
    airtime = bench.sent[-1].action.airtime
    end = bench.sent[-1].at + airtime
    with pytest.raises(NotNow) as error:
        bench.mac.send(bench.clock.now, 2, b"x")
    assert error.value.retry_after == pytest.approx(end + airtime * 127 - bench.clock.now)
    bench.restart()
    with pytest.raises(NotNow):
        bench.mac.send(bench.clock.now, 2, b"x")
    bench.clock.now += airtime * 127
    bench.order(DutyCycleReq(max_dcycle=0))
    bench.mac.send(bench.clock.now, 2, b"at once")
    bench.mac.abandon()
    bench.restart()
    bench.send(b"x")
    bench.mac.send(bench.clock.now, 2, b"x")


def test_orders_on_port_0_and_unknown_ones() -> None:
    bench = joined()
    orders = RxTimingSetupReq(3).encode() + b"\x80\x01\x02" + RxTimingSetupReq(9).encode()
    bench.send(b"x", lambda _: bench.network.downlink(orders, 0))
    assert session(bench).rx1_delay == 3
    assert answers(bench) == [RxTimingSetupAns()]


def test_a_channel_without_usable_rate_does_not_strand_the_device() -> None:
    """AS923 under dwell time: DR0 and DR1 must not be used, so a channel of nothing else is none."""
    bench = joined(AS923)
    bench.order(NewChannelReq(2, 923_600_000, 2, 5))
    bench.order(LinkAdrReq(tx_power=0, data_rate=5, ch_mask=0b100))
    assert session(bench).enabled == frozenset({2})
    bench.order(NewChannelReq(2, 923_600_000, 0, 1))
    bench.send(b"x")
    assert session(bench).enabled >= frozenset({0, 1})


# --- ADR back-off -----------------------------------------------------------------------------------------------------


def test_adr_back_off_steps_down() -> None:
    bench = joined(data_rate=2)
    bench.order(LinkAdrReq(tx_power=4, data_rate=2, ch_mask=0b001, nb_trans=1))
    seen = []
    for _ in range(64 + 5 * 32):
        bench.send(b"x")
        found = session(bench)
        seen.append((bench.last.adr_ack_req, found.tx_power, found.dr, len(found.enabled)))
    assert [each[0] for each in seen[:66]] == [False] * 64 + [True] * 2
    assert seen[94] == (True, 4, 2, 1)
    assert seen[95] == (True, 0, 2, 1), "full power first"
    assert seen[127] == (True, 0, 1, 1), "then a data rate less"
    assert seen[159] == (True, 0, 0, 1)
    assert seen[191] == (True, 0, 0, 3), "at last all channels"
    bench.send(b"x", lambda _: bench.network.downlink())
    bench.send(b"x")
    assert not bench.last.adr_ack_req


def test_adr_back_off_ends_at_the_slowest_wanted() -> None:
    bench = joined(AS923, data_rate=4)
    for _ in range(64 + 4 * 32):
        bench.send(b"x")
    assert session(bench).dr == 3
    assert bench.mac.room == 53


def test_repetitions_and_no_adr_do_not_count() -> None:
    bench = joined()
    bench.order(LinkAdrReq(tx_power=0, data_rate=5, ch_mask=0b111, nb_trans=3))
    for _ in range(3):
        bench.send(b"x")
    assert session(bench).adr_ack_cnt == 3
    assert len(bench.network.heard) == 1 + 1 + 9
    fixed = joined(adr=False)
    for _ in range(70):
        fixed.send(b"x")
    assert not fixed.last.adr_ack_req
