"""What comes in for one exchange: answers to its requests, and requests of the service's own.

Rules of this file: it reads messages and says who is to act on them (ledger, inflow, access); it sends nothing but answers.
Whatever arrives, a request in flight is either answered or still in flight: no record is lost between the two.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rataccess.access import Kind
from rataccess.clock import EARLIEST_PLAUSIBLE
from rataccess.errors import ObjectError, ProtectionFailed, RataccessError, SecurityError, StoreError
from rataccess.exchange.flights import Flight
from rataccess.security import BAD_REQUEST, CHANGED, Request, Response, SecureContext, peek, read_compact
from rataccess.security.coap import refuse
from rataccess.transport import Packet
from rataccess.wire import BASE, ERA, MORE, PACKET, PARTIAL, TIME, WANTED, Message, decode_message

if TYPE_CHECKING:
    from rataccess.exchange.exchange import Exchange

_log = logging.getLogger("rataccess.exchange")

REFUSED_PAUSE = 1.0
"""Seconds of rest after the service refused a message."""
LOST_AFTER = 60.0
"""Seconds without another answer after which parts that no answer told of are lost, although the operator had them."""
MOST_ERA = 8
"""Bytes of the longest name of an era that is said again."""
LATEST_PLAUSIBLE = 2.0**32
"""Seconds since 1970 (2106): a service that tells a later time, or one before the first of these libraries, is wrong."""


class Reception:
    """The ear of one exchange, whose packets `context` unprotects."""

    def __init__(self, exchange: Exchange, context: SecureContext) -> None:
        self._exchange = exchange
        self._context = context
        self._replies: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Packets that were malformed, forged, replayed or unasked for."""

    async def aclose(self) -> None:
        """Give up answers that are not sent yet."""
        for task in self._replies:
            task.cancel()
        await asyncio.gather(*self._replies, return_exceptions=True)

    def take(self, link: str, data: bytes) -> None:
        """A packet for this service's context: an answer, or a request of the service's own."""
        try:
            if self._exchange.compact(link):
                self._take_compact(link, data)
                return
            header = peek(data)
            if header.kind == "request":
                self._serve(link, self._context.unprotect_request(data))
            elif header.kind == "response":
                self._answer(link, header.token, data)
        except ProtectionFailed as error:
            self.dropped += 1
            _log.debug("%s over %s: dropped a packet: %s", self._exchange.service, link, error)
        except (StoreError, SecurityError) as error:
            _log.warning("%s over %s: what came was not kept: %s", self._exchange.service, link, error)

    def _take_compact(self, link: str, data: bytes) -> None:
        header = read_compact(data)
        if header.service is not self._exchange.service:
            refuse("a packet of the other service")
        if not header.response:
            self._serve(link, self._context.unprotect_compact(data))
            return
        assert header.low is not None
        for flight in self._exchange.flights.compact(header.low):
            try:
                response = self._context.unprotect_compact_response(data, flight.identity)
            except ProtectionFailed:
                continue
            self._answered(link, flight, response)
            return
        refuse("an answer to nothing")

    # --- answers -------------------------------------------------------------------------------------------------------

    def _answer(self, link: str, token: bytes, data: bytes) -> None:
        exchange = self._exchange
        flight = exchange.flights.find(token)
        if flight is None:
            self.dropped += 1
            return
        self._answered(link, flight, self._context.unprotect_response(data, flight.identity))

    def _answered(self, link: str, flight: Flight, response: Response) -> None:
        exchange = self._exchange
        now, live = exchange.monotonic(), flight.live
        if live:
            exchange.flights.land(flight)
            flight.lane.answered(now)
        exchange.flights.answered(flight)
        compact = flight.identity.compact is not None
        message = self._read(response.body, compact=compact) if response.code == CHANGED else None
        if message is None:
            self._complain(flight, response.code, live)
            exchange.look(flight.lane)
            return
        flight.lane.told(flight.flags)
        measured = live and link == flight.lane.link
        exchange.access.answered(link, exchange.service, now - flight.sent_at if measured else None)
        bare = not response.body and not compact  # a service that says only 2.04
        if bare:
            exchange.ledger.taken(flight, link, live)
        try:
            self._apply(message, link, flight)
            self._take(message, link)
            exchange.grounding.outrun(flight)
            if compact and exchange.answers_at_once(link):
                exchange.ledger.incomplete(message.control.get(PARTIAL), exchange.wall() + LOST_AFTER)
        finally:
            unread = ERA in message.control and "era" not in flight.flags  # sent before the device knew of that era
            if exchange.ledger.left_over(flight, message.control.get(PARTIAL), live and not bare) or bare or unread:
                flight.lane.fruitless = 0
            elif live:
                flight.lane.in_vain(now, exchange.jitter())
            exchange.look(flight.lane)

    def _read(self, body: bytes, *, compact: bool) -> Message | None:
        floor = self._exchange.inflow.received.floor
        try:
            return decode_message(body, floor=floor, now=self._exchange.wall(), compact=compact)
        except ObjectError as error:
            self.dropped += 1
            _log.warning("%s: a genuine message that is malformed: %s", self._exchange.service, error)
            return None

    def _complain(self, flight: Flight, code: int, live: bool) -> None:
        """The service took the request for genuine and refused it, or its answer cannot be read."""
        exchange = self._exchange
        text = f"the {exchange.service} service answered {code >> 5}.{code & 31:02d} to a request"
        if code == CHANGED:
            text += " with something that is no message"
        exchange.access.note(Kind.SERVICE, text)
        _log.error("%s; its %d record(s) wait", text, len(flight.parts))
        now = exchange.monotonic()
        flight.lane.not_before = now + (REFUSED_PAUSE if flight.parts else 10 * REFUSED_PAUSE)
        exchange.ledger.news |= flight.flags & {"acknowledge", "base"}
        if live and code == BAD_REQUEST:
            exchange.ledger.refused(flight, now)
        elif live:
            exchange.ledger.left_over(flight, None, live)

    def _apply(self, message: Message, link: str, flight: Flight | None) -> None:
        exchange, control = self._exchange, message.control
        if message.acknowledged is not None:
            era = control.get(ERA)
            exchange.ledger.acknowledged(
                message.acknowledged,
                flight,
                link,
                era=era if isinstance(era, bytes) and len(era) <= MOST_ERA else None,
                upcoming=self._context.upcoming,
            )
        told = control.get(TIME)
        if type(told) is int and EARLIEST_PLAUSIBLE * 1000 <= told < LATEST_PLAUSIBLE * 1000:
            exchange.ask_time = False
            exchange.observer.time_told(told / 1000 + self._age(flight))
        if isinstance(packet := control.get(PACKET), bytes):
            exchange.observer.packet_arrived(packet)
        if isinstance(wanted := control.get(WANTED), list):
            exchange.observer.definitions_wanted([each for each in wanted if type(each) is int])

    def _age(self, flight: Flight | None) -> float:
        """Seconds that the answer to `flight` is old: in compact form it may have waited for hours for the next session, or
        the next uplink."""
        if flight is None or flight.identity.compact is None or not flight.gone:
            return 0.0
        return max(0.0, self._exchange.monotonic() - flight.sent_at)

    def _take(self, message: Message, link: str) -> None:
        """Records of the service's own."""
        exchange = self._exchange
        if message.records or BASE in message.control:
            objects = exchange.inflow.take(message)
            exchange.owe_acknowledgement()
            if objects:
                exchange.observer.objects_arrived(objects)
            if exchange.inflow.full:
                exchange.look_for_room()
        if message.control.get(MORE) is True and not (exchange.inflow.full and not exchange.free(link)):
            exchange.ask_for_more(link)  # more of what finds no room is not worth a paid question

    # --- requests of the service's own ---------------------------------------------------------------------------------

    def _serve(self, link: str, request: Request) -> None:
        """Apply it, then answer it."""
        exchange = self._exchange
        exchange.access.answered(link, exchange.service, None)
        compact = request.identity.compact is not None
        message, code, body = self._read(request.body, compact=compact), BAD_REQUEST, b""
        if message is not None:
            self._apply(message, link, None)
            self._take(message, link)
            code, body = CHANGED, exchange.composer.acknowledgement(link)
        exchange.keep_replay_window()
        if compact and not exchange.free(link):
            return  # what it brought is acknowledged with the next request that goes anyway
        data = self._context.protect_response(request, code, body, message_id=exchange.message_id())
        task = asyncio.get_running_loop().create_task(self._reply(link, data))
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _reply(self, link: str, data: bytes) -> None:
        news = self._exchange.ledger.news
        owed = "acknowledge" in news
        news.discard("acknowledge")
        try:
            await self._exchange.access.send(link, Packet(data, self._exchange.service))
        except RataccessError as error:
            if owed:
                news.add("acknowledge")
            _log.debug("%s over %s: an answer was not sent: %s", self._exchange.service, link, error)
