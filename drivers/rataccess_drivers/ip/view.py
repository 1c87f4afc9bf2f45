"""What is known of one interface, folded from what the kernel tells: sans-I/O.

Rules of this file: events in, facts out; no socket, no clock, no bytes.  The kernel's answers to a dump and its
unasked announcements arrive on one socket in one order, so both are applied alike; a dump ends with a sweep of what it
did not mention.

An interface is known by its name: a USB dongle that was replugged comes back with another index.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OPERSTATE_UNKNOWN = "UNKNOWN"
_PASSES = frozenset({"UP", OPERSTATE_UNKNOWN})
"""RFC 2863 operational states in which packets pass; a driver that does not tell (ppp, wwan, tun, lo) is UNKNOWN, and a
Wi-Fi interface whose key exchange is not finished is DORMANT although it has carrier."""

IFF_UP = 0x1  # linux/if.h
IFA_F_TENTATIVE = 0x40  # linux/if_addr.h
IFA_F_DADFAILED = 0x08
_LOCAL_SCOPES = frozenset({253, 255})  # linux/rtnetlink.h, RT_SCOPE_LINK and NOWHERE: reaches nobody beyond the router


@dataclass(frozen=True, slots=True)
class LinkSeen:
    """An interface is there (RTM_NEWLINK)."""

    index: int
    name: str
    flags: int
    carrier: bool
    operstate: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class LinkGone:
    """An interface went (RTM_DELLINK)."""

    index: int


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """An interface has an address (RTM_NEWADDR)."""

    index: int
    address: str
    scope: int
    flags: int


@dataclass(frozen=True, slots=True)
class AddressGone:
    """An interface lost an address (RTM_DELADDR)."""

    index: int
    address: str


Event = LinkSeen | LinkGone | AddressSeen | AddressGone


@dataclass(slots=True)
class InterfaceView:
    """One interface, by name.  Everything else in it may change at any event."""

    name: str
    index: int | None = None
    """`None` while there is no such interface."""
    admin_up: bool = False
    carrier: bool = False
    operstate: str = OPERSTATE_UNKNOWN
    mtu: int | None = None
    _addresses: dict[str, AddressSeen] = field(default_factory=dict)
    _unmentioned: set[str] = field(default_factory=set)
    _link_mentioned: bool = False

    @property
    def exists(self) -> bool:
        """Whether there is such an interface."""
        return self.index is not None

    @property
    def passes(self) -> bool:
        """Whether the interface is up, has carrier, and its medium lets packets pass."""
        return self.exists and self.admin_up and self.carrier and self.operstate in _PASSES

    def addresses(self, family: str = "any") -> tuple[str, ...]:
        """The usable addresses of `family` (`ipv4`, `ipv6` or `any`), as told: neither tentative nor link-local."""
        wanted = {"ipv4": (False,), "ipv6": (True,)}.get(family, (False, True))
        return tuple(a.address for a in self._addresses.values() if _usable(a) and (":" in a.address) in wanted)

    def unusable_addresses(self) -> tuple[str, ...]:
        """The others, for people."""
        return tuple(a.address for a in self._addresses.values() if not _usable(a))

    # --- what the kernel tells ----------------------------------------------------------------------------------------

    def begin_dump(self) -> None:
        """From here on the kernel mentions everything that there is."""
        self._unmentioned = set(self._addresses)
        self._link_mentioned = False

    def end_dump(self) -> None:
        """What was not mentioned is gone."""
        for address in self._unmentioned:
            self._addresses.pop(address, None)
        self._unmentioned.clear()
        if not self._link_mentioned:
            self._forget()

    def apply(self, event: Event) -> bool:
        """Take one event in; returns whether the addresses must be dumped anew, as the name now means another interface."""
        if isinstance(event, LinkSeen):
            return self._link_seen(event)
        if event.index == self.index:
            if isinstance(event, LinkGone):
                self._forget()
            elif isinstance(event, AddressSeen):
                self._addresses[event.address] = event
                self._unmentioned.discard(event.address)
            else:
                self._addresses.pop(event.address, None)
        return False

    def _link_seen(self, event: LinkSeen) -> bool:
        if event.name != self.name:
            if event.index == self.index:  # renamed: the name that we know means nothing any more
                self._forget()
            return False
        another = event.index != self.index
        if another:
            self._forget()
        self.index, self.mtu, self.operstate = event.index, event.mtu, event.operstate
        self.admin_up, self.carrier = bool(event.flags & IFF_UP), event.carrier
        self._link_mentioned = True
        return another

    def _forget(self) -> None:
        self.index = self.mtu = None
        self.admin_up = self.carrier = False
        self.operstate = OPERSTATE_UNKNOWN
        self._addresses.clear()
        self._unmentioned.clear()


def _usable(address: AddressSeen) -> bool:
    local = address.scope in _LOCAL_SCOPES or address.address.startswith("169.254.")  # RFC 3927: DHCP gave none
    return not local and not address.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
