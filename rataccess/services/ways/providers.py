"""The providers whose web-hooks are understood: RockBLOCK and Cloudloop.

Rules of this file: what differs between them: the fields of a post, the request that sends, what its answer says.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from rataccess.errors import ObjectError
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.ways import posted
from rataccess.services.ways.base import Surroundings
from rataccess.services.ways.hooks import HookWay, Posted, by_status
from rataccess.services.ways.iridium import SBD
from rataccess.services.ways.outbox import Outcome
from rataccess.services.ways.settings import CloudloopSettings, RockBlockSettings

IMT = "imt"
ROCKBLOCK_CODES = {
    10: Outcome.LATER,  # login
    11: Outcome.REFUSED,  # no such device on the account
    12: Outcome.LATER,  # no line rental
    13: Outcome.LATER,  # no credit
    14: Outcome.REFUSED,  # data that is not hexadecimal
    15: Outcome.REFUSED,  # too long
    16: Outcome.REFUSED,  # no data
    99: Outcome.SOON,  # trouble of theirs
}
"""What is done about each error of the MT call."""


class RockBlockWay(HookWay):
    """RockBLOCK's web services."""

    def __init__(
        self,
        settings: RockBlockSettings,
        path: str,
        login: tuple[str, str] | None,
        public_key: RSAPublicKey | None,
        around: Surroundings,
        key: str,
    ) -> None:
        super().__init__(settings, path, around, key)
        self._settings, self._login, self._public_key = settings, login, public_key

    @property
    def _sends(self) -> bool:
        return self._login is not None

    def _read(self, body: bytes, content_type: str) -> Posted:
        fields = posted.fields_of(body, content_type)
        imei, data = posted.imei_of(fields), posted.hex_of(fields.get("data"))
        if self._public_key is not None:
            claims = posted.claims_of(fields.get("JWT"), self._public_key)
            told = str(claims.get("data", data.hex())).lower()
            if str(claims.get("imei")) != imei or told != data.hex():
                raise ObjectError("a JSON Web Token for another message")
        return Posted(imei, data, posted.time_of(fields.get("transmit_time")))

    def _request(self, airway: Airway, data: bytes) -> tuple[str, dict[str, str]]:
        assert self._login is not None
        username, password = self._login
        form = {"imei": airway.name, "username": username, "password": password, "data": data.hex()}
        return self._settings.url, {**form, **({"flush": "yes"} if self._settings.flush else {})}

    def _judge(self, status: int, text: str) -> Outcome:
        if status != 200:
            return by_status(status)
        word, _, rest = text.strip().partition(",")
        if word == "OK":
            return Outcome.DONE
        code = rest.partition(",")[0].strip()
        if word != "FAILED" or not code.isdecimal():
            return Outcome.UNKNOWN
        return ROCKBLOCK_CODES.get(int(code[:4]), Outcome.LATER)


class CloudloopWay(HookWay):
    """Ground Control's Cloudloop."""

    def __init__(
        self, settings: CloudloopSettings, path: str, token: str | None, around: Surroundings, key: str
    ) -> None:
        super().__init__(settings, path, around, key)
        self._settings, self._token = settings, token

    @property
    def _sends(self) -> bool:
        return self._token is not None

    def _read(self, body: bytes, content_type: str) -> Posted:
        fields = posted.fields_of(body, content_type)
        if "identity" not in fields:  # the older formats, JSON or a form, as RockBLOCK's
            data = posted.hex_of(fields.get("data"))
            return Posted(posted.imei_of(fields), data, posted.time_of(fields.get("transmit_time")))
        header, hardware = posted.table(fields, "header"), posted.table(fields, "identity", "hardware")
        kind = IMT if "imt" in fields or "imt" in header or _says_imt(fields) else SBD
        network = posted.table(fields, kind) or posted.table(header, kind)  # the documentation shows both places
        imei = posted.imei_of(network if "imei" in network else hardware)
        heard_at = posted.lingo_time(network.get("sessionAt")) or posted.lingo_time(fields.get("receivedAt"))
        thing = fields["identity"].get("thingId") if isinstance(fields["identity"], dict) else None
        handle = thing if isinstance(thing, str) else ""
        return Posted(imei, posted.base64_of(fields.get("message")), heard_at, kind, handle)

    def _send_for(self, service: Service, airway: Airway, data: bytes) -> None:
        if airway.via:
            super()._send_for(service, airway, data)
        else:
            self._count("answers that a way in lost")  # the post did not say what they call the device

    def _request(self, airway: Airway, data: bytes) -> tuple[str, dict[str, str]]:
        assert self._token is not None
        form = {"token": self._token, "thing": str(airway.via)}
        if airway.link == SBD:
            return f"{self._settings.url}/Data/DoSendSbdMessage", {**form, "message": data.hex()}
        message = base64.b64encode(data).decode("ascii")
        return f"{self._settings.url}/Data/DoSendImtMessage", {
            **form,
            "message": message,
            "topic": str(self._settings.topic),
        }

    def _judge(self, status: int, text: str) -> Outcome:
        return Outcome.DONE if 200 <= status < 300 else by_status(status)


def _says_imt(fields: dict[str, object]) -> bool:
    return str(posted.table(fields, "identity", "subscriber").get("type", "")).endswith("_IMT")
