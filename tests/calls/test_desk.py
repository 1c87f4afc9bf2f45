"""The desk against a real HTTP server: what is asked, what is answered, once or again, and what a kill leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from rataccess.errors import DiskFull
from rataccess.services.calls import CallDesk, RouteSettings
from rataccess.services.calls import desk as module
from rataccess.services.calls import remote as remote_module
from rataccess.services.secret import FromEnvironment
from rataccess.services.store import ServiceStore
from tests.calls.remote_world import Asked, Calls, Remote, StandingClock, raw, serving

JSON = {"content-type": "application/json"}


@contextlib.asynccontextmanager
async def working(
    calls: Calls, routes: Mapping[str, RouteSettings], *, deadline: float = 5.0, **options: Any
) -> AsyncIterator[tuple[CallDesk, Callable[[int], Any]]]:
    """A desk that works while the block lasts, and what waits for so many answers."""
    answered: asyncio.Queue[None] = asyncio.Queue()
    environ = {"TOKEN": "s3cret", "URL": "http://127.0.0.1:1/s3cret"}
    desk = CallDesk(routes, calls.url, StandingClock(), lambda: answered.put_nowait(None), environ=environ, **options)

    async def answers(count: int) -> None:
        async with asyncio.timeout(30):
            for _ in range(count):
                await answered.get()

    desk.start()
    try:
        yield desk, answers
    finally:
        await desk.aclose(deadline)


async def outcome(calls: Calls, route: RouteSettings, body: object = None, **options: Any) -> tuple[int, object]:
    """Status and body of one call."""
    number = calls.add("route", body, **options)
    async with working(calls, {"route": route}) as (_, answers):
        await answers(1)
    return calls.answers()[number]


async def test_a_call_becomes_a_request_and_its_answer_a_record(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (
        201,
        JSON,
        json.dumps({"price": 1.5, "zone": json.loads(asked.body)["zone"]}).encode(),
    )
    route = RouteSettings(
        url=f"{remote.url}/v1/prices",
        headers={"Authorization": FromEnvironment(env="TOKEN", prefix="Bearer "), "X-Plain": "yes"},
        query={"key": FromEnvironment(env="TOKEN")},
    )
    assert await outcome(calls, route, {"zone": "SE3"}) == (201, {"price": 1.5, "zone": "SE3"})
    (asked,) = remote.asked
    assert (asked.method, asked.path, asked.query, asked.body) == (
        "POST",
        "/v1/prices",
        "key=s3cret",
        b'{"zone":"SE3"}',
    )
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert asked.headers["x-plain"] == "yes"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["idempotency-key"] == "4131-1"
    assert calls.store.open_calls() == []


async def test_a_get_has_parameters_and_no_body(calls: Calls, remote: Remote) -> None:
    route = RouteSettings(url=f"{remote.url}/find", method="GET", query={"limit": "5"})
    body = {"zone": "SE 3&x=1", "n": 3, "t": 1.5, "ok": True, "none": None, "many": ["a", 2]}
    assert await outcome(calls, route, body) == (200, None)
    (asked,) = remote.asked
    assert asked.query == "limit=5&zone=SE+3%26x%3D1&n=3&t=1.5&ok=true&many=a&many=2"
    assert asked.body == b""


@pytest.mark.parametrize("body", [{"limit": 9}, [1], {"a": {"b": 1}}, {1: 2}, {"long": "x" * 9000}])
async def test_a_get_with_what_is_no_parameters_is_refused(calls: Calls, remote: Remote, body: object) -> None:
    route = RouteSettings(url=f"{remote.url}/find", method="GET", query={"limit": "5"})
    assert await outcome(calls, route, body) == (6, None)
    assert remote.asked == []


@pytest.mark.parametrize(
    ("headers", "content", "expected"),
    [
        (JSON, b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ({"content-type": "application/problem+json; charset=utf-8"}, b'"x"', "x"),
        (JSON, b"{broken", "{broken"),
        (JSON, b"[" * 5000 + b"]" * 5000, "[" * 5000 + "]" * 5000),
        (JSON, b"9" * 5000, "9" * 5000),
        (JSON, json.dumps(["x" * 10] * 10_000).encode(), ["x" * 10] * 10_000),
        ({"content-type": "text/plain; charset=latin-1"}, b"\xe5\xe4\xf6", "åäö"),
        ({"content-type": "text/plain; charset=nonsense"}, b"x\xff", "x\N{REPLACEMENT CHARACTER}"),
        ({"content-type": "image/png"}, b"\x89PNG", b"\x89PNG"),
        ({}, b"raw", b"raw"),
        ({"content-encoding": "gzip", **JSON}, b"\x1f\x8b not asked for", b"\x1f\x8b not asked for"),
        (JSON, b"", None),
    ],
)
async def test_answers_become_objects(
    calls: Calls, remote: Remote, headers: dict[str, str], content: bytes, expected: object
) -> None:
    remote.handle = lambda asked: (200, headers, content)
    route = RouteSettings(url=remote.url, response_limit=1 << 20)
    assert await outcome(calls, route) == (200, expected)
    assert remote.asked[0].headers["accept-encoding"] == "identity"
    assert remote.asked[0].body == b""


@pytest.mark.parametrize("status", [404, 422, 500, 503])
async def test_errors_of_the_remote_come_back_as_they_are_and_are_not_repeated(
    calls: Calls, remote: Remote, status: int
) -> None:
    remote.handle = lambda asked: (status, JSON, b'{"why": "so"}')
    assert await outcome(calls, RouteSettings(url=remote.url)) == (status, {"why": "so"})
    assert len(remote.asked) == 1


async def test_a_redirect_is_an_answer_and_is_not_followed(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (302, {"location": f"{remote.url}/elsewhere"}, b"")
    assert await outcome(calls, RouteSettings(url=f"{remote.url}/here")) == (302, None)
    assert [each.path for each in remote.asked] == ["/here"]


async def test_cookies_of_one_call_are_not_sent_with_another(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (200, {"set-cookie": "who=A1"}, b"")
    route = RouteSettings(url=remote.url)
    await outcome(calls, route)
    calls.add("route", serial_number="B2")
    async with working(calls, {"route": route}) as (_, answers):
        await answers(1)
        calls.add("route", serial_number="C3")
        await answers(1)
    assert all("cookie" not in each.headers for each in remote.asked)


async def test_a_route_that_is_not_there(calls: Calls, remote: Remote) -> None:
    number = calls.add("nowhere")
    async with working(calls, {"route": RouteSettings(url=remote.url)}) as (desk, answers):
        await answers(1)
        assert desk.status.answered == {1: 1}
    assert calls.answers()[number] == (1, None)


async def test_a_remote_that_is_not_there(calls: Calls) -> None:
    assert await outcome(calls, RouteSettings(url="http://127.0.0.1:1/")) == (2, None)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_response_over_the_limit_is_not_taken(calls: Calls, announced: bool) -> None:
    written = 0

    async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        length = b"content-length: 1000000000000\r\n" if announced else b""
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        while not writer.is_closing():
            writer.write(bytes(65536))
            written += 65536
            await writer.drain()

    async with raw(huge) as url:
        assert await outcome(calls, RouteSettings(url=url, response_limit=100_000)) == (5, None)
    assert written < 50 << 20


async def test_a_response_at_the_limit_is_taken(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (200, {}, b"x" * 1000)
    assert await outcome(calls, RouteSettings(url=remote.url, response_limit=1000)) == (200, b"x" * 1000)
    assert await outcome(calls, RouteSettings(url=remote.url, response_limit=999)) == (5, None)


async def test_a_slow_remote_times_out_and_drips_do_not_help_it(calls: Calls) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with raw(drip) as url:
        assert await outcome(calls, RouteSettings(url=url, deadline=0.2)) == (3, None)
        assert await outcome(calls, RouteSettings(url=url), seconds=0.2) == (3, None)  # the caller's own limit


async def test_a_call_whose_time_is_over_is_not_made(calls: Calls, remote: Remote) -> None:
    assert await outcome(calls, RouteSettings(url=remote.url), seconds=-1) == (3, None)
    assert remote.asked == []


@pytest.mark.parametrize(
    "noise", [b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 999 ODD\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]
)
async def test_a_broken_answer_leaves_the_outcome_unknown(calls: Calls, noise: bytes) -> None:
    times = 0

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        writer.write(noise)
        await writer.drain()

    async with raw(breaks) as url:
        assert await outcome(calls, RouteSettings(url=url)) == (4, None)
        assert times == 1
        status, _ = await outcome(calls, RouteSettings(url=url, deadline=0.4), repeatable=True)
        assert status == 3  # not "unreachable", which would say that nothing was done


@pytest.mark.parametrize("by", ["route", "call"])
async def test_what_is_repeatable_is_tried_again(
    calls: Calls, remote: Remote, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "_FIRST_WAIT", 0.01)
    statuses = iter([503, 500, 200])
    remote.handle = lambda asked: (next(statuses), JSON, b"1")
    route = RouteSettings(url=remote.url, repeatable=by == "route")
    assert await outcome(calls, route, repeatable=by == "call") == (200, 1)
    assert [each.headers["idempotency-key"] for each in remote.asked] == ["4131-1"] * 3


async def test_retry_after_beyond_the_deadline_gives_up_at_once(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (429, {"retry-after": "3000"}, b"busy")
    status, _ = await outcome(calls, RouteSettings(url=remote.url, repeatable=True), seconds=50)
    assert status == 429
    assert len(remote.asked) == 1


async def test_too_many_requests_without_a_time_is_an_answer(calls: Calls, remote: Remote) -> None:
    remote.handle = lambda asked: (429, {}, b"")
    assert await outcome(calls, RouteSettings(url=remote.url, repeatable=True)) == (429, None)
    assert len(remote.asked) == 1


async def test_no_more_at_a_time_than_allowed_and_no_device_takes_all(calls: Calls, remote: Remote) -> None:
    gate, full = asyncio.Event(), asyncio.Event()
    now = most = 0

    async def wait(asked: Asked) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 5:
            full.set()
        await gate.wait()
        now -= 1
        return 200, {}, b""

    remote.handle = wait
    for _ in range(10):
        calls.add("route", serial_number="greedy")
    others = [calls.add("route", serial_number=f"other{n}") for n in range(4)]
    async with working(calls, {"route": RouteSettings(url=remote.url)}, most=5, most_per_device=2) as (desk, answers):
        await asyncio.wait_for(full.wait(), 30)
        keys = [each.headers["idempotency-key"] for each in remote.asked]
        assert sum(key.startswith(b"greedy".hex()) for key in keys) == 2
        assert desk.status.under_way == 5
        gate.set()
        await answers(14)
    assert most == 5
    assert all(calls.answers(f"other{n}")[number][0] == 200 for n, number in enumerate(others))


async def test_more_open_calls_than_a_device_may_have_are_refused(
    calls: Calls, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    numbers = [calls.add("route") for _ in range(5)]
    async with working(calls, {"route": RouteSettings(url=remote.url)}, most=1) as (_, answers):
        await answers(5)
    statuses = [calls.answers()[number][0] for number in numbers]
    assert statuses[:3] == [200, 200, 200]
    assert statuses[3:] == [6, 6]


async def interrupted(calls: Calls, route: RouteSettings, remote: Remote, *, repeatable: bool) -> int:
    """A call whose request is out when the desk is stopped."""
    out, over = asyncio.Event(), asyncio.Event()

    async def never(asked: Asked) -> Any:
        out.set()
        await over.wait()
        return 200, {}, b""

    remote.handle = never
    number = calls.add("route", repeatable=repeatable)
    async with working(calls, {"route": route}, deadline=0):
        await asyncio.wait_for(out.wait(), 30)
    over.set()
    (left,) = calls.store.open_calls()
    assert left.state == "started"
    remote.handle = lambda asked: (200, {}, b"")
    return number


@pytest.mark.parametrize(("repeatable", "status", "requests"), [(False, 4, 1), (True, 200, 2)])
async def test_a_call_interrupted_by_a_stop_is_made_again_only_where_that_is_harmless(
    calls: Calls, remote: Remote, repeatable: bool, status: int, requests: int
) -> None:
    route = RouteSettings(url=remote.url)
    number = await interrupted(calls, route, remote, repeatable=repeatable)
    async with working(calls, {"route": route}) as (_, answers):
        await answers(1)
    assert calls.answers()[number][0] == status
    assert len(remote.asked) == requests


async def test_two_processes_make_each_call_once(calls: Calls, remote: Remote) -> None:
    route = {"route": RouteSettings(url=remote.url)}
    numbers = [calls.add("route", serial_number=f"D{n}") for n in range(20)]
    async with working(calls, route) as (one, first), working(calls, route) as (two, second):
        done, waiting = await asyncio.wait(
            [asyncio.create_task(first(20)), asyncio.create_task(second(20))], return_when=asyncio.FIRST_COMPLETED
        )
        assert sorted([one.status.state, two.status.state]) == ["standing by", "working"]
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    assert len(done) == 1
    assert sorted(each.headers["idempotency-key"].rpartition("-")[2] for each in remote.asked) == sorted(
        map(str, numbers)
    )


async def test_the_answer_waits_for_a_store_without_room(
    calls: Calls, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, fails = ServiceStore.answer_call, iter([True, True])

    def refuse(*arguments: Any) -> bool:
        if next(fails, False):
            raise DiskFull("no room")
        return answer(*arguments)

    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(ServiceStore, "answer_call", refuse)
    assert (await outcome(calls, RouteSettings(url=remote.url)))[0] == 200
    assert len(remote.asked) == 1


async def test_no_secret_in_logs_reprs_and_errors(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    remote = Remote()
    async with serving(remote):
        secret = FromEnvironment(env="TOKEN")
        route = RouteSettings(url=remote.url, headers={"X-Key": secret}, query={"key": secret})
        lost = RouteSettings(url=FromEnvironment(env="URL"))
        calls.add("route", "body-s3cret")
        calls.add("lost")
        async with working(calls, {"route": route, "lost": lost}) as (desk, answers):
            await answers(2)
            shown = f"{desk!r} {desk.status} {desk._routes!r} {route!r}"
    assert remote.asked[0].query == "key=s3cret"
    assert "s3cret" not in caplog.text + shown
