"""How Ground Control's platforms hand MO messages to a customer's web server: RockBLOCK and Cloudloop.

Rules of this file: what a body holds, and when it is posted again.  Sources: Ground Control's public pages on the RockBLOCK
web service and on Cloudloop's HTTP destination (JSON "Lingo"); the names in Cloudloop's `imt` header are unverified.  The
server must answer 200 within 5 s, or the post is repeated after 2, 4, 8 ... s for about 12 hours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rataccess_hil.satellite import http
from rataccess_hil.satellite.delivery import Delivery
from rataccess_hil.satellite.directip import MoMessage
from rataccess_hil.satellite.gateway import IridiumGateway

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PATIENCE = 5.0
"""Seconds in which an answer has to come."""
FIRST_RETRY = 2.0
LAST_RETRY = 12 * 3600.0

Body = tuple[str, bytes]
"""Content type and content."""
Post = Callable[[str, str, bytes], Awaitable[int]]
"""URL, content type and content to a status; raises `OSError`."""

_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


def rockblock_fields(
    message: MoMessage, *, serial: int = 1234, long_year: bool = False, key: RSAPrivateKey | None = None
) -> dict[str, str]:
    """The fields of a RockBLOCK post; `long_year` writes the year with four digits, `key` adds the signature."""
    style = "%Y-%m-%d %H:%M:%S" if long_year else "%y-%m-%d %H:%M:%S"
    place = message.location
    fields = {
        "imei": message.imei,
        "device_type": "ROCKBLOCK",
        "serial": str(serial),
        "momsn": str(message.momsn),
        "transmit_time": datetime.fromtimestamp(message.time, UTC).strftime(style),
        "iridium_latitude": f"{place.latitude if place else 0:.4f}",
        "iridium_longitude": f"{place.longitude if place else 0:.4f}",
        "iridium_cep": f"{place.cep_km if place else 0:.1f}",
        "data": (message.payload or b"").hex(),
    }
    if key is not None:
        fields["JWT"] = signature(fields, key)
    return fields


def signature(claims: Mapping[str, str], key: RSAPrivateKey) -> str:
    """The fields as a JSON Web Token, RS256 (RFC 7519, RFC 7518 section 3.3)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    head = _segment(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    body = _segment(json.dumps({"iss": "Rock 7", **claims}).encode())
    signed = f"{head}.{body}"
    return f"{signed}.{_segment(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def rockblock_form(message: MoMessage, **options: Any) -> Body:
    """A RockBLOCK post as a form; `options` as of `rockblock_fields`."""
    return _FORM, urlencode(rockblock_fields(message, **options)).encode()


def rockblock_json(message: MoMessage, **options: Any) -> Body:
    """A RockBLOCK post as JSON; `options` as of `rockblock_fields`."""
    fields: dict[str, Any] = dict(rockblock_fields(message, **options))
    fields |= {name: float(fields[name]) for name in ("iridium_latitude", "iridium_longitude", "iridium_cep")}
    fields |= {"momsn": message.momsn, "serial": int(fields["serial"])}
    return _JSON, json.dumps(fields).encode()


def lingo(message: MoMessage) -> Body:
    """A Cloudloop post, JSON (Lingo), of an SBD or an IMT message."""
    header: dict[str, Any]
    topic = message.topic
    if topic is None:
        header = {"sbd": _sbd_header(message)}
    else:
        header = {"imt": {"imei": message.imei, "topic": topic, "messageId": message.momsn}}  # names unverified
    content = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{message.imei}/{message.auto_id}")),
        "receivedAt": _moment(message.time),
        "identity": _identity(message.imei, "SUBSCRIBER_TYPE_SBD" if topic is None else "SUBSCRIBER_TYPE_IMT"),
        **header,
        "message": base64.b64encode(message.payload or b"").decode(),
        "signature": "",
    }
    return _JSON, json.dumps(content).encode()


def thing_of(imei: str) -> str:
    """The identifier under which the virtual Cloudloop knows a radio: 32 characters."""
    return _segment(uuid.uuid5(uuid.NAMESPACE_OID, imei).hex.encode())[:32]


def _identity(imei: str, kind: str) -> dict[str, Any]:
    return {
        "accountId": thing_of("account"),
        "subscriber": {"id": thing_of(f"subscriber {imei}"), "type": kind, "description": ""},
        "hardware": {"id": thing_of(f"hardware {imei}"), "type": "HARDWARE_TYPE_ROCKBLOCK", "imei": imei, "serial": ""},
        "identifier": imei,
        "thingId": thing_of(imei),
    }


def _sbd_header(message: MoMessage) -> dict[str, Any]:
    place = message.location
    return {
        "imei": message.imei,
        "cdrReference": str(message.auto_id),
        "momsn": message.momsn,
        "mtmsn": message.mtmsn,
        "sessionAt": _moment(message.time),
        "status": "SESSION_STATUS_OK",
        "location": {
            "latitude": place.latitude if place else 0.0,
            "longitude": place.longitude if place else 0.0,
            "cep": float(place.cep_km) if place else 0.0,
        },
    }


def _moment(seconds: int) -> dict[str, int]:
    when = datetime.fromtimestamp(seconds, UTC)
    return {name: getattr(when, name) for name in ("year", "month", "day", "hour", "minute", "second")}


class HookPoster(Delivery):
    """Posts a gateway's MO messages to one URL; a message that no 200 answered in time is posted again.

    `form` makes the body (`rockblock_form`, `rockblock_json`, `lingo`); `post` sends it, and may be another function where
    time is virtual.
    """

    def __init__(
        self,
        gateway: IridiumGateway,
        url: str,
        *,
        form: Callable[[MoMessage], Body] = rockblock_form,
        post: Post = http.post,
        first_retry: float = FIRST_RETRY,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(gateway)
        self.url, self.form, self.post = url, form, post
        self.first_retry, self.patience = first_retry, patience

    def _pause(self, tries: int) -> float | None:
        waited = self.first_retry * (2 ** (tries - 1) - 1)
        return self.first_retry * 2 ** (tries - 1) if waited < LAST_RETRY else None

    async def _try(self, message: MoMessage) -> bool:
        try:
            async with asyncio.timeout(self.patience):
                return await self.post(self.url, *self.form(message)) == 200
        except (OSError, TimeoutError):
            return False
