"""Why a network or modem refused, and how long to leave it alone.

Rules of this file: tables and pure functions from numbers to our errors.  Sources: 3GPP TS 24.301 clause 9.9.3.9 (EMM
causes, which agree with the GMM causes of TS 24.008 clause 10.5.5.14), 3GPP TS 27.007 clause 9.2 (CME), Quectel TCP/IP
application notes (socket errors).
"""

from __future__ import annotations

from dataclasses import dataclass

from rataccess.errors import AttachFailed, NotNow, RegistrationDenied, TransportBroken, TransportError
from rataccess_drivers.at.results import CME

_QUARTER, _HALF, _HOUR = 900.0, 1_800.0, 3_600.0
# T3402, after which a UE tries again by itself when an attach failed for no lasting reason (TS 24.301 table 10.2.1).
_T3402 = 720.0


@dataclass(frozen=True, slots=True)
class RejectCause:
    """A cause of rejection."""

    meaning: str
    retry_after: float
    """Seconds."""
    lasting: bool = True
    """Whether waiting a little is useless."""


REJECT_CAUSES = {
    2: RejectCause("IMSI unknown in HSS", _HOUR),
    3: RejectCause("illegal UE", _HOUR),
    5: RejectCause("IMEI not accepted", _HOUR),
    6: RejectCause("illegal ME", _HOUR),
    7: RejectCause("EPS services not allowed", _HOUR),
    8: RejectCause("EPS services and non-EPS services not allowed", _HOUR),
    9: RejectCause("UE identity cannot be derived by the network", _T3402, lasting=False),
    10: RejectCause("implicitly detached", _T3402, lasting=False),
    11: RejectCause("PLMN not allowed", _HALF),
    12: RejectCause("tracking area not allowed", _HALF),
    13: RejectCause("roaming not allowed in this tracking area", _HALF),
    14: RejectCause("EPS services not allowed in this PLMN", _HALF),
    15: RejectCause("no suitable cells in tracking area", _QUARTER),
    16: RejectCause("MSC temporarily not reachable", _T3402, lasting=False),
    17: RejectCause("network failure", _T3402, lasting=False),
    18: RejectCause("CS domain not available", _T3402, lasting=False),
    19: RejectCause("ESM failure (wrong APN or credentials?)", _QUARTER),
    20: RejectCause("MAC failure", _T3402, lasting=False),
    21: RejectCause("synch failure", _T3402, lasting=False),
    22: RejectCause("congestion", _T3402, lasting=False),
    23: RejectCause("UE security capabilities mismatch", _HALF),
    24: RejectCause("security mode rejected", _T3402, lasting=False),
    25: RejectCause("not authorized for this CSG", _HALF),
    35: RejectCause("requested service option not authorized in this PLMN", _HALF),
    40: RejectCause("no EPS bearer context activated", _T3402, lasting=False),
    42: RejectCause("severe network failure", _T3402, lasting=False),
    78: RejectCause("PLMN not allowed to operate at the present UE location", _HALF),
}
NO_CAUSE = RejectCause("the modem tells no cause", _QUARTER)
_OTHER = RejectCause("unknown cause", _QUARTER)


def reject_cause(number: int | None) -> RejectCause:
    """What a cause number means."""
    return NO_CAUSE if number is None else REJECT_CAUSES.get(number, _OTHER)


def denied(number: int | None) -> RegistrationDenied:
    """The error for a refused registration."""
    cause = reject_cause(number)
    named = f"cause {number}, {cause.meaning}" if number is not None else cause.meaning
    return RegistrationDenied(f"the network refused registration: {named}", cause.retry_after)


# CME codes with which asking again soon is useless, with seconds.
_LASTING_CME = {
    103: _HOUR,
    106: _HOUR,
    107: _HOUR,
    111: _HALF,
    112: _HALF,
    113: _HALF,
    114: _HALF,
    127: _HOUR,
    128: _HOUR,
    129: _HOUR,
    132: _HALF,
    133: _HOUR,
    149: _HOUR,
    177: _HOUR,
    179: _HALF,
}
# The network has no room: what T3396 is for (TS 24.301 clause 6.5.1.4); modems do not tell its value.
_CONGESTED_CME = {122: 300.0, 126: 300.0, 134: 120.0}


def context_refused(code: int | None, detail: str) -> AttachFailed:
    """The error for a PDP context that was not activated; `code` is a CME code, `detail` what else the modem said."""
    said = f"CME error {code}, {CME.get(code, 'unknown')}" if code is not None else detail
    wait = None if code is None else _LASTING_CME.get(code, _CONGESTED_CME.get(code))
    return AttachFailed(f"no PDP context: {said}", wait)


def is_lasting(code: int | None) -> bool:
    """Whether asking for the context once more, now, is useless."""
    return code in _LASTING_CME or code in _CONGESTED_CME


SOCKET_ERRORS = {
    550: "unknown error",
    551: "operation blocked",
    552: "invalid parameters",
    553: "memory not enough",
    554: "create socket failed",
    555: "operation not supported",
    556: "socket bind failed",
    557: "socket listen failed",
    558: "socket write failed",
    559: "socket read failed",
    560: "socket accept failed",
    561: "open PDP context failed",
    562: "close PDP context failed",
    563: "socket identity has been used",
    564: "DNS busy",
    565: "DNS parse failed",
    566: "socket connect failed",
    567: "socket has been closed",
    568: "operation busy",
    569: "operation timeout",
    570: "PDP context broken down",
    571: "cancel send",
    572: "operation not allowed",
    573: "APN not configured",
    574: "port busy",
}
IDENTITY_IN_USE = 563
CONTEXT_GONE = frozenset({561, 570})
# The socket is as it was; seconds after which sending may work.
_BUSY = {551: 1.0, 553: 1.0, 558: 1.0, 564: 2.0, 568: 0.5, 569: 1.0, 574: 1.0}


def socket_error(number: int | None, doing: str) -> TransportError:
    """`NotNow` where the socket is as it was, else `TransportBroken`."""
    if number in _BUSY:
        return NotNow(f"{doing}: {SOCKET_ERRORS[number]} ({number})", _BUSY[number])
    meaning = SOCKET_ERRORS.get(number, "unknown error") if number is not None else "the modem tells no cause"
    return TransportBroken(f"{doing}: {meaning} ({number})" if number is not None else f"{doing}: {meaning}")
