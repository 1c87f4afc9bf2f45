"""The network server on its UDP port.

Rules of this file: the socket, the clock and the store; what is decided is decided next door.  What must never be used twice
(a DevNonce, a downlink counter) is on disk before the frame that used it goes out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from rataccess.errors import KeyStoreError, ObjectError, StoreError
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.sockets import Allowed, is_loopback
from rataccess.services.ways import forwarder
from rataccess.services.ways.base import Surroundings
from rataccess.services.ways.other import WayForBoth
from rataccess.services.ways.rooms import LORAWAN
from rataccess.services.ways.semtech.downlinks import Downlinks, Order
from rataccess.services.ways.semtech.gateways import Gateway, Gateways, host_of
from rataccess.services.ways.semtech.network import NetworkServer, Reception, Taken
from rataccess.services.ways.semtech.sessions import DeviceState
from rataccess.services.ways.settings import SemtechSettings
from rataccess.services.ways.udp import UdpSocket

if TYPE_CHECKING:
    from rataccess.services.store import ServiceStore
    from rataccess.services.storethread import StoreAccess

logger = logging.getLogger("rataccess.services.ways")

_NO_ANSWER = "answers that a way in lost"
_DEVICE, _GATEWAY = "lorawan", "gateway"
"""What is kept, by kind."""


class SemtechWay(WayForBoth):
    """Gateways, and the devices that they hear."""

    def __init__(self, settings: SemtechSettings, around: Surroundings, key: str) -> None:
        super().__init__(settings.name, around, settings.other)
        self._settings = settings
        self._allowed = Allowed(settings.allowed, f"{key}.allowed")
        self._service_of = {port: service for service, port in settings.ports.items()}
        known = None if settings.gateways is None else frozenset(each.lower() for each in settings.gateways)
        self._gateways = Gateways(known)
        self.network = NetworkServer(settings, self._app_key, around.clock, around.random, around.count)
        self._downlinks = Downlinks(self.network, settings.power, around.random, around.count)
        self._socket = UdpSocket(self._take, self._met)
        self._store: StoreAccess | None = None
        self._changed: dict[str, DeviceState] = {}
        self._writing = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()
        self._keys_seen = float("-inf")
        self._restored = False
        """Whether what was kept is known: before that nothing is taken, or a nonce might be twice."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._socket.address

    # --- from beginning to end ------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        await super()._open()
        self._socket = UdpSocket(self._take, self._met)
        await self._socket.listening(self._settings.host, self._settings.port)
        if self._store is None or self._around.shared:  # then another process may have gone on since
            self._restored = False
            self._store = self._store or self._around.store(self.name)
            await self._restore(self._store)
            self._restored = True
        logger.info("way %s listens on %s port %d (UDP)", self.name, self._settings.host, self._settings.port)
        if not (self._settings.allowed or self._settings.gateways) and not is_loopback(self._settings.host):
            logger.warning(
                "way %s: whoever reaches UDP port %d is believed to be a gateway; name the networks of yours (allowed), or"
                " their EUIs (gateways)",
                self.name,
                self._settings.port,
            )

    async def _run(self) -> None:
        await self._socket.until_lost()

    async def _close(self) -> None:
        await super()._close()
        self._socket.close()
        for each in list(self._answering):
            each.cancel()
        if self._answering:
            await asyncio.wait(self._answering)

    async def aclose(self) -> None:
        """See `WayIn`."""
        await super().aclose()
        store, self._store = self._store, None
        if store is not None:
            try:
                await self._write(store)
            except StoreError as error:
                logger.warning("way %s: what devices said last was not kept: %s", self.name, error)
            await store.aclose()

    # --- what is kept ---------------------------------------------------------------------------------------------------

    async def _restore(self, store: StoreAccess) -> None:
        prefix = f"ways/{self.name}/"

        def read(found: ServiceStore) -> list[tuple[str, bytes]]:
            rows = found.execute("SELECT key, value FROM memory WHERE key LIKE ?", (f"{prefix}%",))
            return [(row[0].removeprefix(prefix), bytes(row[1])) for row in rows if row[0].startswith(prefix)]

        for key, value in await store.do(read):
            try:
                self._restore_one(*key.partition("/")[::2], value)
            except ObjectError as error:
                logger.warning("way %s: %s", self.name, error)

    def _restore_one(self, kind: str, eui: str, value: bytes) -> None:
        if kind == _DEVICE:
            self.network.restore(DeviceState.unpacked(eui, value, self._app_key(eui)))
        gateway = self._gateways.heard(eui) if kind == _GATEWAY else None
        if gateway is not None:
            clock = self._around.clock
            gateway.restore(value, asyncio.get_running_loop().time(), clock.wall() if clock.wall_known() else None)

    def _key(self, kind: str, eui: str) -> str:
        return f"ways/{self.name}/{kind}/{eui}"

    async def _write(self, store: StoreAccess) -> None:
        """Everything that has changed is on disk when this returns.  Raises `StoreError`."""
        async with self._writing:
            while self._changed:
                changed, self._changed = self._changed, {}
                rows = [(self._key(_DEVICE, dev_eui), state.packed()) for dev_eui, state in changed.items()]
                reserved = [(session, session.reserved) for state in changed.values() for session in state.sessions]
                try:
                    await store.do(lambda found, rows=rows: _put(found, rows))  # type: ignore[misc]
                except BaseException:
                    self._changed = {**changed, **self._changed}
                    raise
                for session, up_to in reserved:
                    session.usable = max(session.usable, up_to)

    async def _keep_spent(self, gateway: Gateway) -> None:
        """How long a gateway has been on the air outlives a restart."""
        if self._store is None:
            return
        packed = gateway.packed(asyncio.get_running_loop().time(), self._around.clock.wall())
        row = (self._key(_GATEWAY, gateway.eui), packed)
        try:
            await self._store.do(lambda found: _put(found, [row]))
        except StoreError as error:
            self._warn("way %s: the air time of gateway %s was not kept: %s", gateway.eui, error)

    def _app_key(self, dev_eui: str) -> bytes | None:
        keys, now = self._around.keys, asyncio.get_running_loop().time()
        if now != self._keys_seen:
            self._keys_seen = now
            try:
                keys.refresh()
            except KeyStoreError as error:
                self._count("unreadable key files")
                logger.error("%s; the devices known before stay", error)
        kid = keys.kid_of("deveui", dev_eui)
        entry = None if kid is None else keys.by_kid(kid)
        return bytes.fromhex(entry.lorawan_app_key) if entry is not None and entry.lorawan_app_key else None

    # --- datagrams ------------------------------------------------------------------------------------------------------

    def _take(self, datagram: bytes, address: Any) -> None:
        if host_of(address) not in self._allowed:
            self._count("datagrams from addresses that are not allowed")
            return
        if not self._restored:
            return
        try:
            packet = forwarder.decode(datagram)
        except ObjectError as error:
            self._count("malformed datagrams of gateways")
            logger.debug("way %s: %s", self.name, error)
            return
        gateway = self._gateways.heard(packet.gateway)
        if gateway is None:
            self._count("datagrams of unknown gateways")
            return
        answer = forwarder.acknowledgement(packet)
        if answer is not None:
            self._socket.send(answer, address)
        now = asyncio.get_running_loop().time()
        if not gateway.spoke(address, packet.version, now, asks=packet.kind == forwarder.PULL_DATA):
            self._count("datagrams in the name of another gateway")
            self._warn("way %s: %s speaks as gateway %s, as which another host asked", host_of(address), gateway.eui)
            gateway = Gateway(packet.gateway)  # heard, for frames prove themselves, and given nothing to send
        elif packet.kind == forwarder.TX_ACK:
            self._transmit(self._downlinks.reported(packet.token, gateway, packet.error, now))
        for _ in range(packet.skipped):
            self._count("packets of no use to a gateway")
        for received in packet.received:
            self._received(gateway, received, now)

    def _received(self, gateway: Gateway, received: forwarder.Received, now: float) -> None:
        taken = self.network.uplink(gateway, received, now)
        if taken is None:
            return
        state = taken.reception.state
        self._changed[state.dev_eui] = state
        if taken.port is not None and not self._hear_uplink(taken):
            self.network.unheard(taken.reception)
        task = asyncio.create_task(self._answer(taken.reception), name=f"way {self.name} downlink")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _hear_uplink(self, taken: Taken) -> bool:
        """Whether what it brought is done with."""
        service = None if taken.port is None else self._service_of.get(taken.port)
        if service is None:
            self._count("uplinks on the port of another")
            return True
        airway = Airway(self.name, "deveui", taken.reception.state.dev_eui, LORAWAN, taken.room)
        return self._hear_for(service, taken.data, airway)

    # --- downlinks ------------------------------------------------------------------------------------------------------

    def _send_for(self, service: Service, airway: Airway, data: bytes) -> None:
        self.network.enqueue(airway.name, self._settings.ports[service], data)

    async def _answer(self, reception: Reception) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._store is not None:
                await self._write(self._store)
        except StoreError as error:
            self._count("batches that the store refused")
            self._warn("way %s: a session was not kept: %s", error)
            if reception.accept is not None:
                return  # its nonce could be used again after a restart; the device asks again
        await asyncio.sleep(max(0.0, reception.begun + self._settings.gather - loop.time()))
        try:
            order = self._downlinks.decide(reception, loop.time())
            self._transmit(order)
            if order is not None:
                await self._keep_spent(order.gateway)
        except Exception as error:  # noqa: BLE001 (a defect loses one message, told by `_met`)
            self._met(error)

    def _transmit(self, order: Order | None) -> None:
        if order is None:
            return
        datagram = forwarder.pull_resp(order.transmission, order.token, order.gateway.version)
        if not self._socket.send(datagram, order.gateway.address):
            self._count(_NO_ANSWER)
        elif order.content is not None:
            self._count("answers by a way in")


def _put(store: ServiceStore, rows: list[tuple[str, bytes]]) -> None:
    with store.transaction():
        for key, value in rows:
            store.put_now(key, value)
