"""The OpenAPI document: valid, complete, and true: every answer of a good request is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rataccess.objects import Service
from rataccess.services import admin
from tests.api.api_world import ApiWorld, of

validator = pytest.importorskip("openapi_spec_validator")
jsonschema = pytest.importorskip("jsonschema")


@pytest.mark.parametrize("service", list(Service))
async def test_the_document_is_valid(tmp_path: Path, service: Service) -> None:
    async with ApiWorld(tmp_path, service).client() as client:
        document = of(await client.get("/openapi.json"))
    validator.validate(document)
    assert all(
        "bearer" in json.dumps(operation.get("security", "")).lower()
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if path != "/health"
    )
    assert "security" not in document["paths"]["/health"]["get"]


def _checked(document: dict[str, Any], path: str, method: str, response: Any) -> None:
    told = document["paths"][path][method]["responses"][str(response.status_code)]
    content = told.get("content", {}).get("application/json", {})
    if "schema" not in content:
        return
    schema = {**content["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(response.json())


async def test_answers_are_as_documented(tmp_path: Path) -> None:
    world = ApiWorld(tmp_path, Service.MANAGEMENT)
    world.add("A1", "north", "test")
    for fleet in ("north", "test"):
        admin.set_env(world.store, {"A": fleet}, fleet=fleet)
    requests: list[tuple[str, str, str, Any]] = [
        ("get", "/v1/devices", "/v1/devices", None),
        ("get", "/v1/devices/{serial_number}", "/v1/devices/A1", None),
        ("get", "/v1/devices/{serial_number}", "/v1/devices/B2", None),
        ("get", "/v1/devices/{serial_number}/environment", "/v1/devices/A1/environment", None),
        ("get", "/v1/fleets", "/v1/fleets", None),
        ("get", "/v1/fleets/{fleet}/environment", "/v1/fleets/north/environment", None),
        ("get", "/v1/conflicts", "/v1/conflicts", None),
        ("get", "/v1/counters", "/v1/counters", None),
        ("get", "/v1/receivers", "/v1/receivers", None),
        ("get", "/health", "/health", None),
        ("post", "/v1/devices/{serial_number}/inbound", "/v1/devices/A1/inbound", {"queue": "q", "value": None}),
        ("post", "/v1/devices/{serial_number}/inbound", "/v1/devices/A1/inbound", {"queue": "$q", "value": None}),
        ("put", "/v1/devices/{serial_number}/fleets", "/v1/devices/A1/fleets", {"fleets": ["x"]}),
        ("post", "/v1/devices/{serial_number}/revoke", "/v1/devices/A1/revoke", None),
        ("post", "/v1/devices/{serial_number}/revoke", "/v1/devices/A1/revoke", None),
    ]
    async with world.client() as client:
        document = of(await client.get("/openapi.json"))
        for method, path, place, body in requests:
            _checked(document, path, method, await client.request(method, place, json=body))
