"""LoRaWAN frames: PHY payloads as values and back.

Rules of this file: layout only.  Nothing is encrypted, decrypted or proven here (crypto.py does that); `payload` is as it is
on the air.  Numbers are as people write them: DevAddr, NetID, JoinNonce and DevNonce are integers, EUIs 64-bit integers; on
the air all of them are little-endian.  Source: LoRaWAN L2 1.0.4, chapters 4 (data) and 6.2 (join).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from rataccess.errors import FrameError

MIC_SIZE = 4
FHDR_SIZE = 7
"""DevAddr, FCtrl and FCnt; FOpts come on top."""
MAX_FOPTS = 15
OVERHEAD = 1 + FHDR_SIZE + 1 + MIC_SIZE
"""MHDR, FHDR without FOpts, FPort and MIC: what a data frame adds to its payload, in bytes."""


class MType(enum.IntEnum):
    """Bits 7 to 5 of the MHDR (clause 4.2.1)."""

    JOIN_REQUEST = 0
    JOIN_ACCEPT = 1
    UNCONFIRMED_UP = 2
    UNCONFIRMED_DOWN = 3
    CONFIRMED_UP = 4
    CONFIRMED_DOWN = 5
    REJOIN_REQUEST = 6
    """LoRaWAN 1.1 only."""
    PROPRIETARY = 7

    @property
    def mhdr(self) -> bytes:
        """The octet that frames of this type begin with (major version 0)."""
        return bytes([self << 5])


@dataclass(frozen=True, slots=True)
class DataFrame:
    """What uplinks and downlinks have in common."""

    dev_addr: int
    fcnt: int
    """32 bits where it is known whole; the lower 16 are on the air, and only those come out of `decode`."""
    confirmed: bool = False
    adr: bool = False
    ack: bool = False
    fopts: bytes = b""
    """0 to 15 octets of MAC commands."""
    port: int | None = None
    """FPort; `None` where there is no FRMPayload."""
    payload: bytes = b""
    """FRMPayload as it is on the air."""
    mic: bytes = b""
    """4 octets; empty before it was computed."""

    def _assemble(self, mtype: MType, flags: int) -> bytes:
        if len(self.fopts) > MAX_FOPTS:
            raise FrameError(f"FOpts hold at most {MAX_FOPTS} octets, not {len(self.fopts)}: send them on FPort 0")
        if self.port is None and self.payload:
            raise FrameError("an FRMPayload needs an FPort")
        if self.port == 0 and self.fopts:
            raise FrameError("MAC commands go either in FOpts or on FPort 0, not in both")
        control = flags | (0x80 if self.adr else 0) | (0x20 if self.ack else 0) | len(self.fopts)
        port = b"" if self.port is None else bytes([self.port])
        head = mtype.mhdr + little(self.dev_addr, 4) + bytes([control]) + little(self.fcnt & 0xFFFF, 2)
        return head + self.fopts + port + self.payload


@dataclass(frozen=True, slots=True)
class Uplink(DataFrame):
    """A data frame of a device."""

    adr_ack_req: bool = False
    class_b: bool = False

    @property
    def body(self) -> bytes:
        """Everything that the MIC covers; raises `FrameError` where the fields contradict each other."""
        mtype = MType.CONFIRMED_UP if self.confirmed else MType.UNCONFIRMED_UP
        return self._assemble(mtype, (0x40 if self.adr_ack_req else 0) | (0x10 if self.class_b else 0))


@dataclass(frozen=True, slots=True)
class Downlink(DataFrame):
    """A data frame for a device."""

    fpending: bool = False
    """More waits at the network server."""
    rfu: bool = False
    """Bit 6 of FCtrl, which has no meaning and is not looked at; kept, because the MIC covers it."""

    @property
    def body(self) -> bytes:
        """Everything that the MIC covers; raises `FrameError` where the fields contradict each other."""
        mtype = MType.CONFIRMED_DOWN if self.confirmed else MType.UNCONFIRMED_DOWN
        return self._assemble(mtype, (0x40 if self.rfu else 0) | (0x10 if self.fpending else 0))


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A device asks to join (clause 6.2.5)."""

    join_eui: int
    dev_eui: int
    dev_nonce: int
    mic: bytes = b""

    @property
    def body(self) -> bytes:
        """Everything that the MIC covers."""
        fields = little(self.join_eui, 8) + little(self.dev_eui, 8) + little(self.dev_nonce, 2)
        return MType.JOIN_REQUEST.mhdr + fields


