"""What requests hold, with their limits; the OpenAPI document is made of it.

Rules of this file: shapes only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rataccess.services.admin import LONGEST_NAME, LONGEST_VALUE, LONGEST_VARIABLE

NAME = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=NAME)]
Variable = Annotated[str, Field(min_length=1, max_length=LONGEST_VARIABLE, pattern=NAME)]
Value = Annotated[str, Field(max_length=LONGEST_VALUE)]
UrgencyText = Literal["bulk", "routine", "prompt", "alarm"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Fleets(_Body):
    """The fleets of a device."""

    fleets: Annotated[list[Name], Field(max_length=64)]
    """In order: of two fleets' values for a variable the later fleet's holds."""


class Identities(_Body):
    """What networks call a device; null: nothing any more.  Those not named stay."""

    deveui: Annotated[str | None, Field(max_length=64)] = None
    imei: Annotated[str | None, Field(max_length=64)] = None
    lora: Annotated[str | None, Field(max_length=64)] = None
    notecard: Annotated[str | None, Field(max_length=64)] = None


class IdentitiesKept(BaseModel):
    """What is odd about them, though allowed."""

    oddities: list[str]


class Variables(_Body):
    """Environment variables to set; null removes one."""

    values: Annotated[dict[Variable, Value | None], Field(max_length=256)]


class OneValue(_Body):
    """The value of one environment variable."""

    value: Value


class Inbound(_Body):
    """An object for the application on a device."""

    queue: Name
    value: Any
    """JSON, with `{"$bytes": base64}` and its like for what JSON has no form for."""
    urgency: UrgencyText = "prompt"


class NamedObject(_Body):
    """The value of a named object."""

    value: Any


class Packet(_Body):
    """One packet, sent once."""

    data: Annotated[str, Field(max_length=88_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
    """Base64."""
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """How long it may wait for the device to be heard."""


class Error(BaseModel):
    """What was wrong."""

    error: str


# --- answers ----------------------------------------------------------------------------------------------------------


class Health(BaseModel):
    """A health report."""

    received_at: str
    report: Any


class Device(BaseModel):
    """A device with its latest enrolment.  Times are ISO 8601 in UTC."""

    serial_number: str
    kid: str
    state: Literal["enrolled", "revoked", "unknown"]
    """`unknown`: the key file does not have its key."""
    fleets: list[str]
    heard_at: str | None
    link: str | None
    """The link that carried its last message."""
    waiting: int
    """Records that wait for the device."""
    unfinished: int
    """Records of which only parts have come."""
    parked_records: int
    """Records whose queue has no name yet."""
    parked_blocks: int
    """Packed records whose template is not known yet."""
    open_calls: int
    kept_bytes: int
    """Bytes of its records in the store."""
    health: Health | None


class DeviceList(BaseModel):
    """A page of devices, in the order of enrolment."""

    devices: list[Device]
    next: str | None
    """For `after`; null: this is the last page."""


class Enrolment(BaseModel):
    """An enrolment of before."""

    kid: str
    state: Literal["enrolled", "revoked", "unknown"]
    records: int
    heard_at: str | None


class DeviceDetail(Device):
    """One device."""

    identities: dict[str, str]
    """What networks call it, by kind."""
    records: int
    objects: dict[str, Any]
    """Named objects that the device has put."""
    earlier: list[Enrolment]


class FleetValue(BaseModel):
    """What one fleet says of a variable."""

    fleet: str
    value: str


class Conflict(BaseModel):
    """A variable to which fleets of one device give different values; the last one's holds."""

    name: str
    values: list[FleetValue]


class DeviceConflict(Conflict):
    """The same, and for which device."""

    serial_number: str


class ConflictList(BaseModel):
    """All of them."""

    conflicts: list[DeviceConflict]


class DeviceEnvironment(BaseModel):
    """The environment of a device."""

    own: dict[str, str]
    merged: dict[str, str]
    """What it is given."""
    conflicts: list[Conflict]


class FleetEnvironment(BaseModel):
    """The environment of a fleet."""

    values: dict[str, str]


class FleetSize(BaseModel):
    """A fleet."""

    name: str
    devices: int


class FleetList(BaseModel):
    """Every fleet that has a device or a variable."""

    fleets: list[FleetSize]


class Accepted(BaseModel):
    """A record for a device."""

    number: int


class Revoked(BaseModel):
    """A device was revoked."""

    dropped: int
    """Records, packets and calls that waited."""


class Receiver(BaseModel):
    """How forwarding to one receiver goes."""

    name: str
    kind: str
    state: str
    lag: int | None
    delivered: int
    set_aside: int
    aside: int
    """Records that stand aside now."""
    failures: int
    last_error: str | None
    retry_at: str | None


class ReceiverList(BaseModel):
    """Every receiver of this process."""

    receivers: list[Receiver]


class Aside(BaseModel):
    """A record that a receiver refused."""

    receiver: str
    key: str
    reason: str
    refused_at: str
    size: int
    """Bytes of the copy."""
    again: bool
    """Whether it will be sent again."""


class AsideList(BaseModel):
    """A page."""

    aside: list[Aside]
    next: str | None


class AsideRecord(BaseModel):
    """One with its record."""

    receiver: str
    key: str
    reason: str
    refused_at: str
    record: dict[str, Any]


class Count(BaseModel):
    """How many."""

    count: int


class Counters(BaseModel):
    """What the service has counted since its store was made, by cause."""

    counters: dict[str, int]


class Alive(BaseModel):
    """It runs."""

    status: Literal["ok"]
    service: str
