"""The hub of a private LoRa network, on the gateway that has the Internet: packets of the nodes to the services, and back.

Rules of this file: it passes on and looks at nothing but the bit that names the service; it has no keys.  It sends to the
two services and to nobody else.  A node's message is acknowledged when there is room to keep it until the service's address
takes it; while the Internet is away and that room is used up, nodes get no acknowledgement and keep what they have.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from rataccess.clock import Clock
from rataccess.driver import Allowance, Forgetful
from rataccess.errors import ConfigurationError, ObjectError, RataccessError
from rataccess.objects import Memory, Service
from rataccess.transport import Endpoint
from rataccess_drivers.lora.private.hub import Hub
from rataccess_drivers.lora.private.link import Delivered, Event
from rataccess_drivers.lora.private.options import Address, RadioSettings, plan
from rataccess_drivers.lora.private.relay import from_service, named_service, to_service
from rataccess_drivers.lora.private.runner import Runner
from rataccess_drivers.lora.private.uplink import OpenUplink, UdpUplink, Uplink
from rataccess_drivers.lora.spi import GpioOpener, SpiOpener
from rataccess_drivers.lora.transceiver import open_transceiver

logger = logging.getLogger("rataccess.lora.private")

KEPT = 256
"""Messages of nodes that wait for the Internet."""
RETRY = 10.0
"""Seconds between two attempts to reach a service's address."""
RADIO_RETRY = 30.0
"""Seconds until a transceiver that failed is opened anew."""


class BridgeSettings(RadioSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The hub."""

    management: Annotated[str, Meta(pattern=r"^.+:[0-9]{1,5}$")]
    """`host:port` of the management service's way in of kind `relay`."""
    solution: Annotated[str, Meta(pattern=r"^.+:[0-9]{1,5}$")]
    nodes: tuple[Address, ...] | None = None
    """Whom the hub serves; absent: everybody in the network."""


class Bridge:
    """`run` opens the radio and works until it is cancelled.  The constructor opens nothing."""

    def __init__(
        self,
        settings: BridgeSettings,
        clock: Clock,
        memory: Memory | None = None,
        *,
        open_spi: SpiOpener | None = None,
        open_gpio: GpioOpener | None = None,
        open_uplink: OpenUplink = UdpUplink,
        chance: random.Random | None = None,
    ) -> None:
        """Raises `ConfigurationError`."""
        self.settings = settings
        self.counters: Counter[str] = Counter()
        """What came in from the services or nodes and was dropped, by reason."""
        self._plan = plan(settings)
        self._clock = clock
        self._ledger = self._plan.ledger(memory or Forgetful(), "driver/bridge/airtime", clock)
        self._radio = open_transceiver(settings.transceiver, "bridge", open_spi=open_spi, open_gpio=open_gpio)
        self._radio.check(self._plan.channel.frequency, self._plan.channel.modulation)
        self._chance = chance or random.Random()
        self.hub = self._new_hub()
        self._runner: Runner | None = None
        self._waiting: deque[tuple[Service, bytes]] = deque()
        self._news = asyncio.Event()
        services = {Service.MANAGEMENT: settings.management, Service.SOLUTION: settings.solution}
        self._uplinks: Mapping[Service, Uplink] = {
            service: open_uplink(_endpoint(text), self._answered) for service, text in services.items()
        }

    def __repr__(self) -> str:
        channel = self._plan.channel
        where = f"{channel.frequency / 1e6:.6g} MHz SF{channel.modulation.spreading_factor}"
        return f"<Bridge network={self.settings.network} {where} {'open' if self.working else 'closed'}>"

    def _new_hub(self) -> Hub:
        settings = self.settings
        return Hub(
            settings.network,
            self._plan.channel.modulation,
            attempts=settings.attempts,
            chance=self._chance,
            room=lambda: len(self._waiting) < KEPT,
            serves=None if settings.nodes is None else frozenset(settings.nodes),
        )

    @property
    def working(self) -> bool:
        """Whether the radio is open."""
        return self._runner is not None

    def allowances(self) -> list[Allowance]:
        """Air time that is left."""
        return list(self._ledger.allowances())

    async def run(self) -> None:
        """Until cancelled.  Raises what opening the radio raises the first time; later failures are repaired."""
        passing_on = asyncio.create_task(self._pass_on())
        try:
            await self._radio.open()
            logger.info("%r listens", self)
            while True:
                await self._relay()
                await self._reopen()
        finally:
            self._runner = None
            passing_on.cancel()
            await asyncio.wait({passing_on})
            for uplink in self._uplinks.values():
                uplink.close()
            await self._radio.aclose()

    async def _relay(self) -> None:
        """Until the transceiver fails.  What waits for nodes stays."""
        self._runner = Runner(self.hub, self._radio, self._plan.channel, self._ledger, self._happened)
        try:
            await self._runner.run()
        except RataccessError as error:
            self._failed(error)
        finally:
            self._runner = None

    def _failed(self, error: RataccessError) -> None:
        self.counters[f"radio failures ({type(error).__name__})"] += 1
        logger.warning("the radio is opened anew in %.0f s: %s", RADIO_RETRY, error)

    async def _reopen(self) -> None:
        while True:
            await self._radio.aclose()
            await asyncio.sleep(RADIO_RETRY)
            try:
                await self._radio.open()
            except RataccessError as error:
                self._failed(error)
            else:
                return

    # --- up -----------------------------------------------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        if not isinstance(event, Delivered):
            return
        service = named_service(event.data)
        if service is None:
            self.counters["packets for no service"] += 1
            return
        network, room = self.settings.network, self._plan.mtu
        heard_at = self._clock.wall() if self._clock.wall_known() else None
        frame = to_service(network, event.address, event.data, room=room, unasked=event.always, heard_at=heard_at)
        self._waiting.append((service, frame))
        self._news.set()

    async def _pass_on(self) -> None:
        while True:
            while self._waiting:
                service, frame = self._waiting[0]
                if await self._uplinks[service].send(frame):
                    self._waiting.popleft()
                else:
                    self.counters["attempts without a route"] += 1
                    logger.warning("no route to the %s service; %d packets wait", service, len(self._waiting))
                    self._waiting.rotate(-1)  # the other service may be reached
                    await asyncio.sleep(RETRY)
            self._news.clear()
            await self._news.wait()

    # --- down ---------------------------------------------------------------------------------------------------------

    def _answered(self, datagram: bytes) -> None:
        try:
            address, data = from_service(datagram, self.settings.network)
        except ObjectError:
            self.counters["malformed relay frames"] += 1
            return
        if len(data) > self._plan.mtu or not self.hub.serves(address):
            self.counters["packets that no node takes"] += 1
            return
        self.hub.post(address, data, asyncio.get_running_loop().time())
        if self._runner is not None and self.hub.idle:
            self._runner.wake()


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not 0 < int(port) < 65_536:
        raise ConfigurationError(f"{text!r} has no port of UDP: 1 to 65535 are")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ConfigurationError(f"{text!r} begins with no name of a host: {error}") from error
    return Endpoint(host.strip("[]"), int(port))
