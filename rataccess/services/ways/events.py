"""Events of LoRaWAN network servers over MQTT: ChirpStack v4 and The Things Stack v3, read and answered.

Rules of this file: sans-I/O; topics and JSON in, values out, and back.  Both leave out what is zero, false or empty, and may
add what they like: unknown fields are skipped.  Sources: ChirpStack's documentation (integrations: events, MQTT); The Things
Stack's (MQTT server, data formats).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec

from rataccess.errors import ObjectError

LARGEST = 256 * 1024
"""Bytes of an event; a network server's with all its gateways' metadata has a few thousand."""
Shape = TypeVar("Shape")
Kind = Literal["up", "join", "ack", "txack", "refused", "other"]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one device, as far as it matters here."""

    kind: Kind
    """`refused`: the network did not send a downlink; `other`: nothing for us."""
    dev_eui: str
    """16 hexadecimal digits in lower case."""
    handle: str = ""
    """What a downlink's topic calls the device: the application's id at ChirpStack, the device's id at The Things Stack."""
    port: int = 0
    data: bytes = b""
    data_rate: int | None = None
    """Of the uplink, as the regional parameters count, where the event says."""
    spreading_factor: int | None = None
    bandwidth: int | None = None
    """Hz; where the event says them."""
    region: str | None = None
    heard_at: float | None = None
    """Seconds since 1970."""
    reason: str = ""
    reference: str = ""
    """Of a downlink that was sent or refused: as what it was published."""
    fits: int | None = None
    """Of a downlink that was refused for its size: bytes that would have fitted."""


# --- ChirpStack -------------------------------------------------------------------------------------------------------


class _Lora(msgspec.Struct, rename="camel"):
    bandwidth: int = 0
    spreading_factor: int = 0


class _Modulation(msgspec.Struct, rename="camel"):
    lora: _Lora | None = None


class _TxInfo(msgspec.Struct, rename="camel"):
    modulation: _Modulation | None = None


class _RxInfo(msgspec.Struct, rename="camel"):
    metadata: Any = None
    ns_time: Any = None


class _Device(msgspec.Struct, rename="camel"):
    dev_eui: str = ""


class _ChirpStack(msgspec.Struct, rename="camel"):
    device_info: _Device = msgspec.field(default_factory=_Device)
    time: str | None = None
    dr: int | None = None
    f_port: int | None = None
    data: str | None = None
    rx_info: list[_RxInfo] | None = None
    tx_info: _TxInfo | None = None
    level: str | None = None
    code: str | None = None
    acknowledged: bool | None = None
    queue_item_id: str = ""
    context: Any = None


_REFUSALS = ("DOWNLINK", "EXPIRED", "F_CNT_DOWN")
"""Codes of log events that tell of a downlink which was not sent."""
_CHIRPSTACK: dict[str, Kind] = {"up": "up", "join": "join", "ack": "ack", "txack": "txack"}


def chirpstack_event(topic: str, payload: bytes) -> Event:
    """Read one event.  Raises `ObjectError` for what is none."""
    parts = topic.split("/")
    if len(parts) != 6 or parts[0] != "application" or parts[2] != "device" or parts[4] != "event":
        raise ObjectError("no topic of a device's event")
    found = _decoded(payload, _ChirpStack)
    dev_eui = _eui(parts[3])
    if found.device_info.dev_eui and _eui(found.device_info.dev_eui) != dev_eui:
        raise ObjectError("topic and event name different devices")
    if parts[5] == "log":
        return _chirpstack_log(found, dev_eui, parts[1])
    kind = _CHIRPSTACK.get(parts[5], "other")
    if kind == "ack" and not found.acknowledged:
        return Event("refused", dev_eui, parts[1], reason="not acknowledged")
    if kind != "up":
        return Event(kind, dev_eui, parts[1], heard_at=_seconds(found.time), reference=found.queue_item_id)
    regions = [name for each in found.rx_info or () if (name := _region(each.metadata)) is not None]
    lora = found.tx_info.modulation.lora if found.tx_info and found.tx_info.modulation else None
    return Event(
        "up",
        dev_eui,
        parts[1],
        port=found.f_port or 0,
        data=_payload(found.data),
        data_rate=found.dr or 0,
        spreading_factor=lora.spreading_factor if lora else None,
        bandwidth=lora.bandwidth if lora else None,
        region=regions[0] if regions else None,
        heard_at=_heard_at(found),
    )


def _heard_at(found: _ChirpStack) -> float | None:
    """When the network server had it, where it says (since 4.6): `time` may be by the clock of a gateway that has none."""
    times = [_seconds(each.ns_time) for each in found.rx_info or () if isinstance(each.ns_time, str)]
    return min((each for each in times if each is not None), default=None) or _seconds(found.time)


def _chirpstack_log(found: _ChirpStack, dev_eui: str, application: str) -> Event:
    code, context = found.code or "", found.context if isinstance(found.context, dict) else {}
    if found.level not in ("ERROR", "WARNING") or not code.startswith(_REFUSALS):
        return Event("other", dev_eui, application, reason=code)
    reference = context.get("queue_item_id")
    return Event(
        "refused",
        dev_eui,
        application,
        reason=code,
        reference=reference if isinstance(reference, str) else "",
        fits=_whole(context.get("max_payload_size")),
    )


