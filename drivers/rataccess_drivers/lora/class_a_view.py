"""What a LoRaWAN device tells of itself: hints, one line for people, why it is not taken in.

Rules of this file: functions of the MAC and the options; nothing changes here.
"""

from __future__ import annotations

from dataclasses import replace

from rataccess.lorawan.frame import OVERHEAD
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Hints
from rataccess_drivers.lora.class_a_options import LoRaWanChipOptions
from rataccess_drivers.lora.mac import Mac

USUAL_SIZE = 24
"""Octets of the packet that `next_slot` is about: one record in compact form."""
DOUBTFUL = 6
"""Unanswered join-requests after which the reason says what may be wrong: all data rates of EU868 have had their turn."""


def hints(options: LoRaWanChipOptions, mac: Mac | None, now: float) -> Hints:
    """Payload limit, modulation and slot of the data rate at `now`."""
    base = Hints(
        "lorawan",
        mtu=1,
        downlink=Downlink.AFTER_UPLINK,
        overhead=OVERHEAD,
        acknowledges_handover=options.confirmed,
        unit=Unit.AIRTIME,
        compact=True,
    )
    if mac is None:
        return base
    room, modulation = max(1, mac.room), mac.modulation
    size = min(room, USUAL_SIZE)
    windows = 2.0 + (mac.session.rx1_delay if mac.session else 1)
    return replace(
        base,
        mtu=room,
        modulation=modulation,
        response_time=windows + 2 * modulation.time_on_air(OVERHEAD + size),
        bitrate=8 * room / modulation.time_on_air(OVERHEAD + room),
        next_slot=mac.wait(now, size) or None,
    )


def one_line(options: LoRaWanChipOptions, mac: Mac) -> str:
    """For `RadioStatus.detail`."""
    if mac.session is None:
        return f"not joined in {options.region}, after {mac.join_attempts} requests"
    link = mac.link
    heard = "" if link is None else f", heard by {link.gw_cnt} gateways with {link.margin} dB to spare"
    return f"joined as {mac.session.dev_addr:08x} in {options.region}, DR{mac.data_rate}{heard}"


def why_not_joined(options: LoRaWanChipOptions, mac: Mac, refused: int) -> str:
    """After a join-request without a join-accept; `refused` frames came that were none."""
    attempts, region = mac.join_attempts, options.region
    if refused:
        return (
            "a join-accept came that is not genuine or not for this region: compare AppKey and region with what "
            f"the network has for DevEUI {options.deveui}"
        )
    if attempts < DOUBTFUL:
        return f"no network has answered join-request {attempts} in {region}"
    return (
        f"no network has answered {attempts} join-requests in {region}: is that the region here, is DevEUI "
        f"{options.deveui} with JoinEUI {options.joineui} enrolled, is a gateway in reach, the antenna on?"
    )
