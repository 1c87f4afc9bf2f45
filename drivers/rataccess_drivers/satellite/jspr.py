"""JSPR, the language of the RockBLOCK 9704 and its Iridium modem, sans-I/O: lines of a code, a target and JSON.

Rules of this file: bytes in, events out; no clock, no port.  The same bytes give the same events however they are cut.  Any
bytes at all are survived in bounded memory.

Host: `GET|PUT target {json}` CR.  Modem: `code target {json}` CR, with 299 for what it tells unasked.  Sources: the vendor's
library (rock7/RockBLOCK-9704, MIT) and its tests; a field report of a real modem for the junk before a code, the `405
MALFORMED` after opening, and the blanks after colons and commas without which some firmware answers 407.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LINE_LIMIT = 16_384
"""Bytes of a line.  The longest known holds a segment of 1446 bytes in base64: some 2100."""
UNASKED = 299
_HEAD = re.compile(rb"([2-5][0-9]{2})[ \t]+([A-Za-z][A-Za-z0-9_]{0,63})[ \t]*(?=\{|$)")

CODES = {
    200: "done",
    299: "unasked",
    400: "no version of the interface was chosen",
    401: "wrong type",
    402: "set already",
    403: "too long",
    404: "no such target",
    405: "malformed",
    406: "not allowed in this state",
    407: "wrong JSON",
    408: "failed",
    409: "unauthorised",
    410: "the SIM is not configured",
    411: "invalid wake-up",
    412: "invalid channel",
    413: "invalid action",
    414: "the hardware is not configured",
    415: "radio path",
    416: "no crash dump",
    417: "not on this hardware",
    418: "not provisioned",
    419: "transmit power",
    420: "burst type",
    500: "serial error",
}
"""What a modem answers with."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line of the modem's."""

    code: int
    target: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code} {self.target} ({CODES.get(self.code, 'a code without a name')})"

    def number(self, name: str, default: int = -1) -> int:
        """A whole number of the body; `default` where there is none."""
        value = self.body.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def text(self, name: str) -> str:
        """A text of the body; empty where there is none."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Request:
    """`GET` or `PUT`."""

    method: str
    target: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        # the separators with their blanks are what some firmware insists on
        return f"{self.method} {self.target} {json.dumps(self.body, separators=(', ', ': '))}\r".encode()


class JsprParser:
    """Lines from bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._overflow = False
        self.discarded = 0
        """Bytes that were no message."""

    def receive(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, in order."""
        found = []
        self._rest += data.replace(b"\n", b"\r")
        *lines, rest = self._rest.split(b"\r")
        for line in lines:
            message = None if self._overflow or len(line) > LINE_LIMIT else parse_line(bytes(line))
            self._overflow = False
            if message is not None:
                found.append(message)
            else:
                self.discarded += len(line)
        if len(rest) > LINE_LIMIT:
            self.discarded += len(rest)
            self._overflow = True
            rest = bytearray()
        self._rest = bytearray(rest)
        return found


def parse_line(line: bytes) -> Message | None:
    """The message in a line, whatever junk stands before it; `None` where there is none."""
    for head in _HEAD.finditer(line):
        rest = line[head.end() :].strip()
        try:
            body = json.loads(rest) if rest else {}
        except (ValueError, RecursionError):
            continue
        if isinstance(body, dict):
            return Message(int(head[1]), head[2].decode("ascii"), body)
    return None


# --- one request at a time --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for the modem."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Replied:
    """The reply to a request; `None` where it will not be waited for any longer."""

    request: Request
    message: Message


@dataclass(frozen=True, slots=True)
class Told:
    """Something that the modem says unasked."""

    message: Message


Event = Write | Replied | Told


def _names_no_target(message: Message) -> bool:
    """Whether it refuses a request that it could not read: `405 MALFORMED {}`, `407 BAD_JSON {}`."""
    return message.code >= 400 and message.target.isupper()


class JsprEngine:
    """Requests, replies and news of one modem."""

    def __init__(self) -> None:
        self._parser = JsprParser()
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self.stale = 0
        """Replies that nobody waits for any more."""

    @property
    def discarded(self) -> int:
        """Bytes that were no message."""
        return self._parser.discarded

    def ask(self, request: Request, *, urgent: bool = False) -> list[Event]:
        """Send `request` as soon as no other one waits for its reply; urgent ones before all others."""
        if urgent:
            self._waiting.appendleft(request)
        else:
            self._waiting.append(request)
        return self._next()

    def expire(self, request: Request) -> list[Event]:
        """Its reply is not waited for any longer."""
        if request is self._running:
            self._running = None
        else:
            self._waiting = deque(each for each in self._waiting if each is not request)
        return self._next()

    def receive(self, data: bytes) -> list[Event]:
        """What the next bytes mean, in order."""
        events: list[Event] = []
        for message in self._parser.receive(data):
            running = self._running
            if message.code == UNASKED:
                events.append(Told(message))
            elif running is not None and (message.target == running.target or _names_no_target(message)):
                self._running = None
                events += [Replied(running, message), *self._next()]
            else:
                self.stale += 1
        return events

    def _next(self) -> list[Event]:
        if self._running is not None or not self._waiting:
            return []
        self._running = self._waiting.popleft()
        return [Write(bytes(self._running))]
