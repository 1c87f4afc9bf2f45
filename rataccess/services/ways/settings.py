"""Settings of the ways in: `[[solution.ways]]` and `[[management.ways]]`, told apart by `kind`.

Rules of this file: values and their limits; opens nothing.  What the types cannot say (a variable that is not set, a file
that cannot be read) is checked where the ways are made, before the service starts.  No repr shows what may be a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rataccess.objects import Service
from rataccess.services.secret import FromEnvironment, Secret

Text = Annotated[str, Meta(min_length=1)]
Host = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\[\]:\s]+):[0-9]{1,5}$")]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
FPort = Annotated[int, Meta(ge=1, le=223)]
RegionName = Literal["EU868", "US915", "AS923", "AS923-2", "AS923-3", "AS923-4", "AU915", "IN865"]


class _Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every way has."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    """Its own, among the ways of the service; what it keeps in the store is kept under this name."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class LoraWan(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ways over LoRaWAN have in common."""

    region: RegionName = "EU868"
    """The channel plan; over MQTT only where an event does not say: what fits a downlink follows from it."""
    management_port: FPort = 1
    solution_port: FPort = 2
    """FPort of each service, as the devices' transport has them."""

    def __post_init__(self) -> None:
        if self.management_port == self.solution_port:
            raise ValueError(
                f"management_port and solution_port are both {self.solution_port}; each service needs its own"
            )

    @property
    def ports(self) -> dict[Service, int]:
        """FPort by service."""
        return {Service.MANAGEMENT: self.management_port, Service.SOLUTION: self.solution_port}


