"""LoRaWAN network servers over MQTT: ChirpStack v4 and The Things Stack v3.

Rules of this file: connect, subscribe, read events, publish downlinks; what they look like is in events.py.  A connection
that breaks ends `_run`, and the base begins it again.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from rataccess.errors import MissingExtra, ObjectError, ReceiverDown, WayBroken
from rataccess.link.backoff import exponential
from rataccess.services.airway import Airway
from rataccess.services.receivers.mqtt import tls_context, told
from rataccess.services.ways import events
from rataccess.services.ways.base import Surroundings, WayIn
from rataccess.services.ways.rooms import LORAWAN, believed, room_of
from rataccess.services.ways.settings import Broker, ChirpStackSettings, ThingsStackSettings
from rataccess.services.ways.turns import MOST_DEVICES, Turns

if TYPE_CHECKING:
    from rataccess.services.receivers.mqttclient import Client

logger = logging.getLogger("rataccess.services.ways")

MOST_WAITING = 1000
"""Downlinks that wait for the broker, at most; the oldest are dropped."""

AGAIN, LONGEST_AGAIN = 2.0, 60.0
"""Seconds before what the store could not keep is given to it again, for the broker has let go of it: at first, at most."""
STALE = 30.0
"""Seconds after which a downlink is not worth publishing: its receive windows are long over, and it would only queue up at
the network server before fresher ones."""


SMALLEST_ROOM = 11
"""Bytes that any downlink takes (RP002: AS923 DR2 with dwell time, US915's slowest uplink)."""


class _Publication(NamedTuple):
    """A downlink on its way to the broker."""

    since: float
    device: str
    reference: str
    topic: str
    payload: bytes


class BrokerWay(WayIn):
    """Events in, downlinks out."""

    quality = 1
    """MQTT's quality of service, both ways."""

    def __init__(self, settings: Broker, username: str | None, password: str | None, around: Surroundings) -> None:
        super().__init__(settings.name, around)
        self._broker, self._username, self._password = settings, username, password
        self._waiting: asyncio.Queue[_Publication] = asyncio.Queue()
        self._unkept: deque[tuple[bytes, Airway]] = deque(maxlen=MOST_WAITING)
        """Packets that the store could not keep yet, in order; of too many the oldest are lost."""
        self._rooms: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """For devices whose network refused a downlink for its size: what was thought to fit, and what did."""
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
    def _downlink(self, device: str, handle: str, data: bytes, reference: str) -> tuple[str, bytes]:
        """Topic and payload."""

    async def _run(self) -> None:
        client = await self._connected()
        try:
            await self._subscribe(client)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish(client), name=f"way {self.name} out")
                group.create_task(self._keep_again(), name=f"way {self.name} again")
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
            each = await self._waiting.get()
            if loop.time() - each.since > STALE:
                self._lose(each)
                continue
            try:
                await client.publish(each.topic, each.payload, qos=self.quality)
            except BaseException:
                self._lose(each)
                raise

    def _lose(self, publication: _Publication) -> None:
        """It was not published."""
        self._count("answers that a way in lost")

    # --- events -------------------------------------------------------------------------------------------------------

    def _take(self, topic: str, payload: object) -> None:
        try:
            self._take_event(self._read(topic, payload if isinstance(payload, bytes) else b""))
        except ObjectError as error:
            self._count("malformed events of network servers")
            logger.debug("way %s: %s: %s", self.name, topic, error)
            if isinstance(payload, bytes) and payload.lstrip()[:1] != b"{":
                self._warn("way %s: events on %s are no JSON; have the network server's integration write JSON", topic)
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._met(error)

    def _take_event(self, event: events.Event) -> None:
        if event.kind == "up":
            self._take_uplink(event)
        elif event.kind == "refused":
            self._count("downlinks that a network refused")
            self._warn("way %s: a downlink to %s was refused: %s", event.dev_eui, event.reason)
            if event.fits is not None and event.dev_eui in self._rooms:
                self._rooms[event.dev_eui] = self._rooms[event.dev_eui][0], max(SMALLEST_ROOM, event.fits)

    def _take_uplink(self, event: events.Event) -> None:
        if event.port != self._port:
            self._count("uplinks on the port of another")
        elif event.data:
            packet = event.data, self._airway(event)
            if self._unkept or not self._hear(*packet):
                self._unkept.append(packet)

    async def _keep_again(self) -> None:
        failures = 1
        while True:
            await asyncio.sleep(exponential(failures, AGAIN, LONGEST_AGAIN, self._around.random))
            failures = 1 if self._kept() else failures + 1

    def _kept(self) -> bool:
        """Whether all has been kept now; one that the store refuses, and not the one behind it, is lost."""
        while self._unkept:
            if self._heard([self._unkept[0]]) is False:
                if len(self._unkept) < 2 or self._heard([self._unkept[1]]) is False:
                    return False
                self._unkept.popleft()
                self._count("packets that the store refused for good")
            self._unkept.popleft()
        return True

    def _airway(self, event: events.Event) -> Airway:
        region = self._broker.region
        room = room_of(event.region or region, region, event.data_rate, event.spreading_factor, event.bandwidth)
        room = self._room(event.dev_eui, room)
        heard_at = believed(event.heard_at, self._around.clock)
        return Airway(self.name, "deveui", event.dev_eui, LORAWAN, room, heard_at=heard_at, via=event.handle)

    def _room(self, device: str, room: int) -> int:
        """`room`, or what its network said that fits after uplinks like this one."""
        thought, fits = self._rooms.get(device, (room, room))
        self._rooms[device] = room, fits if thought == room else room
        self._rooms.move_to_end(device)
        while len(self._rooms) > MOST_DEVICES:
            self._rooms.popitem(last=False)
        return min(self._rooms[device])

    def send(self, airway: Airway, data: bytes) -> None:
        """See `WayIn`."""
        if isinstance(airway.via, str) and airway.via:
            self._offer(airway.name, airway.via, data)
        else:
            self._count("answers that a way in lost")

    def _offer(self, device: str, handle: str, data: bytes) -> None:
        """Publish a downlink, when the network server's queue has room for it."""
        self._put(device, handle, data, "")

    def _put(self, device: str, handle: str, data: bytes, reference: str) -> None:
        while self._waiting.qsize() >= MOST_WAITING:
            self._lose(self._waiting.get_nowait())
        topic, payload = self._downlink(device, handle, data, reference)
        self._waiting.put_nowait(_Publication(asyncio.get_running_loop().time(), device, reference, topic, payload))
        self._count("answers by a way in")


