"""LoRaWAN 1.0.x frames of the virtual network: bytes to fields and back.

Rules of this file: no key but where a frame is sealed or opened, no time.  Source: LoRaWAN L2 1.0.4, sections 4 and 6.
Identifiers are integers or bytes in the order that people write (big-endian); on the air they are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rataccess_hil.lora.crypto import DOWN, UP, SessionKeys, cmac4, crypt_payload, data_mic, seal_join_accept

JOIN_REQUEST, JOIN_ACCEPT, UNCONFIRMED_UP, UNCONFIRMED_DOWN, CONFIRMED_UP, CONFIRMED_DOWN, REJOIN, PROPRIETARY = range(
    8
)


class BadFrame(ValueError):
    """No LoRaWAN frame, or not one of these."""


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A data frame.  `payload` is encrypted when it was read, and in the clear when it is to be sealed."""

    message_type: int
    address: int
    counter: int
    """FCnt: 16 bits when read, all 32 when it is to be sealed."""
    port: int | None = None
    payload: bytes = b""
    options: bytes = b""
    """FOpts: MAC commands in the clear."""
    adr: bool = False
    adr_ack_request: bool = False
    ack: bool = False
    pending: bool = False
    """FPending of a downlink; class B of an uplink."""
    mic: bytes = b""

    @property
    def direction(self) -> int:
        """0 up, 1 down."""
        return UP if self.message_type in (UNCONFIRMED_UP, CONFIRMED_UP) else DOWN

    @property
    def confirmed(self) -> bool:
        """Whether it asks for an acknowledgement."""
        return self.message_type in (CONFIRMED_UP, CONFIRMED_DOWN)

    def _body(self, payload: bytes) -> bytes:
        control = self.adr << 7 | self.adr_ack_request << 6 | self.ack << 5 | self.pending << 4 | len(self.options)
        head = struct.pack("<BIBH", self.message_type << 5, self.address, control, self.counter & 0xFFFF)
        port = b"" if self.port is None else bytes([self.port])
        return head + self.options + port + payload

    def seal(self, keys: SessionKeys) -> bytes:
        """The bytes on the air."""
        if len(self.options) > 15:
            raise BadFrame("more than 15 bytes of FOpts")
        key = keys.network if self.port == 0 else keys.application
        body = self._body(crypt_payload(key, self.direction, self.address, self.counter, self.payload))
        return body + data_mic(keys.network, self.direction, self.address, self.counter, body)

    def is_of(self, keys: SessionKeys, counter: int) -> bool:
        """Whether the MIC of a frame that was read is right, with this whole counter."""
        return data_mic(keys.network, self.direction, self.address, counter, self._body(self.payload)) == self.mic

    def opened(self, keys: SessionKeys, counter: int) -> bytes:
        """The payload of a frame that was read, in the clear."""
        key = keys.network if self.port == 0 else keys.application
        return crypt_payload(key, self.direction, self.address, counter, self.payload)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A join-request."""

    join_eui: int
    dev_eui: int
    dev_nonce: int
    mic: bytes = b""

    def _body(self) -> bytes:
        return struct.pack("<BQQH", 0, self.join_eui, self.dev_eui, self.dev_nonce)

    def seal(self, app_key: bytes) -> bytes:
        """The bytes on the air."""
        return self._body() + cmac4(app_key, self._body())

    def is_of(self, app_key: bytes) -> bool:
        """Whether the MIC is right."""
        return cmac4(app_key, self._body()) == self.mic


@dataclass(frozen=True, slots=True)
class JoinAccept:
    """A join-accept in the clear."""

    join_nonce: int
    net_id: int
    address: int
    rx1_offset: int = 0
    rx2_data_rate: int = 0
    rx_delay: int = 1
    cf_list: bytes = b""
    """16 bytes, or none."""

    def clear(self) -> bytes:
        """MHDR and body, without MIC."""
        head = bytes([JOIN_ACCEPT << 5]) + self.join_nonce.to_bytes(3, "little") + self.net_id.to_bytes(3, "little")
        settings = bytes([self.rx1_offset << 4 | self.rx2_data_rate, self.rx_delay])
        return head + self.address.to_bytes(4, "little") + settings + self.cf_list

    def seal(self, app_key: bytes) -> bytes:
        """The bytes on the air."""
        return seal_join_accept(app_key, self.clear())

    @classmethod
    def parse(cls, clear: bytes) -> JoinAccept:
        """From MHDR and body in the clear; raises `BadFrame`."""
        if len(clear) not in (13, 29) or clear[0] >> 5 != JOIN_ACCEPT:
            raise BadFrame("no join-accept")
        nonce, net_id, address = (int.from_bytes(clear[a:b], "little") for a, b in ((1, 4), (4, 7), (7, 11)))
        return cls(nonce, net_id, address, clear[11] >> 4 & 7, clear[11] & 15, clear[12], clear[13:])


def parse(frame: bytes) -> DataFrame | JoinRequest:
    """A frame that can be read without a key: data in either direction, or a join-request.  Raises `BadFrame`."""
    if not frame:
        raise BadFrame("an empty frame")
    if frame[0] & 3:
        raise BadFrame(f"major version {frame[0] & 3}")
    kind = frame[0] >> 5
    if kind == JOIN_REQUEST and len(frame) == 23:
        _, join_eui, dev_eui, nonce = struct.unpack("<BQQH", frame[:19])
        return JoinRequest(join_eui, dev_eui, nonce, frame[19:])
    if kind not in (UNCONFIRMED_UP, UNCONFIRMED_DOWN, CONFIRMED_UP, CONFIRMED_DOWN):
        raise BadFrame(f"a frame of type {kind} and {len(frame)} bytes")
    return _data_frame(kind, frame)


def _data_frame(kind: int, frame: bytes) -> DataFrame:
    if len(frame) < 12:
        raise BadFrame("a data frame of less than 12 bytes")
    _, address, control, counter = struct.unpack("<BIBH", frame[:8])
    end = 8 + (control & 15)
    body, mic = frame[:-4], frame[-4:]
    if end > len(body):
        raise BadFrame("FOpts longer than the frame")
    port = body[end] if len(body) > end else None
    if port == 0 and control & 15:
        raise BadFrame("MAC commands on port 0 and in FOpts at once")
    return DataFrame(
        kind,
        address,
        counter,
        port,
        body[end + 1 :],
        body[8:end],
        adr=bool(control & 0x80),
        adr_ack_request=bool(control & 0x40),
        ack=bool(control & 0x20),
        pending=bool(control & 0x10),
        mic=mic,
    )