@dataclass(frozen=True, slots=True)
class SealedJoinAccept:
    """A join-accept as it is on the air: encrypted (`crypto.open_join_accept`)."""

    sealed: bytes
    """12 or 28 octets of fields and the MIC, encrypted."""


@dataclass(frozen=True, slots=True)
class JoinAccept:
    """The network takes a device in (clause 6.2.6)."""

    join_nonce: int
    net_id: int
    dev_addr: int
    rx1_dr_offset: int = 0
    rx2_dr: int = 0
    rx_delay: int = 0
    """Seconds; 0 means 1."""
    cflist: bytes = b""
    """16 octets or none."""
    opt_neg: bool = False
    """Bit 7 of DLSettings; LoRaWAN 1.1 only."""
    mic: bytes = b""

    @property
    def body(self) -> bytes:
        """MHDR and fields in the clear: everything that the MIC covers in 1.0."""
        settings = (0x80 if self.opt_neg else 0) | self.rx1_dr_offset << 4 | self.rx2_dr
        head = MType.JOIN_ACCEPT.mhdr + little(self.join_nonce, 3) + little(self.net_id, 3) + little(self.dev_addr, 4)
        return head + bytes([settings, self.rx_delay]) + self.cflist


@dataclass(frozen=True, slots=True)
class OtherFrame:
    """A frame of a type that class A of LoRaWAN 1.0 has no use for: proprietary, or 1.1's rejoin-request."""

    mtype: MType
    payload: bytes
    mic: bytes

    @property
    def body(self) -> bytes:
        """Everything before the MIC."""
        return self.mtype.mhdr + self.payload


Frame = Uplink | Downlink | JoinRequest | SealedJoinAccept | OtherFrame


def encode(frame: Frame | JoinAccept) -> bytes:
    """The PHY payload, a join-accept in the clear; raises `FrameError` where `frame` contradicts itself or has no MIC."""
    if isinstance(frame, SealedJoinAccept):
        return MType.JOIN_ACCEPT.mhdr + frame.sealed
    if len(frame.mic) != MIC_SIZE:
        raise FrameError(f"a frame ends with a MIC of {MIC_SIZE} octets; this one has {len(frame.mic)}")
    return frame.body + frame.mic


def decode(data: bytes) -> Frame:
    """The frame that `data`, a whole PHY payload, is; raises `FrameError` for anything else.

    Nothing is proven by it: check the MIC.  A major version other than 0 is refused (clause 4.2.2).
    """
    if len(data) < 1 + MIC_SIZE + 1:
        raise FrameError(f"{len(data)} octets are too few for a LoRaWAN frame")
    if data[0] & 0x03:
        raise FrameError(f"a LoRaWAN frame of major version {data[0] & 3} is none of ours")
    mtype, body, mic = MType(data[0] >> 5), data[1:-MIC_SIZE], data[-MIC_SIZE:]
    match mtype:
        case MType.JOIN_REQUEST:
            return _join_request(body, mic)
        case MType.JOIN_ACCEPT:
            if len(data) not in (17, 33):
                raise FrameError(f"a join-accept has 17 or 33 octets, not {len(data)}")
            return SealedJoinAccept(data[1:])
        case MType.REJOIN_REQUEST | MType.PROPRIETARY:
            return OtherFrame(mtype, body, mic)
        case _:
            return _data(mtype, body, mic)


