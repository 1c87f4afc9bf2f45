"""Operations on devices: look, move between fleets, send something, revoke.

Rules of this file: one short method an operation; what it does is done in `admin`, `provisioning` and `view`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from rataccess.errors import KeyStoreError, ObjectError
from rataccess.objects import Urgency
from rataccess.services import admin, provisioning, view
from rataccess.services.api import models
from rataccess.services.api.context import Context, SerialNumber, VariableName, add, answer
from rataccess.services.fromjson import object_from_json
from rataccess.services.store import ServiceStore

MOST_LISTED = 1000
After = Annotated[str, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


class Devices:
    """On the devices of one service."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(tags=["devices"])
        one = "/v1/devices/{serial_number}"
        add(router, "GET", "/v1/devices", self.list_devices, models.DeviceList)
        add(router, "GET", one, self.get_device, models.DeviceDetail)
        add(router, "PUT", f"{one}/fleets", self.set_fleets, models.Fleets)
        add(router, "PUT", f"{one}/identities", self.set_identities, models.IdentitiesKept)
        add(router, "POST", f"{one}/inbound", self.enqueue_inbound, models.Accepted, 202)
        add(router, "PUT", f"{one}/objects/{{name}}", self.put_object, models.Accepted, 202)
        add(router, "POST", f"{one}/packets", self.send_packet, None, 202)
        add(router, "POST", f"{one}/revoke", self.revoke, models.Revoked)
        return router

    async def list_devices(
        self, fleet: Annotated[models.Name | None, Query()] = None, after: After = "0", limit: Limit = 100
    ) -> Response:
        """The devices in the order of enrolment, a page at a time."""
        settings = self._context.settings

        def page(store: ServiceStore) -> list[view.View]:
            return view.devices(store, settings, fleet=fleet, after=int(after), limit=limit)

        found = await self._context.do(page)
        last = found[-1].pop("id") if len(found) == limit else None
        for each in found:
            each.pop("id", None)
        return answer({"devices": found, "next": None if last is None else str(last)})

    async def get_device(self, serial_number: SerialNumber) -> Response:
        """Everything about one device."""
        settings = self._context.settings
        found = await self._context.do(lambda store: view.device(store, settings, serial_number))
        found.pop("id")
        return answer(found)

    async def set_fleets(self, serial_number: SerialNumber, body: models.Fleets) -> Response:
        """Put the device into these fleets and no others."""
        context, fleets = self._context, list(dict.fromkeys(body.fleets))

        def work(store: ServiceStore) -> None:
            view.must_be_known(store, serial_number)
            provisioning.set_fleets(context.settings, context.service, serial_number, fleets)

        await context.do(work)
        return answer({"fleets": fleets})

    async def set_identities(self, serial_number: SerialNumber, body: models.Identities) -> Response:
        """Say what networks call the device: for ways in."""
        context, names = self._context, body.model_dump(exclude_unset=True)

        def work(store: ServiceStore) -> list[str]:
            view.must_be_known(store, serial_number)
            return provisioning.set_identities(context.settings, context.service, serial_number, names)

        return answer({"oddities": await context.do(work)})

    async def enqueue_inbound(self, serial_number: SerialNumber, body: models.Inbound) -> Response:
        """Have an object delivered to the application on the device, once."""
        value, urgency = object_from_json(body.value), Urgency[body.urgency.upper()]

        def work(store: ServiceStore) -> int:
            self._must_be_enrolled(store, serial_number)
            return admin.enqueue_inbound(store, serial_number, body.queue, value, urgency=urgency)

        return answer({"number": await self._context.do(work)}, 202)

    async def put_object(self, serial_number: SerialNumber, name: VariableName, body: models.NamedObject) -> Response:
        """Have a named object hold a value at the device."""
        value = object_from_json(body.value)

        def work(store: ServiceStore) -> int:
            self._must_be_enrolled(store, serial_number)
            return admin.put_object(store, serial_number, name, value)

        return answer({"number": await self._context.do(work)}, 202)

    async def send_packet(self, serial_number: SerialNumber, body: models.Packet) -> Response:
        """Send one packet to the device, at most once; whether it arrives nobody learns."""
        try:
            data = base64.b64decode(body.data, validate=True)
        except binascii.Error as error:
            raise ObjectError(f"data is no base64: {error}") from error

        def work(store: ServiceStore) -> None:
            self._must_be_enrolled(store, serial_number)
            admin.post_packet(store, serial_number, data, seconds=body.seconds)

        await self._context.do(work)
        return Response(status_code=202)

    async def revoke(self, serial_number: SerialNumber) -> Response:
        """Refuse the device from now on.  Its records stay, what waits for it is dropped."""
        context = self._context

        def work(store: ServiceStore) -> int:
            view.must_be_known(store, serial_number)
            return provisioning.revoke_device(context.settings, context.service, serial_number)

        return answer({"dropped": await context.do(work)})

    def _must_be_enrolled(self, store: ServiceStore, serial_number: str) -> None:
        if view.state(store, self._context.settings, serial_number) == "revoked":
            raise KeyStoreError(f"{serial_number!r:.100} is revoked: nothing is sent to it any more")
