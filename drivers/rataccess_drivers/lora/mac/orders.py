"""MAC commands of the network, obeyed.

Rules of this file: `obey` is a function: a session and commands in, the next session and the answers out.  A command that
asks for anything this device cannot do changes nothing and says so in its answer.  Source: LoRaWAN L2 1.0.4, chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rataccess.lorawan import commands as mac
from rataccess.lorawan.regions import KEEP, Region
from rataccess_drivers.lora.mac.session import LiveChannel, Session, usable_data_rates

MAX_CHANNELS = 16
"""Of a dynamic plan (RP002-1.0.3: at least 16)."""
STICKY = (mac.RxParamSetupAns, mac.RxTimingSetupAns, mac.TxParamSetupAns, mac.DlChannelAns)
"""Answers that are repeated until a downlink comes: until then the network may not know which windows we open."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an answer may depend on besides the session."""

    region: Region
    adr: bool
    dr: int
    """Data rate of the uplink that the downlink came after."""
    snr: float
    """dB, of the downlink."""
    battery: int = 0
    """As in DevStatusAns; 0 is an external supply."""


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What commands have led to."""

    session: Session
    answers: tuple[mac.Command, ...] = ()
    link: mac.LinkCheckAns | None = None
    time: mac.DeviceTimeAns | None = None
    where: Surroundings = field(kw_only=True)

    def answer(self, *answers: mac.Command, **changes: object) -> Obeyed:
        """With answers, and the session changed."""
        return replace(self, session=self.session.replace(**changes), answers=(*self.answers, *answers))


def obey(session: Session, commands: Sequence[mac.Command | mac.Unknown], where: Surroundings) -> Obeyed:
    """Carry out `commands`, in order; what follows an unknown one is lost, as its length is not known."""
    state = Obeyed(session, where=where)
    at = 0
    while at < len(commands):
        block = [commands[at]]
        if isinstance(block[0], mac.LinkAdrReq):  # neighbours form one command: all or nothing
            while at + len(block) < len(commands) and isinstance(commands[at + len(block)], mac.LinkAdrReq):
                block.append(commands[at + len(block)])
            state = _link_adr(state, [each for each in block if isinstance(each, mac.LinkAdrReq)])
        else:
            state = _one(state, block[0])
        at += len(block)
    return _usable(state)


def _usable(state: Obeyed) -> Obeyed:
    """No set of orders leaves a device without a channel that it may use: rather the region's own are on again."""
    session, region = state.session, state.where.region
    if session.data_rates(region):
        return state
    own = frozenset(range(len(region.channels)))
    return replace(state, session=session.replace(enabled=session.enabled | own))


def _one(state: Obeyed, command: mac.Command | mac.Unknown) -> Obeyed:
    match command:
        case mac.LinkCheckAns():
            return replace(state, link=command)
        case mac.DeviceTimeAns():
            return replace(state, time=command)
        case mac.DutyCycleReq():
            return state.answer(mac.DutyCycleAns(), max_dcycle=command.max_dcycle)
        case mac.RxParamSetupReq():
            return _rx_param(state, command)
        case mac.DevStatusReq():
            margin = max(-32, min(31, round(state.where.snr)))
            return state.answer(mac.DevStatusAns(battery=state.where.battery, margin=margin))
        case mac.RxTimingSetupReq():
            return state.answer(mac.RxTimingSetupAns(), rx1_delay=max(1, command.delay))
        case mac.NewChannelReq() if not state.where.region.fixed:
            return _new_channel(state, command)
        case mac.DlChannelReq() if not state.where.region.fixed:
            return _downlink_channel(state, command)
        case mac.TxParamSetupReq() if state.where.region.sets_dwell:
            return _tx_param(state, command)
        case _:  # class B, or not of this region: RP002 has them dropped without an answer
            return state


def _link_adr(state: Obeyed, block: Sequence[mac.LinkAdrReq]) -> Obeyed:
    """Clause 5.2: masks one after another, everything else from the last; one answer for each request, all the same."""
    region, session, last = state.where.region, state.session, block[-1]
    channels = session.channels(region)
    mask: frozenset[int] | None = session.enabled
    for each in block:
        if mask is not None:
            mask = region.masked(mask, frozenset(channels), each.ch_mask, each.ch_mask_cntl)
    rates = usable_data_rates(region, channels, mask or session.enabled, session.uplink_dwell)
    if not state.where.adr:
        return _channels_only(state, block, mask if rates else None)
    dr = session.dr if last.data_rate == KEEP else last.data_rate
    answer = mac.LinkAdrAns(
        channel_mask_ack=bool(mask),
        data_rate_ack=dr in rates,
        power_ack=last.tx_power == KEEP or last.tx_power <= region.last_power,
    )
    answers = [answer] * len(block)
    if not (answer.channel_mask_ack and answer.data_rate_ack and answer.power_ack):
        return state.answer(*answers)
    return state.answer(
        *answers,
        enabled=mask,
        dr=dr,
        tx_power=session.tx_power if last.tx_power == KEEP else last.tx_power,
        nb_trans=last.nb_trans or 1,  # 0: the default (clause 5.2)
    )


