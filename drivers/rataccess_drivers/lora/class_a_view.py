"""What a LoRaWAN device tells of itself: hints, status, one line for people, why it is not taken in.

Rules of this file: functions of the MAC and the options, and who is told when they change; nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from rataccess.driver import Evidence, RadioStatus
from rataccess.lorawan.frame import OVERHEAD
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Hints
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions
from rataccess_drivers.lora.mac import Mac
from rataccess_drivers.lora.mac.accepting import StaleJoinNonce
from rataccess_drivers.lora.transceiver import Reception

USUAL_SIZE = 24
"""Octets of the packet that `next_slot` is about: one record in compact form."""
SOON, FAR_AWAY = 0.01, 1e6
"""Seconds: slots are looked at no more often than that; beyond the other there is none."""
DOUBTFUL = 6
"""Unanswered join-requests after which the reason says what may be wrong: all data rates of EU868 have had their turn."""


def hints(options: LoRaWanChipOptions, mac: Mac | None, now: float) -> Hints:
    """Payload limit, modulation and slot of the data rate at `now`."""
    base = Hints(
        "lorawan",
        mtu=1,
        downlink=Downlink.AFTER_UPLINK,
        overhead=OVERHEAD,
        acknowledges_handover=options.confirmed == "always",
        unit=Unit.AIRTIME,
        repeats=options.attempts if options.confirmed == "always" else 1,
        compact=True,
    )
    if mac is None:
        return base
    room, modulation = max(1, mac.room), mac.modulation
    size = min(room, USUAL_SIZE)
    windows = 2.0 + (mac.session.rx1_delay if mac.session else 1)
    return replace(
        base,
        repeats=max(base.repeats, mac.session.nb_trans if mac.session else 1),
        mtu=room,
        modulation=modulation,
        response_time=windows + 2 * modulation.time_on_air(OVERHEAD + size),
        bitrate=8 * room / modulation.time_on_air(OVERHEAD + room),
        next_slot=mac.wait(now, size) or None,
    )


def status(evidence: Evidence, detail: str, mac: Mac | None, last: Reception | None) -> RadioStatus:
    """For `Driver.status`; `last` is what was received last."""
    return RadioStatus(
        evidence,
        detail,
        rat="lorawan",
        operator=None if mac is None or mac.session is None else f"{mac.session.net_id:06x}",
        signal_dbm=None if last is None else last.rssi_dbm,
        signal_quality_db=None if last is None else last.snr_db,
    )


def one_line(options: LoRaWanChipOptions, mac: Mac) -> str:
    """For `RadioStatus.detail`."""
    if mac.session is None:
        return f"not joined in {options.region}, after {mac.join_attempts} requests"
    link = mac.link
    heard = "" if link is None else f", heard by {link.gw_cnt} gateways with {link.margin} dB to spare"
    return f"joined as {mac.session.dev_addr:08x} in {options.region}, DR{mac.data_rate}{heard}"


def why_not_joined(options: LoRaWanChipOptions, mac: Mac, refused: Counter[str]) -> str:
    """After a join-request without a join-accept; `refused`: what came that was none, by kind of error."""
    attempts, region = mac.join_attempts, options.region
    if refused[StaleJoinNonce.__name__]:
        return (
            "a join-accept came whose JoinNonce is not above the last one: enrol the device as LoRaWAN 1.0.4; where the "
            'network cannot count them, set `join_nonce` to "any"'
        )
    if refused:
        return (
            "a join-accept came that is not genuine or not for this region: compare AppKey and region with what "
            f"the network has for DevEUI {options.dev_eui}"
        )
    if attempts < DOUBTFUL:
        return f"no network has answered join-request {attempts} in {region}"
    return (
        f"no network has answered {attempts} join-requests in {region}: is that the region here, is DevEUI "
        f"{options.dev_eui} with JoinEUI {options.join_eui} enrolled, is a gateway in reach, the antenna on?"
    )


class HintsNews:
    """Tells of changes of hints, also when a slot comes because time passes."""

    def __init__(self, now: Callable[[], Hints]) -> None:
        """`now` gives the hints as they are."""
        self._now = now
        self._callbacks: list[Callable[[Hints], None]] = []
        self._told: Hints | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_change(self, callback: Callable[[Hints], None]) -> Callable[[], None]:
        """See `MovesMessages.on_message_hints`."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def tell(self) -> None:
        """Something may have changed."""
        self.stop()
        found = self._now()
        if found.next_slot is not None and found.next_slot < FAR_AWAY:
            self._timer = asyncio.get_running_loop().call_later(max(SOON, found.next_slot), self.tell)
        if found != self._told:
            self._told = found
            for callback in tuple(self._callbacks):
                callback(found)

    def stop(self) -> None:
        """No more news by themselves."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
