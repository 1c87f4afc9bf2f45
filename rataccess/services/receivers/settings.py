"""Settings of the receivers: `[[solution.receivers]]`, told apart by `kind`.

Rules of this file: values and their limits; opens nothing.  What the types cannot say (a URL's form, a template's names, a
variable that is not set) is checked by the receivers when they are made, before the service starts.  No repr shows a value
that may be a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rataccess.services.secret import FromEnvironment, Secret

KIB = 1024
MIB = 1024 * 1024

Text = Annotated[str, Meta(min_length=1)]
Names = Annotated[tuple[Text, ...], Meta(min_length=1)]


class _Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every receiver has."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    """Its position in the stream of records is kept under this name: a new name begins anew."""
    start: Literal["first", "now"] = msgspec.field(default="first", name="from")
    """Where a receiver begins whose name the store does not know: at the first record it has, or with what comes now."""
    queues: Names | None = None
    """Only records of these queues; absent: of all."""
    devices: Names | None = None
    """Only records of devices with these serial numbers, or of `fleets`; both absent: of all devices."""
    fleets: Names | None = None
    """Only records of devices that are in one of these fleets when the record is forwarded, or of `devices`."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class NdjsonSettings(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="ndjson"):
    """A file of lines."""

    file: Text
    """The file; relative paths start at the folder of the configuration file."""


class WebhookSettings(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="webhook"):
    """An HTTP server that takes batches by POST."""

    url: Text | FromEnvironment
    headers: dict[str, Secret] = {}
    format: Literal["json", "ndjson"] = "json"
    """The body: a JSON array of records, or one record a line."""
    batch: Annotated[int, Meta(ge=1, le=5000)] = 100
    """Most records in one request."""
    batch_bytes: Annotated[int, Meta(ge=KIB, le=64 * MIB)] = MIB
    """Most bytes of encoded objects in one request, and one more record."""
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds for one request, its answer included."""
    tries: Annotated[int, Meta(ge=1, le=1000)] = 5
    """How often a request that is refused for its content (as by 422) is sent before the record at fault is looked for."""
    ca_file: Text | None = None
    """Certificates to trust instead of the system's."""


class MqttSettings(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="mqtt"):
    """An MQTT broker, at quality of service 1."""

    host: Text
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """Absent: 8883 with TLS, 1883 without."""
    tls: bool = True
    topic: Text = "rataccess/{channel}/{serial_number}/{queue}"
    """`{channel}`, `{device}` (the kid in hexadecimal), `{serial_number}` and `{queue}` stand for the record's own."""
    version: Literal["5", "3.1.1"] = "5"
    """With 3.1.1 a broker cannot say that it refuses a record: it may take and drop it."""
    client_id: Text | None = None
    """Absent: a new one for each connection."""
    username: Text | FromEnvironment | None = None
    password: FromEnvironment | None = None
    retain: bool = False
    batch: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Most records that wait for their acknowledgement together."""
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds for the acknowledgements of one batch."""
    tries: Annotated[int, Meta(ge=1, le=1000)] = 5
    """How often a batch that the broker refuses is sent before the record at fault is looked for."""
    ca_file: Text | None = None
    certificate_file: Text | None = None
    key_file: Text | None = None
    """The client's own certificate and key."""


class PostgresqlSettings(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="postgresql"):
    """A table."""

    url: Text | FromEnvironment
    """`postgresql://user@host/database`; with a password only as `{ env = "..." }`."""
    table: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$")] = "records"
    """The table, `schema.table` or `table`."""
    create: bool = True
    """Make the table where it is missing."""
    batch: Annotated[int, Meta(ge=1, le=5000)] = 500
    """Most records in one transaction."""
    batch_bytes: Annotated[int, Meta(ge=KIB, le=64 * MIB)] = 4 * MIB
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds for one transaction."""
    tries: Annotated[int, Meta(ge=1, le=1000)] = 3
    """How often a batch that the database refuses for its content is tried before the record at fault is looked for."""


ReceiverSettings = NdjsonSettings | WebhookSettings | MqttSettings | PostgresqlSettings

_PATHS = ("file", "ca_file", "certificate_file", "key_file")


def absolute(settings: ReceiverSettings, folder: Path) -> ReceiverSettings:
    """`settings` with its paths made absolute, which start at `folder`."""
    paths: dict[str, Any] = {
        name: str(folder / value) for name in _PATHS if (value := getattr(settings, name, None)) is not None
    }
    return msgspec.structs.replace(settings, **paths)
