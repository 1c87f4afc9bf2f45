"""MAC commands, both directions, as values and back.

Rules of this file: layout only; what a command does is the business of the device or the network server.  Each command is a
list of bit fields, lowest bit first, as the octets lie little-endian.  Frequencies are Hz.  Source: LoRaWAN L2 1.0.4,
chapter 5, and chapter 13 (class B) for the lengths of what a class A device must skip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from rataccess.errors import FrameError


def bits(width: int, *, scale: int = 1, signed: bool = False, default: Any = 0) -> Any:
    """A field of `width` bits, whose value is the number there times `scale`."""
    metadata = {"width": width, "scale": scale, "signed": signed}
    return dataclasses.field(default=default, metadata=metadata)


def flag() -> Any:
    """A field of one bit."""
    return bits(1, default=False)


@dataclass(frozen=True)
class Command:
    """One MAC command."""

    cid: ClassVar[int]
    uplink: ClassVar[bool]

    @classmethod
    def size(cls) -> int:
        """Octets after the command identifier."""
        width: int = sum(each.metadata["width"] for each in dataclasses.fields(cls))
        return -(-width // 8)

    def encode(self) -> bytes:
        """The command as on the air; raises `FrameError` where a value does not fit its field."""
        whole = at = 0
        for each in dataclasses.fields(self):
            width, scale = each.metadata["width"], each.metadata["scale"]
            value = int(getattr(self, each.name)) // scale
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if each.metadata["signed"] else (0, (1 << width) - 1)
            if not low <= value <= high:
                raise FrameError(
                    f"{type(self).__name__}.{each.name} takes {low * scale} to {high * scale}, not {value}"
                )
            whole |= (value & (1 << width) - 1) << at
            at += width
        return bytes([self.cid]) + whole.to_bytes(self.size(), "little")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The command whose octets after the identifier are `data` (exactly `size()`); bits for future use are ignored."""
        whole, at, values = int.from_bytes(data, "little"), 0, {}
        for each in dataclasses.fields(cls):
            width = each.metadata["width"]
            value = whole >> at & (1 << width) - 1
            if each.metadata["signed"] and value >> width - 1:
                value -= 1 << width
            values[each.name] = bool(value) if each.default is False else value * each.metadata["scale"]
            at += width
        return cls(**values)


@dataclass(frozen=True)
class LinkCheckReq(Command):
    """The device asks how well it is heard."""

    cid, uplink = 0x02, True


@dataclass(frozen=True)
class LinkCheckAns(Command):
    """How well the device is heard."""

    cid, uplink = 0x02, False
    margin: int = bits(8)
    """dB above what demodulation needs."""
    gw_cnt: int = bits(8)


@dataclass(frozen=True)
class LinkAdrReq(Command):
    """The network sets data rate, power, repetitions and channels."""

    cid, uplink = 0x03, False
    tx_power: int = bits(4)
    """15: keep."""
    data_rate: int = bits(4)
    """15: keep."""
    ch_mask: int = bits(16)
    nb_trans: int = bits(4)
    """0: the default, which is 1."""
    ch_mask_cntl: int = bits(3)


@dataclass(frozen=True)
class LinkAdrAns(Command):
    """What the device makes of a LinkADRReq."""

    cid, uplink = 0x03, True
    channel_mask_ack: bool = flag()
    data_rate_ack: bool = flag()
    power_ack: bool = flag()


@dataclass(frozen=True)
class DutyCycleReq(Command):
    """The network limits the device's whole air time to 1 / 2^max_dcycle."""

    cid, uplink = 0x04, False
    max_dcycle: int = bits(4)


@dataclass(frozen=True)
class DutyCycleAns(Command):
    """Done."""

    cid, uplink = 0x04, True


@dataclass(frozen=True)
class RxParamSetupReq(Command):
    """The network sets the receive windows' parameters."""

    cid, uplink = 0x05, False
    rx2_dr: int = bits(4)
    rx1_dr_offset: int = bits(3)
    rfu: int = bits(1)
    frequency: int = bits(24, scale=100)
    """Of RX2."""


@dataclass(frozen=True)
class RxParamSetupAns(Command):
    """What the device makes of an RXParamSetupReq."""

    cid, uplink = 0x05, True
    channel_ack: bool = flag()
    rx2_dr_ack: bool = flag()
    rx1_dr_offset_ack: bool = flag()


@dataclass(frozen=True)
class DevStatusReq(Command):
    """The network asks for battery and margin."""

    cid, uplink = 0x06, False


@dataclass(frozen=True)
class DevStatusAns(Command):
    """Battery and margin."""

    cid, uplink = 0x06, True
    battery: int = bits(8, default=255)
    """0 external supply, 1 (empty) to 254 (full), 255 unknown."""
    margin: int = bits(6, signed=True)
    """SNR of the DevStatusReq, -32 to 31 dB."""


