"""The web-hook against a real HTTP server: what is sent, and what each answer means."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from rataccess.clock import LoopClock, SystemClock
from rataccess.errors import ReceiverDown, RecordRefused
from rataccess.services.receivers import Receivers, WebhookSettings, key_of
from rataccess.services.receivers.webhook import WebhookReceiver, request_key
from rataccess.services.secret import FromEnvironment
from tests.calls.remote_world import Asked, Remote, raw, serving
from tests.receivers.receiver_world import Records, drained, forwarding


def hook(url: str, **options: Any) -> WebhookReceiver:
    return WebhookReceiver(WebhookSettings(name="hook", url=url, **options), url, {"x-token": "s3cret"}, SystemClock())


async def test_batches_arrive_with_keys(records: Records) -> None:
    records.add(*range(5))
    async with serving(Remote()) as remote:
        await drained(forwarding(hook(f"{remote.url}/in?x=1", batch=3), records.url, SystemClock()))
    first, second = remote.asked
    stored = records.all()
    assert (first.method, first.path, first.query) == ("POST", "/in", "x=1")
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-token"] == "s3cret"
    assert [each["key"] for each in json.loads(first.body)] == [key_of(each) for each in stored[:3]]
    assert json.loads(second.body)[0] == {
        "key": "4131-4",
        "device": "4131",
        "serial_number": "A1",
        "channel": "solution",
        "queue": "readings",
        "record": 4,
        "captured_at": "2026-09-21T14:13:20.250Z",
        "received_at": "2026-09-21T14:13:24.000Z",
        "link": "lte",
        "body": 3,
    }
    assert first.headers["idempotency-key"] == request_key(stored[:3]) != second.headers["idempotency-key"]
    assert request_key(stored[:1]) == "4131-1"


async def test_ndjson(records: Records) -> None:
    records.add(1, 2)
    async with serving(Remote()) as remote:
        await drained(forwarding(hook(remote.url, format="ndjson"), records.url, SystemClock()))
    (asked,) = remote.asked
    assert asked.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["body"] for line in asked.body.decode().splitlines()] == [1, 2]


async def delivered(records: Records, remote: Remote, **options: Any) -> None:
    receiver = hook(remote.url, **options)
    await receiver.open(None)
    try:
        await receiver.deliver(records.all())
    finally:
        await receiver.aclose()


@pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 425, 429, 500, 503, 301, 307])
async def test_answers_that_say_nothing_against_the_records(records: Records, status: int) -> None:
    records.add(1)
    async with serving(Remote(lambda asked: (status, {"location": "/x", "retry-after": "7"}, b"no"))) as remote:
        with pytest.raises(ReceiverDown, match=str(status)) as caught:
            await delivered(records, remote)
    assert caught.value.retry_after == (None if status < 400 else 7)
    assert len(remote.asked) == 1


@pytest.mark.parametrize(("status", "too_large"), [(400, False), (409, False), (413, True), (422, False)])
async def test_answers_that_refuse_the_records(records: Records, status: int, too_large: bool) -> None:
    records.add(1)
    async with serving(Remote(lambda asked: (status, {}, b""))) as remote:
        with pytest.raises(RecordRefused) as caught:
            await delivered(records, remote)
    assert caught.value.too_large is too_large


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_answers_that_take_the_records(records: Records, status: int) -> None:
    records.add(1)
    async with serving(Remote(lambda asked: (status, {}, b"" if status == 204 else b"thanks"))) as remote:
        await delivered(records, remote)


async def test_a_date_to_come_back_at_is_understood(records: Records) -> None:
    records.add(1)
    later = {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}
    async with serving(Remote(lambda asked: (503, later, b""))) as remote:
        with pytest.raises(ReceiverDown) as caught:
            await delivered(records, remote)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 1e9


async def test_nobody_there_and_nobody_answering(records: Records) -> None:
    import asyncio

    records.add(1)
    with pytest.raises(ReceiverDown, match="cannot be reached"):
        await delivered(records, Remote(port=1))

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw(silent) as url:
        with pytest.raises(ReceiverDown, match="no answer within"):
            await delivered(records, Remote(port=int(url.rpartition(":")[2])), timeout=0.1)


async def test_taken_though_the_answers_body_never_ends(records: Records) -> None:
    import asyncio

    records.add(1)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await asyncio.Event().wait()

    async with raw(endless) as url:
        await delivered(records, Remote(port=int(url.rpartition(":")[2])), timeout=0.3)


async def test_the_poisonous_record_is_found_by_real_answers(records: Records) -> None:
    records.add(*range(12))
    records.add("poison")
    records.add(*range(3))

    def picky(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return 422 if b"poison" in asked.body else 200, {}, b""

    async with serving(Remote(picky)) as remote:
        receiver = hook(remote.url, tries=1, batch=16)
        await drained(forwarding(receiver, records.url, SystemClock(), name="hook"))
    taken = [each["key"] for asked in remote.asked if b"poison" not in asked.body for each in json.loads(asked.body)]
    assert taken == [key_of(each) for each in records.all() if each.number != 13]
    assert [each.key for each in records.store.aside("hook")] == ["4131-13"]


async def test_secrets_stay_out_of_logs_and_errors(records: Records, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    records.add(1)
    async with serving(Remote(lambda asked: (500, {}, b"s3cret"))) as remote:
        environ = {"URL": f"{remote.url}/s3cret", "TOKEN": "s3cret"}
        settings = WebhookSettings(
            name="hook",
            url=FromEnvironment(env="URL"),
            headers={"Authorization": FromEnvironment(env="TOKEN", prefix="Bearer ")},
        )
        receivers = Receivers([settings], records.url, LoopClock(), environ=environ)
        receivers.start()
        await receivers.aclose()
        shown = f"{receivers!r} {receivers._receivers!r} {settings!r}"
    assert remote.asked[0].path == "/s3cret"
    assert remote.asked[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in caplog.text + shown
