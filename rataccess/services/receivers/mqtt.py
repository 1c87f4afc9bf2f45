"""Records to an MQTT broker, at quality of service 1: taken when the broker has acknowledged.

Rules of this file: one connection at a time, a batch of publications under way in order, and what the broker's
acknowledgements say (MQTT 5.0 section 3.4.2.1): one that refuses counts as refused, whatever else arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any, Protocol

from rataccess.errors import ConfigurationError, MissingExtra, ReceiverDown, RecordRefused
from rataccess.objects import Service
from rataccess.services.receivers.base import Receiver, as_json, key_of
from rataccess.services.receivers.settings import MqttSettings

if TYPE_CHECKING:
    from rataccess.services.receivers.mqttclient import Client
    from rataccess.services.store import StoredRecord

_NAMES = {"channel", "device", "serial_number", "queue"}
_RESERVED = re.compile(r"[/+#%\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What would part a topic's level, be a wildcard (section 4.7), or is not allowed in text (section 1.5.4)."""
_LONGEST_TOPIC = 65_535
_HEADS = 512
"""Bytes of a publication beside topic, key and payload, at most."""
_ABOUT_RECORD = frozenset({0x83, 0x90, 0x91, 0x95, 0x99})
"""Reasons that are about the publication: implementation specific, topic name, identifier, too large, format.  Others (not
authorised, quota exceeded ...) are about us or the broker."""
_CLOSED_TOO_LARGE = 0x95


class MqttReceiver(Receiver):
    """Publications on a topic made from each record, with the record as JSON."""

    most_bytes = 1024 * 1024

    def __init__(self, settings: MqttSettings, username: str | None, password: str | None) -> None:
        self.most, self.tries = settings.batch, settings.tries
        self._settings, self._username, self._password = settings, username, password
        self._client: Client | None = None
        self._broken: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<MqttReceiver {self._settings.name}>"

    async def open(self, state: bytes | None) -> None:
        """See `Receiver`; connected when this returns."""
        client_type = _client_type()
        tls = await asyncio.to_thread(tls_context, self._settings)
        client = client_type(self._settings, self._username, self._password, tls)
        await client.connect()
        self._client = client
        self._broken = asyncio.create_task(_until_broken(client), name=f"mqtt {self._settings.name}")

    @property
    def _v5(self) -> bool:
        return self._settings.version == "5"

    async def deliver(self, batch: Sequence[StoredRecord]) -> None:
        """See `Receiver`: all acknowledged, none refused."""
        client, broken = self._client, self._broken
        assert client is not None
        assert broken is not None
        publications = await asyncio.to_thread(self._compose, batch, client.largest)
        client.refusals.clear()
        sending = asyncio.create_task(_publish_all(client, publications))
        try:
            await asyncio.wait({sending, broken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        self._judge(sending, client.refusals)

    def _judge(self, sending: asyncio.Task[None], refusals: list[Any]) -> None:
        if refusals:
            reason = refusals[0]
            text = f"the broker refuses: {reason}"
            raise RecordRefused(text) if reason.value in _ABOUT_RECORD else ReceiverDown(text)
        if sending.cancelled():
            self._raise_broken()
        error = sending.exception()
        if error is not None:
            first = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            raise ReceiverDown(f"not acknowledged: {told(first)}") from error

    def _raise_broken(self) -> None:
        """The connection ended while acknowledgements were due."""
        reason = None if self._client is None else self._client.goodbye
        if reason is not None and reason.value == _CLOSED_TOO_LARGE:
            raise RecordRefused(f"the broker closed the connection: {reason}", too_large=True)
        raise ReceiverDown(f"the connection broke{'' if reason is None else f': {reason}'}")

    def _compose(self, batch: Sequence[StoredRecord], largest: int) -> list[dict[str, Any]]:
        return [self._publication(record, largest) for record in batch]

    def _publication(self, record: StoredRecord, largest: int) -> dict[str, Any]:
        topic, payload = topic_of(self._settings.topic, record), as_json(record).encode()
        size = len(topic.encode()) + len(payload) + _HEADS
        if len(topic.encode()) > _LONGEST_TOPIC or size > largest:
            raise RecordRefused(
                f"a publication of {size} bytes is more than the broker takes ({largest})", too_large=True
            )
        properties = _client_type().properties(key_of(record)) if self._v5 else None
        return {"topic": topic, "payload": payload, "retain": self._settings.retain, "properties": properties}

    async def aclose(self) -> None:
        """See `Receiver`."""
        client, self._client = self._client, None
        broken, self._broken = self._broken, None
        if broken is not None:
            broken.cancel()
            await asyncio.wait({broken})
        if client is not None:
            with contextlib.suppress(Exception):  # what is broken already cannot be closed in order
                await client.__aexit__(None, None, None)


async def _publish_all(client: Client, publications: list[dict[str, Any]]) -> None:
    async with asyncio.TaskGroup() as group:  # its tasks begin in order, and so do the publications
        for each in publications:
            group.create_task(client.publish(**each, qos=1))


def topic_of(template: str, record: StoredRecord) -> str:
    """The record's topic: what cannot stand in a topic's level is percent-encoded."""
    values = {
        "channel": Service.SOLUTION.value,
        "device": record.device.hex(),
        "serial_number": record.serial_number,
        "queue": record.queue,
    }
    return template.format_map({name: _RESERVED.sub(_percent, value) for name, value in values.items()})


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def topic_mistake(template: str) -> str | None:
    """What is wrong with a topic's template."""
    allowed = f"allowed: text with {', '.join(f'{{{name}}}' for name in sorted(_NAMES))}"
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return f"found an unpaired brace; {allowed}"
    for _, name, form, conversion in parts:
        if name is not None and (name not in _NAMES or form or conversion):
            return f"found {{{name}}}; {allowed}"
    if any(_RESERVED.search(text.replace("/", "")) for text, *_ in parts) or template.startswith("$"):
        return f"found a wildcard, a control character, % or a leading $; {allowed}"
    return None


class _ClosedWhenRefused(ssl.SSLSocket):
    """paho-mqtt leaves a socket open whose handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class Tls(Protocol):
    """What settings say of a connection's TLS."""

    @property
    def name(self) -> str: ...
    @property
    def tls(self) -> bool: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def certificate_file(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...


def tls_context(settings: Tls, what: str = "receiver") -> ssl.SSLContext | None:
    """The connection's TLS; raises `ConfigurationError` where a file of it cannot be used."""
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.sslsocket_class = _ClosedWhenRefused
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{what} {settings.name}: its certificates cannot be read: {error}") from error
    return context


async def _until_broken(client: Client) -> None:
    """Returns when the connection has ended; nothing is subscribed to."""
    with contextlib.suppress(Exception):
        async for _ in client.messages:
            pass


def _client_type() -> type[Client]:
    try:
        from rataccess.services.receivers.mqttclient import Client
    except ImportError as error:
        raise MissingExtra("receivers of kind mqtt need the extra: pip install 'rataccess[services]'") from error
    return Client


def told(error: BaseException) -> str:
    """What went wrong: the library's text, or what caused it where it has none."""
    cause = error.__cause__ or error
    return str(error) or getattr(cause, "strerror", None) or type(cause).__name__
