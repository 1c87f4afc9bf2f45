"""What comes down, proven and read: join-accepts and data frames.

Rules of this file: functions; they change nothing and keep nothing.  What is not genuine, not for this device, old or
malformed raises `ProtectionFailed` or `FrameError`, whole: nothing of such a frame counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from rataccess.errors import FrameError, ProtectionFailed
from rataccess.lorawan import crypto
from rataccess.lorawan.commands import Command, Unknown, decode_commands
from rataccess.lorawan.frame import (
    Downlink,
    JoinAccept,
    SealedJoinAccept,
    cflist_frequencies,
    cflist_masks,
    decode,
)
from rataccess.lorawan.regions import Region
from rataccess_drivers.lora.mac.counters import whole_fcnt_down
from rataccess_drivers.lora.mac.radiate import Choice
from rataccess_drivers.lora.mac.session import LiveChannel, Session
from rataccess_drivers.lora.mac.settings import MacSettings


@dataclass(frozen=True, slots=True)
class Heard:
    """A genuine downlink."""

    frame: Downlink
    """Payload in the clear, counter whole."""
    commands: tuple[Command | Unknown, ...]


def read_downlink(session: Session, data: bytes) -> Heard:
    """The data frame `data`; its counter is above `session.fcnt_down`."""
    frame = decode(data)
    if not isinstance(frame, Downlink):
        raise FrameError(f"a {type(frame).__name__} came where a downlink was waited for")
    if frame.dev_addr != session.dev_addr:
        raise FrameError(f"a downlink for {frame.dev_addr:08x} is not for us ({session.dev_addr:08x})")
    fcnt = whole_fcnt_down(session.fcnt_down, frame.fcnt)
    opened = crypto.open_frame(session.keys, frame, fcnt)
    orders = opened.payload if opened.port == 0 else opened.fopts
    return Heard(opened, tuple(decode_commands(orders, uplink=False)))


class StaleJoinNonce(ProtectionFailed):
    """A join-accept whose JoinNonce was there before: a replay, or a network that does not count them."""


def read_join_accept(settings: MacSettings, data: bytes, join_nonce: int) -> JoinAccept:
    """The join-accept `data`, whose JoinNonce must be above `join_nonce` (LoRaWAN L2 1.0.4 clause 6.2.6)."""
    frame = decode(data)
    if not isinstance(frame, SealedJoinAccept):
        raise FrameError(f"a {type(frame).__name__} came where a join-accept was waited for")
    accept = crypto.open_join_accept(settings.app_key, frame)
    counted = settings.join_nonce == "counter"
    if accept.join_nonce == join_nonce or (counted and accept.join_nonce < join_nonce):
        raise StaleJoinNonce(f"a join-accept with JoinNonce {accept.join_nonce} after {join_nonce} is a replay")
    region = settings.region
    if not region.allows_rx1_offset(accept.rx1_dr_offset) or region.downlink_modulation(accept.rx2_dr) is None:
        raise FrameError(
            f"a join-accept with RX1DROffset {accept.rx1_dr_offset} and RX2 DR{accept.rx2_dr} is not for {region.name}: "
            "is the device enrolled for that region?"
        )
    return accept


def begin_session(settings: MacSettings, accept: JoinAccept, dev_nonce: int, choice: Choice) -> Session:
    """The session that `accept` begins, of the join-request with `dev_nonce` that was sent as `choice`."""
    region = settings.region
    keys = crypto.session_keys(settings.app_key, accept.join_nonce, accept.net_id, dev_nonce)
    added = _added_channels(region, accept.cflist)
    return Session(
        identity=settings.identity,
        nwk_s_key=keys.nwk_s_key,
        app_s_key=keys.app_s_key,
        dev_addr=accept.dev_addr,
        net_id=accept.net_id,
        added=added,
        enabled=_enabled(settings, accept.cflist, choice) | frozenset(added),
        rx1_delay=max(1, accept.rx_delay),
        rx1_dr_offset=accept.rx1_dr_offset,
        rx2_dr=accept.rx2_dr,
        rx2_frequency=region.rx2_frequency,
        dr=_first_data_rate(settings, choice.dr),
        uplink_dwell=region.uplink_dwell,
        downlink_dwell=region.downlink_dwell,
        max_eirp=region.max_eirp,
    )


def default_channels(settings: MacSettings) -> frozenset[int]:
    """Those that are on before the network has said anything."""
    if settings.region.fixed and settings.sub_band is not None:
        return settings.region.sub_band_mask(settings.sub_band)
    return frozenset(range(len(settings.region.channels)))


def _added_channels(region: Region, cflist: bytes) -> dict[int, LiveChannel]:
    if region.fixed:
        return {}
    first = len(region.channels)
    widest = region.channels[0]
    found = enumerate(cflist_frequencies(cflist), start=first)
    return {at: LiveChannel(each, widest.min_dr, widest.max_dr) for at, each in found if region.allows(each)}


def _enabled(settings: MacSettings, cflist: bytes, choice: Choice) -> frozenset[int]:
    """Where the network says nothing in a fixed plan: the sub-band in which it heard the join-request.

    Most gateways there hear eight channels only; on all 72 seven of eight uplinks would be lost until a LinkADRReq comes.
    """
    if not settings.region.fixed:
        return default_channels(settings)
    masks = cflist_masks(cflist)
    on = frozenset(16 * bank + at for bank, mask in enumerate(masks) for at in range(16) if mask >> at & 1)
    known = on & frozenset(range(len(settings.region.channels)))
    return known or settings.region.sub_band_mask(
        (choice.index if choice.index < 64 else 8 * (choice.index - 64)) // 8 + 1
    )


def _first_data_rate(settings: MacSettings, joined_with: int) -> int:
    if settings.data_rate is not None:
        return settings.data_rate
    region = settings.region
    narrow = region.channels[0]
    return min(joined_with, narrow.max_dr)  # the wide channels of a fixed plan are for joining
