"""What can be configured for a Blues Notecard, alone or with a Starnote.

Rules of this file: values and the checks that need no Notecard.  Durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rataccess.tariff import Unit

Method = Literal["-", "wifi", "cell", "ntn", "wifi-cell", "wifi-ntn", "cell-ntn", "wifi-cell-ntn"]


class NotecardOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One Notecard, on a serial port or on I2C."""

    port: str | None = None
    """Its serial port; see `rataccess.bus` for the forms."""
    baudrate: Annotated[int, Meta(ge=1_200, le=1_000_000)] = 9_600
    i2c: Annotated[int, Meta(ge=0, le=255)] | Annotated[str, Meta(pattern=r"^/")] | None = None
    """Number or path of the I2C bus, instead of `port`."""
    address: Annotated[int, Meta(ge=0x08, le=0x77)] = 0x17
    """Its I2C address."""
    chunk: Annotated[int, Meta(ge=16, le=253)] = 250
    """Bytes of one I2C transfer at most; less where the host's driver takes less (32 with SMBus adapters)."""

    product: str = ""
    """The ProductUID of the Notehub project; left as it is set by default."""
    mode: Literal["minimum", "periodic", "continuous"] = "minimum"
    """When the Notecard synchronises: by default only when it is told to, so that nothing is paid unasked and the end of
    each message is seen."""
    outbound: Annotated[int, Meta(ge=1)] | None = None
    """In other modes: minutes that a note may wait."""
    inbound: Annotated[int, Meta(ge=1)] | None = None
    """In other modes: minutes between two looks for notes to the device."""
    method: Method | None = None
    """Which radios it uses, preferred first; left as it is set by default."""
    method_seconds: Annotated[int, Meta(ge=60)] | None = None
    """How long it tries one of them before the next; 3600 s by default."""

    outbox: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}\.qos?$")] = "rataccess.qo"
    inbox: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}\.qis?$")] = "rataccess.qi"
    outbox_port: Annotated[int, Meta(ge=1, le=100)] = 81
    """What stands for the file's name over the air."""
    inbox_port: Annotated[int, Meta(ge=1, le=100)] = 82
    mtu: Annotated[int, Meta(ge=16, le=8_192)] = 230
    """Largest packet.  Skylo takes 256 bytes with all that the Notecard adds; without satellites, set more."""
    sync_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 900.0
    """How long a note is watched on its way; after that it is on its way all the same, and nothing is known of it."""
    most_queued: Annotated[int, Meta(ge=1, le=100)] = 1
    """No further note while so many wait in the Notecard.  What waits there goes when the network is back, and what was
    sent again meanwhile goes too, and is paid for: with 1, nothing is."""
    billed: Literal["messages", "bytes"] = "messages"
    """What the contract counts: each note as one, or its bytes; a budget of the link is in that too.  A least size for each
    note is the budget's `billing_quantum`."""
    overhead: Annotated[int, Meta(ge=0, le=1_000)] = 26
    """Bytes that Notecard and network add to a note, where bytes are counted: Skylo takes 256, of which 230 are left."""
    poll_every: Annotated[float, Meta(ge=1, le=3_600)] = 15.0
    """How often the Notecard is asked for received notes and its state; that costs nothing."""
    check_every: Annotated[float, Meta(ge=60)] | None = None
    """Have it look for notes to the device so often, which may cost something; by default they come with what is sent."""

    @property
    def unit(self) -> Unit:
        """What budgets of the link count."""
        return Unit.BYTE if self.billed == "bytes" else Unit.MESSAGE

    def __post_init__(self) -> None:
        if (self.port is None) == (self.i2c is None):
            raise ValueError("a Notecard is either on a serial `port` or on `i2c`")
        if self.outbox_port == self.inbox_port:
            raise ValueError("`outbox_port` and `inbox_port` are the same; each names one file")
        if self.mode == "minimum" and (self.outbound or self.inbound):
            raise ValueError("`outbound` and `inbound` are for the modes periodic and continuous; `mode` is minimum")
        if self.method is None and self.method_seconds is not None:
            raise ValueError("`method_seconds` is for a `method`, and none is given")
