"""Rows in a table of a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from rataccess.clock import SystemClock
from rataccess.errors import ReceiverDown
from rataccess.services.receivers import PostgresqlSettings, key_of
from rataccess.services.receivers.table import PostgresqlReceiver, row_of
from tests.receivers.receiver_world import Killed, Records, drained, forwarding
from tests.servers.postgres import Postgres


def receiver(url: str, **options: Any) -> PostgresqlReceiver:
    return PostgresqlReceiver(PostgresqlSettings(name="table", url=url, **options), url)


def rows(url: str, columns: str = "key, record, body", table: str = "records") -> list[tuple[Any, ...]]:
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY record".encode()).fetchall()


async def test_records_become_rows(postgres_url: str, records: Records) -> None:
    records.add({"t": 21.5, "text": "ö\\u0000"}, None, [1, 2], "nul \0 in text", {"k\0": 1}, 10**30, float("nan"))
    records.packet(b"x")
    await drained(forwarding(receiver(postgres_url), records.url, SystemClock()))
    assert rows(postgres_url) == [
        ("4131-1", 1, {"t": 21.5, "text": "ö\\u0000"}),
        ("4131-2", 2, None),
        ("4131-3", 3, [1, 2]),
        ("4131-4", 4, {"$cbor": "bW51bCAAIGluIHRleHQ="}),
        ("4131-5", 5, {"$cbor": "oWJrAAE="}),
        ("4131-6", 6, {"$integer": str(10**30)}),
        ("4131-7", 7, {"$float": "nan"}),
        (key_of(records.all()[-1]), None, {"$bytes": "eA=="}),
    ]
    (first, *_) = rows(
        postgres_url, "device, serial_number, channel, queue, link, captured_at::text || received_at::text"
    )
    assert first[:5] == ("4131", "A1", "solution", "readings", "lte")


async def test_what_comes_again_changes_nothing(postgres_url: str, records: Records) -> None:
    records.add(1, 2, 3)
    done: list[int] = []

    def die(moment: str) -> None:
        if done:
            raise Killed

    found = receiver(postgres_url)
    deliver = found.deliver

    async def deliver_and_note(batch: Any) -> None:
        await deliver(batch)
        done.append(len(batch))

    found.deliver = deliver_and_note  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await drained(forwarding(found, records.url, SystemClock(), trouble=die))
    assert len(rows(postgres_url)) == 3
    await drained(forwarding(receiver(postgres_url), records.url, SystemClock()))
    assert len(rows(postgres_url)) == 3


async def test_a_table_of_its_own_with_a_condition(postgres_url: str, postgres: Postgres, records: Records) -> None:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA own")
    await drained(forwarding(receiver(postgres_url, table="own.readings"), records.url, SystemClock()))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE own.readings ADD CHECK (body <> '13')")
    records.add(12, 13, 14)
    found = receiver(postgres_url, table="own.readings", tries=1, create=False)
    await drained(forwarding(found, records.url, SystemClock(), name="table"))
    assert [body for (body,) in rows(postgres_url, "body", "own.readings")] == [12, 14]
    (aside,) = records.store.aside("table")
    assert "violates check constraint" in aside.reason


async def test_no_server_no_table_no_password(postgres_url: str, records: Records) -> None:
    records.add(1)
    with pytest.raises(ReceiverDown, match="cannot connect"):
        await receiver("postgresql://nobody:s3cret@127.0.0.1:1/x").open(None)
    found = receiver(postgres_url, create=False)
    await found.open(None)
    try:
        with pytest.raises(ReceiverDown, match=r'relation "records" does not exist \(42P01\)'):
            await found.deliver(records.all())
    finally:
        await found.aclose()
    lost = forwarding(receiver("postgresql://nobody:s3cret@127.0.0.1:1/x"), records.url, SystemClock())
    await drained(lost)
    assert "s3cret" not in f"{lost.status} {found!r}"


def test_text_with_a_nul_is_kept_readable(records: Records) -> None:
    records.add(1, serial_number="A\0", queue="q\0")
    row = row_of(records.all()[0])
    assert (row[2], row[4]) == ("A\N{SYMBOL FOR NULL}", "q\N{SYMBOL FOR NULL}")
