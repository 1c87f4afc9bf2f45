"""Every operation, through real HTTP on loopback, on both kinds of store."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest

from rataccess.objects import Service, Urgency, encode
from rataccess.services import admin, provisioning
from rataccess.services.store import Changes, open_store
from tests.api.api_world import ApiWorld, of


@pytest.fixture
def management(tmp_path: Path, store_url: str) -> ApiWorld:
    return ApiWorld(tmp_path, Service.MANAGEMENT, store_url)


@pytest.fixture
def solution(tmp_path: Path, store_url: str) -> ApiWorld:
    return ApiWorld(tmp_path, Service.SOLUTION, store_url)


def outbound(world: ApiWorld) -> list[tuple[object, ...]]:
    with open_store(world.settings.store) as store:
        return store.execute("SELECT number, queue_id, urgency, body FROM outbound ORDER BY number")


async def test_devices_are_listed_by_pages_and_by_fleet(management: ApiWorld) -> None:
    for index in range(5):
        management.add(f"D{index}", *(["even"] if index % 2 == 0 else []))
    async with management.client() as client:
        first = of(await client.get("/v1/devices", params={"limit": 3}))
        second = of(await client.get("/v1/devices", params={"limit": 3, "after": first["next"]}))
        even = of(await client.get("/v1/devices", params={"fleet": "even"}))
    assert [each["serial_number"] for each in first["devices"]] == ["D0", "D1", "D2"]
    assert ([each["serial_number"] for each in second["devices"]], second["next"]) == (["D3", "D4"], None)
    assert [(each["serial_number"], each["fleets"]) for each in even["devices"]] == [
        ("D0", ["even"]),
        ("D2", ["even"]),
        ("D4", ["even"]),
    ]


async def test_one_device_tells_everything(management: ApiWorld) -> None:
    management.add("A1", "north")
    secret = b"2" * 16
    provisioning.add_device(management.config, Service.MANAGEMENT, "A1", secret, replace=True)
    with open_store(management.settings.store) as store:
        device = store.latest("A1")
        assert device is not None
        record = (device, 1, "q", 1, None, 100.0, "lte", encode(1))
        report = ("A1", encode({"battery": 3.7}), device, 2, None, 100.0)
        thing = ("A1", "mode", encode(b"\0"), device, 3, None, 100.0)
        store.commit(Changes(records=[record], health=[report], objects=[thing]), {})
    async with management.client() as client:
        found = of(await client.get("/v1/devices/A1"))
        assert (await client.get("/v1/devices/B2")).status_code == 404
    assert (found["kid"], found["state"], found["fleets"], found["records"]) == ("01", "enrolled", ["north"], 1)
    assert found["health"] == {"received_at": "1970-01-01T00:01:40.000Z", "report": {"battery": 3.7}}
    assert found["objects"] == {"mode": {"$bytes": "AA=="}}
    assert found["earlier"] == [{"kid": "00", "state": "revoked", "records": 0, "heard_at": None}]


async def test_a_device_moves_between_fleets(management: ApiWorld) -> None:
    management.add("A1", "north")
    async with management.client() as client:
        moved = await client.put("/v1/devices/A1/fleets", json={"fleets": ["south", "test", "south"]})
        assert of(moved) == {"fleets": ["south", "test"]}
        assert of(await client.get("/v1/fleets")) == {
            "fleets": [{"name": "south", "devices": 1}, {"name": "test", "devices": 1}]
        }
        assert of(await client.put("/v1/devices/B2/fleets", json={"fleets": []}), 404)["error"].startswith(
            "no device 'B2'"
        )
    assert admin.get_fleets(management.store, "A1") == ["south", "test"]


async def test_the_environment_of_fleets_and_devices(management: ApiWorld) -> None:
    management.add("A1", "north", "test")
    async with management.client() as client:
        values = {"values": {"A": "north", "B": "north"}}
        assert of(await client.patch("/v1/fleets/north/environment", json=values)) == values
        assert of(await client.put("/v1/fleets/test/environment/A", json={"value": "test"})) == {
            "values": {"A": "test"}
        }
        torn = {"name": "A", "values": [{"fleet": "north", "value": "north"}, {"fleet": "test", "value": "test"}]}
        assert of(await client.get("/v1/devices/A1/environment")) == {
            "own": {},
            "merged": {"A": "test", "B": "north"},
            "conflicts": [torn],
        }
        assert of(await client.get("/v1/conflicts")) == {"conflicts": [{"serial_number": "A1", **torn}]}
        own = of(await client.put("/v1/devices/A1/environment/A", json={"value": "mine"}))
        assert own == {"own": {"A": "mine"}, "merged": {"A": "mine", "B": "north"}, "conflicts": []}
        assert of(await client.get("/v1/conflicts")) == {"conflicts": []}
        more = await client.patch("/v1/devices/A1/environment", json={"values": {"A": None, "C": "c"}})
        assert of(more)["own"] == {"C": "c"}
        assert of(await client.delete("/v1/devices/A1/environment/C"))["own"] == {}
        assert of(await client.delete("/v1/fleets/test/environment/A")) == {"values": {}}
        assert of(await client.get("/v1/fleets/north/environment")) == values
        for method, path in (("GET", "/v1/devices/B2/environment"), ("DELETE", "/v1/devices/B2/environment/A")):
            of(await client.request(method, path), 404)


async def test_an_object_is_enqueued(solution: ApiWorld) -> None:
    solution.add("A1")
    value = {"on": True, "key": {"$bytes": "AQI="}, "limit": {"$float": "inf"}}
    async with solution.client() as client:
        body = {"queue": "commands", "value": value, "urgency": "alarm"}
        assert of(await client.post("/v1/devices/A1/inbound", json=body), 202) == {"number": 1}
        assert of(await client.put("/v1/devices/A1/objects/mode", json={"value": [1]}), 202) == {"number": 2}
        of(await client.post("/v1/devices/B2/inbound", json=body), 404)
        of(await client.put("/v1/devices/B2/objects/mode", json={"value": 1}), 404)
        assert of(await client.get("/v1/devices"))["devices"][0]["waiting"] == 2
    [command, named] = outbound(solution)
    assert command[2] == Urgency.ALARM
    assert isinstance(command[3], bytes)
    assert cbor2.loads(command[3]) == {"on": True, "key": b"\1\2", "limit": float("inf")}
    assert named[1:] == (0, Urgency.PROMPT, encode(["mode", [1]]))


async def test_a_packet_is_sent_once(solution: ApiWorld) -> None:
    solution.add("A1")
    async with solution.client() as client:
        sent = await client.post("/v1/devices/A1/packets", json={"data": "AAEC", "seconds": 60})
        assert (sent.status_code, sent.content) == (202, b"")
        of(await client.post("/v1/devices/B2/packets", json={"data": "AAEC"}), 404)
        of(await client.post("/v1/devices/A1/packets", json={"data": "AAE"}), 422)
    with open_store(solution.settings.store) as store:
        assert [row[0] for row in store.execute("SELECT data FROM packets")] == [b"\0\1\2"]


async def test_a_device_is_revoked_once_and_for_all(solution: ApiWorld) -> None:
    solution.add("A1")
    with open_store(solution.settings.store) as store:
        device = store.latest("A1")
        store.commit(Changes(records=[(device, 1, "q", 1, None, 100.0, None, encode(1))]), {})
    body = {"queue": "commands", "value": 1}
    async with solution.client() as client:
        of(await client.post("/v1/devices/A1/inbound", json=body), 202)
        assert (await client.post("/v1/devices/A1/packets", json={"data": "AAEC"})).status_code == 202
        assert of(await client.post("/v1/devices/A1/revoke")) == {"dropped": 2}
        assert "not enrolled" in of(await client.post("/v1/devices/A1/revoke"), 409)["error"]
        of(await client.post("/v1/devices/A1/inbound", json=body), 409)
        of(await client.post("/v1/devices/A1/packets", json={"data": "AAEC"}), 409)
        of(await client.post("/v1/devices/B2/revoke"), 404)
        found = of(await client.get("/v1/devices/A1"))
    assert (found["state"], found["waiting"], found["records"]) == ("revoked", 0, 1)
    assert outbound(solution) == []
    assert solution.add("C3") == b"\1"  # the kid is not given again


async def test_counters_health_and_receivers(solution: ApiWorld) -> None:
    with open_store(solution.settings.store) as store:
        store.commit(Changes(), {"messages": 3})
    async with solution.client() as client:
        assert of(await client.get("/v1/counters")) == {"counters": {"messages": 3}}
        assert of(await client.get("/health")) == {"status": "ok", "service": "solution"}
        assert of(await client.get("/v1/receivers")) == {"receivers": []}


async def test_only_the_management_service_has_an_environment(solution: ApiWorld) -> None:
    solution.add("A1")
    async with solution.client() as client:
        for path in ("/v1/devices/A1/environment", "/v1/fleets/x/environment", "/v1/conflicts"):
            of(await client.get(path), 404)
