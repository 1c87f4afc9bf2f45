"""What the operations have in common: the store's thread, the settings, answers.

Rules of this file: no operation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path
from fastapi.responses import Response

from rataccess.objects import Service
from rataccess.services.api.models import Error, Name, Variable
from rataccess.services.calls import CallDesk
from rataccess.services.receivers import Receivers
from rataccess.services.settings import ServerSettings
from rataccess.services.store import ServiceStore
from rataccess.services.storethread import StoreAccess

T = TypeVar("T")

SerialNumber = Annotated[Name, Path(description="The device's serial number.")]
Fleet = Annotated[Name, Path(description="The fleet's name.")]
VariableName = Annotated[Variable, Path(description="The variable's name.")]


@dataclass(frozen=True, slots=True)
class Context:
    """Of one service in this process."""

    service: Service
    settings: ServerSettings
    store: StoreAccess
    receivers: Receivers | None = None
    calls: CallDesk | None = None

    async def do(self, work: Callable[[ServiceStore], T]) -> T:
        """The result of `work` on the store, on the store's own thread."""
        return await self.store.do(work)


def answer(content: Any, status: int = 200) -> Response:
    """JSON in ASCII: nothing that a device ever sent can spoil it."""
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def add(
    router: APIRouter, method: str, path: str, operation: Callable[..., Any], model: type[Any] | None, status: int = 200
) -> None:
    """Put `operation` where it is found; its docstring is the document's."""
    told: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": "Done."} if model else {"description": "Done."},
        400: {"model": Error, "description": "The body is no JSON."},
        401: {"model": Error, "description": "The token is missing or wrong."},
        404: {"model": Error, "description": "There is no such device, or no such path."},
        409: {"model": Error, "description": "The device is not enrolled any more."},
        413: {"model": Error, "description": "The body is too large."},
        422: {"model": Error, "description": "A value is not allowed."},
        503: {"model": Error, "description": "Not now: the store has no room or cannot be reached, or too many ask."},
    }
    router.add_api_route(
        path,
        operation,
        methods=[method],
        status_code=status,
        operation_id=operation.__name__,
        response_model=None,
        responses=told,
    )
