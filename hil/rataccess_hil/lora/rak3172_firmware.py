"""How the firmwares of a RAK3172 differ in what they say and do by themselves.

Rules of this file: data, from the RUI3 manual, the firmware's source (RAK-STM32-RUI) and lines of real modules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rui3Firmware:
    """How a firmware spells what it says."""

    version: str = "RUI_4.0.6_RAK3172-E"
    join_failed: str = "+EVT:JOIN_FAILED_RX_TIMEOUT"
    confirmed_ok: str = "+EVT:SEND_CONFIRMED_OK"
    confirmed_failed: str = "+EVT:SEND_CONFIRMED_FAILED(4)"
    """With the stack's reason: 4 is nothing heard in RX2."""
    reception: tuple[str, ...] = ("+EVT:RX_{window}:{rssi}:{snr}:UNICAST:{port}:{data}",)
    no_band: tuple[str, ...] = ("Restricted_Wait_{milliseconds}_ms", "AT_BUSY_ERROR")
    unknown: str = "AT_COMMAND_NOT_FOUND"
    tx_done: str = "+EVT:TX_DONE"
    """Empty: nothing is said at the end of an unconfirmed uplink."""
    answers_by_itself: bool = True
    """Whether it sends an empty uplink where the network holds more or wants to know that its downlink has come."""
    named_values: bool = True
    """Whether `AT+DR=?` is answered by `AT+DR=5` or by `5`."""
    blank_before_ok: bool = False


RUI3_4 = Rui3Firmware()
RUI3_1 = Rui3Firmware(
    version="RUI_1.0.4_RAK3172-E",
    join_failed="+EVT:JOIN FAILED",
    confirmed_ok="+EVT:SEND CONFIRMED OK",
    confirmed_failed="+EVT:SEND CONFIRMED FAILED",
    no_band=("AT_DUTYCYCLE_RESTRICTED",),
    unknown="AT_ERROR",
    answers_by_itself=False,
)
RUI3_FIRST = Rui3Firmware(version="RUI_3.4.2_RAK3172-E", confirmed_failed="+EVT:SEND_CONFIRMED_FAILED", tx_done="")
WISBLOCK = replace(
    RUI3_1,
    version="RUI_1.0.0_RAK4630",
    reception=("+EVT:RX_{window}, RSSI {rssi}, SNR {snr}", "+EVT:{port}:{data}"),
    named_values=False,
    blank_before_ok=True,
)
