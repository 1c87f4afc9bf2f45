"""A damaged store: the device says so and goes on, unless its keys would be given away."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from rataccess.errors import KeyStoreError
from rataccess.objects import Service
from rataccess.services import admin
from tests.system.system_world import SystemWorld
from tests.system.test_invariants import LINKS, SHM, in_virtual_time, until_delivered


def test_a_damaged_file_is_put_aside_and_the_management_service_hears_of_it() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            made = SystemWorld(Path(folder), LINKS)
            await made.start()
            await made.enqueue({"n": 1})
            await until_delivered(made)
            await made.kill_device()
            (made.folder / "device/store.sqlite").write_bytes(b"this is no database" * 400)
            device = await made.start_device()
            await made.enqueue({"n": 2})
            await until_delivered(made)
            assert list(made.delivered().values()) == [{"n": 1}, {"n": 2}]
            health = admin.get_health(made.folder / "management.sqlite", "T")
            assert isinstance(health, dict)
            assert health["event"] == "store"
            assert "corrupt" in str(device.store.trouble)
            assert list(made.folder.glob("device/*.corrupt*"))
            made.check_nonces()
            assert not made.faults
            await made.stop()

    in_virtual_time(scene())


def test_lost_sequence_numbers_stop_the_device_before_a_nonce_comes_twice() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            made = SystemWorld(Path(folder), LINKS)
            await made.start()
            await made.enqueue({"n": 1})
            await until_delivered(made)
            await made.kill_device()
            (made.folder / "device/store.sqlite").write_bytes(b"this is no database" * 400)
            (made.folder / "device/store.floor").write_bytes(b"nor is this a floor")
            with pytest.raises(KeyStoreError, match="provision the device again"):
                await made.start_device()
            sent = len(made.airs["wifi"].sent)
            await made.kill_device()
            assert len(made.airs["wifi"].sent) == sent
            for service in Service:
                made.kill_service(service)

    in_virtual_time(scene())