def _join_request(body: bytes, mic: bytes) -> JoinRequest:
    if len(body) != 18:
        raise FrameError(f"a join-request has 23 octets, not {len(body) + 5}")
    return JoinRequest(number(body[0:8]), number(body[8:16]), number(body[16:18]), mic)


def _data(mtype: MType, body: bytes, mic: bytes) -> Uplink | Downlink:
    if len(body) < FHDR_SIZE:
        raise FrameError(f"a data frame has at least {FHDR_SIZE + 5} octets, not {len(body) + 5}")
    control = body[4]
    end = FHDR_SIZE + (control & 0x0F)
    if len(body) < end:
        raise FrameError(f"FOpts of {control & 15} octets are cut short: {len(body) - FHDR_SIZE} are there")
    port = body[end] if len(body) > end else None
    fopts = body[FHDR_SIZE:end]
    if port == 0 and fopts:
        raise FrameError("MAC commands both in FOpts and on FPort 0 (clause 4.3.1.6 forbids it)")
    common = {
        "dev_addr": number(body[0:4]),
        "fcnt": number(body[5:7]),
        "confirmed": mtype in (MType.CONFIRMED_UP, MType.CONFIRMED_DOWN),
        "adr": bool(control & 0x80),
        "ack": bool(control & 0x20),
        "fopts": fopts,
        "port": port,
        "payload": body[end + 1 :],
        "mic": mic,
    }
    if mtype in (MType.UNCONFIRMED_UP, MType.CONFIRMED_UP):
        return Uplink(**common, adr_ack_req=bool(control & 0x40), class_b=bool(control & 0x10))  # type: ignore[arg-type]
    return Downlink(**common, fpending=bool(control & 0x10), rfu=bool(control & 0x40))  # type: ignore[arg-type]


def join_accept(clear: bytes) -> JoinAccept:
    """The join-accept that `clear` (MHDR, fields, MIC, decrypted) is; raises `FrameError` for anything else."""
    if len(clear) not in (17, 33) or clear[0] != MType.JOIN_ACCEPT.mhdr[0]:
        raise FrameError(f"{len(clear)} octets are no join-accept in the clear")
    settings = clear[11]
    return JoinAccept(
        join_nonce=number(clear[1:4]),
        net_id=number(clear[4:7]),
        dev_addr=number(clear[7:11]),
        rx1_dr_offset=settings >> 4 & 0x07,
        rx2_dr=settings & 0x0F,
        rx_delay=clear[12] & 0x0F,
        cflist=clear[13:-MIC_SIZE],
        opt_neg=bool(settings & 0x80),
        mic=clear[-MIC_SIZE:],
    )


def cflist_frequencies(cflist: bytes) -> list[int]:
    """Hz of up to five more channels, 0 for one left out (CFList type 0); none where it is of another type."""
    if len(cflist) != 16 or cflist[15] != 0:
        return []
    return [100 * number(cflist[at : at + 3]) for at in range(0, 15, 3)]


def cflist_masks(cflist: bytes) -> list[int]:
    """The five channel masks of 16 bits each (CFList type 1); none where it is of another type."""
    if len(cflist) != 16 or cflist[15] != 1:
        return []
    return [number(cflist[at : at + 2]) for at in range(0, 10, 2)]


def encode_frequencies(frequencies: Sequence[int]) -> bytes:
    """A CFList of type 0 of up to five frequencies in Hz."""
    return b"".join(little(each // 100, 3) for each in frequencies).ljust(16, b"\0")


def encode_masks(masks: Sequence[int]) -> bytes:
    """A CFList of type 1 of up to five masks."""
    return b"".join(little(each, 2) for each in masks).ljust(15, b"\0") + b"\1"


def little(value: int, size: int) -> bytes:
    """`value` as on the air; raises `FrameError` where it does not fit."""
    try:
        return value.to_bytes(size, "little")
    except OverflowError as error:
        raise FrameError(f"a field of {size} octets cannot hold {value}") from error


def number(data: bytes) -> int:
    """The number that octets on the air are."""
    return int.from_bytes(data, "little")
