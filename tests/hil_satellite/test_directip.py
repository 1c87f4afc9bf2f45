"""DirectIP as the virtual gateway speaks it: published messages, any values, any bytes, and real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess_hil.satellite import (
    Disposition,
    IridiumGateway,
    Location,
    MoMessage,
    MtConfirmation,
    MtMessage,
    MtStatus,
    credits_for,
)
from rataccess_hil.satellite.directip import DirectIpError, missing, unwrap, wrap
from rataccess_hil.satellite.directip_link import MoSender, MtListener, read_message
from tests.hil_satellite.terminal import corpus

IMEI = "300234063904190"

imeis = st.text("0123456789", min_size=15, max_size=15)
words = st.integers(0, 0xFFFF)
longs = st.integers(0, 0xFFFFFFFF)
places = st.builds(
    Location,
    st.integers(-90 * 60_000, 90 * 60_000).map(lambda value: value / 60_000),
    st.integers(-180 * 60_000, 180 * 60_000).map(lambda value: value / 60_000),
    longs,
)


def vectors(kind: str) -> dict[str, dict[str, Any]]:
    """Published messages of a kind, by name."""
    cases = corpus("iridium_sbd")["directip"]
    return {case["name"]: case for case in cases if case["expect"].get("kind") == kind}


def test_reads_and_writes_published_mo_messages() -> None:
    for case in vectors("MO").values():
        data, expect = bytes.fromhex(case["hex"]), case["expect"]
        found = MoMessage.decode(data)
        assert (found.imei, found.momsn, found.mtmsn) == (expect["imei"], expect["momsn"], expect["mtmsn"])
        assert (found.auto_id, found.status) == (expect["auto_id"], expect["session_status"])
        assert found.time == datetime.fromisoformat(expect["time_of_session"]).timestamp()
        assert found.payload == expect["payload_text"].encode()
        if "location" in expect:
            place = found.location
            assert place is not None
            assert place.latitude == pytest.approx(expect["location"]["lat"])
            assert place.longitude == pytest.approx(expect["location"]["lon"])
            assert place.cep_km == expect["location"]["cep_km"]
        assert missing(data) == 0
        assert found.encode() == data


def test_reads_and_writes_published_elements() -> None:
    cases = {case["name"]: bytes.fromhex(case["hex"]) for case in corpus("iridium_sbd")["directip"]}
    place = cases["location IE body (11 bytes, no head)"]
    assert Location.decode(place) == Location(37.5, -122.25, 5)
    assert Location(37.5, -122.25, 5).encode() == place
    mt = wrap([]) + cases["MT header IE"] + cases["MT payload IE"]
    mt = mt[:1] + (len(mt) - 3).to_bytes(2, "big") + mt[3:]
    found = MtMessage.decode(mt)
    assert (found.client_id, found.disposition, found.payload) == (9999, 59, b"Hello World!")
    assert Disposition(found.disposition) == Disposition(1 | 2 | 8 | 16 | 32)
    assert found.encode() == mt
    for case in vectors("MT confirmation").values():
        confirmation = MtConfirmation.decode(bytes.fromhex(case["hex"]))
        assert (confirmation.client_id, confirmation.auto_id, confirmation.status) == (
            case["expect"]["client_msg_id"],
            case["expect"]["auto_id"],
            case["expect"]["status"],
        )
        assert confirmation.encode().hex() == case["hex"]
    for case in corpus("iridium_sbd")["directip"]:
        if case["expect"].get("valid") is False:
            with pytest.raises(DirectIpError):
                MoMessage.decode(bytes.fromhex(case["hex"]))


mo_messages = st.builds(
    MoMessage,
    imeis,
    words,
    st.none() | st.binary(max_size=1960),
    words,
    longs,
    longs,
    st.integers(0, 255),
    st.none() | places,
)
mt_messages = st.builds(
    MtMessage, imeis, st.none() | st.binary(max_size=1890), longs, words, st.none() | st.integers(1, 5)
)
confirmations = st.builds(MtConfirmation, longs, imeis, longs, st.integers(-32768, 32767))


@settings(max_examples=60)
@given(mo_messages, mt_messages, confirmations)
def test_any_message_comes_back(mo: MoMessage, mt: MtMessage, confirmation: MtConfirmation) -> None:
    assert MoMessage.decode(mo.encode()) == mo
    assert MtMessage.decode(mt.encode()) == mt
    assert MtConfirmation.decode(confirmation.encode()) == confirmation


@settings(max_examples=100)
@given(st.binary(max_size=80) | mo_messages.map(MoMessage.encode), st.integers(0, 80), st.binary(max_size=3))
def test_any_bytes_are_a_message_or_an_error(data: bytes, at: int, patch: bytes) -> None:
    spoilt = data[:at] + patch + data[at + len(patch) :]
    for decode in (MoMessage.decode, MtMessage.decode, MtConfirmation.decode):
        with contextlib.suppress(DirectIpError):
            decode(spoilt)
    with contextlib.suppress(DirectIpError):
        assert wrap(unwrap(spoilt)) == spoilt


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_refuses_with_every_status() -> None:
    gateway = IridiumGateway(clock=LoopClock())
    radio = gateway.subscribe(IMEI)

    def status(**fields: Any) -> int:
        return gateway.submit(MtMessage(**{"imei": IMEI, "payload": b"x", **fields})).status

    assert status(imei="30023406390419x") == MtStatus.BAD_IMEI
    assert status(imei="300234063904191") == MtStatus.UNKNOWN_IMEI
    assert status(payload=bytes(1891)) == MtStatus.TOO_LARGE
    assert status(payload=None) == MtStatus.NO_PAYLOAD
    assert status(payload=None, disposition=Disposition.RING_WITHOUT_PAYLOAD) == MtStatus.NOT_ATTACHED
    radio.attached = True
    assert status(payload=None, disposition=Disposition.RING_WITHOUT_PAYLOAD) == 0
    radio.rings_enabled = False
    assert status(payload=None, disposition=Disposition.RING_WITHOUT_PAYLOAD) == MtStatus.RINGS_DISABLED
    assert [status() for _ in range(51)] == [*range(1, 51), MtStatus.QUEUE_FULL]
    assert status(payload=None, disposition=Disposition.FLUSH) == 0
    assert gateway.queued(IMEI) == 0
    for each in MtStatus:
        gateway.refuse_next.append(each)
        assert status() == each
    assert gateway.queued(IMEI) == 0


def test_queues_by_priority() -> None:
    gateway = IridiumGateway(clock=LoopClock())
    gateway.subscribe(IMEI)
    for payload, priority, disposition in (
        (b"five", None, 0),
        (b"one", 1, 0),
        (b"also five", 5, 0),
        (b"two", 2, 0),
        (b"first", None, Disposition.HIGH_PRIORITY),
    ):
        gateway.submit(MtMessage(IMEI, payload, priority=priority, disposition=disposition))
    assert [each.payload for each in gateway.of(IMEI).queue] == [b"first", b"one", b"two", b"five", b"also five"]


def test_bills_as_documented() -> None:
    assert [credits_for(size) for size in (0, 1, 50, 51, 100, 340)] == [1, 1, 1, 2, 2, 7]


@pytest.mark.looptime
async def test_repeats_are_delivered_or_dropped() -> None:
    for drops, delivered in ((False, 3), (True, 2)):
        gateway = IridiumGateway(clock=LoopClock(), drops_repeats=drops)
        for payload in (b"a", b"a", b"b"):
            gateway.take_mo(IMEI, 7, payload)
        assert len(gateway.of(IMEI).mo) == delivered
    with pytest.raises(KeyError):
        IridiumGateway(open_to_all=False).take_mo(IMEI, 0, b"")


# --- connections ------------------------------------------------------------------------------------------------------


class MoServer:
    """A DirectIP server of a customer; `answers` are its confirmations in turn (`None`: it hangs up, `b""`: none)."""

    def __init__(self, answers: list[bytes | None] | None = None) -> None:
        self.answers = answers or []
        self.messages: list[MoMessage] = []
        self.address = ("127.0.0.1", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        answer = self.answers.pop(0) if self.answers else b""
        if answer is not None:
            self.messages.append(MoMessage.decode(await read_message(reader)))
            writer.write(answer)
            await reader.read()
        writer.close()
        await writer.wait_closed()


Serve = Callable[[MoServer], Awaitable[MoServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(server: MoServer) -> MoServer:
            listening = await asyncio.start_server(server.serve, *server.address)
            server.address = listening.sockets[0].getsockname()[:2]
            stack.push_async_callback(listening.wait_closed)
            stack.callback(listening.close)
            return server

        yield start


async def test_delivers_mo_messages_over_tcp(serve: Serve) -> None:
    server = await serve(MoServer())
    gateway = IridiumGateway()
    gateway.subscribe(IMEI).location = Location(59.3, 18.0, 3)
    async with MoSender(gateway, server.address, piece=5) as sender, asyncio.timeout(10):
        sent = [gateway.take_mo(IMEI, number, bytes([number])) for number in range(3)]
        await sender.drained()
        while len(server.messages) < 3:
            await asyncio.sleep(0)
    assert server.messages == sent
    assert server.messages[0].location == Location(59.3, 18.0, 3)
    assert (sender.delivered, sender.failed_tries) == (3, 0)


async def test_waits_for_confirmation_and_tries_again(serve: Serve) -> None:
    server = await serve(MoServer([None, wrap([(5, b"\x00")]), b"nonsense", wrap([(5, b"\x01")])]))
    gateway = IridiumGateway()
    async with MoSender(gateway, server.address, confirmed=True, retries=(0.001,)) as sender, asyncio.timeout(10):
        message = gateway.take_mo(IMEI, 1, b"up")
        await sender.drained()
    assert server.messages == [message] * 3
    assert (sender.delivered, sender.failed_tries) == (1, 3)


async def test_keeps_what_cannot_be_delivered() -> None:
    gateway = IridiumGateway()
    async with MoSender(gateway, ("127.0.0.1", 1), retries=(0.001,)) as sender, asyncio.timeout(10):
        message = gateway.take_mo(IMEI, 1, b"up")
        while sender.failed_tries < 2:
            await asyncio.sleep(0)
    assert list(sender.waiting) == [message]
    gateway.take_mo(IMEI, 2, b"later")
    assert list(sender.waiting) == [message], "it takes nothing once closed"


async def test_takes_mt_messages_over_tcp() -> None:
    gateway = IridiumGateway()
    gateway.subscribe(IMEI)
    async with MtListener(gateway) as listener, asyncio.timeout(10):

        async def say(data: bytes) -> MtConfirmation:
            reader, writer = await asyncio.open_connection(*listener.address)
            for start in range(0, len(data), 7):
                writer.write(data[start : start + 7])
                await writer.drain()
            writer.write_eof()
            answer = MtConfirmation.decode(await read_message(reader))
            writer.close()
            await writer.wait_closed()
            return answer

        answer = await say(MtMessage(IMEI, b"down", 4711).encode())
        assert (answer.client_id, answer.imei, answer.status) == (4711, IMEI, 1)
        assert answer.auto_id
        assert (await say(MtMessage(IMEI[:-1] + "9", b"down", 12).encode())).status == MtStatus.UNKNOWN_IMEI
        for wrong in (b"GET / HTTP/1.1\r\n\r\n", MtMessage(IMEI, b"down").encode()[:20], wrap([(0x42, b"x")])):
            assert (await say(wrong)).status == MtStatus.PROTOCOL_ERROR
        assert (listener.taken, listener.malformed) == (2, 3)
    assert [each.payload for each in gateway.of(IMEI).queue] == [b"down"]


async def test_serves_only_whom_it_may() -> None:
    gateway = IridiumGateway()
    async with MtListener(gateway, allowed=lambda host: host != "127.0.0.1") as listener, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*listener.address)
        writer.write(MtMessage(IMEI, b"down").encode())
        assert MtConfirmation.decode(await read_message(reader)).status == MtStatus.ADDRESS_REFUSED
        writer.close()
        await writer.wait_closed()
