"""Dialogues that are cut, spoilt and interrupted at any point: an error of ours, no hang, no second uplink, and it mends."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rataccess.driver import RadioMessage
from rataccess.errors import RataccessError
from tests.lora.modules.scripted import KINDS, ScriptedModule, context, driver, scripted

pytestmark = pytest.mark.looptime

SEND = {"rak3172": r"AT\+SEND=.*", "wio_e5": r'AT\+C?MSGHEX=".*"', "rn2483": r"mac tx .*"}
HELLO = RadioMessage(b"\x01\xab", 2)
UNASKED = [
    b"\r\n+EVT:RX_1:-34:15:UNICAST:2:01\r\n",
    b'\r\n+MSGHEX: PORT: 2; RX: "01"\r\n',
    b"\r\nmac_rx 2 01\r\n",
    b"\r\nCurrent Work Mode: LoRaWAN.\r\n",
    b"\r\nRN2483 1.0.5 Oct 31 2018 15:06:52\r\n",
    b"\r\nOK\r\nok\r\n+AT: OK\r\n",
    b"\xff\x00\xfe",
    b"0" * 3000,
]


class Spoilt:
    """What the module says goes through here: from the byte `at` on, `lose` bytes are lost and `insert` comes instead."""

    def __init__(self, module: ScriptedModule, at: int, lose: int, insert: bytes) -> None:
        self._write, self._said = module.port.write, 0
        self._at, self._lose, self._insert = at, lose, insert
        module.port.write = self.write  # type: ignore[method-assign]

    def write(self, data: bytes) -> None:
        out = bytearray()
        for byte in data:
            if self._said == self._at:
                out += self._insert
            if not self._at <= self._said < self._at + self._lose:
                out.append(byte)
            self._said += 1
        self._write(bytes(out))


async def _use(kind: str, module: ScriptedModule) -> bool:
    """Whether an uplink went through."""
    radio = driver(kind, module)
    try:
        async with asyncio.timeout(900):
            await radio.open()
            await radio.attach()
            await radio.send_message(HELLO)
            return True
    except RataccessError:
        return False
    finally:
        await radio.aclose()


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 500), lose=st.integers(0, 40), insert=st.sampled_from([b"", *UNASKED]))
async def test_any_damage(kind: str, at: int, lose: int, insert: bytes) -> None:
    module = scripted(kind)
    Spoilt(module, at, lose, insert)
    await _use(kind, module)
    assert len(module.sent(SEND[kind])) <= 1
    assert not module.port.in_use
    healthy = scripted(kind)
    healthy.port = module.port
    module.port.on_bytes = healthy._take
    del module.port.write
    assert await _use(kind, healthy)


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=st.lists(st.one_of(st.sampled_from(UNASKED), st.binary(max_size=60)), min_size=1, max_size=6))
async def test_any_bytes_as_answers(kind: str, said: list[bytes]) -> None:
    """A module (or whatever hangs there) that answers each command with any bytes at all."""
    module = ScriptedModule({})
    turn = iter(said * 200)
    module.port.on_bytes = lambda data: module.port.write(next(turn, b""))
    await _use(kind, module)
    assert not module.port.in_use


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_module_that_talks_without_end_takes_no_memory(kind: str) -> None:
    module = scripted(kind)
    radio = driver(kind, module, context())
    await radio.open()
    await radio.attach()
    for _ in range(400):
        module.say(
            {"rak3172": "+EVT:RX_1:-34:15:UNICAST:2:01", "wio_e5": '+MSG: PORT: 2; RX: "01"'}.get(kind, "mac_rx 2 01")
        )
    await asyncio.sleep(1)
    assert radio._downlinks.lost == 400 - 256
    assert radio._port is not None
    assert len(radio._port.heard_lines) <= 8
    await radio.aclose()
