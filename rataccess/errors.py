"""The one tree of errors.

Rules of this file: every error that the library raises on purpose is named here, and nothing else is.  Whether waiting
may help is in the type (`TransientError` or `PermanentError`), never in the text.  Four words for trouble: you closed it
(`Closed`), the world broke it (`TransportBroken`, `DriverError`), it is busy (`NotNow`, `PortBusy`), it ended in
time-out (`DeadlineExceeded`, which is also a `TimeoutError`).  A message says what happened, what was found and what to
do; it never holds a secret.
"""

from __future__ import annotations


class RataccessError(Exception):
    """Root of the tree."""


class TransientError(RataccessError):
    """Trying again later, with nothing changed, may succeed."""


class PermanentError(RataccessError):
    """Trying again is useless until somebody changes something."""


class Closed(PermanentError):
    """The caller closed the thing that it now uses."""


class DeadlineExceeded(TransientError, TimeoutError):
    """The time that the caller allowed has passed."""


# --- configuration and registry ---------------------------------------------------------------------------------------


class ConfigurationError(PermanentError, ValueError):
    """A configuration value is wrong, missing or unknown; the message names key, value, allowed values, file, line."""


class UnknownRadio(ConfigurationError):
    """No driver or transport of that name is registered."""


class UnknownDevice(ConfigurationError):
    """No device of that serial number was ever enrolled at this service."""


class UnknownRecord(ConfigurationError):
    """No such record stands aside at this service."""


class MissingExtra(ConfigurationError, ImportError):
    """A driver, transport or tool needs a package that is not installed; the message names the extra to install."""


# --- objects and store ------------------------------------------------------------------------------------------------


class ObjectError(PermanentError, ValueError):
    """The object cannot be encoded, or can never fit any configured link."""


class TemplateError(ObjectError):
    """A value does not fit its template, or a template its name or number.

    `template` and `field` are names (`field` is `None` where the value as a whole is wrong), `value` is what was found,
    shortened to 60 characters, `allowed` what the field takes.
    """

    def __init__(
        self, message: str, *, template: str = "", field: str | None = None, value: str = "", allowed: str = ""
    ) -> None:
        super().__init__(message)
        self.template = template
        self.field = field
        self.value = value
        self.allowed = allowed


class FrameError(ObjectError):
    """Bytes are not one frame or command of the protocol that they were read as; nothing was changed by them."""


class StoreError(RataccessError):
    """The store on disk failed."""


class StoreFull(StoreError, TransientError):
    """A limit of the store (`max_bytes`, `max_records`) refuses the record; delivery makes room."""


class DiskFull(StoreError, TransientError, OSError):
    """The file system has no room, or fails to write; the record was not accepted."""


class StoreUnreachable(StoreError, TransientError):
    """The database server is away, restarting or refuses connections; nothing of what was under way was kept."""


class StoreCorrupt(StoreError, PermanentError):
    """The store's file is damaged; it was moved aside (the message says where)."""


# --- keys and protection ----------------------------------------------------------------------------------------------


class SecurityError(RataccessError):
    """Keys or protected messages."""


class KeyStoreError(SecurityError, PermanentError):
    """A key is missing, malformed, or its file can be read by others."""


class ProtectionFailed(SecurityError, PermanentError):
    """A message is forged, altered, replayed or not protected at all; it changed nothing."""


class SequenceExhausted(SecurityError, PermanentError):
    """The sender sequence numbers of a context are used up (RFC 8613 section 7.2.1); provision new keys."""


# --- transports -------------------------------------------------------------------------------------------------------


class TransportError(RataccessError):
    """A packet could not be moved."""


class PacketTooLarge(TransportError, PermanentError):
    """The packet exceeds the link's MTU at this moment.

    `size` and `limit` are bytes.  The transport stays usable.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"packet of {size} bytes exceeds the link's limit of {limit} bytes; send a smaller one")
        self.size = size
        self.limit = limit


class NotNow(TransportError, TransientError):
    """The link is busy or must be silent (buffer full, duty cycle, network back-off).

    `retry_after` is in seconds, 0 or more.  The transport stays usable and the packet was not sent.
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(f"{reason}; try again in {retry_after:.3g} s")
        self.reason = reason
        self.retry_after = retry_after


class TransportBroken(TransportError, TransientError):
    """The transport is of no more use: close it and open a new one after the driver has attached again."""


