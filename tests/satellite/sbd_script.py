"""An SBD modem from a script, on a port in memory: for dialogues that no healthy modem would have."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess.objects import Memory
from rataccess_drivers.satellite.sbd import SbdDriver, SbdOptions
from rataccess_hil.memory_port import MemoryPort

Answer = str | bytes | Callable[[str], "Answer"] | None
"""Lines as text (framed and ended with OK where they end in none), bytes as on the wire, or nothing at all."""

HEALTHY: dict[str, Answer] = {
    "AT+GSN": "300234010753370",
    "AT+CGMM": "IRIDIUM 9600 Family SBD Transceiver",
    "AT+CGMR": "Call Processor Version: TA16005",
    "AT+SBDSX": "+SBDSX: 0, 7, 0, -1, 0, 0",
    "AT+CRIS": "+CRIS:000,000",
    "AT+CSQ": "+CSQ:4",
    "AT+CSQF": "+CSQF:4",
    "AT+SBDD0": "0",
    "AT+SBDD1": "0",
    "AT+SBDIX": "+SBDIX: 0, 7, 0, 0, 0, 0",
    "AT+SBDLOE": "+SBDLOE:0,0",
    "AT-MSSTM": "-MSSTM: 5fd2c1e0",
}
SETTINGS = ("AT", "ATE1", "AT&D0", "AT&K0", "AT+SBDMTA=1", "AT+CIER=1,1,1,0", "AT*R1", "AT*R0", "AT*F")


class ScriptedSbd:
    """Answers from a table; what it was asked is in `asked`, what was written to its buffer in `messages`."""

    def __init__(self, **answers: Answer) -> None:
        self.port = MemoryPort(on_bytes=self._bytes)
        self.answers: dict[str, Answer] = dict(HEALTHY)
        self.asked: list[str] = []
        self.messages: list[bytes] = []
        self.write_results: list[str] = []
        self.dead = False
        self._line = bytearray()
        self._payload = 0

    def say(self, *lines: str) -> None:
        self.port.write(b"".join(f"\r\n{line}\r\n".encode() for line in lines))

    def count(self, command: str) -> int:
        return self.asked.count(command)

    def _bytes(self, data: bytes) -> None:
        for byte in data:
            if self.dead:
                return
            if self._payload:
                self._take_payload(byte)
            elif byte == 0x0D:
                text, self._line = self._line.decode(), bytearray()
                self.port.write(text.encode() + b"\r")
                self._command(text)
            else:
                self._line.append(byte)

    def _take_payload(self, byte: int) -> None:
        self._line.append(byte)
        self._payload -= 1
        if not self._payload:
            whole, self._line = bytes(self._line), bytearray()
            good = sum(whole[:-2]) & 0xFFFF == int.from_bytes(whole[-2:], "big")
            result = self.write_results.pop(0) if self.write_results else "0" if good else "2"
            if result == "0":
                self.messages.append(whole[:-2])
            self.say(result, "OK")

    def _command(self, text: str) -> None:
        self.asked.append(text)
        if text.startswith("AT+SBDWB="):
            self._payload = int(text.partition("=")[2]) + 2
            self.say("READY")
            return
        answer: Any = self.answers.get(text, "" if text in SETTINGS else "ERROR")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(text)
        if isinstance(answer, bytes):
            self.port.write(answer)
        elif isinstance(answer, str):
            lines = answer.splitlines()
            self.say(*(lines if lines[-1:] == ["ERROR"] else [*lines, "OK"]))


def driver(script: ScriptedSbd, memory: Memory | None = None, *, clock: Any = None, **options: Any) -> SbdDriver:
    """A driver on it; `memory` outlives it."""
    return SbdDriver(
        msgspec.convert({"port": "pty:/memory", **options}, SbdOptions),
        DriverContext("sat", clock or LoopClock(), memory=memory if memory is not None else Forgetful()),
        open_line=script.port.open_line,
        chance=random.Random(1),
    )


def read_block(data: bytes, *, sum_off: int = 0, end: bytes = b"\r\nOK\r\n") -> bytes:
    """What AT+SBDRB gives."""
    total = (sum(data) + sum_off) & 0xFFFF
    return len(data).to_bytes(2, "big") + data + total.to_bytes(2, "big") + end
