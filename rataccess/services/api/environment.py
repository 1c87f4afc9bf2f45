"""Operations on fleets and environment variables: of the management service only, which is what devices have them from.

Rules of this file: one short method an operation; what it does is done in `admin` and `view`.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from rataccess.services import admin, view
from rataccess.services.api import models
from rataccess.services.api.context import Context, Fleet, SerialNumber, VariableName, add, answer
from rataccess.services.store import ServiceStore


class Environment:
    """Fleets, and what they and single devices say."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(tags=["environment"])
        device, fleet = "/v1/devices/{serial_number}/environment", "/v1/fleets/{fleet}/environment"
        add(router, "GET", device, self.get_device_environment, models.DeviceEnvironment)
        add(router, "PATCH", device, self.set_device_environment, models.DeviceEnvironment)
        add(router, "PUT", f"{device}/{{name}}", self.set_device_variable, models.DeviceEnvironment)
        add(router, "DELETE", f"{device}/{{name}}", self.delete_device_variable, models.DeviceEnvironment)
        add(router, "GET", fleet, self.get_fleet_environment, models.FleetEnvironment)
        add(router, "PATCH", fleet, self.set_fleet_environment, models.FleetEnvironment)
        add(router, "PUT", f"{fleet}/{{name}}", self.set_fleet_variable, models.FleetEnvironment)
        add(router, "DELETE", f"{fleet}/{{name}}", self.delete_fleet_variable, models.FleetEnvironment)
        add(router, "GET", "/v1/conflicts", self.list_conflicts, models.ConflictList)
        return router

    # --- of a device ----------------------------------------------------------------------------------------------------

    async def get_device_environment(self, serial_number: SerialNumber) -> Response:
        """The device's own variables, those it is given, and what its fleets disagree about."""
        return await self._device(serial_number, {})

    async def set_device_environment(self, serial_number: SerialNumber, body: models.Variables) -> Response:
        """Set variables of the device; null removes one."""
        return await self._device(serial_number, body.values)

    async def set_device_variable(
        self, serial_number: SerialNumber, name: VariableName, body: models.OneValue
    ) -> Response:
        """Set one variable of the device."""
        return await self._device(serial_number, {name: body.value})

    async def delete_device_variable(self, serial_number: SerialNumber, name: VariableName) -> Response:
        """Remove one variable of the device: its fleets' value holds again."""
        return await self._device(serial_number, {name: None})

    async def _device(self, serial_number: str, values: dict[str, str | None]) -> Response:
        def work(store: ServiceStore) -> view.View:
            view.must_be_known(store, serial_number)
            if values:
                admin.set_env(store, values, serial_number=serial_number)
            return view.environment(store, serial_number)

        return answer(await self._context.do(work))

    # --- of a fleet -----------------------------------------------------------------------------------------------------

    async def get_fleet_environment(self, fleet: Fleet) -> Response:
        """The fleet's variables."""
        return await self._fleet(fleet, {})

    async def set_fleet_environment(self, fleet: Fleet, body: models.Variables) -> Response:
        """Set variables of the fleet; null removes one."""
        return await self._fleet(fleet, body.values)

    async def set_fleet_variable(self, fleet: Fleet, name: VariableName, body: models.OneValue) -> Response:
        """Set one variable of the fleet."""
        return await self._fleet(fleet, {name: body.value})

    async def delete_fleet_variable(self, fleet: Fleet, name: VariableName) -> Response:
        """Remove one variable of the fleet."""
        return await self._fleet(fleet, {name: None})

    async def _fleet(self, fleet: str, values: dict[str, str | None]) -> Response:
        def work(store: ServiceStore) -> dict[str, str]:
            if values:
                admin.set_env(store, values, fleet=fleet)
            return admin.get_env(store, fleet=fleet)

        return answer({"values": await self._context.do(work)})

    async def list_conflicts(self) -> Response:
        """Devices to one of whose variables their fleets give different values, and that have none of their own."""
        return answer({"conflicts": await self._context.do(view.conflicts)})
