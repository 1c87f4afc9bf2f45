"""Each driver once over a real pseudo terminal, in real time, with a module that has a session already."""

from __future__ import annotations

import hashlib

import pytest

from rataccess.driver import Evidence, RadioMessage
from rataccess_hil.pty_radio import PtyRadio
from tests.lora.modules.virtual import EUI, JOIN_EUI, KEY, World, world

ADDRESS, NETWORK_KEY, APPLICATION_KEY = 0x26011F66, bytes(range(16, 32)), bytes(range(32, 48))
KEYED = hashlib.sha256(f"rataccess AppKey {EUI:016X} {KEY.hex().upper()}".encode()).digest()[:4]
"""What the driver keeps once the module has joined with that key."""


def join_beforehand(made: World) -> None:
    """What joining takes, 5 s at least, has been before the test."""
    device = made.module.device
    device.dev_eui, device.join_eui, device.rate = EUI, JOIN_EUI, 5
    device.personalise(ADDRESS, NETWORK_KEY, APPLICATION_KEY)
    made.memory.put("driver/lora/keyed", KEYED)
    made.known = made.server.add_session(EUI, ADDRESS, NETWORK_KEY, APPLICATION_KEY)


@pytest.mark.parametrize("kind", ["rak3172", "wio_e5", "rn2483"])
async def test_over_a_pseudo_terminal(kind: str) -> None:
    async with PtyRadio() as port, world(kind, port, reply_after=0.0) as made:
        join_beforehand(made)
        radio = made.build(confirmed="never")
        await radio.open()
        try:
            assert (await radio.status()).evidence is Evidence.RADIO
            await radio.attach()
            assert not made.known.nonces
            made.known.send(b"down", port=1)
            assert await radio.send_message(RadioMessage(b"up", 2)) is None
            assert (await radio.receive_message()).data == b"down"
            assert made.known.uplinks[-1].data == b"up"
        finally:
            await radio.aclose()
        assert made.module.key_reads == 0
