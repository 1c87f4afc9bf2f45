"""Device, ether, gateway and network server together, in virtual time; and the gateway over real UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess_hil.lora import Ether, NetworkServer, VirtualGateway, mac_commands, semtech
from rataccess_hil.lora.end_device import EndDevice, Finished, Refused
from rataccess_hil.lora.network_device import Misdeed, NetworkDevice
from rataccess_hil.lora.regions import REGIONS

KEY = bytes(range(16))


class Field:
    """Everything from the device to the server."""

    def __init__(self, region: str = "EU868", gateways: int = 1, **options: Any) -> None:
        self.ether = Ether(seed=3)
        self.server = NetworkServer(region=region, **options)
        self.gateways = [
            VirtualGateway(
                self.ether,
                self.server,
                region=region,
                eui=0xAA + index,
                name=f"gateway-{index}",
                position=(100.0 * index, 50.0),
            )
            for index in range(gateways)
        ]
        self.device = EndDevice(self.ether, region=region, seed=5)
        self.device.dev_eui, self.device.join_eui = 0x70B3D57ED0000001, 0x0102030405060708
        self.device.set_app_key(KEY)
        self.device.rate = 5 if region == "EU868" else 3
        self.device.plan.duty_cycle = False
        self.known: NetworkDevice = self.server.add_device(self.device.dev_eui, KEY, self.device.join_eui)
        self.finished: asyncio.Queue[Finished] = asyncio.Queue()
        self.device.on_finished = self.finished.put_nowait
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.server.on_event = lambda topic, fields: self.events.append((topic, fields))

    async def join(self) -> Finished:
        self.device.join()
        return await self.finished.get()

    async def send(self, data: bytes, port: int = 2, *, confirmed: bool = False) -> Finished:
        self.device.send(data, port, confirmed=confirmed)
        return await self.finished.get()


@asynccontextmanager
async def field(
    region: str = "EU868", gateways: int = 1, *, joined: bool = True, **options: Any
) -> AsyncIterator[Field]:
    made = Field(region, gateways, **options)
    for gateway in made.gateways:
        await gateway.open()
    await asyncio.sleep(0.5)
    if joined:
        assert (await made.join()).ok
    yield made
    for gateway in made.gateways:
        await gateway.aclose()


@pytest.mark.looptime
@pytest.mark.parametrize("region", sorted(REGIONS))
async def test_join_and_uplink_and_downlink_in_every_region(region: str) -> None:
    async with field(region) as made:
        assert made.known.session is not None
        assert made.device.session is not None
        assert made.device.session.address == made.known.session.address
        made.known.send(b"down", port=7)
        finished = await made.send(b"hello", port=2)
        assert finished.downlink is not None
        assert (finished.downlink.data, finished.downlink.port, finished.downlink.window) == (b"down", 7, 1)
        assert [(each.data, each.port, each.counter) for each in made.known.uplinks] == [(b"hello", 2, 0)]
        assert [topic.rsplit("/", 1)[1] for topic, _ in made.events] == ["join", "up", "txack"]


@pytest.mark.looptime
async def test_a_join_with_an_old_nonce_a_wrong_key_or_an_unknown_device_gets_nothing() -> None:
    async with field() as made:
        made.device.dev_nonce -= 1
        assert not (await made.join()).ok
        made.device.set_app_key(bytes(16))
        assert not (await made.join()).ok
        made.device.dev_eui += 1
        assert not (await made.join()).ok
        assert made.server.refused == {"DevNonce used before": 1, "join MIC": 1, "unknown device": 1}


@pytest.mark.looptime
async def test_confirmed_uplinks_are_repeated_until_acknowledged_and_told_once() -> None:
    async with field() as made:
        gateway = made.gateways[0]
        made.ether.obstruct(gateway.station, 100.0)
        asyncio.get_running_loop().call_later(6.0, made.ether.clear)
        finished = await made.send(b"hello", confirmed=True)
        assert finished.ok
        assert finished.attempts > 1
        gateway.online = False
        made.device.retries = 2
        assert not (await made.send(b"again", confirmed=True)).ok
        gateway.online = True
        assert [each.data for each in made.known.uplinks] == [b"hello"]


@pytest.mark.looptime
async def test_one_uplink_heard_by_two_gateways_is_told_once() -> None:
    async with field(gateways=2) as made:
        await made.send(b"hello")
        assert [each.gateways for each in made.known.uplinks] == [2]


@pytest.mark.looptime
async def test_a_confirmed_downlink_comes_again_until_the_device_acknowledges() -> None:
    async with field() as made:
        made.known.send(b"one", confirmed=True, identity="a")
        made.ether.obstruct(made.device.station, 0.0)
        finished = await made.send(b"x")
        assert finished.downlink is not None
        await made.send(b"y")
        acks = [told for topic, told in made.events if topic.endswith("/ack")]
        assert [(told["queueItemId"], told["acknowledged"]) for told in acks] == [("a", True)]
        assert made.known.unacknowledged is None
        made.known.send(b"two", confirmed=True, identity="b")
        asyncio.get_running_loop().call_later(0.5, made.ether.obstruct, made.gateways[0].station, 100.0)
        assert (await made.send(b"z")).downlink is None
        made.ether.clear()
        again = await made.send(b"z")
        assert again.downlink is not None
        assert again.downlink.data == b"two"


@pytest.mark.looptime
@pytest.mark.parametrize("misdeed", [each for each in Misdeed if each is not Misdeed.SILENCE])
async def test_the_networks_misdeeds_are_no_downlinks(misdeed: Misdeed) -> None:
    async with field() as made:
        made.known.send(b"first")
        await made.send(b"x")
        made.known.send(b"second")
        made.known.misbehave(misdeed)
        session = made.device.session
        assert session is not None
        before = (session.down, session.address)
        assert (await made.send(b"y")).downlink is None
        assert (session.down, session.address) == before
        assert made.device.session is session


@pytest.mark.looptime
async def test_mac_commands_on_demand_and_the_devices_answers() -> None:
    async with field() as made:
        made.server.sender.duty_cycle = False
        session = made.device.session
        assert session is not None
        made.known.command(mac_commands.dev_status_req())
        made.known.command(mac_commands.link_adr_req(4, 3, 0x07, 0, 2))
        made.server.set_rx_timing(made.known, 2)
        await made.send(b"x")
        await made.send(b"y")
        assert (6, 3) in [(command, len(payload) + 1) for command, payload in made.known.answers]
        assert (3, b"\x07") in made.known.answers
        assert made.known.battery == 255
        assert (made.device.rate, made.device.power_index, made.device.repetitions) == (4, 3, 2)
        assert session.rx_delay == 2
        made.known.send(b"late")
        finished = await made.send(b"z")
        assert finished.downlink is not None
        made.server.set_windows(made.known, 2, 3, 869_525_000)
        await made.send(b"1")
        made.known.send(b"moved")
        finished = await made.send(b"2")
        assert finished.downlink is not None
        assert (session.rx1_offset, session.rx2_rate) == (2, 3)


@pytest.mark.looptime
async def test_link_check_and_device_time() -> None:
    async with field() as made:
        made.device.requests = bytes([mac_commands.LINK_CHECK, mac_commands.DEVICE_TIME])
        loop = asyncio.get_running_loop()
        ends: list[float] = []
        made.device.on_sent = lambda: ends.append(loop.time())
        finished = await made.send(b"x")
        assert finished.downlink is not None
        told = {each.what: each.values for each in finished.downlink.told}
        assert told["link_check"] == (20, 1)
        gps = made.server.epoch + ends[0] - 315_964_800 + 18
        assert told["time"][0] == pytest.approx(gps, abs=0.01)


@pytest.mark.looptime
async def test_adr_raises_the_data_rate_of_who_is_near() -> None:
    async with field(adr_after=3) as made:
        made.device.rate = 0
        for _ in range(6):
            await made.send(b"x")
        assert made.device.rate == 5


@pytest.mark.looptime
async def test_duty_cycle_and_payload_limits_of_the_device() -> None:
    async with field() as made:
        made.device.plan.duty_cycle = True
        made.device.rate = 0
        with pytest.raises(Refused) as refused:
            made.device.send(bytes(52), 2)
        assert refused.value.limit == 51
        for _ in range(2):
            await made.send(bytes(51))
        with pytest.raises(Refused) as refused:
            made.device.send(b"x", 2)
        assert refused.value.cause == "no_free_channel"
        assert 100 < refused.value.wait < 300


@pytest.mark.looptime
async def test_the_gateways_duty_cycle_moves_downlinks_to_the_second_window() -> None:
    async with field() as made:
        made.device.plan.masked(1, 0)
        await asyncio.sleep(60)
        windows = []
        for _ in range(3):
            made.known.send(b"small")
            finished = await made.send(b"x")
            windows.append(finished.downlink.window if finished.downlink else 0)
        assert windows == [1, 2, 0]
        assert made.server.refused["no air time for a downlink"] == 1
        assert len(made.known.queue) == 1


@pytest.mark.looptime
async def test_the_gateways_queue_refuses_what_comes_too_late_too_early_or_collides() -> None:
    ether = Ether()
    answers: list[semtech.Datagram] = []

    class Server:
        def datagram(self, data: bytes, answer: Any) -> None:
            answers.append(semtech.decode(data))

    gateway = VirtualGateway(ether, Server(), tmst_offset=(1 << 32) - 2_000_000)
    await gateway.open()
    loop = asyncio.get_running_loop()

    def ask(at: float, token: int) -> None:
        txpk = {
            "tmst": gateway.tmst(at),
            "freq": 868.1,
            "datr": "SF9BW125",
            "codr": "4/5",
            "ipol": True,
            "data": "AQIDBA==",
        }
        gateway.receive(semtech.Datagram(semtech.PULL_RESP, token, body={"txpk": txpk}).encode())

    start = loop.time()
    ask(start + 1.0, 1)
    ask(start + 0.01, 2)
    ask(start + 500, 3)
    ask(start + 1.05, 4)
    ask(start - 1.0, 5)
    ask(start + 3.0, 6)
    await asyncio.sleep(5)
    await gateway.aclose()
    acks = {each.token: each.body for each in answers if each.kind == semtech.TX_ACK}
    errors = {token: body.get("txpk_ack", {}).get("error") for token, body in acks.items()}
    assert errors == {1: None, 2: "TOO_LATE", 3: "TOO_EARLY", 4: "COLLISION_PACKET", 5: "TOO_LATE", 6: None}
    assert [packet.start for packet in ether.log] == pytest.approx([start + 1.0, start + 3.0])
    assert gateway.tmst(start + 3.0) < gateway.tmst(start)


@pytest.mark.looptime
async def test_no_way_to_the_server_and_nonsense_from_it() -> None:
    async with field() as made:
        made.gateways[0].online = False
        await made.send(b"lost")
        made.gateways[0].online = True
        for data in (b"", b"\2\0\0\3", b"\2\0\0\3{}", b'\2\0\0\3{"txpk":{"datr":"SF7"}}', b"\3\0\0\1"):
            made.gateways[0].receive(data)
        await made.send(b"told")
        assert [each.data for each in made.known.uplinks] == [b"told"]
        assert made.gateways[0].counts["bad"] == 5
        assert "00010203" not in repr(made.known)


async def test_over_real_udp() -> None:
    server = NetworkServer(deduplication=0.01)
    address = await server.serve()
    ether = Ether()
    device = EndDevice(ether)
    device.personalise(0x26000001, KEY, bytes(16))
    device.rate = 5
    known = server.add_session(0x01, 0x26000001, KEY, bytes(16))
    known.send(b"down")
    finished = asyncio.Queue[Finished]()
    device.on_finished = finished.put_nowait
    gateway = VirtualGateway(ether, address, keepalive=0.05)
    await gateway.open()
    while not gateway.counts["pull_acks"]:
        await asyncio.sleep(0.01)
    device.send(b"hello", 2)
    done = await finished.get()
    await gateway.aclose()
    await server.aclose()
    assert [each.data for each in known.uplinks] == [b"hello"]
    assert done.downlink is not None
    assert done.downlink.data == b"down"
    assert gateway.counts["push_acks"] == 1


@pytest.mark.looptime
@pytest.mark.parametrize("misdeed", [Misdeed.BAD_MIC, Misdeed.REPLAY, Misdeed.TRUNCATED, Misdeed.SILENCE])
async def test_a_join_accept_that_is_wrong_joins_nobody(misdeed: Misdeed) -> None:
    async with field() as made:
        made.known.misbehave(misdeed)
        finished = await made.join()
        if misdeed is Misdeed.REPLAY:
            # Under LoRaWAN 1.0.x a device cannot tell: the keys then differ, and nothing it sends is understood.
            await made.send(b"x")
            assert not made.known.uplinks
        else:
            assert not finished.ok


@pytest.mark.looptime
async def test_counters_go_on_beyond_sixteen_bits() -> None:
    async with field() as made:
        assert made.known.session is not None
        assert made.device.session is not None
        made.known.session.up, made.device.session.up = 65_534, 65_535
        made.known.session.down, made.device.session.down = 65_535, 65_534
        for number in range(3):
            made.known.send(bytes([number]))
            finished = await made.send(b"x")
            assert finished.downlink is not None
            await asyncio.sleep(60)
        assert [each.counter for each in made.known.uplinks] == [65_535, 65_536, 65_537]
        assert made.device.session.down == 65_537


@pytest.mark.looptime
async def test_the_second_window_alone_and_a_gateway_whose_clock_is_off() -> None:
    async with field() as made:
        made.server.sender.duty_cycle = False
        made.server.sender.second_only = True
        made.known.send(b"second")
        finished = await made.send(b"x")
        assert finished.downlink is not None
        assert finished.downlink.window == 2
        made.server.sender.second_only = False
        for late, heard in ((0.004, True), (0.05, False)):
            made.gateways[0].late_by = late
            made.known.send(b"late")
            assert ((await made.send(b"x")).downlink is not None) is heard


@pytest.mark.looptime
async def test_downlinks_as_integrations_ask_for_them() -> None:
    async with field() as made:
        topic = f"application/a/device/{made.device.dev_eui:016x}/command/down"
        made.server.take_command(topic, {"fPort": 3, "data": "AQI=", "confirmed": True, "id": "b"})
        finished = await made.send(b"x")
        assert finished.downlink is not None
        assert (finished.downlink.data, finished.downlink.port) == (b"\1\2", 3)
        for wrong, fields in (
            ("application/a/device/00/command/up", {"fPort": 3}),
            (topic, {"fPort": 0}),
            (topic, {"fPort": 3, "data": "=="}),
            (topic, {"fPort": 3, "devEui": "00"}),
            (topic.replace("70b3", "0000"), {"fPort": 3}),
        ):
            with pytest.raises(ValueError, match=r"downlink|no device|base64|padding"):
                made.server.take_command(wrong, fields)


@pytest.mark.looptime
async def test_eight_packets_at_once_and_no_more() -> None:
    async with field(joined=False) as made:
        gateway = made.gateways[0]
        for index in range(10):
            station = EndDevice(made.ether, name=str(index), position=(300.0 + index, 0.0)).station
            wave = REGIONS["EU868"].wave(0, gateway.channels[index % 8])
            made.ether.transmit(station, wave, bytes([index]) * 20)
        await asyncio.sleep(3)
        assert gateway.counts["rxnb"] == 8


@pytest.mark.looptime
async def test_a_gateway_does_not_hear_while_it_transmits() -> None:
    async with field() as made:
        made.known.send(bytes(100))
        loop = asyncio.get_running_loop()
        other = EndDevice(made.ether, name="other")
        other.personalise(0x26000001, KEY, bytes(16))
        other.rate = 5

        def sent() -> None:
            loop.call_later(1.01, other.send, b"y", 2)

        made.device.on_sent = sent
        await made.send(b"x")
        await asyncio.sleep(5)
        assert [packet.heard_by for packet in made.ether.log if packet.station is other.station] == [[]]


_FIELDS = st.one_of(
    st.none(),
    st.integers(-5, 1 << 33),
    st.sampled_from([float("inf"), 868.1, "SF7BW125", "SF99BW1", "4/9", "LORA", "AQ==", "====", True, [], {}]),
)
_PACKETS = st.dictionaries(
    st.sampled_from(
        ["tmst", "freq", "datr", "codr", "data", "prea", "ipol", "imme", "stat", "modu", "lsnr", "rssi", "powe"]
    ),
    _FIELDS,
)


@settings(max_examples=60)
@given(_PACKETS, st.booleans(), _FIELDS)
def test_no_json_upsets_gateway_or_server(packet: dict[str, Any], likely: bool, other: Any) -> None:
    usual = {"tmst": 1, "freq": 868.1, "datr": "SF7BW125", "codr": "4/5", "data": "AQ==", "stat": 1, "modu": "LORA"}
    usual |= {"lsnr": 5, "rssi": -50}
    told = {**usual, **packet} if likely else packet

    async def run() -> None:
        server = NetworkServer()
        gateway = VirtualGateway(Ether(), server)
        gateway._open = True
        for body in ({"txpk": told}, {"txpk": other}):
            gateway.receive(semtech.Datagram(semtech.PULL_RESP, 1, body=body).encode())
        for body in ({"rxpk": [told, other]}, {"rxpk": other}, {"txpk_ack": other}):
            for kind in (semtech.PUSH_DATA, semtech.TX_ACK):
                server.datagram(semtech.Datagram(kind, 1, 2, body).encode(), lambda data: None)
        await gateway.aclose()

    with asyncio.Runner() as runner:
        runner.run(run())
