"""MAC commands of the virtual network, in both directions.

Rules of this file: names, lengths and bits only, from LoRaWAN L2 1.0.4, section 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rataccess_hil.lora.crypto import DOWN

LINK_CHECK, LINK_ADR, DUTY_CYCLE, RX_PARAM_SETUP, DEV_STATUS, NEW_CHANNEL = 2, 3, 4, 5, 6, 7
RX_TIMING_SETUP, TX_PARAM_SETUP, DL_CHANNEL, DEVICE_TIME = 8, 9, 0x0A, 0x0D

_LENGTHS = {
    # command: payload bytes up, and down
    LINK_CHECK: (0, 2),
    LINK_ADR: (1, 4),
    DUTY_CYCLE: (0, 1),
    RX_PARAM_SETUP: (1, 4),
    DEV_STATUS: (2, 0),
    NEW_CHANNEL: (1, 5),
    RX_TIMING_SETUP: (0, 1),
    TX_PARAM_SETUP: (0, 1),
    DL_CHANNEL: (1, 4),
    DEVICE_TIME: (0, 5),
}


def split(data: bytes, direction: int) -> Iterator[tuple[int, bytes]]:
    """Command and payload, one after the other; ends at the first unknown or cut command, as devices must."""
    at = 0
    while at < len(data) and data[at] in _LENGTHS:
        length = _LENGTHS[data[at]][1 if direction == DOWN else 0]
        if at + 1 + length > len(data):
            return
        yield data[at], data[at + 1 : at + 1 + length]
        at += 1 + length


def link_check_ans(margin: int, gateways: int) -> bytes:
    """LinkCheckAns: `margin` dB, 0 to 254."""
    return bytes([LINK_CHECK, max(0, min(254, margin)), gateways])


def link_adr_req(data_rate: int, power: int, mask: int, control: int = 0, repetitions: int = 1) -> bytes:
    """LinkADRReq; 15 keeps data rate or power."""
    return struct.pack("<BBHB", LINK_ADR, data_rate << 4 | power, mask, control << 4 | repetitions)


def duty_cycle_req(exponent: int) -> bytes:
    """DutyCycleReq: at most 1/2^exponent."""
    return bytes([DUTY_CYCLE, exponent])


def rx_param_setup_req(offset: int, data_rate: int, frequency: int) -> bytes:
    """RXParamSetupReq: RX1DROffset, RX2 data rate, RX2 frequency in Hz."""
    return bytes([RX_PARAM_SETUP, offset << 4 | data_rate]) + (frequency // 100).to_bytes(3, "little")


def dev_status_req() -> bytes:
    """DevStatusReq."""
    return bytes([DEV_STATUS])


def new_channel_req(index: int, frequency: int, lowest: int = 0, highest: int = 5) -> bytes:
    """NewChannelReq; 0 Hz removes the channel."""
    return bytes([NEW_CHANNEL, index]) + (frequency // 100).to_bytes(3, "little") + bytes([highest << 4 | lowest])


def rx_timing_setup_req(delay: int) -> bytes:
    """RXTimingSetupReq: seconds, 1 to 15."""
    return bytes([RX_TIMING_SETUP, delay])


def tx_param_setup_req(*, down_dwell: bool, up_dwell: bool, eirp_index: int) -> bytes:
    """TxParamSetupReq."""
    return bytes([TX_PARAM_SETUP, down_dwell << 5 | up_dwell << 4 | eirp_index])


def dl_channel_req(index: int, frequency: int) -> bytes:
    """DlChannelReq."""
    return bytes([DL_CHANNEL, index]) + (frequency // 100).to_bytes(3, "little")


def device_time_ans(gps_seconds: float) -> bytes:
    """DeviceTimeAns: seconds since 1980-01-06, in GPS time."""
    whole = int(gps_seconds)
    return struct.pack("<BIB", DEVICE_TIME, whole, int((gps_seconds - whole) * 256))
