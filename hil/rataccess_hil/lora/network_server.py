"""A virtual LoRaWAN network server for class A devices: joins, uplinks, downlinks in RX1 or RX2, ADR, MAC commands.

Rules of this file: Semtech UDP datagrams in (`datagram`), datagrams out by the `answer` that came with them; time from the
event loop.  `serve` puts it behind a real UDP socket.  It checks what a network must check (MIC, counters, DevNonces that
were used before), counts what it refuses, and misbehaves only when told to.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rataccess_hil.lora import frames, mac_commands, network_events, semtech
from rataccess_hil.lora.crypto import UP, SessionKeys, session_keys
from rataccess_hil.lora.frames import DataFrame, JoinAccept, JoinRequest
from rataccess_hil.lora.network_composing import Composer, spoilt_accept
from rataccess_hil.lora.network_device import Misdeed, NetworkDevice, ReceivedUplink, Session
from rataccess_hil.lora.network_mac import adapt, take_commands
from rataccess_hil.lora.network_sending import Answer, Endpoint, Sender
from rataccess_hil.lora.regions import REGIONS

_MAX_GAP = 16_384
_JOIN_DELAYS = (5.0, 6.0)
_GPS_EPOCH = 315_964_800 - 18


@dataclass(slots=True)
class _Reception:
    """One uplink as all gateways heard it."""

    at: float
    copies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, dict[str, Any]]:
        return max(self.copies, key=lambda each: float(each[1]["lsnr"]))


class NetworkServer:
    """The network.  `deduplication` is how many seconds it waits for other gateways' copies of an uplink.

    `on_uplink(device, uplink)` is called for each uplink once, `on_event(topic, fields)` with ChirpStack-like events.
    """

    def __init__(
        self,
        *,
        region: str = "EU868",
        net_id: int = 0x000013,
        seed: int = 0,
        deduplication: float = 0.2,
        rx_delay: int = 1,
        rx1_offset: int = 0,
        rx2_rate: int | None = None,
        rx2_frequency: int | None = None,
        more_channels: bool = True,
        adr_after: int = 20,
        epoch: float = 1_790_000_000.0,
    ) -> None:
        self.region = REGIONS[region]
        self.net_id = net_id
        self.epoch = epoch
        self.devices: dict[int, NetworkDevice] = {}
        self.on_uplink: Callable[[NetworkDevice, ReceivedUplink], None] = lambda device, uplink: None
        self.on_event: Callable[[str, dict[str, Any]], None] = lambda topic, fields: None
        self.refused: Counter[str] = Counter()
        """Uplinks that were dropped, by cause."""
        self.silent = False
        """Hear everything and answer nothing (but acknowledge gateways)."""
        self.drops_copies = False
        """Whether a confirmed uplink that came is not answered when it comes again: so a network that knows the device as
        LoRaWAN 1.0.4 and has NbTrans at 1 (4.3.1.3); those before answer."""
        self.adr_after = adr_after
        self._rx_delay, self._rx1_offset = rx_delay, rx1_offset
        self._rx2 = (
            self.region.rx2_rate if rx2_rate is None else rx2_rate,
            rx2_frequency or self.region.rx2_frequency,
        )
        self._cf_list = self._usual_cf_list() if more_channels else b""
        self._chance = random.Random(seed)
        self._deduplication = deduplication
        self._pending: dict[bytes, _Reception] = {}
        self._numbers = 0
        self._composer = Composer(self.region, net_id)
        self.sender = Sender(self.region)
        self._socket: asyncio.DatagramTransport | None = None

    def _usual_cf_list(self) -> bytes:
        if self.region.fixed:
            masks = [0xFF00, 0, 0, 0, 0x0002]
            return b"".join(mask.to_bytes(2, "little") for mask in masks).ljust(15, b"\0") + b"\1"
        if self.region.name != "EU868":
            return b""
        return b"".join((8_671_000 + 2_000 * index).to_bytes(3, "little") for index in range(5)) + b"\0"

    # --- devices ------------------------------------------------------------------------------------------------------

    def add_device(self, dev_eui: int, app_key: bytes, join_eui: int = 0, name: str = "") -> NetworkDevice:
        """Get to know a device that joins over the air."""
        device = NetworkDevice(dev_eui, app_key, join_eui, name)
        self.devices[dev_eui] = device
        return device

    def add_session(self, dev_eui: int, address: int, network_key: bytes, application_key: bytes) -> NetworkDevice:
        """Get to know a device that is activated by personalisation."""
        device = self.add_device(dev_eui, bytes(16))
        device.session = self._new_session(address, SessionKeys(network_key, application_key))
        return device

    def _new_session(self, address: int, keys: SessionKeys) -> Session:
        rate, frequency = self._rx2
        return Session(
            address,
            keys,
            rx1_offset=self._rx1_offset,
            rx2_rate=rate,
            rx2_frequency=frequency,
            rx_delay=self._rx_delay,
        )

    # --- over a real socket -------------------------------------------------------------------------------------------

    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen on UDP; returns the address."""
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: Endpoint(self.datagram), local_addr=(host, port))
        address = self._socket.get_extra_info("sockname")
        return address[0], address[1]

    async def aclose(self) -> None:
        """Stop listening; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            await asyncio.sleep(0)

    # --- datagrams ----------------------------------------------------------------------------------------------------

    def datagram(self, data: bytes, answer: Answer) -> None:
        """One datagram of a gateway."""
        try:
            received = semtech.decode(data)
        except semtech.BadDatagram:
            self.refused["bad datagram"] += 1
            return
        gateway = received.gateway or 0
        if received.kind == semtech.PUSH_DATA:
            answer(semtech.Datagram(semtech.PUSH_ACK, received.token).encode())
            self._push(gateway, received.body.get("rxpk", []))
        elif received.kind == semtech.PULL_DATA:
            self.sender.gateways[gateway] = answer
            answer(semtech.Datagram(semtech.PULL_ACK, received.token).encode())
        elif received.kind == semtech.TX_ACK:
            told = received.body.get("txpk_ack")
            self.sender.answered(received.token, str(told.get("error", "")) if isinstance(told, dict) else "")

    def _push(self, gateway: int, packets: list[dict[str, Any]]) -> None:
        for packet in packets if isinstance(packets, list) else ():
            try:
                if packet.get("stat") == 1 and packet.get("modu") == "LORA":
                    data = semtech.decode_bytes(packet["data"])
                    semtech.split_datr(packet["datr"])
                    _ = float(packet["freq"]), float(packet["lsnr"]), float(packet["rssi"]), int(packet["tmst"])
                    self._received(gateway, packet, data)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                self.refused["bad rxpk"] += 1

    def _received(self, gateway: int, packet: dict[str, Any], data: bytes) -> None:
        loop = asyncio.get_running_loop()
        reception = self._pending.get(data)
        if reception is None:
            reception = self._pending[data] = _Reception(loop.time())
            loop.call_later(self._deduplication, self._complete, data)
        reception.copies.append((gateway, packet))

    def _complete(self, data: bytes) -> None:
        reception = self._pending.pop(data)
        try:
            frame = frames.parse(data)
        except frames.BadFrame:
            self.refused["bad frame"] += 1
            return
        if isinstance(frame, JoinRequest):
            self._join(frame, reception)
        elif frame.direction == UP:
            self._uplink(frame, reception)
        else:
            self.refused["downlink heard"] += 1

    # --- joining ------------------------------------------------------------------------------------------------------

    def _join(self, request: JoinRequest, reception: _Reception) -> None:
        device = self.devices.get(request.dev_eui)
        if device is None or (device.join_eui and device.join_eui != request.join_eui):
            self.refused["unknown device"] += 1
            return
        if not request.is_of(device.app_key):
            self.refused["join MIC"] += 1
            return
        if request.dev_nonce in device.nonces:
            self.refused["DevNonce used before"] += 1
            return
        if not device.accepts_joins or self.silent:
            self.refused["joins refused"] += 1
            return
        device.nonces.add(request.dev_nonce)
        misdeed = device.misdeeds.popleft() if device.misdeeds else None
        if misdeed is Misdeed.SILENCE:
            return
        sealed = self._accept(device, request.dev_nonce).seal(device.app_key)
        device.joins += 1
        gateway, packet = reception.best
        windows = self._composer.windows(packet, _JOIN_DELAYS, 0, self.region.rx2_rate, self.region.rx2_frequency)
        self.sender.send(spoilt_accept(device, sealed, misdeed), gateway, windows)
        assert device.session is not None
        self._tell(device, "join", network_events.join(device, device.session.address, self._unix(), self._number()))

    def _accept(self, device: NetworkDevice, dev_nonce: int) -> JoinAccept:
        device.join_nonce = device.join_nonce + 1 & 0xFFFFFF
        address = (self.net_id & 0x3F) << 25 | self._chance.randrange(1 << 25)
        accept = JoinAccept(
            device.join_nonce,
            self.net_id,
            address,
            rx1_offset=self._rx1_offset,
            rx2_data_rate=self._rx2[0],
            rx_delay=self._rx_delay,
            cf_list=self._cf_list,
        )
        nonces = (device.join_nonce.to_bytes(3, "little"), self.net_id.to_bytes(3, "little"))
        keys = session_keys(device.app_key, *nonces, dev_nonce.to_bytes(2, "little"))
        device.session = self._new_session(address, keys)
        device.unacknowledged = None
        device.levels.clear()
        # The join-accept cannot carry another frequency than the region's for RX2.
        device.session.rx2_frequency = self.region.rx2_frequency
        return accept

    def take_command(self, topic: str, fields: Mapping[str, Any]) -> None:
        """Queue a downlink as an integration asks for it (`command/down`); raises `ValueError` where it makes none."""
        device_eui, port, data, confirmed = network_events.command(topic, fields)
        if device_eui not in self.devices:
            raise ValueError(f"there is no device {device_eui:016x}")
        self.devices[device_eui].send(data, port, confirmed=confirmed, identity=str(fields.get("id", "")))

    # --- uplinks ------------------------------------------------------------------------------------------------------

    def _find(self, frame: DataFrame) -> tuple[NetworkDevice, Session, int] | None:
        found = False
        for device in self.devices.values():
            session = device.session
            if session is None or session.address != frame.address:
                continue
            found = True
            for counter in _candidates(session.up, frame.counter):
                if frame.is_of(session.keys, counter):
                    return device, session, counter
        self.refused["MIC" if found else "unknown address"] += 1
        return None

    def _uplink(self, frame: DataFrame, reception: _Reception) -> None:
        found = self._find(frame)
        if found is None:
            return
        device, session, counter = found
        if counter < session.up or counter > session.up + _MAX_GAP:
            self.refused["old counter" if counter < session.up else "counter gap"] += 1
            return
        repeated = counter == session.up
        if repeated and (self.drops_copies or not frame.confirmed):
            self.refused["repeated"] += 1
            return
        session.up = counter
        uplink = self._told(device, session, frame, counter, reception)
        up_commands = frame.options
        if frame.port == 0:
            up_commands = frame.opened(session.keys, counter)
        if not repeated:
            self._acknowledgement(device, session, frame)
            known = reception.best[1].get("tmms")
            gps = known / 1000 if known is not None else self._unix() - _GPS_EPOCH
            if take_commands(self.region, device, up_commands, uplink, gps):
                self._tell(device, "status", network_events.status(device, self._unix(), self._number()))
            device.levels.append(uplink.snr_db)
            if frame.adr and device.adr and len(device.levels) >= self.adr_after:
                adapt(self.region, device, uplink, more_channels=bool(self._cf_list))
            self._deliver(device, frame, uplink)
        self._answer(device, session, frame, uplink, reception)

    def _told(
        self, device: NetworkDevice, session: Session, frame: DataFrame, counter: int, reception: _Reception
    ) -> ReceivedUplink:
        _, packet = reception.best
        factor, bandwidth = semtech.split_datr(packet["datr"])
        return ReceivedUplink(
            dev_eui=device.dev_eui,
            address=session.address,
            counter=counter,
            port=frame.port,
            data=frame.opened(session.keys, counter) if frame.port else b"",
            confirmed=frame.confirmed,
            rate=self.region.rate_of(factor, bandwidth) or 0,
            frequency=round(packet["freq"] * 1e6),
            rssi_dbm=packet["rssi"],
            snr_db=packet["lsnr"],
            gateways=len(reception.copies),
            at=reception.at,
        )

    def _acknowledgement(self, device: NetworkDevice, session: Session, frame: DataFrame) -> None:
        waiting, device.unacknowledged = device.unacknowledged, None
        if waiting is None:
            return
        if not frame.ack:
            device.queue.appendleft(waiting)
        told = network_events.acknowledged(
            device, waiting.identity, session.down - 1, frame.ack, self._unix(), self._number()
        )
        self._tell(device, "ack", told)

    def _deliver(self, device: NetworkDevice, frame: DataFrame, uplink: ReceivedUplink) -> None:
        if not frame.port:
            return
        device.uplinks.append(uplink)
        told = network_events.up(device, uplink, self.region, self._unix(), self._number(), frame.adr)
        self._tell(device, "up", told)
        self.on_uplink(device, uplink)

    def set_rx_timing(self, device: NetworkDevice, delay: int) -> None:
        """Have the device open RX1 so many seconds (1 to 15) after its uplinks, from its answer on."""
        device.wanted_delay = delay
        device.command(mac_commands.rx_timing_setup_req(delay))

    def set_windows(self, device: NetworkDevice, offset: int, rate: int, frequency: int) -> None:
        """Have the device use this RX1 offset and this RX2, from its answer on."""
        device.wanted_windows = (offset, rate, frequency)
        device.command(mac_commands.rx_param_setup_req(offset, rate, frequency))

    # --- downlinks ----------------------------------------------------------------------------------------------------

    def _answer(
        self, device: NetworkDevice, session: Session, frame: DataFrame, uplink: ReceivedUplink, reception: _Reception
    ) -> None:
        misdeed = device.misdeeds.popleft() if device.misdeeds else None
        if self.silent or misdeed is Misdeed.SILENCE:
            return
        if not (frame.confirmed or frame.adr_ack_request or device.queue or device.commands or misdeed):
            return
        delays = (float(session.rx_delay), session.rx_delay + 1.0)
        gateway, packet = reception.best
        windows = self._composer.windows(packet, delays, session.rx1_offset, session.rx2_rate, session.rx2_frequency)
        windows = self.sender.free(gateway, windows)
        if not windows:
            self.refused["no air time for a downlink"] += 1
            return
        made = self._composer.compose(device, session, frame, windows, misdeed)
        device.last_downlink = made.data
        self.sender.send(made.data, gateway, made.windows)
        if made.item is not None:
            told = network_events.transmitted(
                device, made.item.identity, session.down - 1, self._unix(), self._number()
            )
            self._tell(device, "txack", told)

    # --- events -------------------------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _unix(self) -> float:
        return self.epoch + asyncio.get_running_loop().time()

    def _tell(self, device: NetworkDevice, event: str, fields: dict[str, Any]) -> None:
        self.on_event(network_events.topic(device, event), fields)

    def __repr__(self) -> str:
        return f"<NetworkServer {self.region.name} {len(self.devices)} devices>"


def _candidates(highest: int, sixteen: int) -> list[int]:
    """Whole counters that end in these 16 bits: the next one, and one before for what is old."""
    if highest < 0:
        return [sixteen]
    base = highest & ~0xFFFF | sixteen
    later = base if base >= highest else base + 0x10000
    return [later, later - 0x10000] if later >= 0x10000 else [later]
