"""Publications to a real mosquitto: acknowledged before they count, whatever becomes of the broker meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from rataccess.clock import SystemClock
from rataccess.errors import ReceiverDown, RecordRefused
from rataccess.services.receivers import MqttSettings, Receivers, key_of
from rataccess.services.receivers.mqtt import MqttReceiver, topic_mistake, topic_of
from rataccess.services.secret import FromEnvironment
from tests.receivers.receiver_world import Records, drained, forwarding
from tests.servers.mosquitto import LARGEST, PASSWORD, USER, Mosquitto


def receiver(broker: Mosquitto, **options: Any) -> MqttReceiver:
    settings = {"name": "broker", "host": "127.0.0.1", "port": broker.port, "tls": False, "timeout": 10, **options}
    return MqttReceiver(MqttSettings(**settings), None, None)


@contextlib.asynccontextmanager
async def subscribed(broker: Mosquitto, port: int | None = None, **options: Any) -> AsyncIterator[Any]:
    """A client of its own that has subscribed to everything."""
    import aiomqtt

    client = aiomqtt.Client(
        "127.0.0.1", port or broker.port, protocol=aiomqtt.ProtocolVersion.V5, identifier="reader", **options
    )
    async with client:
        await client.subscribe("#", qos=1)
        yield client


async def received(client: Any, count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(30):
        async for message in client.messages:
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_publications_hold_the_record_and_its_key(mosquitto: Mosquitto, records: Records) -> None:
    records.add({"t": 1})
    records.add(2, serial_number="B/2", queue="a+b")
    async with subscribed(mosquitto) as client:
        await drained(forwarding(receiver(mosquitto), records.url, SystemClock()))
        first, second = await received(client, 2)
    assert str(first.topic) == "rataccess/solution/A1/readings"
    assert first.qos == 1
    assert json.loads(first.payload)["body"] == {"t": 1}
    assert json.loads(first.payload)["key"] == "4131-1"
    assert first.properties.UserProperty == [("idempotency-key", "4131-1")]
    assert first.properties.ContentType == "application/json"
    assert str(second.topic) == "rataccess/solution/B%2F2/a%2Bb"


async def test_version_3_has_the_key_in_the_payload(mosquitto: Mosquitto, records: Records) -> None:
    records.add(1)
    async with subscribed(mosquitto) as client:
        await drained(forwarding(receiver(mosquitto, version="3.1.1", topic="x/{device}"), records.url, SystemClock()))
        (only,) = await received(client, 1)
    assert str(only.topic) == "x/4131"
    assert json.loads(only.payload)["key"] == "4131-1"


async def test_many_records_arrive_in_order(mosquitto: Mosquitto, records: Records) -> None:
    records.add(*range(500))
    async with subscribed(mosquitto) as client:
        reading = asyncio.create_task(received(client, 500))
        await drained(forwarding(receiver(mosquitto), records.url, SystemClock()))
        messages = await reading
    assert [json.loads(each.payload)["record"] for each in messages] == list(range(1, 501))


async def test_a_broker_stopped_and_restarted_in_the_middle_loses_nothing(
    mosquitto: Mosquitto, records: Records
) -> None:
    settings = MqttSettings(name="broker", host="127.0.0.1", port=mosquitto.port, tls=False, timeout=10, batch=20)
    receivers = Receivers([settings], records.url, SystemClock())
    got: list[int] = []
    records.add(*range(300))
    async with subscribed(mosquitto, **staying()) as client:
        receivers.start()
        await read_until(client, 30, got)
        await asyncio.to_thread(mosquitto.stop)
        with contextlib.suppress(Exception):
            await read_until(client, 10_000, got)
    records.add(*range(60))
    receivers.wake()
    async with asyncio.timeout(30):
        while receivers.status()[0].state != "trying again":
            await asyncio.sleep(0.01)
    await asyncio.to_thread(mosquitto.start)
    async with subscribed(mosquitto, **staying()) as client:
        await read_until(client, 360, got)
    await receivers.aclose()
    assert records.store.backlog("broker") == 0
    assert list(dict.fromkeys(got)) == list(range(1, 361))


def staying() -> dict[str, Any]:
    """Options of a subscriber whose session stays while it is away, so that what the broker has taken can be told."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 60
    return {"clean_start": False, "properties": properties}


async def read_until(client: Any, last: int, got: list[int]) -> None:
    async with asyncio.timeout(60):
        async for message in client.messages:
            got.append(json.loads(message.payload)["record"])
            if got[-1] == last:
                return


async def opened(found: MqttReceiver) -> None:
    try:
        await found.open(None)
    finally:
        await found.aclose()


