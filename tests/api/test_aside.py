"""Records that stand aside, over HTTP: listed, shown, sent again, dropped, and as the document says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rataccess.clock import SystemClock
from rataccess.objects import Service, Urgency, encode
from rataccess.services.receivers import NdjsonSettings, Receivers
from rataccess.services.receivers.aside import next_again
from rataccess.services.store import StoredRecord, open_store
from tests.api.api_world import ApiWorld, of

jsonschema = pytest.importorskip("jsonschema")
PLACE = "/v1/receivers/hook/aside"


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> ApiWorld:
    """A solution service of whose records the receiver "hook" has refused three."""
    found = ApiWorld(tmp_path, Service.SOLUTION, store_url)
    with open_store(found.store) as store:
        for number in (1, 2, 3):
            body = encode({"n": number})
            record = StoredRecord("1", b"\0", "A1", "readings", number, Urgency.ROUTINE, None, 100.0, "lte", body)
            store.set_aside("hook", f"00-{number}", record, "answered 422", 200.0)
    return found


@asynccontextmanager
async def client(world: ApiWorld) -> AsyncIterator[httpx.AsyncClient]:
    receivers = Receivers([NdjsonSettings(name="hook", file=str(world.folder / "lines"))], world.store, SystemClock())
    async with world.client(receivers=receivers) as found:
        yield found


def checked(document: Any, path: str, method: str, response: httpx.Response) -> Any:
    told = document["paths"][path][method]["responses"][str(response.status_code)]
    schema = {**told["content"]["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(response.json())
    return response.json()


async def test_they_are_listed_by_pages_and_shown(world: ApiWorld) -> None:
    async with client(world) as http:
        document = of(await http.get("/openapi.json"))
        path = "/v1/receivers/{receiver}/aside"
        first = checked(document, path, "get", await http.get(PLACE, params={"limit": 2}))
        assert [(each["key"], each["reason"], each["again"]) for each in first["aside"]] == [
            ("00-1", "answered 422", False),
            ("00-2", "answered 422", False),
        ]
        last = of(await http.get(PLACE, params={"limit": 2, "after": first["next"]}))
        assert ([each["key"] for each in last["aside"]], last["next"]) == (["00-3"], None)
        one = checked(document, f"{path}/{{key}}", "get", await http.get(f"{PLACE}/00-2"))
        assert one["record"]["body"] == {"n": 2}
        assert one["record"]["serial_number"] == "A1"
        checked(document, f"{path}/{{key}}", "get", await http.get(f"{PLACE}/00-4"))
        assert of(await http.get("/v1/receivers/other/aside")) == {"aside": [], "next": None}
        assert 'rataccess_aside_records{receiver="hook"} 3.0' in (await http.get("/metrics")).text


async def test_they_are_sent_again(world: ApiWorld) -> None:
    async with client(world) as http:
        assert (await http.post(f"{PLACE}/00-2/again")).status_code == 202
        with open_store(world.store) as store:
            waiting = next_again(store, "hook")
            assert waiting is not None
            assert waiting.key == "00-2"
        assert [each["again"] for each in of(await http.get(PLACE))["aside"]] == [False, True, False]
        assert of(await http.post(f"{PLACE}/again"), 202) == {"count": 2}
        of(await http.post(f"{PLACE}/00-4/again"), 404)
        of(await http.post("/v1/receivers/other/aside/again"), 404)  # nobody would ever send it
        of(await http.post("/v1/receivers/hook%20again/aside/again"), 422)


async def test_they_are_dropped(world: ApiWorld) -> None:
    async with client(world) as http:
        assert (await http.delete(f"{PLACE}/00-2")).status_code == 204
        of(await http.delete(f"{PLACE}/00-2"), 404)
        assert of(await http.delete(PLACE)) == {"count": 2}
        assert of(await http.get(PLACE))["aside"] == []


async def test_the_receivers_tell_how_many(world: ApiWorld) -> None:
    receivers = Receivers([NdjsonSettings(name="hook", file=str(world.folder / "lines"))], world.store, SystemClock())
    receivers.start()
    try:
        async with world.client(receivers=receivers) as http:
            [told] = of(await http.get("/v1/receivers"))["receivers"]
    finally:
        await receivers.aclose()
    assert (told["name"], told["aside"]) == ("hook", 3)
