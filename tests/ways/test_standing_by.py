"""Several processes of one service: a way with a port is one's, and another takes over where that ends."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rataccess.errors import ConfigurationError
from rataccess.services import provisioning
from rataccess.services.ways import base
from rataccess.services.ways.semtech.sessions import DeviceState, Session
from tests.ways.test_iridium import deliver, mo
from tests.ways.ways_world import APP_KEY, DEV_EUI, WaysWorld, record, until


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ways() -> str:
    tcp, udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    sky = f'[[ways]]\nkind = "directip"\nname = "sky"\nhost = "127.0.0.1"\nport = {tcp}\n'
    return sky + f'[[ways]]\nkind = "semtech"\nname = "farm"\nhost = "127.0.0.1"\nport = {udp}\n'


async def test_another_process_takes_over(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "STANDS_BY", 0.05)
    world = WaysWorld(tmp_path, ways(), store=postgres_url)
    device = world.add()
    provisioning.set_app_key(world.settings, world.service, "SN1", APP_KEY)
    async with AsyncExitStack() as stack:
        async with world.running() as first:
            second = await stack.enter_async_context(world.running())
            assert [second.way(name).state for name in ("sky", "farm")] == ["standing by"] * 2
            farm = first.way("farm")
            session = Session.begin(APP_KEY, dev_addr=7, join_nonce=1, dev_nonce=1, net_id=0, rx_delay=1)
            farm.network.restore(state := DeviceState(DEV_EUI, {b"": {9}}, 1, session))
            farm._changed[DEV_EUI] = state
            await deliver(first, mo(record(device, 1)[0]))
        async with asyncio.timeout(30):
            await until(lambda: second.way("sky").state == second.way("farm").state == "open")
        await deliver(second, mo(record(device, 2)[0]))
        assert second.rows() == [(1, "readings", "sbd"), (2, "readings", "sbd")]
        [known] = second.way("farm").network._states.values()
        assert known.dev_nonces == {b"": {9}}
        assert second.counters.get("ways in begun again") is None


async def test_a_store_of_one_process_has_no_second(tmp_path: Path) -> None:
    toml = ways()
    async with WaysWorld(tmp_path, toml).running():
        (tmp_path / "b").mkdir()
        with pytest.raises(ConfigurationError, match="cannot listen"):
            async with WaysWorld(tmp_path / "b", toml).running():
                raise AssertionError("it started")
