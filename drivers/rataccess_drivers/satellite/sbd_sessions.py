"""What one session of an Iridium SBD modem does: a message written, sent and accounted for, a message fetched and kept.

Rules of this file: the order of commands, and the rule that nothing is sent twice and nothing received is lost.  When
sessions are due, and what the sky is like, is for the driver.

Nothing twice: the MOMSN advances with each session that succeeds, and with no other (as drivers have observed it).  Before
a session the MOMSN and a digest of the message are on disk; after one that broke, or whose end nobody saw, an MOMSN that
has moved says that the gateway has the message.  One that has not says so too only where the modem still has the message in
its buffer: that is gone after a power cut, which may have come before the modem knew.

Nothing lost: a received message lies in the modem's one buffer until the next session overwrites it.  No session begins
before it was read whole and is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from rataccess.clock import Clock
from rataccess.driver import RadioMessage
from rataccess.errors import (
    CommandFailed,
    NotNow,
    PacketTooLarge,
    RadioSilent,
    RataccessError,
    StoreError,
    TransportBroken,
)
from rataccess.transport import Handover
from rataccess_drivers.satellite import sbd_codec as codec
from rataccess_drivers.satellite.kept import Attempt, Attempts, Inbox, Outcome, SessionNote, digest
from rataccess_drivers.satellite.pace import DAY, Pace
from rataccess_drivers.satellite.sbd_codec import Buffers, SessionResult, Verdict
from rataccess_drivers.satellite.sbd_console import SbdConsole
from rataccess_drivers.satellite.sbd_engine import Command, Done
from rataccess_drivers.satellite.sbd_options import SbdOptions

log = logging.getLogger("rataccess.sbd")

_BUFFERS = Command("AT+SBDSX", head="+SBDSX:", timeout=10.0)
# 270 bytes take 0.15 s at 19200 baud.
_READ = Command("AT+SBDRB", block=True, timeout=6.0)
_READ_TRIES = 4
# The modem itself gives up after 60 s without all bytes, and says so.
_WRITE_LIMIT = 65.0
_WRITE_TRIES = 3
_SURE_TRIES = 4
_WRITE_TROUBLE = {1: "the message did not arrive within 60 s", 2: "the sum was wrong"}


class Unreadable(CommandFailed):
    """A session is over, and the line that tells how it ended is damaged."""


class SbdSessions:
    """The sessions of one modem; `imei` is set once it is known."""

    def __init__(
        self,
        console: SbdConsole,
        attempts: Attempts,
        inbox: Inbox,
        note: SessionNote,
        pace: Pace,
        clock: Clock,
        options: SbdOptions,
    ) -> None:
        self._console = console
        self._attempts, self._inbox, self._note = attempts, inbox, note
        self._pace, self._clock = pace, clock
        self._limit, self._trust = options.session_timeout, options.trust_momsn
        self._unread: int | None = None  # MTMSN of a message that is still in the modem
        self._fruitless = 0  # so many waited, as was said, when a session for them brought none
        self.imei = ""
        self.waiting = 0
        """Messages at the gateway, as last heard."""
        self.barred = ""
        """Why nothing can be sent until somebody changes something."""

    # --- after an opening ---------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """See how the last session ended, if nobody has, and fetch what it left.  Raises as `SbdConsole.run`."""
        now = await self._buffers_surely()
        attempt = self._attempts.unfinished
        if attempt is not None:
            self._settle(attempt, now)
        if now.mo_present:
            await self._clear(0)
        self._note.change(ring=self._note.ring or now.ring)
        self.waiting = now.waiting
        if now.mt_present:
            self._unread = now.mtmsn
            with contextlib.suppress(NotNow, StoreError):
                await self._fetch()

    def _settle(self, attempt: Attempt, now: Buffers) -> None:
        if attempt.radio != self.imei:
            log.warning("%s is another modem: how its last message ended stays unknown", self._console.name)
            self._attempts.forget(attempt)
        elif now.momsn != attempt.number:
            log.info("%s: the gateway took the message of the session that nobody saw end", self._console.name)
            self._attempts.change(attempt, outcome=Outcome.ACCEPTED, reference=str(attempt.number))
        elif now.mo_present:
            self._not_there(attempt, None)
        else:  # the modem has lost its power, perhaps before it heard that the gateway had the message
            self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)

    def _not_there(self, attempt: Attempt, result: SessionResult | None) -> None:
        """The MOMSN has not moved: the gateway does not have the message, as far as that can be trusted."""
        if self._trust or (result is not None and result.mo_status not in codec.BROKEN):
            self._attempts.forget(attempt)
        else:
            self._attempts.change(attempt, outcome=Outcome.DOUBTFUL)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def transmit(self, data: bytes) -> Handover:
        """Send one message of 1 to 340 bytes in a session.

        Raises `NotNow` or `PacketTooLarge` where the gateway does not have it, `TransportBroken` where nothing can be sent;
        and as `SbdConsole.run` where the end was not seen, which `settle` finds out.
        """
        before = await self._emptied()
        await self._write(data)
        attempt = Attempt(digest(data), before.momsn, self.imei, self._clock.wall())
        self._attempts.begin(attempt)
        result: SessionResult | None = None
        with contextlib.suppress(CommandFailed):  # refused, or answered in part: SBDSX knows what came of it
            result = await self._session()
        if result is not None and codec.mo_status(result.mo_status).verdict is Verdict.DELIVERED:
            return self._accepted(attempt, result.momsn)
        try:
            after = await self._buffers_surely()
        except CommandFailed as error:
            raise RadioSilent(f"{error}, and so what came of the message is not known yet") from error
        if result is None and after.mt_present:
            await self._fetch_if_possible(after.mtmsn)
        if after.momsn != before.momsn:
            return self._accepted(attempt, result.momsn if result is not None else before.momsn)
        self._not_there(attempt, result)
        with contextlib.suppress(CommandFailed, RadioSilent):
            await self._clear(0)
        raise await self._refusal(result, len(data))

    def _accepted(self, attempt: Attempt, momsn: int) -> Handover:
        self._pace.succeeded()
        self._attempts.change(attempt, outcome=Outcome.ACCEPTED, reference=str(momsn))
        return Handover(str(momsn))

    async def _write(self, data: bytes) -> None:
        trouble = ""
        for _ in range(_WRITE_TRIES):
            command = Command(f"AT+SBDWB={len(data)}", timeout=_WRITE_LIMIT, digit=True, payload=codec.written(data))
            done = await self._whole(command)
            code = next(int(line) for line in done.lines if len(line) == 1 and line.isdigit())
            if code == 0:
                return
            if code == 3:
                raise PacketTooLarge(len(data), len(data) // 2)
            trouble = _WRITE_TROUBLE.get(code, f"result {code}")
        raise NotNow(f"{self._console.name} did not take the message: {trouble}", 10.0)

    async def _whole(self, command: Command) -> Done:
        """Run it to its end, also where whoever asked gives up: a modem that waits for the rest of a message takes what
        follows for it."""
        task = asyncio.ensure_future(self._console.run(command))
        task.add_done_callback(lambda each: each.cancelled() or each.exception())
        return await asyncio.shield(task)

    async def _refusal(self, result: SessionResult | None, size: int) -> RataccessError:
        """What the caller of a message that the gateway does not have is told."""
        name = self._console.name
        if result is None:
            return NotNow(f"{name} refused the session", self._pace.failed())
        status = codec.mo_status(result.mo_status)
        said = f"{name}: MO status {result.mo_status}: {status.text}"
        if status.verdict is Verdict.MESSAGE:
            return PacketTooLarge(size, size // 2)
        if status.verdict is Verdict.BARRED:
            self.barred = said
            return TransportBroken(said)
        return NotNow(said, await self._pause(status.verdict))

    async def _pause(self, verdict: Verdict) -> float:
        """Leave the network alone; for how long."""
        if verdict is Verdict.RADIO_OFF:
            await self._console.run(Command("AT*R1"))
        if verdict is not Verdict.LATER:
            return self._pace.failed()
        least = codec.LATER_SECONDS
        with contextlib.suppress(CommandFailed):
            asked = codec.numbers(
                await self._console.ask(Command("AT+SBDLOE", head="+SBDLOE:", timeout=10)), "+SBDLOE:"
            )
            least = max(least, min(float(asked[-1]), DAY) if len(asked) == 2 and asked[0] == 0 else 0.0)
        return self._pace.failed(least)

    # --- fetching -----------------------------------------------------------------------------------------------------

    async def collect(self) -> tuple[int, bool]:
        """A session without a message of ours, for one that waits or a ring alert; returns the credits it cost, and
        whether it brought nothing.

        Raises `NotNow` where it failed, and as `SbdConsole.run`.
        """
        await self._emptied()
        await self._clear(0)
        try:
            result = await self._session()
        except Unreadable:
            return 1, not await self._fetch_unseen()
        except CommandFailed as error:
            raise NotNow(f"{error}", self._pace.failed()) from error
        status = codec.mo_status(result.mo_status)
        if status.verdict is not Verdict.DELIVERED:
            if status.verdict is Verdict.BARRED:
                self.barred = status.text
            raise NotNow(f"MO status {result.mo_status}: {status.text}", await self._pause(status.verdict))
        if result.mt_status == codec.MT_ERROR:  # it waits there, and is not asked for again at once
            self._pace.failed()
            self.waiting = max(1, self.waiting)
            return 1, True
        self._pace.succeeded()
        if result.mt_status == codec.MT_RECEIVED:
            return max(1, -(-result.mt_length // codec.CREDIT_BYTES)), False
        if self.waiting:
            log.warning("%s: the gateway says that messages wait, and hands out none", self._console.name)
            self._fruitless, self.waiting = self.waiting, 0
        return 1, True

    async def _session(self) -> SessionResult:
        """Open a session and wait until it is over; what it brought is fetched.

        Raises `Unreadable`, and `CommandFailed` where there was none; and as `SbdConsole.run`.
        """
        verb = "AT+SBDIXA" if self._note.ring else "AT+SBDIX"
        self._note.change(begun=self._clock.wall())
        try:
            command = Command(verb, timeout=self._limit, head="+SBDIX", patient=True)
            done = await self._console.run(command, session=True)
        except CommandFailed:
            self._note.change()
            raise
        result = next((each for each in map(codec.session_result, done.lines) if each is not None), None)
        over = result is not None and codec.mo_status(result.mo_status).verdict is Verdict.DELIVERED
        self._note.change(ring=self._note.ring and not over)
        if result is None:
            raise Unreadable(f"{self._console.name}: the result of a session cannot be read: {done.lines}")
        if result.mt_status == codec.MT_RECEIVED:
            self._fruitless = 0
            await self._fetch_if_possible(result.mtmsn)
        if over:
            self.waiting = max(0, result.mt_queued) if result.mt_queued != self._fruitless else 0
        return result

    async def _emptied(self) -> Buffers:
        """The state of the buffers before a session, which would overwrite a received message: there is none left.

        Raises as `_fetch` and `SbdConsole.run`.
        """
        await self._fetch()
        now = await self._buffers_surely()
        if now.mt_present:  # the answer that told of it was lost
            self._unread = now.mtmsn
            await self._fetch()
        return now

    async def _fetch_unseen(self) -> bool:
        """After a session whose answer was lost: whether it brought a message."""
        now = await self._buffers_surely()
        self.waiting = now.waiting
        self._note.change(ring=now.ring)
        if now.mt_present:
            await self._fetch_if_possible(now.mtmsn)
        return now.mt_present

    async def _fetch_if_possible(self, mtmsn: int) -> None:
        """Fetch it; where that fails it stays there, and no session begins before."""
        self._unread = mtmsn
        with contextlib.suppress(RadioSilent, CommandFailed, NotNow, StoreError):
            await self._fetch()

    async def _fetch(self) -> None:
        """Read the message in the modem, if there is one, and keep it.

        Raises `NotNow` where there is no room, and `RadioSilent` where it cannot be read whole.
        """
        mtmsn = self._unread
        if mtmsn is None:
            return
        if self._inbox.full:
            raise NotNow(f"{self._console.name}: received messages wait to be taken", 30.0)
        data = await self._read()
        if data:
            self._inbox.arrived([self.imei, mtmsn, digest(data)], RadioMessage(data))
        self._unread = None
        with contextlib.suppress(CommandFailed, RadioSilent):
            await self._clear(1)

    async def _read(self) -> bytes:
        trouble: Exception | None = None
        for _ in range(_READ_TRIES):
            try:
                done = await self._console.run(_READ)
                return codec.read(done.block or b"")
            except (codec.SbdError, CommandFailed, RadioSilent) as error:
                trouble = error
                log.warning("%s: a received message has to be read again: %s", self._console.name, error)
        raise RadioSilent(f"{self._console.name}: a received message cannot be read: {trouble}") from trouble

    # --- small things -------------------------------------------------------------------------------------------------

    async def _buffers(self) -> Buffers:
        line = await self._console.ask(_BUFFERS)
        found = codec.buffers(line)
        if found is None:
            raise CommandFailed(f"{self._console.name}: {line!r} is not the state of the buffers")
        return found

    async def _buffers_surely(self) -> Buffers:
        """The same, read until two readings agree: whether a message is sent again hangs on one digit without a sum."""
        last = await self._buffers()
        for _ in range(_SURE_TRIES):
            again = await self._buffers()
            if again == last:
                return again
            last = again
        raise CommandFailed(f"{self._console.name} says something else of its buffers each time")

    async def _clear(self, which: int) -> None:
        """Clear the buffer of messages to be sent (0) or received (1)."""
        done = await self._console.run(Command(f"AT+SBDD{which}", digit=True, timeout=10.0))
        if "0" not in done.lines:
            raise CommandFailed(f"{self._console.name} did not clear its buffer: {done.lines}")
