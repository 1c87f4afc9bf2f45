"""What the virtual network server tells integrations, in the words of ChirpStack v4.

Rules of this file: fields only.  As protobuf's JSON does, zero values are left out.  Source: ChirpStack's documentation of
its MQTT events.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from typing import Any

from rataccess_hil.lora.network_device import NetworkDevice, ReceivedUplink
from rataccess_hil.lora.regions import Region

APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
_TENANT = "52f14cd4-c6f1-4fbd-8f87-4025e1d49242"


def topic(device: NetworkDevice, event: str) -> str:
    """The topic of an event."""
    return f"application/{APPLICATION}/device/{device.dev_eui:016x}/event/{event}"


def _without_zeros(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (0, False, "", None, [], {})}


def _base(device: NetworkDevice, unix: float, number: int) -> dict[str, Any]:
    return {
        "deduplicationId": f"00000000-0000-4000-8000-{number:012x}",
        "time": datetime.datetime.fromtimestamp(unix, datetime.UTC).isoformat(),
        "deviceInfo": {
            "tenantId": _TENANT,
            "tenantName": "tenant",
            "applicationId": APPLICATION,
            "applicationName": "application",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
            "deviceProfileName": "class A",
            "deviceName": device.name,
            "devEui": f"{device.dev_eui:016x}",
            "tags": {},
        },
    }


def up(
    device: NetworkDevice, uplink: ReceivedUplink, region: Region, unix: float, number: int, adr: bool
) -> dict[str, Any]:
    """The event `up`."""
    factor, bandwidth = region.rates[uplink.rate]
    told = {
        **_base(device, unix, number),
        "devAddr": f"{uplink.address:08x}",
        "adr": adr,
        "dr": uplink.rate,
        "fCnt": uplink.counter,
        "fPort": uplink.port or 0,
        "confirmed": uplink.confirmed,
        "data": base64.b64encode(uplink.data).decode(),
    }
    lora = {"bandwidth": bandwidth, "spreadingFactor": factor, "codeRate": "CR_4_5"}
    reception = {"gatewayId": "aa555a0000000101", "uplinkId": number, "rssi": uplink.rssi_dbm, "snr": uplink.snr_db}
    return _without_zeros(told) | {
        "rxInfo": [_without_zeros(reception)],
        "txInfo": {"frequency": uplink.frequency, "modulation": {"lora": lora}},
    }


def join(device: NetworkDevice, address: int, unix: float, number: int) -> dict[str, Any]:
    """The event `join`."""
    return {**_base(device, unix, number), "devAddr": f"{address:08x}"}


def acknowledged(
    device: NetworkDevice, identity: str, counter: int, right: bool, unix: float, number: int
) -> dict[str, Any]:
    """The event `ack`."""
    told = {"queueItemId": identity, "acknowledged": right, "fCntDown": counter}
    return {**_base(device, unix, number), **_without_zeros(told)}


def transmitted(device: NetworkDevice, identity: str, counter: int, unix: float, number: int) -> dict[str, Any]:
    """The event `txack`."""
    told = {"queueItemId": identity, "fCntDown": counter, "gatewayId": "aa555a0000000101", "downlinkId": number}
    return {**_base(device, unix, number), **_without_zeros(told)}


def status(device: NetworkDevice, unix: float, number: int) -> dict[str, Any]:
    """The event `status`."""
    battery = device.battery
    told = {
        "margin": device.margin,
        "externalPowerSource": battery == 0,
        "batteryLevelUnavailable": battery == 255,
        "batteryLevel": round(100 * battery / 254, 2) if battery not in (None, 0, 255) else 0,
    }
    return {**_base(device, unix, number), **_without_zeros(told)}


def command(told: str, fields: Mapping[str, Any]) -> tuple[int, int, bytes, bool]:
    """Device, port, data and whether it is confirmed, of `command/down`; raises `ValueError`."""
    parts = told.split("/")
    if len(parts) != 6 or parts[0] != "application" or parts[2] != "device" or parts[4:] != ["command", "down"]:
        raise ValueError(f"no topic of a downlink: {told!r}")
    if str(fields.get("devEui", parts[3])).lower() != parts[3].lower():
        raise ValueError("the devEui of the downlink is another one than that of its topic")
    data = base64.b64decode(str(fields.get("data", "")), validate=True)
    port = int(fields.get("fPort", 0))
    if not 1 <= port <= 223:
        raise ValueError(f"a downlink on port {port}")
    return int(parts[3], 16), port, data, bool(fields.get("confirmed", False))
