"""A terminal program for virtual radios in virtual time, which shares nothing with the drivers.

Rules of this file: bytes to and from a `MemoryPort`; it waits in steps of virtual time.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rataccess_hil.memory_port import MemoryPort


def corpus(name: str) -> dict[str, Any]:
    """A corpus beside the project; skips where there is none."""
    for folder in Path(__file__).resolve().parents:
        path = folder.parent / "shared" / "corpora" / f"{name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    pytest.skip(f"the corpus {name} is not beside this checkout")


class Terminal:
    """The host's side of a port."""

    def __init__(self, port: MemoryPort) -> None:
        self.heard = bytearray()
        self._news = asyncio.Event()
        self._line = port.open_line("virtual", 19200, self._hear, lambda why: None)

    def _hear(self, data: bytes) -> None:
        self.heard += data
        self._news.set()

    def write(self, data: bytes | str) -> None:
        """Say it; text as ASCII."""
        self._line.write(data.encode("ascii") if isinstance(data, str) else data)

    async def until(self, *endings: bytes, seconds: float = 300.0) -> bytes:
        """All that was heard up to the first of `endings`; raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while True:
                for ending in endings:
                    at = self.heard.find(ending)
                    if at >= 0:
                        found = bytes(self.heard[: at + len(ending)])
                        del self.heard[: at + len(ending)]
                        return found
                self._news.clear()
                await self._news.wait()

    async def ask(self, command: str, seconds: float = 300.0) -> list[str]:
        """An AT command's lines, echo and blank ones left out."""
        self.write(command + "\r")
        said = await self.until(b"\r\nOK\r\n", b"\r\nERROR\r\n", seconds=seconds)
        return [line for line in said.decode("latin-1").replace("\r", "\n").split("\n") if line and line != command]

    async def pause(self, seconds: float) -> bytes:
        """Let time pass; what was said meanwhile and before, unread."""
        await asyncio.sleep(seconds)
        said = bytes(self.heard)
        self.heard.clear()
        return said

    def close(self) -> None:
        """Let go."""
        self._line.close()
