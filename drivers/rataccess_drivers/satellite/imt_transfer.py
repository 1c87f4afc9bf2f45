"""Messages of Iridium's IMT service in segments, sans-I/O: one that is sent, and those that are received.

Rules of this file: the bodies of JSPR messages in and out; no port, no clock, no memory on disk.  A message is followed by
a CRC-16 (polynomial 0x1021, start 0, high byte first: CRC-16/XMODEM) that counts in every length.  Any numbers at all in a
segment are survived in bounded memory.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Mapping
from typing import Any

from rataccess_drivers.satellite.jspr import Message

LIMIT = 100_000
"""Bytes of the largest message, without its CRC."""
CRC_BYTES = 2
SEGMENT = 1446
"""Bytes that the modem asks for at a time, at most."""
MOST_TERMINATIONS = 4
"""Messages received at a time; the modem sends one after the other."""


def with_crc(data: bytes) -> bytes:
    """A message as it is handed to the modem."""
    return data + binascii.crc_hqx(data, 0).to_bytes(CRC_BYTES, "big")


def without_crc(data: bytes) -> bytes | None:
    """A message as it was received, or `None` where its CRC is wrong."""
    body, crc = data[:-CRC_BYTES], data[-CRC_BYTES:]
    return body if len(data) > CRC_BYTES and binascii.crc_hqx(body, 0).to_bytes(CRC_BYTES, "big") == crc else None


class Fate(enum.StrEnum):
    """What a final status means for a message."""

    DELIVERED = "the gateway has it"
    FAILED = "it was not sent"
    UNKNOWN = "the gateway may have it"
    BARRED = "nothing can be sent until somebody changes something"


FINAL_MO: dict[str, Fate] = {
    "mo_ack_received": Fate.DELIVERED,
    "message_discarded_on_overflow": Fate.FAILED,
    "message_expired": Fate.FAILED,
    "message_transfer_timeout": Fate.UNKNOWN,
    "segment_not_supplied": Fate.FAILED,
    "segment_incorrect": Fate.FAILED,
    "network_error": Fate.UNKNOWN,
    "message_cancelled_pre_transit": Fate.FAILED,
    "message_cancelled_in_transit": Fate.UNKNOWN,
    "subscription_invalid": Fate.BARRED,
    "protocol_error": Fate.UNKNOWN,
    "message_dropped_local_crc_error": Fate.FAILED,
    "crc_error_in_transfer": Fate.FAILED,
    "user_supplied_crc_error": Fate.FAILED,
}
"""Each `final_mo_status`.  One that is not here leaves open what became of the message."""
COMPLETE = "complete"
"""The `final_mt_status` of a message that has come whole."""


def fate(status: str) -> Fate:
    """The meaning of a `final_mo_status`; any text has one."""
    return FINAL_MO.get(status, Fate.UNKNOWN)


class Origination:
    """One message to be sent."""

    def __init__(self, data: bytes, topic: int, reference: int) -> None:
        self._data = with_crc(data)
        self.topic, self.reference = topic, reference
        self.message_id: int | None = None

    @property
    def request(self) -> dict[str, Any]:
        """The body of `PUT messageOriginate`."""
        return {"topic_id": self.topic, "message_length": len(self._data), "request_reference": self.reference}

    def is_about(self, message: Message) -> bool:
        """Whether the modem means this message."""
        return self.message_id is not None and message.number("message_id") == self.message_id

    def segment(self, message: Message) -> dict[str, Any] | None:
        """The body that answers `299 messageOriginateSegment`; `None` for what is not in this message."""
        start, length = message.number("segment_start"), message.number("segment_length")
        if start < 0 or length < 1 or start + length > len(self._data):
            return None
        data = base64.b64encode(self._data[start : start + length]).decode("ascii")
        return {
            "topic_id": self.topic,
            "message_id": self.message_id,
            "segment_length": length,
            "segment_start": start,
            "data": data,
        }


class _Termination:
    """One message that is being received."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        self._size = 0

    def add(self, start: int, data: bytes) -> None:
        """Take a piece; one that comes again takes the place of the former."""
        size = self._size + len(data) - len(self._pieces.get(start, b""))
        if start + len(data) <= LIMIT + CRC_BYTES and size <= LIMIT + CRC_BYTES:
            self._pieces[start], self._size = data, size

    def whole(self) -> bytes | None:
        """The pieces put together, where none is missing."""
        found = bytearray()
        for start in sorted(self._pieces):
            if start > len(found):
                return None
            found[start:] = self._pieces[start]
        return bytes(found)


class Terminations:
    """The messages that are being received."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Termination] = {}
        self.spoilt = 0
        """Messages that did not come whole."""

    def begin(self, message: Message) -> None:
        """`299 messageTerminate`."""
        key = _key(message.body)
        self._open.pop(key, None)
        while len(self._open) >= MOST_TERMINATIONS:
            self._open.pop(next(iter(self._open)))
        self._open[key] = _Termination()

    def segment(self, message: Message) -> None:
        """`299 messageTerminateSegment`; one whose length and data differ is damaged and left out."""
        try:
            data = base64.b64decode(message.text("data"), validate=True)
        except ValueError:
            return
        start = message.number("segment_start")
        if start < 0 or not data or message.number("segment_length", len(data)) != len(data):
            return
        if _key(message.body) not in self._open:
            self.begin(message)
        self._open[_key(message.body)].add(start, data)

    def end(self, message: Message) -> bytes | None:
        """`299 messageTerminateStatus`: the message, where it is complete and its CRC is right."""
        termination = self._open.pop(_key(message.body), None)
        whole = termination.whole() if termination and message.text("final_mt_status") == COMPLETE else None
        data = without_crc(whole) if whole is not None else None
        self.spoilt += data is None
        return data


def _key(body: Mapping[str, Any]) -> tuple[int, int]:
    topic, number = body.get("topic_id"), body.get("message_id")
    return (topic if isinstance(topic, int) else -1, number if isinstance(number, int) else -1)
