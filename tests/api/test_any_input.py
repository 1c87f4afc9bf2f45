"""Whatever is asked: no status of 500, and an answer in JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rataccess.clock import SystemClock
from rataccess.objects import Service
from rataccess.services.api.app import make_app
from rataccess.services.api.context import Context
from rataccess.services.api.guard import Guard
from rataccess.services.store import ServiceStore, open_store
from tests.api.api_world import AUTHORISED, TOKEN, ApiWorld

T = TypeVar("T")

PATHS = (
    "/v1/devices",
    "/v1/devices/{}",
    "/v1/devices/{}/fleets",
    "/v1/devices/{}/environment",
    "/v1/devices/{}/environment/{}",
    "/v1/devices/{}/inbound",
    "/v1/devices/{}/objects/{}",
    "/v1/devices/{}/packets",
    "/v1/fleets/{}/environment",
    "/v1/fleets/{}/environment/{}",
    "/v1/conflicts",
    "/metrics",
    "/{}",
)
names = st.sampled_from(["A1", "north", "%00", "%ff", "..", "%ed%a0%80", "a%2Fb", "A" * 65]) | st.text(
    alphabet=st.characters(codec="utf-8"), min_size=1, max_size=70
).map(lambda text: httpx.URL("http://x/", params={"q": text}).query.decode()[2:].replace("+", "%20"))
texts = st.text(alphabet=st.characters(), max_size=20) | st.sampled_from(
    ["\0", "\ud800", "$x", "bulk", "AAEC", "A" * 9000]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.sampled_from(["$bytes", "$float", "$map", "$cbor", "$integer"]), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.one_of(
    st.fixed_dictionaries({}, optional={"queue": texts | values, "value": values, "urgency": texts}),
    st.fixed_dictionaries({"values": st.dictionaries(texts, texts | st.none(), max_size=3) | values}),
    st.fixed_dictionaries({"fleets": st.lists(texts, max_size=3) | values}),
    st.fixed_dictionaries({"data": texts, "seconds": st.floats() | st.integers()}),
    values,
).map(lambda value: json.dumps(value).encode())
raw = st.binary(max_size=60) | st.sampled_from(
    [b"[" * 50_000, b'{"value":' * 900 + b"1" + b"}" * 900, b'{"queue":"q","value":' + b"9" * 5000 + b"}", b"NaN"]
)


@given(
    st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    st.sampled_from(PATHS),
    st.tuples(names, names),
    bodies | raw,
    st.dictionaries(st.sampled_from(["fleet", "after", "limit"]), st.text(st.characters(codec="utf-8"), max_size=20)),
)
@example("POST", "/v1/devices/{}/inbound", ("A1", ""), b'{"queue": "q", "value": ' + b"[" * 800 + b"]" * 800 + b"}", {})
@example("POST", "/v1/devices/{}/inbound", ("A1", ""), b'{"queue": "q", "value": {"$map": [[[], 1]]}}', {})
@example("PATCH", "/v1/devices/{}/environment", ("A1", ""), b'{"values": {"a\\u0000": "b"}}', {})
@example("PATCH", "/v1/devices/{}/environment", ("A1", ""), b'{"values": {"a": "\\ud800"}}', {})
@example("PUT", "/v1/devices/{}/fleets", ("A1", ""), b'{"fleets": ["\\udfff"]}', {})
@example("POST", "/v1/devices/{}/packets", ("A1", ""), b'{"data": "AAA", "seconds": Infinity}', {})
@example("GET", "/v1/devices", ("", ""), b"", {"after": "9" * 18})
@settings(max_examples=150, deadline=None)
def test_never_a_defect(method: str, path: str, named: tuple[str, str], body: bytes, query: dict[str, str]) -> None:
    response = asyncio.run(_ask(method, path.format(*named), body, query))
    assert response.status_code < 500, response.text
    if method != "HEAD" and response.content and path != "/metrics":
        response.json()


async def _ask(method: str, path: str, body: bytes, query: dict[str, Any]) -> httpx.Response:
    headers = {**AUTHORISED, "content-type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_app), base_url="http://x", headers=headers) as client:
        return await client.request(method, path, content=body, params=query or None)


class Inline:
    """A store's handle without a thread of its own."""

    def __init__(self, store: ServiceStore) -> None:
        self._store = store

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        return work(self._store)

    async def aclose(self) -> None:
        self._store.close()


_app: Guard


@pytest.fixture(scope="module", params=["sqlite", "postgresql"], autouse=True)
def app(request: pytest.FixtureRequest) -> Iterator[None]:
    """One for all: making it takes longer than asking it."""
    global _app  # hypothesis takes no fixtures of a function's
    with TemporaryDirectory() as folder:
        url = "s.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
        world = ApiWorld(Path(folder), Service.MANAGEMENT, url)
        world.add("A1", "north")
        with open_store(world.settings.store) as store:
            context = Context(world.service, world.settings, Inline(store))
            _app = Guard(make_app(context, SystemClock()), TOKEN, 1024 * 1024)
            yield
