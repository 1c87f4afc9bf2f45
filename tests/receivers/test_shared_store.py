"""Receivers and calls of several processes on one PostgreSQL, whose connections break in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess.clock import SystemClock
from rataccess.services.calls import CallDesk, RouteSettings
from rataccess.services.calls import desk as desk_module
from rataccess.services.receivers import NdjsonSettings, Receivers, key_of
from rataccess.services.receivers import forwarding as module
from rataccess.services.storethread import StoreThread
from tests.calls.remote_world import Calls, Remote, StandingClock, serving
from tests.receivers.receiver_world import Records, Told
from tests.servers.postgres import Postgres


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long waits would only be waited for here."""
    monkeypatch.setattr(module, "POLL", 0.05)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(desk_module, "POLL", 0.05)
    monkeypatch.setattr(desk_module, "_FIRST_WAIT", 0.01)


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Records]:
    found = Records(postgres_url)
    yield found
    found.close()


def process(records: Records, told: Told, folder: Path) -> Receivers:
    """The receivers of one process, `told` in the place of a file."""
    settings = NdjsonSettings(name="told", file=str(folder / "unused"))
    receivers = Receivers([settings], records.url, SystemClock(), environ={})
    receivers._receivers = [told]
    receivers.start()
    return receivers


async def until_nothing_waits(records: Records) -> None:
    async with asyncio.timeout(60):
        while records.store.backlog("told"):
            await asyncio.sleep(0.02)


async def test_two_processes_share_receivers_though_connections_break(
    shared: Records, postgres: Postgres, tmp_path: Path
) -> None:
    told = [Told(), Told()]
    first, second = (process(shared, each, tmp_path) for each in told)
    for number in range(6):
        shared.add(*range(number * 10, number * 10 + 10), serial_number=f"D{number % 2}")
        if number in (2, 4):
            postgres.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{shared.url.rpartition('/')[2]}' AND pid <> {own_backend(shared)}"
            )
        await until_nothing_waits(shared)
    await first.aclose()
    shared.add("after")
    await until_nothing_waits(shared)
    await second.aclose()
    taken = [key_of(each) for each in (*told[0].taken, *told[1].taken)]
    assert set(taken) == {key_of(each) for each in shared.all()}
    for each in told:
        for serial_number in ("D0", "D1"):
            numbers = [record.number for record in each.taken if record.serial_number == serial_number]
            firsts = list(dict.fromkeys(numbers))
            assert firsts == sorted(firsts, key=lambda number: number or 0)


def own_backend(records: Records) -> int:
    return int(records.store.execute("SELECT pg_backend_pid()")[0][0])


async def test_two_desks_on_one_postgresql_make_each_call_once(postgres_url: str) -> None:
    calls = Calls(postgres_url)
    async with serving(Remote()) as remote:
        routes = {"route": RouteSettings(url=remote.url)}
        desks = [
            CallDesk(routes, calls.url, StandingClock(), environ={}, store=StoreThread(calls.url, f"calls-{n}"))
            for n in range(2)
        ]
        for each in desks:
            each.start()
        numbers = {calls.add("route", serial_number=f"D{n % 5}"): f"D{n % 5}" for n in range(20)}
        for each in desks:
            each.wake()
        async with asyncio.timeout(60):
            while calls.store.open_calls():
                await asyncio.sleep(0.02)
        for each in desks:
            await each.aclose()
        asked = sorted(int(each.headers["idempotency-key"].rpartition("-")[2]) for each in remote.asked)
    assert asked == sorted(numbers)
    assert all(calls.answers(serial_number)[number] == (200, None) for number, serial_number in numbers.items())
    calls.close()
