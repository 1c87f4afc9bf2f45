"""The protocol of Semtech's UDP packet forwarder: datagrams to values and back.

Rules of this file: sans-I/O; bytes and values only.  Source: Lora-net/packet_forwarder, PROTOCOL.TXT, versions 1 and 2 of
the protocol.  Its examples hold base64 without padding and in the URL-safe alphabet: every form is read, one is written.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from rataccess.errors import ObjectError

PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
LARGEST = 255
"""Bytes of the largest LoRa packet."""
_DATA_RATE = re.compile(r"^SF(5|6|7|8|9|10|11|12)BW(125|250|500)$")
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One `rxpk`: a packet that a gateway received."""

    tmst: int
    """Microseconds of the gateway's counter at the end of the packet; wraps at 2^32."""
    frequency: int
    """Hz."""
    spreading_factor: int
    bandwidth: int
    """Hz."""
    rssi: float
    """dBm."""
    snr: float
    """dB."""
    data: bytes
    time: str | None = None
    """When it was received, as ISO 8601, where the gateway knows."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One datagram from a gateway."""

    version: int
    token: bytes
    """Two bytes, which the answer repeats."""
    kind: int
    """`PUSH_DATA`, `PULL_DATA` or `TX_ACK`."""
    gateway: str
    """The gateway's EUI, 16 hexadecimal digits in lower case."""
    received: tuple[Received, ...] = ()
    skipped: int = 0
    """Packets within it that are of no use: a wrong checksum, another modulation, or malformed."""
    error: str = "NONE"
    """Of a `TX_ACK`: what became of a transmission."""


class _Signal(msgspec.Struct):
    """What one antenna of several heard: gateways with more than one say it so (`rsig`, Kerlink's and others' version 2)."""

    lsnr: float | None = None
    rssic: float | None = None
    """dBm, of the channel."""


class _Rx(msgspec.Struct):
    tmst: int
    freq: float
    data: str
    datr: Any = None
    modu: str = "LORA"
    stat: int = 1
    rssi: float | None = None
    lsnr: float | None = None
    rsig: list[_Signal] = []
    size: int | None = None
    time: str | None = None


class _Push(msgspec.Struct):
    rxpk: list[msgspec.Raw] = []


class _Ack(msgspec.Struct):
    error: str = "NONE"


class _TxAck(msgspec.Struct):
    txpk_ack: _Ack = msgspec.field(default_factory=_Ack)


def decode(datagram: bytes) -> Packet:
    """Read a datagram of a gateway.  Raises `ObjectError` for anything else."""
    if len(datagram) < 4 or datagram[0] not in (1, 2):
        raise ObjectError(f"no datagram of a packet forwarder: {len(datagram)} bytes, {datagram[:4].hex()}")
    version, token, kind = datagram[0], datagram[1:3], datagram[3]
    if kind not in (PUSH_DATA, PULL_DATA, TX_ACK) or len(datagram) < 12:
        raise ObjectError(f"a gateway sends no datagram of kind {kind} with {len(datagram)} bytes")
    gateway, rest = datagram[4:12].hex(), datagram[12:].strip(b"\0 \r\n\t")
    try:
        if kind == PUSH_DATA:
            received, skipped = _packets(msgspec.json.decode(rest, type=_Push).rxpk)
            return Packet(version=version, token=token, kind=kind, gateway=gateway, received=received, skipped=skipped)
        told = msgspec.json.decode(rest, type=_TxAck) if kind == TX_ACK and rest else _TxAck()
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ObjectError(f"malformed JSON of a gateway: {error}") from error
    return Packet(version=version, token=token, kind=kind, gateway=gateway, error=told.txpk_ack.error or "NONE")


def _packets(found: list[msgspec.Raw]) -> tuple[tuple[Received, ...], int]:
    packets, skipped = list[Received](), 0
    for each in found:
        try:
            packets.append(_packet(msgspec.json.decode(each, type=_Rx, strict=False)))  # numbers as text: some do
        except (msgspec.DecodeError, RecursionError, ValueError):
            skipped += 1
    return tuple(packets), skipped


def _packet(rx: _Rx) -> Received:
    rate = _DATA_RATE.match(rx.datr) if isinstance(rx.datr, str) else None
    if rate is None or rx.modu != "LORA" or rx.stat == -1:
        raise ObjectError("no LoRa packet that was received well")
    data = from_base64(rx.data)
    if not data or len(data) > LARGEST or rx.size not in (None, len(data)) or not 0 <= rx.tmst < 1 << 32:
        raise ObjectError("sizes or times that cannot be")
    if not 1 <= rx.freq <= 6000:
        raise ObjectError("a frequency that cannot be")
    return Received(
        tmst=rx.tmst,
        frequency=round(rx.freq * 1_000_000),
        spreading_factor=int(rate[1]),
        bandwidth=int(rate[2]) * 1000,
        rssi=_best(rx.rssi, (each.rssic for each in rx.rsig), -120.0),
        snr=_best(rx.lsnr, (each.lsnr for each in rx.rsig), 0.0),
        data=data,
        time=rx.time,
    )


def _best(told: float | None, of_antennas: Iterable[float | None], otherwise: float) -> float:
    known = [told] if told is not None else [each for each in of_antennas if each is not None]
    return max(known, default=otherwise)


def from_base64(text: str) -> bytes:
    """The bytes, with or without padding, in either alphabet (RFC 4648 sections 4 and 5).

    The protocol's own example is one character short of its 32 bytes and padded by neither: bits beyond whole bytes are
    dropped.  Raises `ObjectError`.
    """
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/").encode("utf-8", "replace")
    if _NO_BASE64.search(plain) or len(plain) % 4 == 1:
        raise ObjectError("no base64")
    return base64.b64decode(plain + b"=" * (-len(plain) % 4))


def acknowledgement(packet: Packet) -> bytes | None:
    """What is answered at once: PUSH_ACK or PULL_ACK; `None` for a `TX_ACK`."""
    kind = {PUSH_DATA: PUSH_ACK, PULL_DATA: PULL_ACK}.get(packet.kind)
    return None if kind is None else bytes([packet.version]) + packet.token + bytes([kind])


class Transmission(msgspec.Struct, frozen=True, kw_only=True):
    """A packet for a gateway to send."""

    data: bytes
    tmst: int
    """Microseconds of the gateway's counter at which it begins."""
    frequency: int
    """Hz."""
    spreading_factor: int
    bandwidth: int
    """Hz."""
    power: int
    """dBm."""


def pull_resp(transmission: Transmission, token: bytes, version: int = 2) -> bytes:
    """The datagram that has a gateway send a downlink: inverted polarisation, no CRC (LoRaWAN 1.0.4 section 4)."""
    txpk = {
        "imme": False,
        "tmst": transmission.tmst % (1 << 32),
        "freq": transmission.frequency / 1_000_000,
        "rfch": 0,
        "powe": transmission.power,
        "modu": "LORA",
        "datr": f"SF{transmission.spreading_factor}BW{transmission.bandwidth // 1000}",
        "codr": "4/5",
        "ipol": True,
        "ncrc": True,
        "size": len(transmission.data),
        "data": base64.b64encode(transmission.data).decode("ascii"),
    }
    return bytes([version]) + token + bytes([PULL_RESP]) + msgspec.json.encode({"txpk": txpk})
