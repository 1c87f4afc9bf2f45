"""Every 27.007 parser under one name, for drivers to import from.

Rules of this file: names only.
"""

from __future__ import annotations

from rataccess_drivers.at.contexts import (
    Context,
    ContextAddresses,
    ContextParameters,
    ContextRange,
    ContextState,
    parse_address,
    parse_addresses,
    parse_context,
    parse_context_parameters,
    parse_context_range,
    parse_context_state,
    same_apn,
)
from rataccess_drivers.at.general import (
    ModemClock,
    parse_clock,
    parse_error_reporting,
    parse_functionality,
    parse_time,
)
from rataccess_drivers.at.identity import (
    Identity,
    SimLock,
    parse_iccid,
    parse_identity,
    parse_imei,
    parse_imsi,
    parse_sim_lock,
)
from rataccess_drivers.at.operators import (
    CurrentOperator,
    Network,
    NetworkStatus,
    Selection,
    decode_text,
    parse_networks,
    parse_operator,
    split_plmn,
)
from rataccess_drivers.at.registration import (
    AccessTechnology,
    Registration,
    RegistrationState,
    access_technology,
    is_registration_urc,
    parse_registration,
)
from rataccess_drivers.at.signal import ExtendedSignal, SignalQuality, parse_extended_signal, parse_signal

__all__ = [
    "AccessTechnology",
    "Context",
    "ContextAddresses",
    "ContextParameters",
    "ContextRange",
    "ContextState",
    "CurrentOperator",
    "ExtendedSignal",
    "Identity",
    "ModemClock",
    "Network",
    "NetworkStatus",
    "Registration",
    "RegistrationState",
    "Selection",
    "SignalQuality",
    "SimLock",
    "access_technology",
    "decode_text",
    "is_registration_urc",
    "parse_address",
    "parse_addresses",
    "parse_clock",
    "parse_context",
    "parse_context_parameters",
    "parse_context_range",
    "parse_context_state",
    "parse_error_reporting",
    "parse_extended_signal",
    "parse_functionality",
    "parse_iccid",
    "parse_identity",
    "parse_imei",
    "parse_imsi",
    "parse_networks",
    "parse_operator",
    "parse_registration",
    "parse_signal",
    "parse_sim_lock",
    "parse_time",
    "same_apn",
    "split_plmn",
]
