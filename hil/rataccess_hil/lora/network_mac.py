"""What the virtual network server does with a device's MAC commands, and its ADR.

Rules of this file: LoRaWAN L2 1.0.4, section 5, the network's side; no time and no gateway.
"""

from __future__ import annotations

from rataccess_hil.lora import mac_commands
from rataccess_hil.lora.crypto import UP
from rataccess_hil.lora.network_device import NetworkDevice, ReceivedUplink
from rataccess_hil.lora.regions import Region

_INSTALLATION_MARGIN = 10.0  # dB, as networks usually have it
_STEP = 3.0  # dB for each data rate


def take_commands(region: Region, device: NetworkDevice, data: bytes, uplink: ReceivedUplink, gps: float) -> bool:
    """Take note of commands and answers, and queue what they ask for; whether the device has told its status.

    `gps` is the GPS time at the end of the uplink.
    """
    status = False
    for command, payload in mac_commands.split(data, UP):
        device.answers.append((command, payload))
        if command == mac_commands.LINK_CHECK:
            limit = region.wave(uplink.rate, uplink.frequency).snr_limit
            device.commands.appendleft(mac_commands.link_check_ans(round(uplink.snr_db - limit), uplink.gateways))
        elif command == mac_commands.DEVICE_TIME:
            device.commands.appendleft(mac_commands.device_time_ans(gps))
        elif command == mac_commands.DEV_STATUS:
            device.battery = payload[0]
            device.margin = payload[1] - 64 if payload[1] > 31 else payload[1]
            status = True
        elif command == mac_commands.RX_TIMING_SETUP:
            _settle_timing(device)
        elif command == mac_commands.RX_PARAM_SETUP and payload[0] & 7 == 7:
            _settle_windows(device)
    return status


def _settle_timing(device: NetworkDevice) -> None:
    if device.session is not None and device.wanted_delay is not None:
        device.session.rx_delay, device.wanted_delay = device.wanted_delay, None


def _settle_windows(device: NetworkDevice) -> None:
    if device.session is not None and device.wanted_windows is not None:
        session = device.session
        session.rx1_offset, session.rx2_rate, session.rx2_frequency = device.wanted_windows
        device.wanted_windows = None


def adapt(region: Region, device: NetworkDevice, uplink: ReceivedUplink, *, more_channels: bool) -> None:
    """ADR: a higher data rate where the levels so far allow one."""
    if region.fixed:
        return
    limit = region.wave(uplink.rate, uplink.frequency).snr_limit
    steps = int((max(device.levels) - limit - _INSTALLATION_MARGIN) // _STEP)
    rate = min(region.highest_rate, uplink.rate + max(0, steps))
    if rate > uplink.rate:
        device.levels.clear()
        mask = 0xFF if more_channels and region.name == "EU868" else (1 << len(region.join_channels)) - 1
        device.command(mac_commands.link_adr_req(rate, 15, mask))
