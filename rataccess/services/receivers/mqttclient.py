"""aiomqtt's client, made to tell what it keeps to itself: refusals, the broker's limits, why the broker hung up.

Rules of this file: the only one that knows aiomqtt and paho-mqtt; imported when a receiver of kind mqtt is opened.  The
three methods overridden are aiomqtt's own (2.3 to 2.5); tests against a real broker fail where a later one renames them.
"""

from __future__ import annotations

import logging
import ssl
from typing import Any, Protocol

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rataccess.errors import ReceiverDown

_QUIET = logging.getLogger("rataccess.services.mqtt")
_QUIET.setLevel(logging.CRITICAL)  # the library's own lines; what matters of them is in the errors

LARGEST_PACKET = 268_435_455
"""Bytes of one packet where the broker names no limit (MQTT 5.0 section 2.1.4)."""


class Broker(Protocol):
    """What settings say of a broker, be it that of a receiver or of a way in."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def version(self) -> str: ...
    @property
    def client_id(self) -> str | None: ...
    @property
    def timeout(self) -> float: ...
    @property
    def batch(self) -> int: ...


class Client(aiomqtt.Client):
    """One connection; not used again after it."""

    def __init__(
        self,
        settings: Broker,
        username: str | None,
        password: str | None,
        tls: ssl.SSLContext | None,
        *,
        keep_session: bool | None = None,
    ) -> None:
        """`keep_session`: whether the broker keeps what comes while we are away (MQTT 3.1.1 section 3.1.2.4)."""
        super().__init__(
            settings.host,
            settings.port or (1883 if tls is None else 8883),
            username=username,
            password=password,
            logger=_QUIET,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if settings.version == "5" else aiomqtt.ProtocolVersion.V311,
            timeout=settings.timeout,
            tls_context=tls,
            clean_session=None if keep_session is None else not keep_session,
        )
        self.pending_calls_threshold = settings.batch
        self.refusals: list[Any] = []
        """Reason codes of acknowledgements that are refusals."""
        self.goodbye: Any = None
        """The reason code with which the broker closed the connection, where it gave one."""
        self.largest = LARGEST_PACKET
        """Bytes of the largest packet that the broker takes."""

    @staticmethod
    def properties(key: str) -> Properties:
        """What goes with a publication (MQTT 5.0 section 3.3.2.3)."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = [("idempotency-key", key)]
        properties.ContentType = "application/json"
        return properties

    async def connect(self) -> None:
        """Connected when this returns; raises `ReceiverDown`."""
        try:
            await self.__aenter__()
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            self._client.disconnect()
            raise ReceiverDown(f"cannot connect: {error or type(error).__name__}") from error
        except BaseException:
            self._client.disconnect()
            raise

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.largest = getattr(properties, "MaximumPacketSize", LARGEST_PACKET)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if reason_code is not None and reason_code.is_failure:
            self.refusals.append(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if getattr(flags, "is_disconnect_packet_from_server", False):
            self.goodbye = reason_code
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
