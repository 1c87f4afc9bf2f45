"""Operations that tell how the service itself goes.

Rules of this file: nothing here changes anything.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from rataccess.services import admin
from rataccess.services.api import models
from rataccess.services.api.context import Context, add, answer
from rataccess.services.api.metrics import Metrics
from rataccess.services.jsonform import iso
from rataccess.services.receivers import ReceiverStatus, aside


class State:
    """Of one service in this process."""

    def __init__(self, context: Context, metrics: Metrics) -> None:
        self._context, self._metrics = context, metrics

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(tags=["state"])
        add(router, "GET", "/v1/fleets", self.list_fleets, models.FleetList)
        add(router, "GET", "/v1/counters", self.get_counters, models.Counters)
        add(router, "GET", "/v1/receivers", self.list_receivers, models.ReceiverList)
        add(router, "GET", "/metrics", self.get_metrics, None)
        return router

    def open_router(self) -> APIRouter:
        """What needs no token."""
        router = APIRouter(tags=["state"])
        add(router, "GET", "/health", self.get_health, models.Alive)
        return router

    async def list_fleets(self) -> Response:
        """Every fleet that has a device or a variable."""
        found = await self._context.do(admin.list_fleets)
        return answer({"fleets": [{"name": name, "devices": count} for name, count in found.items()]})

    async def get_counters(self) -> Response:
        """What was counted, by cause."""
        return answer({"counters": await self._context.do(admin.counters)})

    async def list_receivers(self) -> Response:
        """How forwarding goes, by receiver; of the management service, which forwards nothing, none."""
        receivers = self._context.receivers
        found = receivers.status() if receivers else []
        counts = await self._context.do(aside.counted) if found else {}
        return answer({"receivers": [_shown(each, counts.get(each.name, 0)) for each in found]})

    async def get_metrics(self, accept: Annotated[str, Header()] = "") -> Response:
        """For Prometheus."""
        body, content_type = await self._metrics.page(accept)
        return Response(body, media_type=content_type)

    async def get_health(self) -> Response:
        """Whether the service answers; needs no token."""
        return answer({"status": "ok", "service": str(self._context.service)})


def _shown(status: ReceiverStatus, aside_now: int) -> dict[str, object]:
    return {**dataclasses.asdict(status), "retry_at": iso(status.retry_at), "aside": aside_now}
