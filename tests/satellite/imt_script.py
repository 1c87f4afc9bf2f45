"""A RockBLOCK 9704 from a script, on a port in memory: for dialogues that no healthy modem would have."""

from __future__ import annotations

import base64
import binascii
import json
import random
from typing import Any

import msgspec

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess.objects import Memory
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.satellite.imt import ImtDriver, ImtOptions
from rataccess_hil.memory_port import MemoryPort

HEALTHY: dict[str, Any] = {
    "GET apiVersion": (200, {"supported_versions": [{"major": 1, "minor": minor, "patch": 0} for minor in (6, 7, 5)]}),
    "PUT apiVersion": (200, {}),
    "GET hwInfo": (200, {"hw_version": "0x0601", "serial_number": "1a07ty", "imei": "300258060000000", "board_temp": 19}),
    "PUT simConfig": (402, {}),
    "GET operationalState": (200, {"state": "inactive", "reason": 0}),
    "GET messageProvisioning": (200, {"provisioning": [{"topic_id": 244, "topic_name": "RAW"}]}),
    "GET constellationState": (200, {"constellation_visible": True, "signal_bars": 4, "signal_level": -111}),
    "PUT messageOriginateSegment": (200, {}),
}  # fmt: skip


class ScriptedImt:
    """Answers from a table; a message that was put together from its segments is in `messages`."""

    def __init__(self) -> None:
        self.port = MemoryPort(on_bytes=self._bytes)
        self.answers = dict(HEALTHY)
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.messages: list[bytes] = []
        self.state = "inactive"
        self.segment = 1446
        self.final = "mo_ack_received"
        self.stop_at = ""
        """Where a message gets stuck: `accept`, `segment`, `supplied` or `final`."""
        self.last_id = 0
        self.dead = False
        self.malformed = 1
        self._line = bytearray()
        self._whole = b""
        self._length = 0

    def say(self, code: int, target: str, body: dict[str, Any] | None = None) -> None:
        self.port.write(f"{code} {target} {json.dumps(body or {})}\r".encode())

    def deliver(self, data: bytes, number: int = 1, *, crc_off: int = 0, piece: int = 40) -> None:
        whole = data + (binascii.crc_hqx(data, 0) ^ crc_off).to_bytes(2, "big")
        about = {"topic_id": 244, "message_id": number}
        self.say(299, "messageTerminate", {**about, "message_length_max": len(whole)})
        for start in range(0, len(whole), piece):
            part = whole[start : start + piece]
            data64 = base64.b64encode(part).decode()
            body = {**about, "segment_start": start, "segment_length": len(part), "data": data64}
            self.say(299, "messageTerminateSegment", body)
        self.say(299, "messageTerminateStatus", {**about, "final_mt_status": "complete"})

    def _bytes(self, data: bytes) -> None:
        for byte in data:
            if byte == 0x0D:
                text, self._line = bytes(self._line), bytearray()
                if not self.dead:
                    self._request(text)
            else:
                self._line.append(byte)

    def _request(self, line: bytes) -> None:
        method, target, body = line.decode().split(" ", 2)
        self.raw.append(line)
        self.asked.append(f"{method} {target}")
        self.bodies.append(json.loads(body))
        if self.malformed:
            self.malformed -= 1
            self.port.write(b"\x11garbage405 MALFORMED {}\r")
            return
        handler = getattr(self, f"_{method.lower()}_{target}", None)
        answer = self.answers.get(f"{method} {target}", (404, {}))
        if handler is not None and f"{method} {target}" not in self.answers:
            handler(self.bodies[-1])
        elif answer is not None:
            self.say(answer[0], target, answer[1])
        if target == "messageOriginateSegment":
            self._got_segment(self.bodies[-1])

    def _put_operationalState(self, body: dict[str, Any]) -> None:  # noqa: N802 - the modem's own spelling
        self.say(200, "operationalState", {"state": body["state"], "reason": 0})
        self.say(299, "operationalState", {"state": body["state"], "reason": 0})

    def _put_messageOriginate(self, body: dict[str, Any]) -> None:  # noqa: N802
        self.last_id += 1
        self._whole, self._length = b"", body["message_length"]
        accepted = {**body, "message_id": self.last_id, "message_response": "message_accepted"}
        del accepted["message_length"]
        if self.stop_at != "accept":
            self.say(200, "messageOriginate", accepted)
        if self.stop_at not in ("accept", "segment"):
            self._want()

    def _want(self) -> None:
        start = len(self._whole)
        length = min(self.segment, self._length - start)
        about = {"topic_id": 244, "message_id": self.last_id}
        self.say(299, "messageOriginateSegment", {**about, "segment_length": length, "segment_start": start})

    def _got_segment(self, body: dict[str, Any]) -> None:
        self._whole += base64.b64decode(body["data"])
        if len(self._whole) < self._length:
            self._want()
        elif self.stop_at != "supplied":
            data, crc = self._whole[:-2], self._whole[-2:]
            assert binascii.crc_hqx(data, 0).to_bytes(2, "big") == crc
            if self.final == "mo_ack_received":
                self.messages.append(data)
            if self.stop_at != "final":
                self.end()

    def end(self, number: int | None = None) -> None:
        about = {"topic_id": 244, "message_id": number or self.last_id}
        self.say(299, "messageOriginateStatus", {**about, "final_mo_status": self.final})


def driver(
    script: ScriptedImt, memory: Memory | None = None, *, line_opener: OpenLine = open_line, **options: Any
) -> ImtDriver:
    """A driver on it; `memory` outlives it."""
    return ImtDriver(
        msgspec.convert({"port": "pty:/memory", **options}, ImtOptions),
        DriverContext("sat", LoopClock(), memory=memory if memory is not None else Forgetful()),
        open_line=script.port.open_line,
        line_opener=line_opener,
        chance=random.Random(1),
    )
