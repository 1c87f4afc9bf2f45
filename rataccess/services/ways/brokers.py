"""LoRaWAN network servers over MQTT: ChirpStack v4 and The Things Stack v3.

Rules of this file: connect, subscribe, read events, publish downlinks; what they look like is in events.py.  A connection
that breaks ends `_run`, and the base begins it again.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from rataccess.errors import MissingExtra, ObjectError, ReceiverDown, WayBroken
from rataccess.services.airway import Airway
from rataccess.services.receivers.mqtt import tls_context, told
from rataccess.services.ways import events
from rataccess.services.ways.base import Surroundings, WayIn
from rataccess.services.ways.rooms import LORAWAN, believed, room_of
from rataccess.services.ways.settings import Broker, ChirpStackSettings, ThingsStackSettings

if TYPE_CHECKING:
    from rataccess.services.receivers.mqttclient import Client

logger = logging.getLogger("rataccess.services.ways")

MOST_WAITING = 1000
"""Downlinks that wait for the broker, at most; the oldest are dropped."""

STALE = 30.0
"""Seconds after which a downlink is not worth publishing: its receive windows are long over, and it would only queue up at
the network server before fresher ones."""


class BrokerWay(WayIn):
    """Events in, downlinks out."""

    quality = 1
    """MQTT's quality of service, both ways."""

    def __init__(self, settings: Broker, username: str | None, password: str | None, around: Surroundings) -> None:
        super().__init__(settings.name, around)
        self._broker, self._username, self._password = settings, username, password
        self._waiting: asyncio.Queue[tuple[float, str, bytes]] = asyncio.Queue()
        self._port = settings.ports[around.service]
        self.subscribed = asyncio.Event()
        """Set while events come."""

    @property
    @abstractmethod
    def _topics(self) -> list[str]:
        """What to subscribe to."""

    @abstractmethod
    def _read(self, topic: str, payload: bytes) -> events.Event:
        """Raises `ObjectError`."""

    @abstractmethod
    def _downlink(self, airway: Airway, data: bytes) -> tuple[str, bytes]:
        """Topic and payload."""

    async def _run(self) -> None:
        client = await self._connected()
        try:
            await self._subscribe(client)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish(client), name=f"way {self.name} out")
                async for message in client.messages:
                    self._take(str(message.topic), message.payload)
        except* _broker_errors() as found:
            reason = found.exceptions[0]
            raise WayBroken(f"the connection to {self._broker.host} broke: {told(reason)}") from reason
        finally:
            self.subscribed.clear()
            await _hang_up(client)

    async def _connected(self) -> Client:
        settings = self._broker
        tls = await asyncio.to_thread(tls_context, settings, "way")
        keep = True if settings.client_id is not None and settings.version == "3.1.1" else None
        client = _client_type()(settings, self._username, self._password, tls, keep_session=keep)
        try:
            await client.connect()
        except ReceiverDown as error:
            raise WayBroken(f"{settings.host}: {error}") from error
        return client

    async def _subscribe(self, client: Client) -> None:
        for topic in self._topics:
            granted: Any = await client.subscribe(topic, qos=self.quality)
            refused = [code for code in granted if getattr(code, "value", code) >= 0x80]
            if refused:
                raise WayBroken(f"{self._broker.host} refuses a subscription to {topic}: {refused[0]}")
        logger.info("way %s: subscribed at %s", self.name, self._broker.host)
        self.subscribed.set()

    async def _publish(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        while True:
            since, topic, payload = await self._waiting.get()
            if loop.time() - since > STALE:
                self._count("answers that a way in lost")
                continue
            try:
                await client.publish(topic, payload, qos=self.quality)
            except BaseException:
                self._count("answers that a way in lost")
                raise

    # --- events -------------------------------------------------------------------------------------------------------

    def _take(self, topic: str, payload: object) -> None:
        try:
            self._take_event(self._read(topic, payload if isinstance(payload, bytes) else b""))
        except ObjectError as error:
            self._count("malformed events of network servers")
            logger.debug("way %s: %s: %s", self.name, topic, error)
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._met(error)

    def _take_event(self, event: events.Event) -> None:
        if event.kind == "up":
            self._take_uplink(event)
        elif event.kind == "refused":
            self._count("downlinks that a network refused")
            logger.info("way %s: a downlink was refused: %s", self.name, event.reason)

    def _take_uplink(self, event: events.Event) -> None:
        if event.port != self._port:
            self._count("uplinks on the port of another")
        elif event.data:
            self._hear(event.data, self._airway(event))

    def _airway(self, event: events.Event) -> Airway:
        region = self._broker.region
        room = room_of(event.region or region, region, event.data_rate, event.spreading_factor, event.bandwidth)
        heard_at = believed(event.heard_at, self._around.clock)
        return Airway(self.name, "deveui", event.dev_eui, LORAWAN, room, heard_at=heard_at, via=event.handle)

    def send(self, airway: Airway, data: bytes) -> None:
        """See `WayIn`."""
        if not isinstance(airway.via, str) or not airway.via:
            self._count("answers that a way in lost")
            return
        while self._waiting.qsize() >= MOST_WAITING:
            self._waiting.get_nowait()
            self._count("answers that a way in lost")
        self._waiting.put_nowait((asyncio.get_running_loop().time(), *self._downlink(airway, data)))
        self._count("answers by a way in")


class ChirpStackWay(BrokerWay):
    """ChirpStack v4."""

    def __init__(
        self, settings: ChirpStackSettings, username: str | None, password: str | None, around: Surroundings
    ) -> None:
        super().__init__(settings, username, password, around)
        self._settings = settings

    @property
    def _topics(self) -> list[str]:
        shared = f"$share/{self._settings.group}/" if self._settings.group else ""
        return [f"{shared}application/{self._settings.application}/device/+/event/+"]

    def _read(self, topic: str, payload: bytes) -> events.Event:
        return events.chirpstack_event(topic, payload)

    def _downlink(self, airway: Airway, data: bytes) -> tuple[str, bytes]:
        return events.chirpstack_downlink(airway.name, str(airway.via), self._port, data)


class ThingsStackWay(BrokerWay):
    """The Things Stack v3: MQTT 3.1.1, quality of service 0 only."""

    quality = 0

    def __init__(
        self, settings: ThingsStackSettings, username: str | None, password: str | None, around: Surroundings
    ) -> None:
        super().__init__(settings, username or settings.account, password, around)
        self._account = settings.account

    @property
    def _topics(self) -> list[str]:
        prefix = f"v3/{self._account}/devices/+"
        return [f"{prefix}/up", f"{prefix}/down/nack", f"{prefix}/down/failed"]

    def _read(self, topic: str, payload: bytes) -> events.Event:
        return events.things_stack_event(self._account, topic, payload)

    def _downlink(self, airway: Airway, data: bytes) -> tuple[str, bytes]:
        return events.things_stack_downlink(self._account, str(airway.via), self._port, data)


def _client_type() -> type[Client]:
    try:
        from rataccess.services.receivers.mqttclient import Client
    except ImportError as error:
        raise MissingExtra("ways in over MQTT need the extra: pip install 'rataccess[services]'") from error
    return Client


def _broker_errors() -> tuple[type[Exception], ...]:
    import aiomqtt

    return (aiomqtt.MqttError, OSError)


async def _hang_up(client: Client) -> None:
    try:
        await client.__aexit__(None, None, None)
    except Exception:
        logger.debug("hanging up", exc_info=True)
