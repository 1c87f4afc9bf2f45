"""The driver for an interface that the operating system keeps up: eth0, wlan0, wwan0, usb0, ppp0.

Rules of this file: it watches and tells; it changes nothing of the interface, so it needs no privileges.  Association,
DHCP and dialling belong to NetworkManager, systemd-networkd, dhcpcd, pppd.

Evidence: PORT the interface exists, RADIO it is administratively up, REGISTERED it has carrier (and, on Wi-Fi, the key
exchange is done), BEARER it has a usable address too.  There is no SIM rung.

Two sources of truth: the kernel's netlink events, and `carrier` in sysfs, read whenever somebody asks.  The kernel batches
link events: a loss within a second of another event was measured to be told 0.7 s late, while sysfs knows at once.
"""

from __future__ import annotations

import asyncio
import enum
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.driver import Bearer, Driver, DriverContext, Evidence, RadioStatus, Recovery
from rataccess.errors import AttachFailed, Closed, PortLost, RadioNotFound
from rataccess_drivers.ip.netlink import DUMP_LIMIT, RouteMonitor
from rataccess_drivers.ip.view import InterfaceView

RATS = (
    ("wl", "wifi"),
    ("eth", "ethernet"),
    ("en", "ethernet"),
    ("ww", "cellular"),
    ("ppp", "cellular"),
    ("usb", "cellular"),
)
"""What the names of systemd.net-naming-scheme(7) and the kernel begin with; usb0 is a modem in ECM or RNDIS mode."""