class ChirpStackWay(BrokerWay):
    """ChirpStack v4."""

    def __init__(
        self, settings: ChirpStackSettings, username: str | None, password: str | None, around: Surroundings
    ) -> None:
        super().__init__(settings, username, password, around)
        self._settings = settings
        self._turns = Turns()

    @property
    def _topics(self) -> list[str]:
        events_of = f"application/{self._settings.application}/device/+/event"
        if not self._settings.group:
            return [f"{events_of}/+"]
        # what became of a downlink concerns the process that published it, and any may have
        return [f"$share/{self._settings.group}/{events_of}/up", f"{events_of}/txack", f"{events_of}/log"]

    def _read(self, topic: str, payload: bytes) -> events.Event:
        return events.chirpstack_event(topic, payload)

    def _take_event(self, event: events.Event) -> None:
        if event.kind == "up":
            self._turns.uplink(event.dev_eui, asyncio.get_running_loop().time())
        elif event.reference:
            self._turns.gone(event.dev_eui, event.reference)
        super()._take_event(event)
        if event.kind == "up":
            waited = self._turns.due(event.dev_eui)
            if waited is not None:
                self._offer(event.dev_eui, event.handle, waited)

    def _offer(self, device: str, handle: str, data: bytes) -> None:
        reference = str(UUID(bytes=self._around.random.randbytes(16), version=4))
        now, replaced = self._turns.offer(device, reference, data, asyncio.get_running_loop().time())
        if now:
            self._put(device, handle, data, reference)
        if replaced:
            self._count("answers that a newer one replaced")

    def _lose(self, publication: _Publication) -> None:
        super()._lose(publication)
        self._turns.gone(publication.device, publication.reference)

    def _downlink(self, device: str, handle: str, data: bytes, reference: str) -> tuple[str, bytes]:
        return events.chirpstack_downlink(device, handle, self._port, data, reference)


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

    def _downlink(self, device: str, handle: str, data: bytes, reference: str) -> tuple[str, bytes]:
        return events.things_stack_downlink(self._account, handle, self._port, data)


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
