"""The driver of the RockBLOCK 9704: messages over Iridium's IMT service, in JSPR.

Rules of this file: one message on its way, and what follows from what the modem tells of it.  The modem itself is in
`imt_modem`, segments and their sums in `imt_transfer`, lines in `jspr`, who is told what of a message in `base`.

Nothing twice: the modem cannot be asked what became of a message.  So it is on disk that a message is handed over before
its first segment is.  A message that does not end in time is taken back, for the modem would keep it and send it half an
hour later (seen in the field), when its records have long gone another way; what the modem says to that is its end.  Where
no end was seen, the message counts as one that the network may have: it is never sent again.

Evidence: PORT the port is open, RADIO the modem answers, SIM it is active, REGISTERED it sees a satellite, BEARER the same
while attached.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from rataccess.driver import DriverContext, RadioMessage
from rataccess.errors import DriverError, NotNow, PacketTooLarge, PortLost, RadioSilent, StoreError, TransportBroken
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.satellite.base import LOOK_AGAIN, log
from rataccess_drivers.satellite.imt_modem import ImtModem, ResetUsb
from rataccess_drivers.satellite.imt_options import ImtOptions
from rataccess_drivers.satellite.imt_transfer import Fate, Origination, Terminations, fate
from rataccess_drivers.satellite.jspr import Message
from rataccess_drivers.satellite.kept import Attempt, Outcome, digest
from rataccess_drivers.satellite.pace import Pace
from rataccess_drivers.usb import reset_usb

__all__ = ["ImtDriver", "ImtOptions"]

# A message that an earlier process handed over is given so long to end by itself, before it is taken back.
LEFTOVER = 120.0
# The modem tells the end of a message that is taken back by then (meshsat gives it 20 s).
CANCEL_LIMIT = 30.0
MOST_REFERENCE = 100
GIVEN = "given"
"""Mark of an attempt of which the modem has got a segment."""


class ImtDriver(ImtModem):
    """One modem.  `MovesMessages`."""

    options_type = ImtOptions
    transports = ("imt",)

    def __init__(
        self,
        options: ImtOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        line_opener: OpenLine = open_line,
        chance: random.Random | None = None,
        usb_resetter: ResetUsb = reset_usb,
    ) -> None:
        hints = Hints(
            rat="imt",
            mtu=options.mtu,
            downlink=Downlink.ON_SESSION,
            response_time=30.0,
            billing_quantum=options.credit_bytes,
            acknowledges_handover=True,
            unit=Unit.CREDIT,
            compact=True,
        )
        super().__init__(options, context, hints, open_line, line_opener, usb_resetter)
        self._pace = Pace(context.clock.monotonic, chance or random.Random())
        self._terminations = Terminations()
        self._origination: Origination | None = None
        self._attempt: Attempt | None = None
        self._final: asyncio.Future[str] | None = None
        self._early: list[Message] = []
        self._reference = 0
        self._leftover_until = 0.0

    def __repr__(self) -> str:
        return f"<ImtDriver {self.name} {self.identity.get('imei') or self.options.port} bars={self._bars}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> ImtDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- what the modem tells -----------------------------------------------------------------------------------------

    def _told(self, message: Message) -> None:
        match message.target:
            case "constellationState":
                self._see(message)
            case "operationalState":
                self._state = message.text("state") or self._state
                self._changed.set()
            case "messageOriginateSegment":
                self._supply(message)
            case "messageOriginateStatus":
                self._ended(message)
            case "messageTerminate":
                self._terminations.begin(message)
            case "messageTerminateSegment":
                self._terminations.segment(message)
            case "messageTerminateStatus":
                self._received(message)
            case "bootInfo":
                self._booted()

    def _received(self, message: Message) -> None:
        data = self._terminations.end(message)
        if not data:
            log.warning("%s: a message for the device did not come whole: %s", self.name, dict(message.body))
        elif self._inbox.full:
            log.error("%s: a message for the device is lost: nobody takes those before it", self.name)
        else:
            self._inbox.arrived([], RadioMessage(data))

    def _booted(self) -> None:
        """The modem has started anew: what it had is gone, and whether it was sent nobody can tell any more."""
        self._leftover_until = 0.0
        self._state = ""
        self._sees = False
        if not self._setting_up:
            self._fail(RadioSilent(f"{self.name} has restarted by itself"))

    def _gone(self, lost: PortLost) -> None:
        self._fail(lost)

    def _fail(self, error: DriverError) -> None:
        if self._final is not None and not self._final.done():
            self._final.set_exception(error)
        self._console.interrupt(error)
        self._break(error)

    def _account(self) -> None:
        self._terminations = Terminations()
        attempt = self._attempts.unfinished
        if attempt is not None and attempt.reference != GIVEN:
            self._attempts.forget(attempt)  # the modem never got a byte of it
        elif attempt is not None and attempt.radio != self.identity.get("imei", ""):
            self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)  # another modem has it
        elif attempt is not None:
            self._leftover_until = asyncio.get_running_loop().time() + LEFTOVER

    @property
    def _wait(self) -> float:
        return self._pace.left

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes) -> Handover | None:
        await self._check_idle()
        await self._end_leftover()
        if self._attempts.find(data) is not None:  # it was this very message: whoever asks again is told
            raise NotNow(f"{self.name}: the message of an earlier process has been accounted for", 1.0)
        self._reference = self._reference % MOST_REFERENCE + 1
        imei = self.identity.get("imei", "")
        origination = self._origination = Origination(data, self.options.topic, self._reference)
        self._final = asyncio.get_running_loop().create_future()
        self._final.add_done_callback(lambda each: each.cancelled() or each.exception())
        self._attempt = Attempt(digest(data), self._reference, imei, self._context.clock.wall())
        self._attempts.begin(self._attempt)
        self._early = []
        try:
            await self._originate(origination, len(data))
            return await self._until_final()
        finally:
            self._origination = None
            self._final = None
            self._forget_or_doubt()

    async def _check_idle(self) -> None:
        """No message is begun before its time, or without sky: where there was none, the modem is asked again."""
        if self._pace.left:
            raise NotNow(f"{self.name} waits after a message that failed", self._pace.left)
        if not self._bright:
            self._see(await self._console.get("constellationState"))
        if not self._bright:
            raise NotNow(f"{self.name} has a signal of {self._bars} of 5", LOOK_AGAIN)

    @property
    def _bright(self) -> bool:
        return self._sees and (self._bars or 0) >= self.options.least_bars

    async def _end_leftover(self) -> None:
        """See that the modem has no message of an earlier process any more, which it might send at any time."""
        leftover, loop = self._attempts.unfinished, asyncio.get_running_loop()
        if leftover is None:
            return
        left = self._leftover_until - loop.time()
        if left > 0:
            raise NotNow(f"{self.name} may still be sending the message before", min(left, LOOK_AGAIN))
        end = loop.time() + CANCEL_LIMIT
        if await self._take_back(leftover):
            while self._attempts.unfinished is leftover and loop.time() < end:
                await self._changes(end - loop.time())
        if self._attempts.unfinished is leftover:
            self._attempts.change(leftover, outcome=Outcome.DOUBTFUL)

    async def _take_back(self, attempt: Attempt) -> bool:
        """Have the modem give a message up; whether it is going to tell the end."""
        body = {"topic_id": self.options.topic, "message_id": attempt.number, "action": "cancel"}
        told = await self._console.ask("PUT", "messageOriginateStatus", body)
        if told.code != 200:
            log.warning("%s: message %d could not be taken back: %s", self.name, attempt.number, told)
        return told.code == 200

    async def _originate(self, origination: Origination, size: int) -> None:
        told = await self._console.ask("PUT", "messageOriginate", origination.request)
        if told.code == 403:
            raise PacketTooLarge(size, size // 2)
        if told.code in (410, 418):
            self._bar(str(told))
        if told.code != 200:
            raise NotNow(f"{self.name}: {told}", self._pace.failed())
        if told.number("request_reference", origination.reference) != origination.reference:  # what comes late
            raise NotNow(f"{self.name} answered for another message", self._pace.failed())
        response = told.text("message_response")
        if response == "subscription_invalid":
            self._bar(
                f"{self.name}: the subscription is invalid: is the modem activated, and topic "
                f"{self.options.topic} allowed?"
            )
        if response not in ("message_accepted", ""):
            raise NotNow(f"{self.name}: {response}", self._pace.failed())
        origination.message_id = told.number("message_id")
        assert self._attempt is not None
        self._attempt = self._attempts.change(self._attempt, number=origination.message_id)
        early, self._early = self._early, []
        for message in early:  # asked for before the reply told its number
            self._told(message)

    def _bar(self, why: str) -> None:
        self._barred = why
        raise TransportBroken(why)

    def _supply(self, message: Message) -> None:
        """Give the modem the segment that it asks for, at once."""
        origination, attempt = self._origination, self._attempt
        if origination is None or attempt is None:
            return
        if origination.message_id is None:
            self._early = [*self._early[-7:], message]
            return
        body = origination.segment(message) if origination.is_about(message) else None
        if body is None:
            return
        if attempt.reference != GIVEN:
            try:
                self._attempt = self._attempts.change_surely(attempt, reference=GIVEN)
            except StoreError as error:  # the modem gives the message up where it gets no segment
                log.error("%s: a message is not sent that no note can be kept of: %s", self.name, error)
                return
        self._console.put_at_once("messageOriginateSegment", body)

    def _ended(self, message: Message) -> None:
        """A final status: of the message under way, or of one that an earlier process handed over."""
        status = message.text("final_mo_status")
        origination, final = self._origination, self._final
        if origination is not None and origination.message_id is None:
            self._early = [*self._early[-7:], message]
        elif origination is not None and origination.is_about(message):
            if final is not None and not final.done():
                final.set_result(status)
        elif (attempt := self._attempts.unfinished) is not None and attempt.number == message.number("message_id"):
            self._leftover_until = 0.0
            log.info("%s: the message of an earlier process: %s", self.name, status)
            self._settle(attempt, fate(status))
            self._changed.set()

    async def _until_final(self) -> Handover:
        assert self._final is not None
        assert self._attempt is not None
        status = await self._ends(self._final, self.options.message_timeout)
        if status is None and await self._take_back(self._attempt):
            status = await self._ends(self._final, CANCEL_LIMIT)
        if status is None:
            raise RadioSilent(f"{self.name}: no end of a message within {self.options.message_timeout:g} s")
        number, found = self._attempt.number, fate(status)
        self._settle(self._attempt, found)
        self._attempt = None
        if found is Fate.DELIVERED:
            self._pace.succeeded()
            return Handover(str(number))
        if found is Fate.BARRED:
            self._bar(f"{self.name}: {status}: is the modem activated with its provider?")
        raise NotNow(f"{self.name}: message {number}: {status}: {found}", self._pace.failed())

    async def _ends(self, final: asyncio.Future[str], limit: float) -> str | None:
        """The final status, or `None` where there is none within `limit` s."""
        await asyncio.wait({final}, timeout=limit)
        return final.result() if final.done() else None

    def _settle(self, attempt: Attempt, found: Fate) -> None:
        if found is Fate.DELIVERED:
            self._attempts.change(attempt, outcome=Outcome.ACCEPTED, reference=str(attempt.number))
        elif found is Fate.UNKNOWN:
            self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)
        else:
            self._attempts.forget(attempt)

    def _forget_or_doubt(self) -> None:
        """After a message without a final status; where the driver was closed, the next one looks after it."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if attempt.reference != GIVEN:
            self._attempts.forget(attempt)
        elif self._open and not isinstance(self._trouble, PortLost):  # a modem behind a lost port may still tell
            self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)
