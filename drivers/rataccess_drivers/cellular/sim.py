"""The SIM: waited for while it is busy, unlocked with the one configured PIN, never with a second guess.

Rules of this file: three wrong PINs block a SIM for good in the field, so what is sent is the PIN of the key store, once.
Three things keep it so: a PIN that was refused is remembered for the life of the process, also across drivers; one whose
answer never came counts as refused until the SIM says that it has all its tries; and over restarts of the process the SIM
itself is the memory, because its counter (`AT+QPINC`) shows that a PIN was refused before.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable

from rataccess.errors import CommandFailed, SimError
from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.grammar import quote, whole_number
from rataccess_drivers.at.parsers import parse_iccid
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.profiles import Limits

_ABSENT, _PIN_NEEDED, _PUK_NEEDED, _FAILURE, _BUSY = 10, 11, 12, 13, 14
# A second PIN guards fixed dialling numbers only.
_READY = ("READY", "SIM PIN2", "SIM PUK2")
_ASK_AGAIN = 1.0
# Seconds for which a modem that has just started may say that there is no SIM (or a broken one) when it has one.
_ABSENT_PATIENCE = 5.0


class _Tried(enum.Enum):
    UNCERTAIN = "sent, and no answer came"
    REFUSED = "refused"


_tried: dict[tuple[str, int], _Tried] = {}
"""By (card, hash of the PIN); the PIN itself is not kept."""


class SimCard:
    """The SIM of one modem.  `secret` looks the PIN up; `name` is the link's; `changed` is set when the modem tells news."""

    def __init__(
        self,
        console: Console,
        limits: Limits,
        name: str,
        secret: Callable[[str], str | None],
        *,
        changed: asyncio.Event,
        timeout: float,
        tries_left: int,
    ) -> None:
        self._console = console
        self._changed = changed
        self._limits = limits
        self._name = name
        self._secret = secret
        self._timeout = timeout
        self._tries_left = tries_left

    async def state(self, limit: float) -> str:
        """The word of `AT+CPIN?`, or what its error says."""
        try:
            return (await self._console.line("AT+CPIN?", "+CPIN:", limit)).partition(":")[2].strip().upper()
        except CommandFailed as error:
            words = {
                _ABSENT: "NOT INSERTED",
                _PIN_NEEDED: "SIM PIN",
                _PUK_NEEDED: "SIM PUK",
                _FAILURE: "FAILURE",
                _BUSY: "BUSY",
            }
            return words.get(error.code or 0, "NOT READY")

    async def unlock(self) -> str:
        """Wait until the SIM is ready, giving it the PIN where it asks; returns its last word.

        Raises `SimError` where it is missing, blocked, locked without a (good) PIN, or not ready within the time limit.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        entered = False
        while True:
            word = await self.state(self._limits.sim)
            if word in _READY:
                return "READY"
            if word == "SIM PIN" and entered:
                word = "BUSY"  # it took the PIN, and needs a moment
            waited = loop.time() - start
            patience = self._timeout if word in ("BUSY", "NOT READY") else _ABSENT_PATIENCE
            if word == "SIM PIN":
                await self._enter_pin()
                entered = True
            elif word.endswith(("PIN", "PUK", "BLOCKED")):
                raise SimError(f"the SIM of {self._name} needs {word}: unlock it by hand; nothing was tried")
            elif waited >= patience:
                raise SimError(f"the SIM of {self._name} is not usable: {word}")
            await self._news()

    async def _news(self) -> None:
        """Until the modem tells of a change, or it is time to ask again."""
        self._changed.clear()
        try:
            async with asyncio.timeout(_ASK_AGAIN):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _enter_pin(self) -> None:
        key = f"{self._name}.pin"
        pin = self._secret(key)
        if not pin:
            raise SimError(f"the SIM of {self._name} asks for its PIN: put it into the key store as {key!r}")
        if not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 8):
            raise SimError(f"{key!r} in the key store is no PIN (4 to 8 digits); it was not sent")
        tried = (await self._card(), hash(pin))
        tries = await self._tries()
        self._check(tried, tries)
        _tried[tried] = _Tried.UNCERTAIN
        try:
            await self._console.run(Command(f"AT+CPIN={quote(pin)}", timeout=self._limits.sim))
        except CommandFailed as error:
            _tried[tried] = _Tried.REFUSED
            code = f" (CME error {error.code})" if error.code is not None else ""
            raise SimError(
                f"the SIM of {self._name} refused the PIN {key!r}{code}; it will not be sent again"
            ) from error
        del _tried[tried]

    def _check(self, tried: tuple[str, int], tries: int | None) -> None:
        """Whether the PIN may be sent."""
        before = _tried.get(tried)
        if before is _Tried.REFUSED:
            raise SimError(f"the SIM of {self._name} has refused this PIN before; it is not sent again")
        if tries is not None and tries < self._tries_left:
            raise SimError(
                f"the SIM of {self._name} has {tries} PIN tries left: one was refused before, so none is sent; enter the "
                "PIN by hand, or correct it and lower `pin_tries_left` once"
            )
        if before is _Tried.UNCERTAIN and tries is None:
            raise SimError(f"the PIN of {self._name} was sent before and no answer came; it is not sent again")

    async def _card(self) -> str:
        try:
            return parse_iccid(await self._console.line("AT+QCCID", "+QCCID:", self._limits.sim))
        except CommandFailed:
            return self._name

    async def _tries(self) -> int | None:
        """How many PINs the SIM would still take; `None` where the modem does not tell."""
        try:
            for kind, *numbers in await self._console.ask('AT+QPINC="SC"', "+QPINC:", self._limits.sim):
                if kind.strip('"') == "SC" and numbers:
                    return whole_number(numbers[0])
        except CommandFailed:
            return None
        return None