class RequiredAddress(enum.StrEnum):
    """Which kind of address an interface must have before it counts as a bearer."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    ANY = "any"


class InterfaceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which interface, and what is expected of it."""

    interface: Annotated[str, Meta(pattern=r"^[^/\s:]{1,15}$")]
    """Name of the interface (at most 15 bytes, IFNAMSIZ of linux/if.h); it need not exist yet."""
    rat: Annotated[str, Meta(min_length=1)] | None = None
    """Its radio access technology (`wifi`, `ethernet`, `lte` ...); guessed from the name by default."""
    require_address: RequiredAddress = RequiredAddress.ANY
    attach_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds to wait for carrier and address: DHCP usually takes 1 to 5, IPv6 autoconfiguration 2."""


class InterfaceDriver(Driver):
    """Adopts one interface, by name: a dongle that is replugged may come back with another index."""

    options_type = InterfaceOptions
    transports = ("udp",)

    def __init__(self, options: InterfaceOptions, *, sysfs: Path = Path("/sys/class/net")) -> None:
        super().__init__()
        self.options = options
        self.rat = options.rat or guess_rat(options.interface)
        self._sysfs = sysfs / options.interface
        self._view = InterfaceView(options.interface)
        self._monitor: RouteMonitor | None = None
        self._moved = asyncio.Event()
        self._told: RadioStatus | None = None
        self._bearer_addresses: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<InterfaceDriver {self.options.interface} {self._state().evidence.name if self._monitor else 'closed'}>"
        )

    @classmethod
    def create(cls, options: Any, context: DriverContext) -> InterfaceDriver:
        """See `Driver.create`."""
        return cls(options)

    async def open(self) -> None:
        """See `Driver.open`; raises `RadioNotFound` where there is no such interface, `PortLost` where netlink fails."""
        if self._monitor is not None:
            return
        self._view = InterfaceView(self.options.interface)
        monitor = self._monitor = RouteMonitor(self._view, self._changed)
        try:
            await monitor.open()
            if not self._view.exists:
                raise RadioNotFound(f"there is no network interface {self.options.interface!r}{_others()}")
        except BaseException:
            monitor.close()
            self._monitor = None
            raise
        self._told = self._state()

    async def attach(self) -> Bearer:
        """Wait for carrier and a usable address, at most `attach_timeout` s.

        Raises `AttachFailed`, or `PortLost` where the interface is gone for all of that time.
        """
        self._read_carrier()
        try:
            async with asyncio.timeout(self.options.attach_timeout):
                while not self._usable():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            if not self._view.exists:
                raise PortLost(f"{self.options.interface} is gone") from error
            raise AttachFailed(self._state().detail) from error
        self._bearer_addresses = self._addresses()
        return Bearer(self.rat, self.options.interface, self._bearer_addresses, self._view.mtu)

    async def status(self) -> RadioStatus:
        """See `Driver.status`; raises `PortLost` while the interface is gone."""
        self._check_open()
        self._read_carrier()
        if not self._view.exists:
            raise PortLost(f"{self.options.interface} is gone")
        return self._state()

    async def aclose(self) -> None:
        """See `Driver.aclose`."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.close()
        self._bearer_addresses = ()
        self._told = None
        self._moved.set()

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Only a look that owes nothing to what was seen before: the interface is the operating system's to repair."""
        return (Recovery("re-read interface", self._reread, deadline=2 * DUMP_LIMIT),)

    async def _reread(self) -> None:
        if self._monitor is not None:
            await self._monitor.reread()
        try:
            socket.if_nametoindex(self.options.interface)
        except OSError as error:
            raise RadioNotFound(f"there is no network interface {self.options.interface!r}{_others()}") from error

    # --- what is known ------------------------------------------------------------------------------------------------

    def _addresses(self) -> tuple[str, ...]:
        return self._view.addresses(self.options.require_address)

    def _usable(self) -> bool:
        self._check_open()
        return self._view.passes and bool(self._addresses())

    def _check_open(self) -> None:
        if self._monitor is None:
            raise Closed(f"the driver of {self.options.interface} is not open")

    def _state(self) -> RadioStatus:
        evidence, detail = self._evidence()
        return RadioStatus(evidence, detail, rat=self.rat)

    def _evidence(self) -> tuple[Evidence, str]:
        view, name = self._view, self.options.interface
        if not view.exists:
            return Evidence.NONE, f"{name} is gone"
        if not view.admin_up:
            return Evidence.PORT, f"{name} is switched off (ip link set {name} up)"
        if not view.passes:
            return (
                Evidence.RADIO,
                f"{name} has no carrier" if not view.carrier else f"{name} is {view.operstate.lower()}",
            )
        if not (addresses := self._addresses()):
            return Evidence.REGISTERED, f"{name} has {self._missing()}"
        return Evidence.BEARER, f"{name} has {', '.join(addresses)}"

    def _missing(self) -> str:
        kind = {"any": ""}.get(self.options.require_address, f"{self.options.require_address} ")
        unusable = self._view.unusable_addresses()
        return f"no usable {kind}address" + (f" (only {', '.join(unusable)})" if unusable else "")

    # --- what changes -------------------------------------------------------------------------------------------------

    def _read_carrier(self) -> None:
        """The second source of truth, for losses only: a carrier gained is of no use before the kernel has told of it."""
        if self._view.carrier and _carrier(self._sysfs, self._view.index) is False:
            self._view.carrier = False  # until the kernel's next word
            self._changed()

    def _changed(self) -> None:
        if self._monitor is None or self._told is None:
            return
        status = self._state()
        gone = set(self._bearer_addresses) - set(self._addresses())
        if gone:
            self._bearer_addresses = ()
        if gone and status.evidence is Evidence.BEARER:
            # Sockets may be bound to what went, whatever else there is: the bearer was lost, though there is another.
            self._tell(RadioStatus(Evidence.REGISTERED, f"lost the address {', '.join(sorted(gone))}", rat=self.rat))
        if status != self._told:
            self._tell(status)
        self._moved.set()

    def _tell(self, status: RadioStatus) -> None:
        self._told = status
        self.announce(status)


def guess_rat(interface: str) -> str:
    """The radio access technology that an interface of this name usually has; `ip` where nothing is known."""
    return next((rat for prefix, rat in RATS if interface.startswith(prefix)), "ip")


def _carrier(sysfs: Path, index: int | None) -> bool | None:
    """What sysfs says, or `None` where it says nothing or speaks of another interface (a mount of another namespace)."""
    try:
        if int((sysfs / "ifindex").read_text()) != index:
            return None
        return (sysfs / "carrier").read_text().strip() == "1"
    except (OSError, ValueError):  # EINVAL while switched off
        return None


def _others() -> str:
    try:
        names = sorted(name for _, name in socket.if_nameindex() if name != "lo")
    except OSError:
        return ""
    return f"; there are: {', '.join(names)}" if names else ""