class ServiceRefused(TransportError, TransientError):
    """The network answered that nobody listens at the service's address (for example ICMP port unreachable).

    The transport stays usable; the path works, the service is down.  `service` is its name.
    """

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"the {service} service refuses packets: {reason}; it is probably not running")
        self.service = service


class BudgetExceeded(TransportError, TransientError):
    """Sending would break the link's budget for this period; `retry_after` (s) is when the next period starts."""

    def __init__(self, link: str, retry_after: float) -> None:
        super().__init__(f"the budget of link {link!r} is spent; the next period starts in {retry_after:.0f} s")
        self.link = link
        self.retry_after = retry_after


# --- drivers ----------------------------------------------------------------------------------------------------------


class DriverError(RataccessError):
    """A radio did not do what it was told."""


class RadioNotFound(DriverError, TransientError):
    """No device has that bus address now (unplugged, renumbering, powered off)."""


class PortBusy(DriverError, TransientError):
    """Somebody else holds the port; the message names the process where it can be found."""


class PortLost(DriverError, TransientError):
    """The port vanished or failed while in use."""


class RadioSilent(DriverError, TransientError):
    """The radio did not answer within its time limit."""


class CommandFailed(DriverError, TransientError):
    """The radio answered a command with an error.  `code` is its number (CME, CMS) or `None`."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class WrongRadio(DriverError, PermanentError):
    """The radio that answered is not one that this driver knows; the message names what it said."""


class SimError(DriverError, PermanentError):
    """The SIM is missing, locked, blocked or broken; no PIN was guessed."""


class AttachFailed(DriverError, TransientError):
    """No bearer.  `cause` is the network's or radio's reason; `retry_after` (s) is how long to leave it alone, or `None`."""

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after = retry_after


class RegistrationDenied(AttachFailed):
    """The network refuses this subscriber or equipment (3GPP TS 24.008, 24.301 reject causes)."""


# --- receivers of records ---------------------------------------------------------------------------------------------


class ReceiverError(RataccessError):
    """A receiver of the service's records did not take a batch; none of it counts as taken."""


class ReceiverDown(ReceiverError, TransientError):
    """The receiver cannot be reached, is busy, or refuses everybody.

    `retry_after` (s) is how long it asked to be left alone, or `None`.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RecordRefused(ReceiverError, PermanentError):
    """The receiver refuses what is in the batch.

    `too_large` says that fewer records at a time may pass.
    """

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


# --- ways into a service ----------------------------------------------------------------------------------------------


class WayBroken(TransientError):
    """A way into a service (a broker, a gateway, a provider) cannot be used now; it is begun again."""


# --- calls ------------------------------------------------------------------------------------------------------------


class CallError(RataccessError):
    """A call through the solution service brought no result; `name` is what was called."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class CallTimeout(CallError, DeadlineExceeded):
    """No reply came in time.

    `sent` tells whether the call has left the device: if so it may have been carried out all the same.  Otherwise it never
    will be.
    """

    def __init__(self, message: str, name: str = "", *, sent: bool = True) -> None:
        super().__init__(message, name)
        self.sent = sent


class RemoteError(CallError):
    """The remote was reached and answered with an error: `status` is its HTTP status, `body` the object that it sent."""

    def __init__(self, status: int, body: object = None, name: str = "") -> None:
        super().__init__(f"{name or 'the remote'} answered with status {status}", name)
        self.status = status
        self.body = body


class RemoteFailed(RemoteError, TransientError):
    """The remote failed or is busy (408, 425, 429, 5xx)."""


class RemoteRefused(RemoteError, PermanentError):
    """The remote does not want this call (any other status but 2xx)."""


class UnknownRoute(CallError, PermanentError):
    """The solution service has no route of that name; its operator configures them."""


class RemoteUnreachable(CallError, TransientError):
    """The solution service could not reach the remote; nothing was carried out."""


class RemoteTimeout(CallError, TransientError, TimeoutError):
    """The remote did not answer the solution service within the route's deadline; it may have carried the call out."""


class CallOutcomeUnknown(CallError, PermanentError):
    """The solution service was interrupted in the middle of a call that is not repeatable: it may have been carried out.

    Find out before you call again; mark calls that may be carried out twice as `repeatable`.
    """


class ReplyTooLarge(CallError, PermanentError):
    """The remote's answer is larger than the route allows; the call was carried out."""


class CallRefused(CallError, TransientError):
    """The solution service did not carry the call out: this device has used up its quota, or the service its capacity."""
