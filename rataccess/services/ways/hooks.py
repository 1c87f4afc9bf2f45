"""Web-hooks of satellite providers: an HTTP request with one message, and messages to devices by HTTP.

Rules of this file: what the kinds have in common: listening, limits, waiting, the requests' outcome.  Whatever is posted to
the right path is answered 200 at once and with nothing: a provider tries again for hours what is not, and a stranger learns
nothing by it.  Only what the store cannot keep now is answered 503, so that it comes again: it has been paid for.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rataccess.errors import MissingExtra, ObjectError, WayBroken
from rataccess.objects import Service
from rataccess.services import http
from rataccess.services.airway import Airway
from rataccess.services.sockets import Allowed
from rataccess.services.ways.base import Surroundings, service_of
from rataccess.services.ways.iridium import SBD, SBD_ROOM
from rataccess.services.ways.other import WayForBoth
from rataccess.services.ways.outbox import Outbox, Outcome
from rataccess.services.ways.rooms import believed
from rataccess.services.ways.settings import CloudloopSettings, RockBlockSettings

if TYPE_CHECKING:
    import httpx

    from rataccess.services.webserver import WebServer

logger = logging.getLogger("rataccess.services.ways")

LARGEST_BODY = 256 * 1024
"""Bytes of a request: an IMT message of 100 kB in base64, and what is told of it."""
MOST_AT_ONCE = 64
READ_WITHIN = 4.0
"""Seconds for a request's body: RockBLOCK waits 5 s for the answer."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message of a device, as a provider posts it."""

    imei: str
    data: bytes
    """Empty: a session without a message."""
    heard_at: float | None = None
    link: str = SBD
    handle: str = ""
    """What the provider wants to be told when it sends to the device."""


class HookWay(WayForBoth):
    """One provider."""

    imt_room = 65_000
    """Bytes of the largest packet back over IMT: its own limit is higher than any packet of ours."""

    def __init__(
        self, settings: RockBlockSettings | CloudloopSettings, path: str, around: Surroundings, key: str
    ) -> None:
        super().__init__(settings.name, around, settings.other)
        self._hook, self._path = settings, path.encode()
        self._allowed = Allowed(settings.allowed, f"{key}.allowed")
        self._outbox = Outbox(self._deliver, around.count, around.random, around.repeats_after)
        self._server: WebServer | None = None
        self._client: httpx.AsyncClient | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        return self._server.address

    @property
    @abstractmethod
    def _sends(self) -> bool:
        """Whether there is what it takes to send to devices."""

    @abstractmethod
    def _read(self, body: bytes, content_type: str) -> Posted:
        """Raises `ObjectError`."""

    @abstractmethod
    def _request(self, airway: Airway, data: bytes) -> tuple[str, dict[str, str]]:
        """URL and form of the request that sends to a device."""

    @abstractmethod
    def _judge(self, status: int, text: str) -> Outcome:
        """What the provider's answer says."""

    async def _open(self) -> None:
        await super()._open()
        self._server = _web_server(self._app, self._hook.host, self._hook.port, f"way {self.name}")
        await self._server.start()

    async def _run(self) -> None:
        if self._sends:
            self._client = await asyncio.to_thread(
                lambda: http.client(timeout=self._hook.timeout, ca_file=self._hook.ca_file, keep_alive=False)
            )
        await self._outbox.run()
        raise WayBroken("nothing is sent any more")

    async def _close(self) -> None:
        await super()._close()
        server, self._server = self._server, None
        if server is not None:
            await server.aclose()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- from devices -------------------------------------------------------------------------------------------------

    async def _app(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """An ASGI application with one path."""
        if scope["type"] != "http":
            return
        client = scope.get("client")
        if client is None or client[0] not in self._allowed:
            self._count("requests from addresses that are not allowed")
            await _answer(send, 404)
        elif not hmac.compare_digest(scope["path"].encode("utf-8", "replace"), self._path):
            self._count("requests to another path of a web-hook")
            await _answer(send, 404)
        elif scope["method"] != "POST":
            await _answer(send, 405)
        else:
            body = await _body(receive)
            if body is None:
                self._count("malformed satellite messages")
                await _answer(send, 413)
            else:
                await _answer(send, 200 if self._take(body, _content_type(scope["headers"])) else 503)

    def _take(self, body: bytes, content_type: str) -> bool:
        """Whether that is done with; where not, the provider is to post it again."""
        try:
            return self._take_posted(self._read(body, content_type))
        except ObjectError as error:
            self._count("malformed satellite messages")
            logger.debug("way %s: %s", self.name, error)
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._met(error)
        return True

    def _take_posted(self, posted: Posted) -> bool:
        if not posted.data:
            self._count("satellite sessions without a packet")
            return True
        airway = Airway(
            self.name,
            "imei",
            posted.imei,
            posted.link,
            SBD_ROOM if posted.link == SBD else self.imt_room,
            unasked=self._sends,
            dear=True,
            heard_at=believed(posted.heard_at, self._around.clock),
            via=posted.handle,
        )
        return self._hear_for(service_of(posted.data), posted.data, airway)

    # --- to devices ---------------------------------------------------------------------------------------------------

    def _send_for(self, service: Service, airway: Airway, data: bytes) -> None:
        if not self._sends or len(data) > airway.room:
            self._count("answers that a way in lost")
        else:
            self._outbox.put(airway, data)

    async def _deliver(self, airway: Airway, data: bytes) -> Outcome:
        import httpx

        assert self._client is not None
        url, form = self._request(airway, data)
        try:
            async with asyncio.timeout(self._hook.timeout):
                answer = await self._client.post(url, data=form)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._warn("way %s: the provider cannot be reached: %s", http.told(error))
            return Outcome.SOON
        except (httpx.HTTPError, OSError) as error:  # a TimeoutError is an OSError
            self._warn("way %s: no answer of the provider: %s", http.told(error))
            return Outcome.UNKNOWN
        outcome = self._judge(answer.status_code, answer.text[:1000])
        if outcome is not Outcome.DONE:
            logger.warning(
                "way %s: a message to %s: answered %d, %s", self.name, airway.name, answer.status_code, outcome.value
            )
        return outcome


def by_status(status: int) -> Outcome:
    """The outcome of a request that was answered with an HTTP status other than 200.

    503 says that it was not dealt with (RFC 9110 section 15.6.4); 500, 502 and 504 leave open whether it was, and charged
    for.
    """
    if status in (401, 403, 404, 408, 429):
        return Outcome.LATER
    if status == 503:
        return Outcome.SOON
    return Outcome.UNKNOWN if status >= 500 else Outcome.REFUSED


async def _body(receive: Any) -> bytes | None:
    """The request's body; `None` where it is too large, too slow, or broken off."""
    found = bytearray()
    try:
        async with asyncio.timeout(READ_WITHIN):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                found += message.get("body", b"")
                if len(found) > LARGEST_BODY:
                    return None
                if not message.get("more_body", False):
                    return bytes(found)
    except TimeoutError:
        return None


def _content_type(headers: list[tuple[bytes, bytes]]) -> str:
    found = next((value for name, value in headers if name == b"content-type"), b"")
    return found.decode("latin-1").partition(";")[0].strip().lower()


async def _answer(send: Any, status: int) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _web_server(app: Any, host: str, port: int, what: str) -> WebServer:
    try:
        from rataccess.services.webserver import WebServer
    except ImportError as error:
        raise MissingExtra("web-hooks need the extra: pip install 'rataccess[services]'") from error
    return WebServer(app, host, port, most_at_once=MOST_AT_ONCE, what=what)
