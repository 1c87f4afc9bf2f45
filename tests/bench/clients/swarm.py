"""Many devices in one process: `swarm.py HOST PORT KEYS`; each has its own keys, numbers and record numbers.

`{"messages": n, "window": w}`: n messages of one record each, from the devices in turn, w under way at a time; an answer
is opened by its device's context, and must be 2.04.  Says how many seconds it took.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from rataccess.objects import Urgency, encode
from rataccess.security import CHANGED, RequestIdentity, SecureContext
from rataccess.wire import ERA, FIRST_FREE_QUEUE, Message, WireRecord, decode_message, encode_message

BODY = encode({"temp": 21.5, "hum": 48, "volt": 3.71})
PATIENCE = 30.0
"""Seconds without any answer after which what is under way counts as lost."""


class Forgetful(dict[str, bytes]):
    """A `Memory` for one run."""

    def put(self, key: str, value: bytes) -> None:
        self[key] = value

    put_now = put


class Device:
    """One device: protects its next record."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.number = 0
        self._era: bytes | None = None
        self._era_known = False
        self.context = SecureContext(
            sender_id=bytes.fromhex(entry["kid"]),
            recipient_id=b"",
            secret=bytes.fromhex(entry["secret"]),
            memory=Forgetful(),
            name=entry["serial_number"],
        )

    def next(self, token: bytes, message_id: int) -> tuple[bytes, RequestIdentity]:
        self.number += 1
        return self._protect(self.number, token, message_id)

    def _protect(self, number: int, token: bytes, message_id: int) -> tuple[bytes, RequestIdentity]:
        name = "readings" if number == 1 else None
        record = WireRecord(number, FIRST_FREE_QUEUE, Urgency.ROUTINE, BODY, time.time(), name)
        control = {ERA: self._era} if self._era is not None and not self._era_known else {}
        body = encode_message(Message(records=[record], control=control), floor=None, now=time.time())
        return self.context.protect_request(body, token=token, message_id=message_id)

    def hear(self, data: bytes, identity: RequestIdentity) -> bool:
        """Open an answer and learn the service's era, as devices do; returns whether the service took the request."""
        response = self.context.unprotect_response(data, identity)
        if not self._era_known:
            era = decode_message(response.body, floor=0, now=time.time()).control.get(ERA)
            self._era, self._era_known = era or self._era, era is None
        return response.code == CHANGED


class Swarm:
    """All of them, behind one socket."""

    def __init__(self, address: tuple[str, int], devices: list[Device]) -> None:
        self.devices = devices
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.turn = self.count = 0

    def send(self, messages: int, window: int) -> dict[str, float]:
        under_way: dict[bytes, tuple[Device, bytes, RequestIdentity]] = {}
        sent = answered = 0
        began = heard = time.monotonic()
        while answered < messages:
            while sent < messages and len(under_way) < window:
                self._one(under_way)
                sent += 1
            if select.select([self.socket], [], [], PATIENCE)[0]:
                answered += self._hear(under_way)
                heard = time.monotonic()
            elif time.monotonic() - heard >= PATIENCE:
                # sent again they would be replays: what is lost here is a finding, not a thing to hide
                raise SystemExit(f"{len(under_way)} messages were not answered, {answered} were")
        return {"seconds": time.monotonic() - began}

    def _one(self, under_way: dict[bytes, tuple[Device, bytes, RequestIdentity]]) -> None:
        device = self.devices[self.turn]
        self.turn = (self.turn + 1) % len(self.devices)
        self.count += 1
        token = (self.count & 0xFFFFFF).to_bytes(3, "big")
        data, identity = device.next(token, self.count & 0xFFFF)
        under_way[token] = (device, data, identity)
        self.socket.send(data)

    def _hear(self, under_way: dict[bytes, tuple[Device, bytes, RequestIdentity]]) -> int:
        heard = 0
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return heard
            found = under_way.pop(data[4 : 4 + (data[0] & 0x0F)], None)
            if found is None:
                continue  # an unasked request
            device, _, identity = found
            if not device.hear(data, identity):
                raise SystemExit("the service refused a message")
            heard += 1


def main(host: str, port: int, keys: Path) -> None:
    entries = json.loads(keys.read_text())["devices"]
    swarm = Swarm((host, port), [Device(entry) for entry in entries])
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(swarm.send(command["messages"], command["window"])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
