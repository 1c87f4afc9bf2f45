"""How customers send MT messages through Ground Control's platforms: RockBLOCK's form and Cloudloop's calls.

Rules of this file: requests in, answers out, queues at the gateway.  RockBLOCK's answers are from Ground Control's public
page; what Cloudloop answers is unverified.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from rataccess_hil.satellite.directip import Disposition, MtMessage, MtStatus
from rataccess_hil.satellite.gateway import LONGEST_SBD_MT, IridiumGateway
from rataccess_hil.satellite.http import Request, Response
from rataccess_hil.satellite.webhook import thing_of

_REFUSALS = {
    10: "Invalid login credentials",
    11: "No RockBLOCK with this IMEI found on your account",
    12: "RockBLOCK has no line rental",
    13: "Your account has insufficient credit",
    14: "Could not decode hex data",
    15: "Data too long",
    16: "No data",
    99: "System error",
}
_TOPICS = {"IMT_TOPIC_RAW": 244}


class WebMt:
    """Takes MT messages over HTTP: `POST /rockblock/MT`, `/Data/DoSendSbdMessage` and `/Data/DoSendImtMessage`.

    `password` and `token` are what callers have to know.  `refuse_next` holds RockBLOCK codes with which the next calls
    fail; `unrented` are IMEIs without line rental, and `credit` is what is left on the account (`None`: enough).
    """

    def __init__(
        self,
        gateway: IridiumGateway,
        *,
        username: str = "user",
        password: str = "password",
        token: str = "token",
    ) -> None:
        self._gateway = gateway
        self._login = (username, password)
        self._token = token
        self.refuse_next: list[int] = []
        self.unrented: set[str] = set()
        self.credit: int | None = None

    def handle(self, request: Request) -> Response:
        """Answer one request; for `HttpServer`."""
        parts = urlsplit(request.target)
        fields = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if "json" in request.content_type:
                fields |= {str(name): str(value) for name, value in json.loads(request.body or b"{}").items()}
            else:
                fields |= dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
        except (ValueError, AttributeError):
            return Response(400, b"bad body")
        if parts.path == "/rockblock/MT":
            return Response(200, self.rockblock(fields).encode())
        if parts.path in ("/Data/DoSendSbdMessage", "/Data/DoSendImtMessage"):
            return self._cloudloop(fields, imt="Imt" in parts.path)
        return Response(404, b"no such page")

    def rockblock(self, fields: Mapping[str, str]) -> str:
        """RockBLOCK's answer to a form: `OK,<id>` or `FAILED,<code>,<text>`."""
        code, number = self._rockblock(fields)
        return f"FAILED,{code},{_REFUSALS[code]}" if code else f"OK,{number}"

    def _rockblock(self, fields: Mapping[str, str]) -> tuple[int, int]:
        if self.refuse_next:
            return self.refuse_next.pop(0), 0
        imei, text = fields.get("imei", ""), fields.get("data", "")
        flush = fields.get("flush", "").lower() in ("yes", "true", "1")
        hurdles = (
            ((fields.get("username"), fields.get("password")) != self._login, 10),
            (imei not in self._gateway.subscriptions, 11),
            (imei in self.unrented, 12),
            (self.credit is not None and self.credit <= 0, 13),
            (not re.fullmatch(r"([0-9A-Fa-f]{2})*", text), 14),
            (len(text) > 2 * LONGEST_SBD_MT, 15),
            (not text and not flush, 16),
        )
        code = next((code for stands, code in hurdles if stands), 0)
        if code:
            return code, 0
        disposition = Disposition.FLUSH if flush else Disposition(0)
        done = self._gateway.submit(MtMessage(imei, bytes.fromhex(text) or None, 0, disposition))
        return (99, 0) if done.status < 0 else (0, done.auto_id)

    def _cloudloop(self, fields: Mapping[str, str], *, imt: bool) -> Response:
        if fields.get("token") != self._token:
            return _told(401, error="bad token")
        things = {thing_of(imei): imei for imei in self._gateway.subscriptions}
        imei = things.get(fields.get("thing", ""))
        if imei is None:
            return _told(404, error="no such thing")
        try:
            text = fields.get("message", "")
            data = base64.b64decode(text, validate=True) if imt else bytes.fromhex(text)
            topic = self._topic(fields.get("topic", "244")) if imt else None
        except (binascii.Error, ValueError):
            return _told(400, error="bad message")
        done = self._gateway.submit(MtMessage(imei, data), topic=topic)
        if done.status < 0:
            return _told(400, error=MtStatus(done.status).name)
        return _told(200, message=f"{done.auto_id}")

    @staticmethod
    def _topic(text: str) -> int:
        return _TOPICS.get(text) or int(text)


def _told(status: int, **content: str) -> Response:
    return Response(status, json.dumps({"success": status == 200, **content}).encode(), "application/json")