@dataclass(frozen=True)
class NewChannelReq(Command):
    """The network creates, changes or (frequency 0) removes a channel."""

    cid, uplink = 0x07, False
    ch_index: int = bits(8)
    frequency: int = bits(24, scale=100)
    min_dr: int = bits(4)
    max_dr: int = bits(4)


@dataclass(frozen=True)
class NewChannelAns(Command):
    """What the device makes of a NewChannelReq."""

    cid, uplink = 0x07, True
    frequency_ok: bool = flag()
    data_rate_ok: bool = flag()


@dataclass(frozen=True)
class RxTimingSetupReq(Command):
    """The network sets the delay of RX1."""

    cid, uplink = 0x08, False
    delay: int = bits(4)
    """Seconds; 0 means 1."""


@dataclass(frozen=True)
class RxTimingSetupAns(Command):
    """Done."""

    cid, uplink = 0x08, True


@dataclass(frozen=True)
class TxParamSetupReq(Command):
    """The network sets dwell time and the highest EIRP (AS923, AU915)."""

    cid, uplink = 0x09, False
    max_eirp: int = bits(4)
    """Index into `EIRP`."""
    uplink_dwell: bool = flag()
    downlink_dwell: bool = flag()


@dataclass(frozen=True)
class TxParamSetupAns(Command):
    """Done."""

    cid, uplink = 0x09, True


@dataclass(frozen=True)
class DlChannelReq(Command):
    """The network moves a channel's RX1 to another frequency."""

    cid, uplink = 0x0A, False
    ch_index: int = bits(8)
    frequency: int = bits(24, scale=100)


@dataclass(frozen=True)
class DlChannelAns(Command):
    """What the device makes of a DlChannelReq."""

    cid, uplink = 0x0A, True
    frequency_ok: bool = flag()
    uplink_exists: bool = flag()


@dataclass(frozen=True)
class DeviceTimeReq(Command):
    """The device asks for the time."""

    cid, uplink = 0x0D, True


@dataclass(frozen=True)
class DeviceTimeAns(Command):
    """The time at the end of the uplink that asked."""

    cid, uplink = 0x0D, False
    gps_seconds: int = bits(32)
    """Since 1980-01-06, without leap seconds."""
    fraction: int = bits(8)
    """1/256 s."""


@dataclass(frozen=True)
class PingSlotInfoAns(Command):
    """Class B; skipped."""

    cid, uplink = 0x10, False


@dataclass(frozen=True)
class PingSlotChannelReq(Command):
    """Class B; skipped."""

    cid, uplink = 0x11, False
    frequency: int = bits(24, scale=100)
    data_rate: int = bits(4)


@dataclass(frozen=True)
class BeaconTimingAns(Command):
    """Class B; skipped."""

    cid, uplink = 0x12, False
    delay: int = bits(16)
    channel: int = bits(8)


@dataclass(frozen=True)
class BeaconFreqReq(Command):
    """Class B; skipped."""

    cid, uplink = 0x13, False
    frequency: int = bits(24, scale=100)


@dataclass(frozen=True)
class PingSlotInfoReq(Command):
    """Class B; sent by others."""

    cid, uplink = 0x10, True
    periodicity: int = bits(3)


@dataclass(frozen=True)
class PingSlotChannelAns(Command):
    """Class B; sent by others."""

    cid, uplink = 0x11, True
    frequency_ok: bool = flag()
    data_rate_ok: bool = flag()


@dataclass(frozen=True)
class BeaconTimingReq(Command):
    """Class B; sent by others."""

    cid, uplink = 0x12, True


@dataclass(frozen=True)
class BeaconFreqAns(Command):
    """Class B; sent by others."""

    cid, uplink = 0x13, True
    frequency_ok: bool = flag()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A command of no known identifier, and all that follows it: where it ends cannot be known (clause 5)."""

    data: bytes


EIRP = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)
"""dBm by the index in TXParamSetupReq."""

COMMANDS: dict[tuple[bool, int], type[Command]] = {(each.uplink, each.cid): each for each in Command.__subclasses__()}
"""By direction (uplink?) and identifier."""


def decode_commands(data: bytes, *, uplink: bool) -> list[Command | Unknown]:
    """The commands in FOpts, or in a payload of FPort 0, in order; the last may be `Unknown`.

    Raises `FrameError` where the last known one is cut short: nothing of such a frame is to be obeyed.
    """
    found: list[Command | Unknown] = []
    at = 0
    while at < len(data):
        kind = COMMANDS.get((uplink, data[at]))
        if kind is None:
            return [*found, Unknown(data[at:])]
        end = at + 1 + kind.size()
        if end > len(data):
            raise FrameError(f"a {kind.__name__} of {kind.size()} octets is cut short: {len(data) - at - 1} are there")
        found.append(kind.decode(data[at + 1 : end]))
        at = end
    return found


def encode_commands(commands: Iterable[Command]) -> bytes:
    """The commands, one after another."""
    return b"".join(each.encode() for each in commands)
