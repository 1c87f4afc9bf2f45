"""How the virtual network server sends: the windows of a device, a gateway's duty cycle, and a second try in RX2.

Rules of this file: sealed bytes only.  Time from the event loop; a socket where the server has one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from rataccess_hil.lora import semtech
from rataccess_hil.lora.regions import Region

Answer = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Window:
    """A receive window of a device."""

    tmst: int
    """When it opens, on the gateway's counter."""
    rate: int
    frequency: int


@dataclass(slots=True)
class _Attempt:
    gateway: int
    data: bytes
    rest: list[Window]


class Sender:
    """Sends through gateways.  `gateways` are the known ones: how to reach each."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self.gateways: dict[int, Answer] = {}
        self.errors: Counter[str] = Counter()
        """Refusals of gateways."""
        self.sent = 0
        self.duty_cycle = True
        """Whether the gateways' own duty cycle is kept."""
        self.second_only = False
        """Whether everything goes down in RX2."""
        self._attempts: dict[int, _Attempt] = {}
        self._off_until: dict[tuple[int, int], float] = {}
        self._token = 0

    def _band(self, window: Window) -> int:
        band = self._region.band(window.frequency)
        return band.low if band is not None else 0

    def free(self, gateway: int, windows: list[Window]) -> list[Window]:
        """The windows in whose sub-band the gateway may transmit now."""
        now = asyncio.get_running_loop().time()
        free = [each for each in windows if self._off_until.get((gateway, self._band(each)), 0.0) <= now]
        return free if self.duty_cycle else windows

    def send(self, data: bytes, gateway: int, windows: list[Window]) -> None:
        """Send in the first window; where the gateway refuses, in the next."""
        answer = self.gateways.get(gateway)
        if answer is None or not windows:
            self.errors["no way to the gateway"] += 1
            return
        if self.second_only and len(windows) > 1:
            windows = windows[1:]
        window, rest = windows[0], windows[1:]
        self._token = self._token + 1 & 0xFFFF
        self._attempts[self._token] = _Attempt(gateway, data, rest)
        while len(self._attempts) > 64:
            del self._attempts[next(iter(self._attempts))]
        self._use_air(gateway, window, len(data))
        self.sent += 1
        body = {"txpk": self._txpk(window, data)}
        answer(semtech.Datagram(semtech.PULL_RESP, self._token, body=body).encode())

    def _txpk(self, window: Window, data: bytes) -> dict[str, object]:
        wave = self._region.wave(window.rate, window.frequency, down=True)
        band = self._region.band(window.frequency)
        return {
            "imme": False,
            "tmst": window.tmst,
            "freq": window.frequency / 1e6,
            "rfch": 0,
            # ETSI EN 300 220: 27 dBm in the sub-band of 10 %, 14 dBm elsewhere in EU868.
            "powe": 27 if band is None or band.duty_cycle >= 0.1 else 14,
            "modu": "LORA",
            "datr": wave.datr,
            "codr": "4/5",
            "ipol": True,
            "ncrc": True,
            "size": len(data),
            "data": semtech.encode_bytes(data),
        }

    def _use_air(self, gateway: int, window: Window, size: int) -> None:
        band = self._region.band(window.frequency)
        if band is not None:
            length = self._region.wave(window.rate, window.frequency, down=True).time_on_air(size)
            now = asyncio.get_running_loop().time()
            self._off_until[gateway, band.low] = now + length / band.duty_cycle

    def answered(self, token: int, error: str) -> None:
        """A gateway's TX_ACK."""
        attempt = self._attempts.pop(token, None)
        if error in ("", "NONE"):
            return
        self.errors[error] += 1
        if attempt is not None and attempt.rest:
            self.send(attempt.data, attempt.gateway, attempt.rest)


class Endpoint(asyncio.DatagramProtocol):
    """The server's UDP socket: each datagram goes to `received` with a way to answer."""

    def __init__(self, received: Callable[[bytes, Answer], None]) -> None:
        self._received = received
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        """Pass one on."""

        def answer(back: bytes) -> None:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(back, address)

        self._received(data, answer)
