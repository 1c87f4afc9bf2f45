"""The driver of the RockBLOCK 9704: messages over Iridium's IMT service, in JSPR.

Rules of this file: the order of things, and what follows from what the modem tells.  Segments and their sums are in
`imt_transfer`, lines in `jspr`, who is told what of a message in `base`.

Nothing twice: the modem cannot be asked what became of a message.  So it is on disk that a message is handed over before
its first segment is.  Where the end was not seen after that, the message counts as one that the network may have: it is
never sent again.

Evidence: PORT the port is open, RADIO the modem answers, SIM it is active, REGISTERED it sees a satellite, BEARER the same
while attached.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

from rataccess.driver import Bearer, DriverContext, Evidence, RadioMessage, RadioStatus, Recovery
from rataccess.errors import (
    AttachFailed,
    CommandFailed,
    DriverError,
    NotNow,
    PacketTooLarge,
    PortLost,
    RadioSilent,
    TransportBroken,
)
from rataccess.tariff import Unit
from rataccess.transport import Downlink, Handover, Hints
from rataccess_drivers.byteline import OpenByteLine, open_byte_line
from rataccess_drivers.gpio import OpenLine, open_line
from rataccess_drivers.satellite.base import LOOK_AGAIN, SatelliteRadio, log
from rataccess_drivers.satellite.imt_options import ImtOptions
from rataccess_drivers.satellite.imt_transfer import Fate, Origination, Terminations, fate
from rataccess_drivers.satellite.jspr import Message
from rataccess_drivers.satellite.jspr_console import JsprConsole
from rataccess_drivers.satellite.kept import Attempt, Outcome, digest
from rataccess_drivers.satellite.pace import Pace
from rataccess_drivers.satellite.wires import Wires

__all__ = ["ImtDriver", "ImtOptions"]

# The vendor's library waits as long after each change of the operational state.
SETTLE = 0.1
STATE_LIMIT = 30.0
# A message that an earlier process handed over is done with by then, or nobody will ever know.
LEFTOVER = 120.0
BARRED_FOR = 3_600.0
DISCHARGE = 5.0
MOST_REFERENCE = 100
GIVEN = "given"
"""Mark of an attempt of which the modem has got a segment."""


class ImtDriver(SatelliteRadio):
    """One modem.  `MovesMessages`."""

    options_type = ImtOptions

    def __init__(
        self,
        options: ImtOptions,
        context: DriverContext,
        *,
        open_line: OpenByteLine = open_byte_line,
        line_opener: OpenLine = open_line,
        chance: random.Random | None = None,
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
        super().__init__(context, hints)
        self.options = options
        self.identity: dict[str, str] = {}
        """What `hwInfo` says; empty until the modem was asked."""
        self._pace = Pace(context.clock.monotonic, chance or random.Random())
        self._console = JsprConsole(context.name, open_line, self._told, self._gone)
        self._wires = Wires({"power": options.power_enable, "iridium": options.iridium_enable}, line_opener)
        self._terminations = Terminations()
        self._origination: Origination | None = None
        self._attempt: Attempt | None = None
        self._final: asyncio.Future[str] | None = None
        self._early: list[Message] = []
        self._reference = 0
        self._leftover_until = 0.0
        self._bars: int | None = None
        self._level: float | None = None
        self._sees = False
        self._state = ""
        self._barred = ""
        self._setting_up = False

    def __repr__(self) -> str:
        return f"<ImtDriver {self.name} {self.identity.get('imei') or self.options.port} bars={self._bars}>"

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> ImtDriver:
        """See `Driver.create`."""
        return cls(options, context)

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`."""
        if self._open:
            return
        self._attempts.load()
        try:
            await self._set_up()
        except BaseException:
            await self.aclose()
            raise
        self._open = True

    async def _set_up(self) -> None:
        self._setting_up = True
        try:
            await self._open_port()
            await self._choose_version()
            with contextlib.suppress(CommandFailed):
                told = await self._console.get("hwInfo")
                self.identity = {name: str(value) for name, value in told.body.items()}
        finally:
            self._setting_up = False
        self._inbox.load()
        self._trouble = None
        self._terminations = Terminations()
        attempt = self._attempts.unfinished
        if attempt is not None and attempt.reference != GIVEN:
            self._attempts.forget(attempt)  # the modem never got a byte of it
        elif attempt is not None:
            self._leftover_until = asyncio.get_running_loop().time() + LEFTOVER

    async def _open_port(self) -> None:
        """Switched on, port open, and the modem speaks JSPR."""
        self._wires.on()
        self._console.open(self.options.port, self.options.baudrate)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.options.ready_timeout
        while True:  # what is asked first after opening is often answered with 405, whatever it is
            try:
                await self._console.ask("GET", "apiVersion", limit=2.0)
                return
            except RadioSilent as error:
                if loop.time() >= end:
                    raise RadioSilent(f"{self.name} does not answer JSPR at {self.options.port}: {error}") from error

    async def _choose_version(self) -> None:
        """The newest version of the interface that the modem lists."""
        told = await self._console.get("apiVersion")
        listed = told.body.get("supported_versions")
        versions = [version for version in map(_version, listed if isinstance(listed, list) else []) if version]
        if not versions:
            raise CommandFailed(f"{self.name} lists no version of its interface: {dict(told.body)}")
        newest = max(versions)
        if _version(told.body.get("active_version")) != newest:
            major, minor, patch = newest
            version = {"major": major, "minor": minor, "patch": patch}
            await self._console.put("apiVersion", {"active_version": version}, fine=(402,))

    async def aclose(self) -> None:
        """See `Driver.aclose`.  A message under way is accounted for later."""
        self._stop()
        self._console.close()
        await self._end()

    # --- attaching ----------------------------------------------------------------------------------------------------

    async def attach(self) -> Bearer:
        """See `Driver.attach`.

        Raises `AttachFailed` where the SIM, the activation or the provisioning is missing, saying what to do, or where no
        satellite is in view for `sky_timeout` seconds.
        """
        self._check_open()
        if self._trouble is not None:
            await self._set_up()
        if self._attached:
            return Bearer("imt")
        if self._barred:
            cause, self._barred = self._barred, ""
            raise AttachFailed(cause, BARRED_FOR)
        try:
            await self._activate()
            await self._check_provisioning()
        except CommandFailed as error:
            raise AttachFailed(str(error)) from error
        await self._await_sky()
        self._attached = True
        self._tell_slot()
        return Bearer("imt")

    async def _activate(self) -> None:
        await self._console.put("simConfig", {"interface": self.options.sim}, fine=(402, 406))
        told = await self._console.get("operationalState")
        self._state = told.text("state")
        if self._state == "active":
            return
        if self._state != "inactive":
            await self._change_state("inactive")
        await self._change_state("active")

    async def _change_state(self, state: str) -> None:
        """Through `inactive` only, or the modem refuses; 406 says that it is there already."""
        told = await self._console.put("operationalState", {"state": state}, fine=(402, 406))
        end = asyncio.get_running_loop().time() + STATE_LIMIT
        while told.code == 200 and self._state != state:
            await self._changes(1.0)
            self._check_console()
            if self._state != state:
                self._state = (await self._console.get("operationalState")).text("state")
            if asyncio.get_running_loop().time() > end:
                raise AttachFailed(f"{self.name} does not become {state} in {STATE_LIMIT:g} s: it is {self._state!r}")
        self._state = state
        await asyncio.sleep(SETTLE)

    def _check_console(self) -> None:
        self._check_open()
        if self._trouble is not None:
            raise AttachFailed(str(self._trouble))

    async def _check_provisioning(self) -> None:
        told = await self._console.ask("GET", "messageProvisioning")
        rows = told.body.get("provisioning")
        topics = [row.get("topic_id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        if told.code == 200 and self.options.topic in topics:
            return
        if told.code not in (200, 418):
            raise CommandFailed(f"{self.name}: {told}")
        found = f"it has {topics}" if topics else "it has none yet"
        raise AttachFailed(
            f"{self.name} is not provisioned for topic {self.options.topic} ({found}): a new modem needs 10 to 30 minutes "
            "of open sky for that; after that ask the provider, or choose another `topic`",
            60.0,
        )

    async def _await_sky(self) -> None:
        try:
            async with asyncio.timeout(self.options.sky_timeout):
                while not self._sees:
                    self._see(await self._console.get("constellationState"))
                    if not self._sees:
                        await self._changes(LOOK_AGAIN)
                        self._check_console()
        except CommandFailed as error:
            raise AttachFailed(str(error)) from error
        except TimeoutError as error:
            raise AttachFailed(
                f"no satellite in view for {self.options.sky_timeout:g} s: the antenna needs the open sky", 60.0
            ) from error

    # --- status -------------------------------------------------------------------------------------------------------

    async def status(self) -> RadioStatus:
        """See `Driver.status`."""
        self._check_open()
        with contextlib.suppress(CommandFailed):
            self._see(await self._console.get("constellationState"))
        return self._status()

    def _status(self) -> RadioStatus:
        if not self._console.is_open:
            return RadioStatus(Evidence.NONE, str(self._trouble or "the port is not open"), rat="imt")
        if self._trouble is not None:
            return RadioStatus(Evidence.PORT, str(self._trouble), rat="imt")
        signal = f"signal {self._bars} of 5" if self._bars is not None else "signal unknown"
        if self._attached or self._sees:
            evidence = Evidence.BEARER if self._attached else Evidence.REGISTERED
            return RadioStatus(evidence, signal, "imt", "Iridium", self._level)
        evidence = Evidence.SIM if self._state == "active" else Evidence.RADIO
        return RadioStatus(evidence, "no satellite in view", rat="imt")

    @property
    def _port_open(self) -> bool:
        return self._console.is_open

    @property
    def _visible(self) -> bool:
        return self._sees

    @property
    def _wait(self) -> float:
        return self._pace.left

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

    def _see(self, message: Message) -> None:
        """What the modem sees of the satellites."""
        body = message.body
        self._sees = body.get("constellation_visible") is True
        self._bars = min(max(message.number("signal_bars", 0), 0), 5)
        level = body.get("signal_level")
        self._level = float(level) if isinstance(level, int | float) and self._sees else None
        self._look_at_sky(self.options.sky_patience)

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

    def _received(self, message: Message) -> None:
        data = self._terminations.end(message)
        if not data:
            log.warning("%s: a message for the device did not come whole: %s", self.name, dict(message.body))
        elif self._inbox.full:
            log.error("%s: a message for the device is lost: nobody takes those before it", self.name)
        else:
            self._inbox.arrived([], RadioMessage(data))

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes) -> Handover | None:
        self._check_idle()
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

    def _check_idle(self) -> None:
        """No message is begun without sky, before its time, or beside another one."""
        if self._pace.left:
            raise NotNow(f"{self.name} waits after a message that failed", self._pace.left)
        if not self._sees or (self._bars or 0) < self.options.least_bars:
            raise NotNow(f"{self.name} has a signal of {self._bars} of 5", LOOK_AGAIN)
        leftover = self._attempts.unfinished
        if leftover is not None:
            left = self._leftover_until - asyncio.get_running_loop().time()
            if left > 0:
                raise NotNow(f"{self.name} may still be sending the message before", min(left, LOOK_AGAIN))
            self._attempts.change(leftover, outcome=Outcome.DOUBTFUL)

    async def _originate(self, origination: Origination, size: int) -> None:
        told = await self._console.ask("PUT", "messageOriginate", origination.request)
        if told.code == 403:
            raise PacketTooLarge(size, size // 2)
        if told.code in (410, 418):
            self._bar(str(told))
        if told.code != 200:
            raise NotNow(f"{self.name}: {told}", self._pace.failed())
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
            self._attempt = self._attempts.change(attempt, reference=GIVEN)
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

    async def _until_final(self) -> Handover:
        assert self._final is not None
        assert self._attempt is not None
        try:
            async with asyncio.timeout(self.options.message_timeout):
                status = await self._final
        except TimeoutError as error:
            raise RadioSilent(f"{self.name}: no end of a message within {self.options.message_timeout:g} s") from error
        number, found = self._attempt.number, fate(status)
        self._settle(self._attempt, found)
        self._attempt = None
        if found is Fate.DELIVERED:
            self._pace.succeeded()
            return Handover(str(number))
        if found is Fate.BARRED:
            self._bar(f"{self.name}: {status}: is the modem activated with its provider?")
        raise NotNow(f"{self.name}: message {number}: {status}: {found}", self._pace.failed())

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

    # --- repairs ------------------------------------------------------------------------------------------------------

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """See `Driver.recoveries`."""
        again = 2 * self.options.ready_timeout + 30.0
        rungs = [
            Recovery("reopen port", self._reopen, again),
            Recovery("radio off/on", self._radio_off_on, again + 2 * STATE_LIMIT),
        ]
        if self._wires:
            rungs.append(Recovery("power cut", self._cut_power, again + DISCHARGE, attempts=2))
        return tuple(rungs)

    async def _reopen(self) -> None:
        self._console.close()
        await self._open_port()

    async def _radio_off_on(self) -> None:
        await self._open_port()
        await self._choose_version()
        await self._console.put("operationalState", {"state": "inactive"}, fine=(402, 406))
        await asyncio.sleep(SETTLE)
        await self._console.put("operationalState", {"state": "active"}, fine=(402, 406))

    async def _cut_power(self) -> None:
        self._console.close()
        await self._wires.cut(DISCHARGE)
        await self._open_port()


def _version(value: Any) -> tuple[int, int, int] | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) for name in ("major", "minor", "patch")]
    return (parts[0], parts[1], parts[2]) if all(isinstance(each, int) for each in parts) else None  # type: ignore[return-value]
