"""A whole device, over UDP on loopback, with services that are not ours: the stack of aiocoap with OSCORE."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import pytest

from rataccess import AsyncDevice, ReceiptState, Service, Urgency
from rataccess.config import parse
from rataccess.keys import FileKeyStore
from rataccess.wire import WireRecord, decode_message
from tests.interop.plain_peer import MISSING, Inbox, Peer, plain_service

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"aiocoap's OSCORE lacks modules: {MISSING}")
KIDS = {Service.MANAGEMENT: b"\x07", Service.SOLUTION: b"\x08\x01"}
CONFIGURATION = """
[device]
serial_number = "I-1"
state = "{state}"
[management]
host = "127.0.0.1"
port = {management}
[solution]
host = "127.0.0.1"
port = {solution}
[links.lo]
driver = "interface"
transport = "udp"
options = {{ interface = "lo" }}
"""


@dataclass
class Pair:
    """A device and what its services got."""

    device: AsyncDevice
    inboxes: dict[Service, Inbox]

    def records(self, service: Service) -> list[WireRecord]:
        """All records that the service was sent."""
        return [
            record
            for payload in self.inboxes[service].payloads
            for record in decode_message(payload, floor=0, now=1_800_000_000.0).records
        ]


@contextlib.asynccontextmanager
async def pair(folder: Path, inboxes: dict[Service, Inbox] | None = None) -> AsyncIterator[Pair]:
    """An open device and two plain services."""
    inboxes = inboxes or {service: Inbox() for service in Service}
    keys = FileKeyStore.create(folder / "I-1", "I-1", device_ids=KIDS)
    async with contextlib.AsyncExitStack() as stack:
        ports = {}
        for service, inbox in inboxes.items():
            peer = Peer(KIDS[service], keys.session_secret(service))
            ports[str(service)] = await stack.enter_async_context(plain_service(inbox, peer))
        text = CONFIGURATION.format(state=folder / "I-1", **ports)
        device = await stack.enter_async_context(AsyncDevice.open(parse(text, source="test", environ={})))
        yield Pair(device, inboxes)


async def test_a_plain_answer_settles_what_the_request_carried(tmp_path: Path) -> None:
    bodies: list[Any] = [{"n": n, "filling": "x" * (n * 7 % 300)} for n in range(40)]
    bodies += [None, -1, 1.5, "text", b"\x00\xff", [1, [2]], {"é": True}]
    async with pair(tmp_path) as found:
        receipts = [
            await found.device.solution.enqueue(body, queue=f"q{index % 3}", urgency=list(Urgency)[index % 4])
            for index, body in enumerate(bodies)
        ]
        receipts.append(await found.device.management.enqueue("for you", queue="q"))
        async with asyncio.timeout(30):
            assert {await receipt.wait() for receipt in receipts} == {ReceiptState.DELIVERED}
        arrived = {record.number: record for record in found.records(Service.SOLUTION)}
        managed = found.records(Service.MANAGEMENT)
        message = found.inboxes[Service.SOLUTION].messages[0]
    assert [cbor2.loads(arrived[receipt.number].body) for receipt in receipts[:-1]] == bodies
    assert [arrived[receipt.number].urgency for receipt in receipts[:8]] == 2 * list(Urgency)
    assert {record.queue for record in arrived.values()} - {None} == {"q0", "q1", "q2"}
    assert [cbor2.loads(record.body) for record in managed if record.queue == "q"] == ["for you"]
    assert message.opt.uri_path == ()


async def test_a_plain_service_may_acknowledge_and_send_records(tmp_path: Path) -> None:
    """Acknowledgement, the time, and a record for the device, written by hand as docs/wire.md says."""

    def answer(payload: bytes) -> bytes:
        numbers = [record.number for record in decode_message(payload, floor=0, now=1_800_000_000.0).records]
        inbound = [-2, None, [8 * 4 + int(Urgency.PROMPT), "commands"], {"open": "valve"}]
        return b"".join(cbor2.dumps(item) for item in [[max(numbers, default=0)], *inbound])

    inboxes = {Service.MANAGEMENT: Inbox(), Service.SOLUTION: Inbox(answer)}
    async with pair(tmp_path, inboxes) as found:
        first = await found.device.solution.enqueue({"n": 1})
        async with asyncio.timeout(30):
            assert await first.wait() is ReceiptState.DELIVERED
            command = await found.device.solution.dequeue(timeout=20)
        second = await found.device.solution.enqueue({"n": 2})
        async with asyncio.timeout(30):
            assert await second.wait() is ReceiptState.DELIVERED
        assert (
            await found.device.solution.dequeue(timeout=0) is None
        )  # the same record, sent again, is no second object
    assert command
    assert command.value == {"open": "valve"}
    told = [decode_message(payload, floor=0, now=1_800_000_000.0) for payload in inboxes[Service.SOLUTION].payloads]
    assert any(message.acknowledged and 1 in message.acknowledged for message in told)


async def test_a_service_with_other_keys_gets_and_gives_nothing(tmp_path: Path) -> None:
    inbox = Inbox()
    keys = FileKeyStore.create(tmp_path / "I-1", "I-1", device_ids=KIDS)
    async with contextlib.AsyncExitStack() as stack:
        wrong = Peer(KIDS[Service.SOLUTION], keys.session_secret(Service.MANAGEMENT))
        ports = {
            "solution": await stack.enter_async_context(plain_service(inbox, wrong)),
            "management": await stack.enter_async_context(
                plain_service(Inbox(), Peer(KIDS[Service.MANAGEMENT], keys.session_secret(Service.MANAGEMENT)))
            ),
        }
        text = CONFIGURATION.format(state=tmp_path / "I-1", **ports)
        device = AsyncDevice.open(parse(text, source="test", environ={}))
        await device.start()
        try:
            receipt = await device.solution.enqueue("secret")
            done = await device.management.enqueue("known")
            async with asyncio.timeout(30):
                assert await done.wait() is ReceiptState.DELIVERED
            assert receipt.state in (ReceiptState.QUEUED, ReceiptState.SENT)
        finally:
            await device.aclose()
    assert inbox.payloads == []
