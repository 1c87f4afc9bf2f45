"""The PDP context: user name and password, activation, addresses, and whether it is still there.

Rules of this file: Quectel's own context commands (`QICSGP`, `QIACT`), which its sockets need.  A context that the network
has taken away must be deactivated before it can be activated again (Quectel TCP/IP application note, `"pdpdeact"`).
"""

from __future__ import annotations

from collections.abc import Callable

from rataccess.errors import AttachFailed, CommandFailed, ConfigurationError
from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.grammar import plain_text, quote, whole_number
from rataccess_drivers.at.parsers import parse_address, parse_addresses
from rataccess_drivers.cellular.causes import SOCKET_ERRORS, context_refused, is_lasting
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.options import Authentication, PdpType, QuectelOptions
from rataccess_drivers.cellular.profiles import Limits

_KINDS = {PdpType.IPV4: 1, PdpType.IPV6: 2, PdpType.IPV4V6: 3}
_AUTHENTICATIONS = {
    Authentication.NONE: 0,
    Authentication.PAP: 1,
    Authentication.CHAP: 2,
    Authentication.PAP_OR_CHAP: 3,
}
# Which field of +CGCONTRDP is IPv4_MTU (27.007 clause 10.1.23), and what no IPv4 path is below (RFC 791).
_MTU_FIELD = 11
_LEAST_MTU = 68


class PdpContext:
    """One context of one modem.  `lost` may be set by whoever hears of it."""

    def __init__(
        self, console: Console, limits: Limits, options: QuectelOptions, secret: Callable[[str], str | None]
    ) -> None:
        self._console = console
        self._limits = limits
        self._options = options
        self._secret = secret
        self.number = options.context
        self.lost = False
        """The network took it away, and it was not deactivated yet."""

    async def addresses(self, limit: float) -> tuple[str, ...] | None:
        """Its addresses, or `None` while it is not active.  Asks the modem only."""
        for fields in await self._console.ask("AT+QIACT?", "+QIACT:", limit):
            numbers = [whole_number(raw) for raw in fields[:2]]
            if numbers == [self.number, 1]:
                return tuple(found for raw in fields[3:] if (found := parse_address(raw)))
        return None

    async def activate(self) -> tuple[str, ...]:
        """Bring it up; returns its addresses.

        Raises `AttachFailed` with the network's cause and, where asking again soon is useless, `retry_after`.
        """
        if self.lost:
            await self.deactivate()
        await self._describe()
        try:
            await self._console.order(f"AT+QIACT={self.number}", self._limits.activate)
        except CommandFailed as error:
            await self._second_try(error)
        found = await self.addresses(self._limits.setting)
        if found is None:
            raise AttachFailed("no PDP context: the modem reports it as active and then does not list it")
        return found or await self._plain_addresses()

    async def deactivate(self) -> None:
        """Take it down; nothing where it is down."""
        try:
            await self._console.order(f"AT+QIDEACT={self.number}", self._limits.deactivate)
        except CommandFailed as error:
            raise AttachFailed(f"the PDP context cannot be deactivated: {error}") from error
        self.lost = False

    async def mtu(self) -> int | None:
        """The largest IP packet that the network announced, bytes, where modem and network tell."""
        try:
            rows = await self._console.ask(f"AT+CGCONTRDP={self.number}", "+CGCONTRDP:", self._limits.setting)
        except CommandFailed:
            return None
        found = [whole_number(fields[_MTU_FIELD]) for fields in rows if len(fields) > _MTU_FIELD]
        return next((mtu for mtu in found if mtu is not None and _LEAST_MTU <= mtu <= 65_535), None)

    async def _second_try(self, error: CommandFailed) -> None:
        """A context left half up by an earlier program refuses to come up; taken down first, it may."""
        if is_lasting(error.code):
            raise context_refused(error.code, str(error)) from error
        detail = await self._last_error() or str(error)
        try:
            await self._console.order(f"AT+QIDEACT={self.number}", self._limits.deactivate)
            self.lost = False
            await self._console.order(f"AT+QIACT={self.number}", self._limits.activate)
        except CommandFailed as second:
            raise context_refused(second.code or error.code, detail) from second

    async def _last_error(self) -> str | None:
        number = await last_error(self._console, self._limits)
        return f"{SOCKET_ERRORS.get(number, 'error')} ({number})" if number else None

    async def _plain_addresses(self) -> tuple[str, ...]:
        try:
            line = await self._console.line(f"AT+CGPADDR={self.number}", "+CGPADDR:", self._limits.setting)
            return parse_addresses(line).addresses
        except CommandFailed:
            return ()

    # --- APN, user name, password -------------------------------------------------------------------------------------

    async def _describe(self) -> None:
        """Set APN and authentication where they differ.  What the modem answers may hold a password: it is not told."""
        options = self._options
        wanted = [
            str(_KINDS[options.pdp_type]),
            options.apn,
            self._value(options.username_secret) or options.username,
            self._value(options.password_secret),
            str(_AUTHENTICATIONS[options.authentication]),
        ]
        if await self._described() == wanted:
            return
        kind, *texts, authentication = wanted
        text = f"AT+QICSGP={self.number},{kind},{','.join(map(quote, texts))},{authentication}"
        try:
            await self._console.run(Command(text, timeout=self._limits.setting))
        except CommandFailed:
            await self.deactivate()
            await self._console.run(Command(text, timeout=self._limits.setting))

    async def _described(self) -> list[str]:
        try:
            rows = await self._console.ask(f"AT+QICSGP={self.number}", "+QICSGP:", self._limits.setting)
        except CommandFailed:
            return []
        return [plain_text(raw) for raw in rows[0]] if rows else []

    def _value(self, name: str | None) -> str:
        if name is None:
            return ""
        value = self._secret(name)
        if value is None:
            raise ConfigurationError(f"the key store has no secret {name!r}, which this link's options name")
        if not value.isprintable() or '"' in value:
            raise ConfigurationError(f"the secret {name!r} holds characters that no AT command can carry")
        return value


async def last_error(console: Console, limits: Limits) -> int | None:
    """The number of the last socket or context error (`AT+QIGETERROR`), or `None` where the modem does not tell."""
    try:
        rows = await console.ask("AT+QIGETERROR", "+QIGETERROR:", limits.query)
    except CommandFailed:
        return None
    return whole_number(rows[0][0]) if rows else None
