"""The configuration files of the demo: both services', and the device's.

Rules of this file: text from values; nothing is opened or written here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from rataccess.objects import Service

RATS = ("wifi", "cellular", "lora", "satellite")
"""The links of the demo, in order of preference."""

DEV_EUI = "70b3d57ed0000001"
JOIN_EUI = "0000000000000001"
IMEI = "300234010753370"
REGION = "IN865"
"""A region without a duty cycle: EU868's would leave a few packets for the minute that the demo has."""
AIRTIME = 15.0
"""Seconds on the air that the device may spend in an hour."""
WAYS = {"lorawan": "lora", "sbd": "satellite"}
"""What the services call records that came by a way in, and the link that they came over."""
CREDITS = 40
"""Satellite credits that it may spend in an hour."""

SERVICES = """\
[management]
host = "127.0.0.1"
port = {management}
store = "management.sqlite"
keys = "management-devices.json"

[solution]
host = "127.0.0.1"
port = {solution}
store = "solution.sqlite"
keys = "solution-devices.json"
ndjson = "readings.ndjson"
"""

LORA_WAYS = """
[[solution.ways]]
name = "gateways"
kind = "semtech"
host = "127.0.0.1"
port = {semtech}
region = "{region}"
other = "127.0.0.1:{relay}"

[[management.ways]]
name = "network-server"
kind = "relay"
host = "127.0.0.1"
port = {relay}
"""

SATELLITE_WAYS = """
[[{service}.ways]]
name = "iridium"
kind = "directip"
host = "127.0.0.1"
port = {mo}
gateway = "127.0.0.1:{mt}"
"""

DEVICE = """\
[device]
serial_number = "{serial}"
state = "{folder}"

[management]
host = "{host}"
port = {management}

[solution]
host = "{host}"
port = {solution}
"""

LINKS = {
    "wifi": """
[links.wifi]
{wifi}
transport = "udp"
order = 1
failback_after = {failback}
""",
    "cellular": """
[links.cellular]
driver = "quectel"
transport = "at_socket"
order = 2
failback_after = {failback}
options = {{ port = "pty:{folder}/ttyBG95", apn = "demo", reset = {{ file = "{folder}/lines/reset" }} }}
""",
    "lora": """
[links.lora]
driver = "rak3172"
transport = "lorawan"
order = 3
failback_after = {failback}
budget = {{ airtime = {airtime}, period = 3600.0 }}
options = {{ port = "pty:{folder}/ttyRAK3172", region = "{region}", join_eui = "{join_eui}", data_rate = 5 }}
""",
    "satellite": """
[links.satellite]
driver = "sbd"
transport = "sbd"
order = 4
failback_after = {failback}
min_urgency = "alarm"
cost_per_unit = 0.12
budget = {{ credits = {credits}, period = 3600.0 }}
options = {{ port = "pty:{folder}/tty9603" }}
""",
}
"""By link; `cost_per_unit` of the satellite is about what small users pay for a credit."""


def services(rats: Collection[str], ports: Mapping[str, int]) -> str:
    """`services.toml`; `ports` by name: management, solution, semtech, relay, mo-management, mo-solution, mt."""
    text = SERVICES.format(**ports)
    if "lora" in rats:
        text += LORA_WAYS.format(region=REGION, **ports)
    if "satellite" in rats:
        text += "".join(
            SATELLITE_WAYS.format(service=service, mo=ports[f"mo-{service}"], mt=ports["mt"]) for service in Service
        )
    return text


def device(
    rats: Collection[str],
    public: Mapping[Service, tuple[str, int]],
    *,
    serial: str,
    state: Path,
    failback: float,
    wifi: str,
) -> str:
    """`rataccess.toml`; `public`: where the device finds the services; `wifi`: driver and options of that link."""
    host = public[Service.SOLUTION][0]
    ports = {str(service): port for service, (_, port) in public.items()}
    text = DEVICE.format(serial=serial, folder=state, host=host, **ports)
    values = {
        "airtime": AIRTIME,
        "region": REGION,
        "credits": CREDITS,
        "join_eui": JOIN_EUI,
        "failback": round(failback, 3),
        "wifi": wifi,
    }
    return text + "".join(LINKS[name].format(folder=state.parent, **values) for name in RATS if name in rats)
