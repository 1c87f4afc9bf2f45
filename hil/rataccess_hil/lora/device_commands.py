"""How a virtual end device obeys MAC commands.

Rules of this file: LoRaWAN L2 1.0.4, section 5; every command that cannot be obeyed is refused in its answer, and nothing
of it is done.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rataccess_hil.lora import mac_commands
from rataccess_hil.lora.crypto import DOWN
from rataccess_hil.lora.device_plan import Channel

if TYPE_CHECKING:
    from rataccess_hil.lora.end_device import EndDevice


@dataclass(frozen=True, slots=True)
class Told:
    """What the network answered to a request of the device: `link_check` (margin, gateways), `time` (GPS seconds)."""

    what: str
    values: tuple[float, ...]


def execute(device: EndDevice, data: bytes) -> list[Told]:
    """Obey the commands of a downlink; answers wait in `device.answers` and `device.sticky`."""
    told: list[Told] = []
    for command, payload in mac_commands.split(data, DOWN):
        if command == mac_commands.LINK_CHECK:
            told.append(Told("link_check", (payload[0], payload[1])))
        elif command == mac_commands.DEVICE_TIME:
            seconds, fraction = struct.unpack("<IB", payload)
            told.append(Told("time", (seconds + fraction / 256,)))
        elif command in _HANDLERS:
            _HANDLERS[command](device, payload)
    return told


def _link_adr(device: EndDevice, payload: bytes) -> None:
    rates, mask, redundancy = struct.unpack("<BHB", payload)
    rate = device.rate if rates >> 4 == 15 else rates >> 4
    power = device.power_index if rates & 15 == 15 else rates & 15
    before = {index: channel.enabled for index, channel in device.plan.channels.items()}
    mask_ok = device.plan.masked(mask, redundancy >> 4 & 7)
    rate_ok = mask_ok and rate in device.region.rates and bool(device.plan.usable(rate))
    power_ok = power <= 14 if device.region.fixed else power <= 7
    if mask_ok and rate_ok and power_ok:
        device.rate, device.power_index = rate, power
        device.repetitions = max(1, redundancy & 15)
    else:
        for index, enabled in before.items():
            device.plan.channels[index].enabled = enabled
    answer = mask_ok | (rate in device.region.rates) << 1 | power_ok << 2
    device.answers += bytes([mac_commands.LINK_ADR, answer])


def _duty_cycle(device: EndDevice, payload: bytes) -> None:
    device.plan.aggregated = 1.0 / (1 << (payload[0] & 15))
    device.answers += bytes([mac_commands.DUTY_CYCLE])


def _rx_param_setup(device: EndDevice, payload: bytes) -> None:
    offset, rate = payload[0] >> 4 & 7, payload[0] & 15
    frequency = int.from_bytes(payload[1:4], "little") * 100
    answer = _in_band(device, frequency) | (rate in device.region.down_rates) << 1 | (offset <= 5) << 2
    if answer == 7 and device.session is not None:
        session = device.session
        session.rx1_offset, session.rx2_rate, session.rx2_frequency = offset, rate, frequency
    device.sticky += bytes([mac_commands.RX_PARAM_SETUP, answer])


def _dev_status(device: EndDevice, payload: bytes) -> None:
    margin = max(-32, min(31, round(device.last_snr)))
    device.answers += bytes([mac_commands.DEV_STATUS, device.battery, margin & 0x3F])


def _new_channel(device: EndDevice, payload: bytes) -> None:
    if device.region.fixed:
        return
    index, rates = payload[0], payload[4]
    frequency = int.from_bytes(payload[1:4], "little") * 100
    free = len(device.region.join_channels) <= index < 16
    frequency_ok = free and (frequency == 0 or _in_band(device, frequency))
    rates_ok = free and rates & 15 <= rates >> 4 <= max(device.region.rates)
    if frequency_ok and rates_ok:
        device.plan.channels.pop(index, None)
        if frequency:
            device.plan.channels[index] = Channel(frequency, rates & 15, rates >> 4)
    device.answers += bytes([mac_commands.NEW_CHANNEL, frequency_ok | rates_ok << 1])


def _rx_timing_setup(device: EndDevice, payload: bytes) -> None:
    if device.session is not None:
        device.session.rx_delay = max(1, payload[0] & 15)
    device.sticky += bytes([mac_commands.RX_TIMING_SETUP])


def _tx_param_setup(device: EndDevice, payload: bytes) -> None:
    if device.region.name in ("AS923", "AU915"):
        device.sticky += bytes([mac_commands.TX_PARAM_SETUP])


def _dl_channel(device: EndDevice, payload: bytes) -> None:
    if device.region.fixed:
        return
    frequency = int.from_bytes(payload[1:4], "little") * 100
    channel = device.plan.channels.get(payload[0])
    frequency_ok = _in_band(device, frequency)
    if frequency_ok and channel is not None:
        channel.down_frequency = frequency
    device.sticky += bytes([mac_commands.DL_CHANNEL, frequency_ok | (channel is not None) << 1])


def _in_band(device: EndDevice, frequency: int) -> bool:
    reach = {"EU868": (863, 870), "IN865": (865, 867), "AS923": (915, 928), "US915": (902, 928), "AU915": (915, 928)}
    low, high = reach[device.region.name]
    return low * 1_000_000 <= frequency <= high * 1_000_000


_HANDLERS: Mapping[int, Callable[[EndDevice, bytes], None]] = {
    mac_commands.LINK_ADR: _link_adr,
    mac_commands.DUTY_CYCLE: _duty_cycle,
    mac_commands.RX_PARAM_SETUP: _rx_param_setup,
    mac_commands.DEV_STATUS: _dev_status,
    mac_commands.NEW_CHANNEL: _new_channel,
    mac_commands.RX_TIMING_SETUP: _rx_timing_setup,
    mac_commands.TX_PARAM_SETUP: _tx_param_setup,
    mac_commands.DL_CHANNEL: _dl_channel,
}