def _channels_only(state: Obeyed, block: Sequence[mac.LinkAdrReq], mask: frozenset[int] | None) -> Obeyed:
    """Without ADR each part is accepted or refused by itself: channels are the network's, the rest stays as it is."""
    session, last = state.session, block[-1]
    answer = mac.LinkAdrAns(
        channel_mask_ack=bool(mask),
        data_rate_ack=last.data_rate in (KEEP, session.dr, state.where.dr),
        power_ack=last.tx_power in (KEEP, session.tx_power),
    )
    return state.answer(*[answer] * len(block), **({"enabled": mask} if mask else {}))


def _rx_param(state: Obeyed, command: mac.RxParamSetupReq) -> Obeyed:
    region = state.where.region
    answer = mac.RxParamSetupAns(
        channel_ack=region.allows(command.frequency),
        rx2_dr_ack=region.downlink_modulation(command.rx2_dr) is not None,
        rx1_dr_offset_ack=region.allows_rx1_offset(command.rx1_dr_offset),
    )
    if not (answer.channel_ack and answer.rx2_dr_ack and answer.rx1_dr_offset_ack):
        return state.answer(answer)
    return state.answer(
        answer, rx1_dr_offset=command.rx1_dr_offset, rx2_dr=command.rx2_dr, rx2_frequency=command.frequency
    )


def _new_channel(state: Obeyed, command: mac.NewChannelReq) -> Obeyed:
    region, session, index = state.where.region, state.session, command.ch_index
    own = len(region.channels) <= index < MAX_CHANNELS  # those that the region always has stay as they are
    if own and command.frequency == 0:
        added = {at: each for at, each in session.added.items() if at != index}
        enabled = session.enabled - {index} or frozenset(range(len(region.channels)))
        return state.answer(mac.NewChannelAns(True, True), added=added, enabled=enabled)
    rates = range(command.min_dr, command.max_dr + 1)
    answer = mac.NewChannelAns(
        frequency_ok=own and region.allows(command.frequency),
        data_rate_ok=own and bool(rates) and all(each in region.data_rates for each in rates),
    )
    if not (answer.frequency_ok and answer.data_rate_ok):
        return state.answer(answer)
    channel = LiveChannel(command.frequency, command.min_dr, command.max_dr)
    return state.answer(answer, added=session.added | {index: channel}, enabled=session.enabled | {index})


def _downlink_channel(state: Obeyed, command: mac.DlChannelReq) -> Obeyed:
    region, session = state.where.region, state.session
    channel = session.channels(region).get(command.ch_index)
    answer = mac.DlChannelAns(
        frequency_ok=region.allows(command.frequency),
        uplink_exists=channel is not None,
    )
    if channel is None or not answer.frequency_ok:
        return state.answer(answer)
    moved = LiveChannel(channel.frequency, channel.min_dr, channel.max_dr, command.frequency)
    return state.answer(answer, added=session.added | {command.ch_index: moved})


def _tx_param(state: Obeyed, command: mac.TxParamSetupReq) -> Obeyed:
    region, session = state.where.region, state.session
    limits = {"uplink_dwell": command.uplink_dwell, "downlink_dwell": command.downlink_dwell}
    eirp = min(region.max_eirp, mac.EIRP[command.max_eirp])  # never more than the region's (5.8)
    changed = session.replace(max_eirp=eirp, **limits)
    state = _usable(replace(state.answer(mac.TxParamSetupAns()), session=changed))
    rates = state.session.data_rates(region)
    dr = min((each for each in rates if each >= changed.dr), default=rates[-1])
    return replace(state, session=state.session.replace(dr=dr))


def fitting(answers: Sequence[mac.Command], room: int) -> int:
    """How many of `answers`, from the first, take at most `room` octets."""
    for count, each in enumerate(answers):
        room -= 1 + each.size()
        if room < 0:
            return count
    return len(answers)
