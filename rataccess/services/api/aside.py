"""Operations on records that receivers refused: look, send again, drop.

Rules of this file: one short method an operation; what it does is done in `receivers.aside`.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from rataccess.errors import UnknownRecord
from rataccess.services.api import models
from rataccess.services.api.context import Context, add, answer
from rataccess.services.jsonform import iso
from rataccess.services.receivers import aside
from rataccess.services.receivers.base import as_json

Receiver = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="The receiver's name.")]
Key = Annotated[str, Path(min_length=1, max_length=200, description="The record's idempotency key.")]
After = Annotated[str, Query(max_length=200, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class AsideRecords:
    """Of the receivers of the solution service."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(tags=["receivers"])
        all_ = "/v1/receivers/{receiver}/aside"
        add(router, "GET", all_, self.list_aside, models.AsideList)
        add(router, "DELETE", all_, self.drop_all_aside, models.Count)
        add(router, "POST", f"{all_}/again", self.send_all_again, models.Count, 202)
        add(router, "GET", f"{all_}/{{key}}", self.get_aside, models.AsideRecord)
        add(router, "DELETE", f"{all_}/{{key}}", self.drop_aside, None, 204)
        add(router, "POST", f"{all_}/{{key}}/again", self.send_again, None, 202)
        return router

    async def list_aside(self, receiver: Receiver, after: After = "", limit: Limit = 100) -> Response:
        """The records that the receiver refused, by key, a page at a time."""
        found = await self._context.do(lambda store: aside.listed(store, receiver, after=after, limit=limit))
        told = [{**dataclasses.asdict(each), "refused_at": iso(each.refused_at)} for each in found]
        return answer({"aside": told, "next": found[-1].key if len(found) == limit else None})

    async def get_aside(self, receiver: Receiver, key: Key) -> Response:
        """One with its record, as receivers are given it."""
        found = await self._context.do(lambda store: aside.shown(store, receiver, key))
        record = json.loads(as_json(found.record))
        told = {"receiver": receiver, "key": key, "reason": found.reason, "refused_at": iso(found.refused_at)}
        return answer({**told, "record": record})

    async def send_again(self, receiver: Receiver, key: Key) -> Response:
        """Have it sent again, alone; what is refused once more stands aside again."""
        self._must_be_configured(receiver)
        await self._context.do(lambda store: aside.send_again(store, receiver, key))
        return Response(status_code=202)

    async def send_all_again(self, receiver: Receiver) -> Response:
        """Have all of the receiver's sent again, each alone."""
        self._must_be_configured(receiver)
        return answer({"count": await self._context.do(lambda store: aside.send_all_again(store, receiver))}, 202)

    async def drop_aside(self, receiver: Receiver, key: Key) -> Response:
        """Delete the copy for good."""
        await self._context.do(lambda store: aside.drop(store, receiver, key))
        return Response(status_code=204)

    async def drop_all_aside(self, receiver: Receiver) -> Response:
        """Delete all of the receiver's copies for good."""
        return answer({"count": await self._context.do(lambda store: aside.drop_all(store, receiver))})

    def _must_be_configured(self, receiver: str) -> None:
        receivers = self._context.receivers
        if receivers is None or receiver not in receivers.names:
            raise UnknownRecord(f"no receiver {receiver!r} is configured")
