"""The driver of Iridium SBD modems: 9601, 9602, 9603, and RockBLOCKs with one of them.

Rules of this file: when a session is due.  What one does is in `sbd_sessions`, who is told what in `base`.

Evidence: PORT the port is open, RADIO the modem answers, REGISTERED it sees a satellite, BEARER the same while attached.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

from rataccess.clock import EARLIEST_PLAUSIBLE
from rataccess.driver import Allowance, Bearer, DriverContext, RadioStatus
from rataccess.errors import (
    AttachFailed,
    Closed,
    CommandFailed,
    DriverError,
    NotNow,
    RadioSilent,
    StoreError,
    TransportBroken,
)
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.charging import Charging
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.satellite import sbd_codec as codec
from rataccess_drivers.satellite.base import LOOK_AGAIN
from rataccess_drivers.satellite.pace import DAY, Pace, Purse
from rataccess_drivers.satellite.sbd_engine import Command
from rataccess_drivers.satellite.sbd_modem import SbdModem, log
from rataccess_drivers.satellite.sbd_options import SbdOptions
from rataccess_drivers.satellite.sbd_sessions import SbdSessions

__all__ = ["SbdDriver", "SbdOptions"]

BARRED_FOR = 3_600.0
# `AT+CSQ` measures anew, which may stall for 50 s and more without a satellite; `AT+CSQF` says what is known.
MEASURE_LIMIT = 70.0
# Firmware answers it as `+CSQF:` or, as the handbooks of the 9522 and 9601 print it, as `+CSQ:`.
_LAST_SIGNAL = Command("AT+CSQF", head="+CSQ", timeout=10.0)
CLOSE_PATIENCE = 4.0


class SbdDriver(SbdModem):
    """One modem.  `MovesMessages`, `KnowsTime`, `Rationed` and `Charges`."""

    options_type = SbdOptions
    transports = ("sbd",)

    def __init__(
        self,
        options: SbdOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        line_opener: OpenLine = open_line,
        chance: random.Random | None = None,
    ) -> None:
        hints = Hints(
            rat="sbd",
            mtu=codec.MO_LIMIT,
            downlink=Downlink.ON_SESSION,
            response_time=60.0,
            billing_quantum=codec.CREDIT_BYTES,
            acknowledges_handover=True,
            unit=Unit.CREDIT,
            compact=True,
        )
        super().__init__(options, context, hints, open_line=open_line, line_opener=line_opener)
        self._pace = Pace(context.clock.monotonic, chance or random.Random(), options.charge_time)
        mailbox = options.mailbox
        self._purse = Purse(context.memory, f"driver/{context.name}/purse", mailbox.credits_a_day, context.clock)
        self._sessions = SbdSessions(
            self._console, self._attempts, self._inbox, self._note, self._pace, context.clock, options
        )
        self._charges = Charging()
        self.on_charge = self._charges.on_charge
        """See `Charges`: looks into a mailbox that was empty."""
        self._one_session = asyncio.Lock()
        self._mail: asyncio.Task[None] | None = None
        self._mail_due = asyncio.Event()

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> SbdDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`.  A session that an earlier process left open is waited for, up to a minute."""
        if self._open:
            return
        self._attempts.load()
        self._purse.load()
        self._note.load()
        try:
            await self._set_up()
        except BaseException:
            await self.aclose()
            raise
        self._open = True

    async def _set_up(self) -> None:
        """From a port in any state to a modem that is known, with its last session accounted for."""
        await self._open_port()
        await self._introduce()
        self._inbox.load()
        self._pace.rest()
        self._sessions.imei = self.identity.imei
        try:
            await self._sessions.settle()
        except CommandFailed as error:
            raise RadioSilent(f"{self.name} does not tell the state of its buffers: {error}") from error
        with contextlib.suppress(CommandFailed):
            ring = codec.numbers(await self._console.ask(Command("AT+CRIS", head="+CRIS:", timeout=10)), "+CRIS:")
            self._note.change(ring=self._note.ring or (len(ring) == 2 and ring[1] & 1 == 1))
        self._trouble = None

    async def aclose(self) -> None:
        """See `Driver.aclose`.  A session under way is given 4 s to end; one that does not is accounted for later."""
        was_open = self._stop()
        mail, self._mail = self._mail, None
        if was_open:
            if self._sending is not None and self._console.session_open:
                await asyncio.wait({self._sending}, timeout=CLOSE_PATIENCE)
            if "sleep" in self._wires and not self._console.session_open:
                await self._flush()
                with contextlib.suppress(DriverError):
                    self._wires.set("sleep", False)
        self._console.close()
        await self._end(mail)

    # --- the sky ------------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`.  Iridium SBD has no connection to bring up: a satellite in view is all there is.

        Raises `AttachFailed` where there is none for `sky_timeout` seconds, or the last session said that nothing can be
        sent until somebody changes something; then with a `retry_after` of an hour.
        """
        self._check_open()
        if self._trouble is not None:
            await self._set_up()
        if self._attached:
            return Bearer("sbd")
        if self._sessions.barred:
            cause, self._sessions.barred = self._sessions.barred, ""
            raise AttachFailed(f"{cause}", BARRED_FOR)
        with contextlib.suppress(CommandFailed):
            await self._console.run(Command("AT*R1"))
        await self._await_sky()
        self._attached = True
        if self._mail is None or self._mail.done():
            self._mail = asyncio.get_running_loop().create_task(self._tend_mail(), name=f"rataccess {self.name} mail")
        self._tell_slot()
        return Bearer("sbd")

    async def _await_sky(self) -> None:
        try:
            async with asyncio.timeout(self.options.sky_timeout):
                while not self._sky.visible:
                    with contextlib.suppress(CommandFailed):
                        await self._measure()
                    if not self._sky.visible:
                        await self._changes(LOOK_AGAIN)
        except TimeoutError as error:
            raise AttachFailed(
                f"no satellite in view for {self.options.sky_timeout:g} s (signal {self._sky.bars} of 5): the antenna "
                "needs the open sky",
                60.0,
            ) from error

    async def _measure(self) -> None:
        """Have the modem look at the sky now."""
        line = await self._console.ask(Command("AT+CSQ", head="+CSQ:", timeout=MEASURE_LIMIT))
        self._sky.measured(codec.bars(line) or 0)

    async def status(self) -> RadioStatus:
        """See `Driver.status`.  While a session is open, or something else is asked, it is what is known."""
        self._check_open()
        if not self._console.busy:
            line = await self._console.ask(_LAST_SIGNAL)
            self._sky.bars = codec.bars(line) if codec.bars(line) is not None else self._sky.bars
        return self._status()

    def _heard(self, line: str) -> None:
        if line.startswith("HARDWARE FAILURE"):
            log.error("%s: the modem says %s", self.name, line)
        elif line.startswith("SBDRING"):
            log.info("%s: a message waits at the gateway", self.name)
            self._note.change(ring=True, begun=self._note.begun)
            self._mail_due.set()
        elif self._sky.heard(line):
            self._look_at_sky(self.options.sky_patience)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes) -> Handover | None:
        async with self._one_session:
            self._check_usable()
            await self._check_sky()
            handover = await self._sessions.transmit(data)
        if self._sessions.waiting or self._note.ring:
            self._mail_due.set()
        return handover

    async def _check_sky(self) -> None:
        """No session without sky, and none before the pause after the last one is over."""
        if self._pace.left:
            raise NotNow(f"{self.name} waits after a session that failed", self._pace.left)
        line = await self._console.ask(_LAST_SIGNAL)
        self._sky.bars = codec.bars(line) or 0
        if self._sky.service is False or self._sky.bars < self.options.least_bars:
            raise NotNow(f"{self.name} has a signal of {self._sky.bars} of 5", LOOK_AGAIN)
        if self.identity.needs_time_first and await self._ticks() is None:
            raise NotNow(f"{self.name}: the modem says that there is no network service", LOOK_AGAIN)

    @property
    def _wait(self) -> float:
        return self._pace.left

    # --- messages for the device --------------------------------------------------------------------------------------

    async def _tend_mail(self) -> None:
        """Fetch what waits at the gateway: after a ring alert, after a session that told of more, and by schedule."""
        if self._note.ring or self._sessions.waiting:
            self._mail_due.set()
        while True:
            check = not await self._mail_told()
            pause = await self._tend(check)
            if pause:
                await asyncio.sleep(pause)

    async def _mail_told(self) -> bool:
        """Wait until there is mail (true), or it is time to look for some."""
        try:
            async with asyncio.timeout(self.options.mailbox.check_every):
                await self._mail_due.wait()
        except TimeoutError:
            return False
        self._mail_due.clear()
        return True

    async def _tend(self, check: bool) -> float:
        """Sessions until nothing waits any more; seconds after which to go on."""
        while check or self._note.ring or self._sessions.waiting:
            if self._purse.left <= 0:
                log.warning("%s: messages wait, but today's %d credits are spent", self.name, self._purse.limit)
                self._mail_due.set()
                return self._purse.next_day_in
            try:
                async with self._one_session:
                    self._check_usable()
                    await self._check_sky()
                    if check or self._note.ring or self._sessions.waiting:  # a session of ours may have fetched it
                        await self._collect()
                check = False
            except NotNow as later:
                self._mail_due.set()
                return max(1.0, later.retry_after)
            except (DriverError, TransportBroken, Closed) as error:  # a recovery closes the port under a session
                self._break(error)
                self._mail_due.set()
                return LOOK_AGAIN
            except StoreError as error:
                log.error("%s: what waits is not fetched while it cannot be kept: %s", self.name, error)
                self._mail_due.set()
                return LOOK_AGAIN
            finally:
                self._tell_slot()
        return 0.0

    async def _collect(self) -> None:
        """A session, counted before it begins: a process that is killed meanwhile has spent it all the same."""
        self._purse.spend(1)
        try:
            credits, empty = await self._sessions.collect()
        except NotNow:
            self._purse.spend(-1)
            raise
        if empty:
            self._charges.charge(credits)
        self._purse.spend(credits - 1)

    def allowances(self) -> Sequence[Allowance]:
        """See `Rationed`: credits that fetching may cost today."""
        limit, left = self._purse.limit, self._purse.left
        wait = None if left else self._purse.next_day_in
        return (Allowance("messages for the device, fetched unasked", Unit.CREDIT, left, limit, DAY, wait),)

    # --- time ---------------------------------------------------------------------------------------------------------

    async def network_time(self) -> float | None:
        """See `KnowsTime`; `None` also while the modem is busy.  Precise to about a second."""
        self._check_open()
        if self._console.busy:
            return None
        count = await self._ticks()
        if count is None:
            return None
        clock = self._context.clock
        near = clock.wall() if clock.wall_known() else None
        return codec.system_time(count, near=near, not_before=max(EARLIEST_PLAUSIBLE, clock.wall() - DAY))

    async def _ticks(self) -> int | None:
        done = await self._console.run(Command("AT-MSSTM", timeout=10.0))
        return next((found for found in map(codec.ticks, done.lines) if found is not None), None)
