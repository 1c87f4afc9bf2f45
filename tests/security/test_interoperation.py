"""With a peer that is not ours: aiocoap's own client and server, over UDP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiocoap
import aiocoap.defaults
import pytest
from aiocoap import oscore_sitewrapper, resource
from aiocoap.credentials import CredentialsMap

from rataccess.errors import ProtectionFailed
from rataccess.security import CHANGED, Request, SecureContext, peek
from tests.security.oscore_reference import SALT, SECRET, Disk, Reference

pytestmark = pytest.mark.skipif(
    bool(aiocoap.defaults.oscore_missing_modules()),
    reason=f"aiocoap's OSCORE lacks modules: {aiocoap.defaults.oscore_missing_modules()}",
)
KID = b"\x07"


def ours(sender_id: bytes, recipient_id: bytes) -> SecureContext:
    return SecureContext(
        sender_id=sender_id, recipient_id=recipient_id, secret=SECRET, salt=SALT, memory=Disk(), name="ours"
    )


class Inbox(asyncio.DatagramProtocol):
    """Datagrams as they come, with who sent them."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.closed = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.arrived.put_nowait((data, addr))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


@contextlib.asynccontextmanager
async def udp(**where: Any) -> AsyncIterator[tuple[asyncio.DatagramTransport, Inbox]]:
    """A UDP socket."""
    transport, inbox = await asyncio.get_running_loop().create_datagram_endpoint(Inbox, **where)
    try:
        yield transport, inbox
    finally:
        transport.close()
        await inbox.closed


async def serve(
    transport: asyncio.DatagramTransport, inbox: Inbox, context: SecureContext, heard: list[Request]
) -> None:
    """A server of ours: answers with the body reversed."""
    while True:
        data, who = await inbox.arrived.get()
        if peek(data).kind != "request":
            continue
        request = context.unprotect_request(data)
        heard.append(request)
        context.replay_state()
        transport.sendto(context.protect_response(request, CHANGED, request.body[::-1], message_id=len(heard)), who)


async def test_a_client_of_aiocoap_is_answered_by_us() -> None:
    heard: list[Request] = []
    async with udp(local_addr=("127.0.0.1", 0)) as (transport, inbox):
        port = transport.get_extra_info("sockname")[1]
        task = asyncio.create_task(serve(transport, inbox, ours(b"", KID), heard))
        client = await aiocoap.Context.create_client_context()
        try:
            client.client_credentials[f"coap://127.0.0.1:{port}/*"] = Reference(KID, b"", SECRET, SALT)
            for body in (b"hello", b"", b"x" * 900):
                message = aiocoap.Message(code=aiocoap.POST, payload=body, uri=f"coap://127.0.0.1:{port}/")
                async with asyncio.timeout(10):
                    response = await client.request(message, handle_blockwise=False).response
                assert (response.code, response.payload) == (aiocoap.CHANGED, body[::-1])
            message = aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/a/b")
            async with asyncio.timeout(10):
                await client.request(message, handle_blockwise=False).response
        finally:
            await client.shutdown()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert [request.body for request in heard] == [b"hello", b"", b"x" * 900, b""]
    assert (heard[3].code, heard[3].path) == (1, ("a", "b"))
    assert all(request.confirmable for request in heard)


class Reverse(resource.Resource):
    """Answers with the body reversed."""

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload[::-1])


@contextlib.asynccontextmanager
async def aiocoap_server() -> AsyncIterator[tuple[str, int]]:
    """A server of aiocoap's that takes protected requests at the root and at /reverse; its address."""
    site = resource.Site()
    site.add_resource([], Reverse())
    site.add_resource(["reverse"], Reverse())
    credentials = CredentialsMap()
    credentials[":device"] = Reference(b"", KID, SECRET, SALT)
    async with udp(local_addr=("127.0.0.1", 0)) as (transport, _):
        port = transport.get_extra_info("sockname")[1]  # free now, and in a moment aiocoap's
    server = await aiocoap.Context.create_server_context(
        oscore_sitewrapper.OscoreSiteWrapper(site, credentials),
        bind=("127.0.0.1", port),
        transports=["simplesocketserver"],
    )
    try:
        yield "127.0.0.1", port
    finally:
        await server.shutdown()


@pytest.mark.parametrize("confirmable", [False, True])
async def test_a_server_of_aiocoap_answers_us(confirmable: bool) -> None:
    context = ours(KID, b"")
    async with aiocoap_server() as where, udp(remote_addr=where) as (transport, inbox):
        for number, (body, path) in enumerate([(b"hello", ()), (b"", ("reverse",)), (b"y" * 900, ())]):
            token = bytes((number,))
            datagram, identity = context.protect_request(
                body, token=token, message_id=number, confirmable=confirmable, path=path
            )
            transport.sendto(datagram)
            async with asyncio.timeout(10):
                answer, _ = await inbox.arrived.get()
            header = peek(answer)
            assert (header.kind, header.token) == ("response", token)
            assert header.type == (2 if confirmable else 1)
            response = context.unprotect_response(answer, identity)
            assert (response.code, response.body) == (CHANGED, body[::-1])


async def test_a_server_of_aiocoap_refuses_what_we_sent_twice() -> None:
    """It says so without protection (RFC 8613 section 7.4), which anybody could: we do not believe it."""
    context = ours(KID, b"")
    async with aiocoap_server() as where, udp(remote_addr=where) as (transport, inbox):
        datagram, identity = context.protect_request(b"once", token=b"t", message_id=1)
        transport.sendto(datagram)
        async with asyncio.timeout(10):
            assert context.unprotect_response((await inbox.arrived.get())[0], identity).body == b"ecno"
        confirmable = bytes((datagram[0] & ~0x10,))  # which only then gets an answer
        transport.sendto(confirmable + datagram[1:2] + b"\x00\x02" + datagram[4:])  # as another CoAP message
        async with asyncio.timeout(10):
            refusal, _ = await inbox.arrived.get()
        assert refusal[1] >> 5 == 4
        with pytest.raises(ProtectionFailed, match="without protection"):
            context.unprotect_response(refusal, identity)