class Broker(LoraWan, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ways over an MQTT broker have in common."""

    host: Host
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """Absent: 8883 with TLS, 1883 without."""
    tls: bool = True
    version: Literal["5", "3.1.1"] = "3.1.1"
    client_id: Text | None = None
    """Absent: a new one for each connection."""
    username: Text | FromEnvironment | None = None
    password: FromEnvironment | None = None
    timeout: Seconds = 30.0
    """Seconds for connecting and for one request to the broker."""
    ca_file: Text | None = None
    certificate_file: Text | None = None
    key_file: Text | None = None
    """The client's own certificate and key."""

    @property
    def batch(self) -> int:
        """Publications under way at a time."""
        return 100


class ChirpStackSettings(Broker, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="chirpstack"):
    """ChirpStack v4, by the MQTT integration of its own broker."""

    application: Text = "+"
    """The application's id; `+` is every application of the broker."""
    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Of a shared subscription, where several processes of one service share the work."""


class ThingsStackSettings(Broker, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="the_things_stack"):
    """The Things Stack v3, by its MQTT server."""

    application: Annotated[str, Meta(pattern=r"^[a-z0-9](?:[-]?[a-z0-9]){1,35}$")]
    """The application's id."""
    tenant: Annotated[str, Meta(pattern=r"^[a-z0-9](?:[-]?[a-z0-9]){1,35}$")] | None = "ttn"
    """The tenant's id; `""` is not allowed: leave a stack without tenants at `tenant = "none"`."""

    @property
    def account(self) -> str:
        """What stands in topics, and what the user is called."""
        return self.application if self.tenant in (None, "none") else f"{self.application}@{self.tenant}"


class _ForBoth(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ways to which packets for both services come."""

    other: Address | None = None
    """`host:port` of a way of kind `relay` at the other service: its packets go there; absent: they are dropped."""


class SemtechSettings(LoraWan, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="semtech"):
    """Our own small LoRaWAN network server, for gateways that run Semtech's UDP packet forwarder."""

    host: Host = "::"
    port: Port = 1700
    other: Address | None = None
    """As for the other ways to which packets for both services come."""
    sub_band: Annotated[int, Meta(ge=1, le=8)] | None = None
    """US915 and AU915: the eight channels in use, counted from 1 (2 is 8 to 15 and 65); absent: all."""
    frequencies: Annotated[tuple[Annotated[int, Meta(ge=100_000_000, le=1_000_000_000)], ...], Meta(max_length=5)] = ()
    """Hz of up to five channels more that devices are told of when they join (not US915, AU915)."""
    allowed: tuple[Text, ...] = ()
    """Addresses or networks of gateways; empty: any."""
    gateways: tuple[Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")], ...] | None = None
    """EUIs of the gateways that are listened to; absent: any."""
    net_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)] = 0
    """0 and 1 are for private networks (LoRaWAN Backend Interfaces, NetID type 0)."""
    rx1_delay: Annotated[int, Meta(ge=1, le=15)] = 1
    """Seconds from the end of an uplink to the first receive window: more where the way to the gateway is slow."""
    gather: Annotated[float, Meta(ge=0, le=10)] = 0.2
    """Seconds after an uplink in which further gateways' copies and answers are waited for."""
    adr: bool = True
    """Whether devices that ask for it are told which data rate and power to use."""
    power: Annotated[int, Meta(ge=0, le=30)] = 14
    """dBm that gateways transmit with, at most (EIRP minus the antenna's gain)."""


class DirectIpSettings(_ForBoth, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="directip"):
    """Iridium's DirectIP: its gateway connects to us, and we to it."""

    host: Host = "::"
    port: Port = 10800
    allowed: tuple[Text, ...] = ()
    """Addresses or networks that may connect; empty: any."""
    confirm: bool = False
    """Answer each message with a confirmation, where it was so agreed."""
    gateway: Address | None = None
    """`host:port` that messages to devices are sent to; absent: nothing is ever sent to a device."""
    timeout: Seconds = 20.0
    """Seconds for one connection, from its beginning to its end."""
    ring: bool = True
    """Ask for a ring alert where a device's queue is full."""


class _Hook(_ForBoth, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ways over a provider's web-hook have in common."""

    host: Host = "127.0.0.1"
    """Plain HTTP: put a proxy that speaks TLS before it."""
    port: Port
    path: Secret = "/"
    """Where the provider posts to; what nobody can guess keeps strangers out: `{ env = "NAME" }`."""
    allowed: tuple[Text, ...] = ()
    """Addresses or networks that may post; empty: any (behind a proxy all come from the proxy)."""
    timeout: Seconds = 30.0
    """Seconds for one request to the provider."""
    ca_file: Text | None = None


class RockBlockSettings(_Hook, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="rockblock"):
    """RockBLOCK's web services: SBD by web-hook and HTTP."""

    jwt_key_file: Text | None = None
    """The provider's public key (PEM): a web-hook whose JWT it did not sign is dropped."""
    url: Text = "https://rockblock.rock7.com/rockblock/MT"
    username: Secret | None = None
    password: FromEnvironment | None = None
    """Both are needed to send to devices."""
    flush: bool = False
    """Empty the device's queue at the gateway before each message."""


class CloudloopSettings(_Hook, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="cloudloop"):
    """Ground Control's Cloudloop: SBD and IMT, as JSON ("Lingo")."""

    url: Text = "https://api.cloudloop.com"
    token: FromEnvironment | None = None
    """Needed to send to devices."""
    topic: Annotated[int, Meta(ge=64, le=65535)] = 244
    """The IMT topic of messages to devices (244: raw)."""


class RelaySettings(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="relay"):
    """Relay frames over UDP: from gateways of private LoRa, and from the other service."""

    host: Host = "::"
    port: Port = 5690
    allowed: tuple[Text, ...] = ()
    """Addresses or networks that frames may come from; empty: any."""
    room: Annotated[int, Meta(ge=16, le=65_000)] = 200
    """Bytes of the largest packet back, where the frame does not say."""


WaySettings = (
    ChirpStackSettings
    | ThingsStackSettings
    | SemtechSettings
    | DirectIpSettings
    | RockBlockSettings
    | CloudloopSettings
    | RelaySettings
)

_PATHS = ("ca_file", "certificate_file", "key_file", "jwt_key_file")


def absolute(settings: WaySettings, folder: Path) -> WaySettings:
    """`settings` with its paths made absolute, which start at `folder`."""
    paths: dict[str, Any] = {
        name: str(folder / value) for name in _PATHS if (value := getattr(settings, name, None)) is not None
    }
    return msgspec.structs.replace(settings, **paths)