def _whole(value: Any) -> int | None:
    """A number of bytes, which may be written as text."""
    found = value if isinstance(value, int) else int(value) if isinstance(value, str) and value.isdecimal() else -1
    return found if 0 <= found <= 255 else None


def _region(metadata: Any) -> str | None:
    name = metadata.get("region_common_name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None


def chirpstack_downlink(dev_eui: str, application: str, port: int, data: bytes, reference: str) -> tuple[str, bytes]:
    """Topic and payload of a downlink that is not confirmed; `reference` is a UUID, which events about it repeat."""
    command = {
        "id": reference,
        "devEui": dev_eui,
        "confirmed": False,
        "fPort": port,
        "data": base64.b64encode(data).decode("ascii"),
    }
    return f"application/{application}/device/{dev_eui}/command/down", msgspec.json.encode(command)


# --- The Things Stack -------------------------------------------------------------------------------------------------


class _Ids(msgspec.Struct):
    device_id: str = ""
    dev_eui: str = ""


class _StackLora(msgspec.Struct):
    bandwidth: int = 0
    spreading_factor: int = 0


class _StackRate(msgspec.Struct):
    lora: _StackLora | None = None


class _StackSettings(msgspec.Struct):
    data_rate: _StackRate | None = None


class _StackUplink(msgspec.Struct):
    f_port: int = 0
    frm_payload: str | None = None
    settings: _StackSettings | None = None
    received_at: str | None = None


class _Stack(msgspec.Struct):
    end_device_ids: _Ids
    received_at: str | None = None
    uplink_message: _StackUplink | None = None
    downlink_failed: Any = None


_STACK: dict[tuple[str, ...], Kind] = {
    ("up",): "up",
    ("join",): "join",
    ("down", "ack"): "ack",
    ("down", "sent"): "txack",
    ("down", "nack"): "refused",
    ("down", "failed"): "refused",
}


def things_stack_event(account: str, topic: str, payload: bytes) -> Event:
    """Read one event of the application `account`.  Raises `ObjectError` for what is none."""
    parts = topic.split("/")
    if len(parts) < 5 or parts[:3] != ["v3", account, "devices"]:
        raise ObjectError("no topic of a device's event")
    kind = _STACK.get(tuple(parts[4:]), "other")
    if kind == "other":
        return Event("other", "", parts[3])
    found = _decoded(payload, _Stack)
    dev_eui, up = _eui(found.end_device_ids.dev_eui), found.uplink_message
    if found.end_device_ids.device_id not in ("", parts[3]):
        raise ObjectError("topic and event name different devices")
    if kind != "up":
        reason, fits = _failure(found.downlink_failed)
        return Event(kind, dev_eui, parts[3], reason=reason or "/".join(parts[4:]), fits=fits)
    if up is None:
        raise ObjectError("an uplink without a message")
    lora = up.settings.data_rate.lora if up.settings and up.settings.data_rate else None
    return Event(
        "up",
        dev_eui,
        parts[3],
        port=up.f_port,
        data=_payload(up.frm_payload),
        spreading_factor=lora.spreading_factor if lora else None,
        bandwidth=lora.bandwidth if lora else None,
        heard_at=_seconds(up.received_at or found.received_at),
    )


def things_stack_downlink(account: str, device: str, port: int, data: bytes) -> tuple[str, bytes]:
    """Topic and payload of a downlink that is not confirmed, in the place of those that wait already.

    It acknowledges the same as they do, and behind them it would come an uplink late, as would all that follow.
    """
    downlink = {"f_port": port, "frm_payload": base64.b64encode(data).decode("ascii"), "priority": "NORMAL"}
    return f"v3/{account}/devices/{device}/down/replace", msgspec.json.encode({"downlinks": [downlink]})


def _failure(found: Any) -> tuple[str, int | None]:
    """The error's name in `downlink_failed`, and what would have fitted, where it says (its attribute `max`)."""
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return "", None
    name, attributes = error.get("name"), error.get("attributes")
    fits = _whole(attributes.get("max")) if isinstance(attributes, dict) else None
    return name if isinstance(name, str) else "", fits


# --- both -------------------------------------------------------------------------------------------------------------


def _decoded(payload: bytes, shape: type[Shape]) -> Shape:
    if len(payload) > LARGEST:
        raise ObjectError(f"an event of {len(payload)} bytes")
    try:
        return msgspec.json.decode(payload, type=shape)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ObjectError(f"a malformed event: {error}") from error


def _eui(text: str) -> str:
    found = text.lower()
    if len(found) != 16 or not set(found) <= set("0123456789abcdef"):
        raise ObjectError(f"no DevEUI: {text!r:.40}")
    return found


def _payload(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObjectError("data that is no base64") from error


def _seconds(text: str | None) -> float | None:
    """Seconds since 1970 of an ISO 8601 time, to the microsecond; `None` where there is none."""
    try:
        found = datetime.fromisoformat(text or "")
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