async def test_a_broker_that_refuses_a_publication_is_believed(mosquitto: Mosquitto, records: Records) -> None:
    records.add(1)
    found = receiver(mosquitto, topic="forbidden/{queue}")
    await found.open(None)
    try:
        with pytest.raises(ReceiverDown, match=r"refuses: Not authorized"):
            await found.deliver(records.all())
    finally:
        await found.aclose()


async def test_a_record_larger_than_the_broker_takes_is_kept_aside(mosquitto: Mosquitto, records: Records) -> None:
    records.add(1, "x" * LARGEST, 3)
    async with subscribed(mosquitto) as client:
        await drained(forwarding(receiver(mosquitto, tries=1), records.url, SystemClock(), name="broker"))
        messages = await received(client, 2)
    assert [json.loads(each.payload)["record"] for each in messages] == [1, 3]
    assert [each.key for each in records.store.aside("broker")] == ["4131-2"]


async def test_passwords(mosquitto: Mosquitto, records: Records, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = MqttSettings(
        name="broker",
        host="127.0.0.1",
        port=mosquitto.password_port,
        tls=False,
        username=USER,
        password=FromEnvironment(env="PASSWORD"),
    )
    records.add(1)
    async with subscribed(mosquitto, mosquitto.password_port, username=USER, password=PASSWORD) as client:
        right = Receivers([settings], records.url, SystemClock(), environ={"PASSWORD": PASSWORD})
        right.start()
        await received(client, 1)
        await right.aclose()
    wrong = Receivers([settings], records.url, SystemClock(), environ={"PASSWORD": "wr0ng s3cret"})
    wrong.start()
    async with asyncio.timeout(30):
        while wrong.status()[0].last_error is None:
            await asyncio.sleep(0.01)
    assert "cannot connect" in str(wrong.status()[0].last_error)
    assert "Not authorized" in str(wrong.status()[0].last_error)
    await wrong.aclose()
    shown = f"{caplog.text} {settings!r} {right!r} {wrong._receivers!r}"
    assert PASSWORD not in shown
    assert "wr0ng" not in shown


async def test_tls(mosquitto: Mosquitto, records: Records) -> None:
    records.add(1)
    options = {"port": mosquitto.tls_port, "tls": True, "ca_file": str(mosquitto.ca_file)}
    context = await asyncio.to_thread(ssl.create_default_context, cafile=str(mosquitto.ca_file))
    async with subscribed(mosquitto, mosquitto.tls_port, tls_context=context) as client:
        await drained(forwarding(receiver(mosquitto, **options), records.url, SystemClock()))
        assert len(await received(client, 1)) == 1
    with pytest.raises(ReceiverDown, match="cannot connect"):
        await opened(receiver(mosquitto, **{**options, "ca_file": None}))


async def test_nobody_there(mosquitto: Mosquitto) -> None:
    with pytest.raises(ReceiverDown, match="cannot connect"):
        await opened(receiver(mosquitto, port=1))


async def test_somebody_who_accepts_and_says_nothing(mosquitto: Mosquitto) -> None:
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        hung_up.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ReceiverDown, match="cannot connect"):
            await opened(receiver(mosquitto, port=server.sockets[0].getsockname()[1], timeout=0.2))
        await asyncio.wait_for(hung_up.wait(), 30)


async def test_a_connection_that_breaks_before_the_acknowledgement_counts_nothing(
    mosquitto: Mosquitto, records: Records
) -> None:
    records.add(1, 2)
    found = receiver(mosquitto)
    await found.open(None)
    mosquitto.stop()
    try:
        with pytest.raises(ReceiverDown):
            await found.deliver(records.all())
    finally:
        await found.aclose()
        await asyncio.to_thread(mosquitto.start)


def test_topics(records: Records) -> None:
    records.add(1)
    (record,) = records.all()
    odd = replace(record, serial_number="ö/#+%\0\n", queue="")
    assert topic_of("{serial_number}", odd) == "ö%2F%23%2B%25%00%0A"
    assert topic_of("a/{queue}/{device}", odd) == "a//4131"
    assert topic_mistake("a/{queue}/{device}/{serial_number}/{channel}") is None
    for bad in ("a/{nobody}", "a/{queue", "a/#", "a/+/b", "$SYS/x", "a/{queue!r}", "a/{queue:>9}", "a/{queue.x}", "{}"):
        assert topic_mistake(bad), bad


def test_a_publication_that_can_never_fit_is_refused_before_it_is_sent(records: Records) -> None:
    records.add("x" * 1000)
    found = MqttReceiver(MqttSettings(name="broker", host="unused"), None, None)
    with pytest.raises(RecordRefused, match="more than the broker takes"):
        found._publication(records.all()[0], 1000)
    assert key_of(records.all()[0]) in str(found._publication(records.all()[0], 10_000)["payload"])
