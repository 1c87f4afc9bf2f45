"""What can be configured, as types; `load.py` reads files and environment into them.

Rules of this file: values, defaults, and the checks that need one value only.  Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rataccess.objects import Urgency
from rataccess.tariff import Unit

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class UrgencyName(enum.StrEnum):
    """`Urgency` as written in a configuration file."""

    BULK = "bulk"
    ROUTINE = "routine"
    PROMPT = "prompt"
    ALARM = "alarm"

    @property
    def urgency(self) -> Urgency:
        """The value that it names."""
        return Urgency[self.name]


class WhenFull(enum.StrEnum):
    """What an enqueue does at a limit of the store."""

    REFUSE = "refuse"
    DROP = "drop"
    """Drop records of the lowest urgency, oldest first; never one more urgent than the new one."""


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who the device is and where it keeps its state."""

    serial_number: Annotated[str, Meta(min_length=1, max_length=64)]
    state: str = "/var/lib/rataccess"
    """Folder of the store and, unless `keys` says otherwise, of the key store."""
    keys: str | None = None
    """Folder of the file key store."""


class ServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a service listens."""

    host: Annotated[str, Meta(min_length=1)]
    port: Port = 5683


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of the outbox."""

    max_bytes: Count = 256 * 1024 * 1024
    max_records: Count = 1_000_000
    when_full: WhenFull = WhenFull.REFUSE


BUDGET_KEYS = {Unit.BYTE: "bytes", Unit.CREDIT: "credits", Unit.MESSAGE: "messages", Unit.AIRTIME: "airtime"}
"""The key that sets a budget, for each unit."""


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The most that may be used in each `period`, in what the link's network counts; exactly one of the four is set."""

    bytes: Count | None = None
    """Billed bytes; each packet is billed in multiples of `billing_quantum`."""
    credits: Count | None = None
    messages: Count | None = None
    airtime: Annotated[float, Meta(gt=0)] | None = None
    """Seconds on the air."""
    period: Annotated[float, Meta(gt=0)] = 86_400.0
    billing_quantum: Count = 1

    def __post_init__(self) -> None:
        given = [key for key in BUDGET_KEYS.values() if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("needs one of bytes, credits, messages and airtime, and not more than one")
        if self.billing_quantum != 1 and self.bytes is None:
            raise ValueError(f"`billing_quantum` goes with `bytes`; {given[0]} are counted one by one")

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return next(unit for unit, key in BUDGET_KEYS.items() if getattr(self, key) is not None)

    @property
    def limit(self) -> int:
        """Units in each period; air time in milliseconds."""
        if self.airtime is not None:
            return int(self.airtime * 1000)
        return self.bytes or self.credits or self.messages or 0

    @property
    def slice(self) -> int:
        """Units that are put down as spent at a time, so that the disk is not written for each packet."""
        return max(self.billing_quantum, min(16_384, self.limit // 16)) if self.unit is Unit.BYTE else self.limit // 64


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One link: a driver, a transport, and the policy for it."""

    driver: str
    transport: str
    order: int = 0
    """Lower is preferred; links of equal order are ranked by `cost_per_byte`, then by their place in the file."""
    cost_per_byte: Annotated[float, Meta(ge=0)] = 0.0
    cost_per_unit: Annotated[float, Meta(ge=0)] = 0.0
    """Price of a credit, a message or a millisecond of air time, where the link's network counts those."""
    min_urgency: UrgencyName = UrgencyName.BULK
    """Records below this urgency wait for another link."""
    budget: BudgetSettings | None = None
    keepalive: Seconds = 0.0
    """Send a probe after this much silence on the link in use; 0 for never."""
    failback_after: Seconds = 30.0
    """How long a better link must be stable before it takes over again."""
    hot: bool = True
    """Keep the bearer up while another link is in use."""
    options: dict[str, Any] = {}
    """The driver's own options, checked against its `options_type`."""
    transport_options: dict[str, Any] = {}
    """The transport's own options, checked against its `options_type`."""


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything."""

    device: DeviceSettings
    management: ServiceSettings
    solution: ServiceSettings
    store: StoreSettings = StoreSettings()
    links: Annotated[dict[Name, LinkSettings], Meta(min_length=1)]
