"""The application: all operations together, and errors as statuses.

Rules of this file: composition.  An error's answer holds what was wrong, and nothing of what was sent.
"""

from __future__ import annotations

import logging

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from rataccess.clock import Clock
from rataccess.errors import (
    ConfigurationError,
    KeyStoreError,
    ObjectError,
    RataccessError,
    TransientError,
    UnknownDevice,
    UnknownRecord,
)
from rataccess.objects import Service
from rataccess.services.api.aside import AsideRecords
from rataccess.services.api.context import Context, answer
from rataccess.services.api.devices import Devices
from rataccess.services.api.environment import Environment
from rataccess.services.api.metrics import Metrics
from rataccess.services.api.state import State

logger = logging.getLogger("rataccess.services.api")

VERSION = "1"
_STATUSES: tuple[tuple[type[RataccessError], int], ...] = (
    (UnknownDevice, 404),
    (UnknownRecord, 404),
    (ConfigurationError, 422),
    (ObjectError, 422),
    (KeyStoreError, 409),
    (TransientError, 503),
)


def make_app(context: Context, clock: Clock) -> FastAPI:
    """The application of one service, without its guard."""
    app = FastAPI(
        title=f"rataccess {context.service} service",
        description="Administration of devices, fleets and forwarding.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    state = State(context, Metrics(context, clock))
    routers = [Devices(context).router(), state.router()]
    if context.service is Service.MANAGEMENT:
        routers.append(Environment(context).router())
    else:
        routers.append(AsideRecords(context).router())
    for router in routers:  # the guard has looked at the token already: here for the document
        app.include_router(router, dependencies=[Depends(HTTPBearer(auto_error=False))])
    app.include_router(state.open_router())
    app.add_exception_handler(RataccessError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _defect)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status >= 500:
        logger.warning("administration request: %s", error)
    return answer({"error": str(error)}, status)


async def _invalid(_: Request, error: Exception) -> Response:
    """A body that is no JSON, or a value outside of its limits."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    status = 400 if any(each["type"] == "json_invalid" for each in found) else 422
    told = "; ".join(f"{'.'.join(str(part)[:64] for part in each['loc'])}: {each['msg'][:200]}" for each in found[:8])
    return answer({"error": told}, status)


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer({"error": str(error.detail)}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _defect(_: Request, error: Exception) -> Response:
    return answer({"error": "a defect; the service's log says more"}, 500)
