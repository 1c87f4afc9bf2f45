"""The requests of the card itself and of the hub, as far as a radio link needs them.

Rules of this file: one function for each request, from request to reply; `RequestError` becomes `err`.  Fields follow the
public notecard-schema samples; texts of errors are the Notecard's style with its machine tags, not always its words.
"""

from __future__ import annotations

import hashlib
from typing import Any

from rataccess_hil.satellite.notecard import line
from rataccess_hil.satellite.notecard.core import Handler, NotecardCore, Reply, Request, RequestError
from rataccess_hil.satellite.notecard.state import METHODS, Binary

# --- the card ---------------------------------------------------------------------------------------------------------


def _version(card: NotecardCore, request: Request) -> Reply:
    major, minor, patch = card.model.version
    name = f"notecard-{major}.{minor}.{patch}"
    body: dict[str, Any] = {"org": "Blues Wireless", "product": "Notecard", "target": "u5", "version": name}
    body |= {"ver_major": major, "ver_minor": minor, "ver_patch": patch, "ver_build": 1, "built": "Jan 1 2026 00:00:00"}
    told = {"version": name, "device": card.model.device, "name": card.model.name, "sku": card.model.sku}
    return {**told, "board": card.model.board, "cell": True, "gps": True, "wifi": True, "body": body}


def _transport(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.setdefault("card.transport", {"method": "-"})
    if "method" in request:
        method = request["method"]
        if method not in METHODS:
            raise RequestError(f"unrecognized transport method: {method}")
        if "ntn" in method and not card.ntn:
            raise RequestError("no NTN module is connected {no-ntn-module}")
        kept["method"] = method
    kept |= {name: request[name] for name in ("seconds", "allow", "umin") if name in request}
    return dict(kept)


def _status(card: NotecardCore, request: Request) -> Reply:
    hub = card.settings.get("hub.set", {})
    told: Reply = {"status": "{normal}", "usb": True, "storage": round(card.files.total() * 100 / card.files.most)}
    told |= {"time": card.now, "connected": card.syncing.connected, "cell": True, "gps": True, "sync": True}
    return {**told, "inbound": hub.get("inbound", 0), "outbound": hub.get("outbound", 0)}


def _time(card: NotecardCore, request: Request) -> Reply:
    if card.syncing.completed_at is None:
        return {"zone": "UTC,Unknown"}
    told: Reply = {"time": card.now, "area": "Beverly, MA", "zone": "CDT,America/New York", "minutes": -300}
    return {**told, "lat": card.air.latitude, "lon": card.air.longitude, "country": "US"}


def _location(card: NotecardCore, request: Request) -> Reply:
    mode = card.settings.get("card.location.mode", {})
    fixed = mode.get("mode") == "fixed"
    latitude = mode.get("lat") if fixed else card.air.latitude
    longitude = mode.get("lon") if fixed else card.air.longitude
    if latitude is None or longitude is None:
        return {"status": "GPS search (120 sec) {gps-active}", "mode": mode.get("mode", "off")}
    status = "GPS updated (58 sec, 41dB SNR, 9 sats) {gps-active} {gps-signal} {gps-sats} {gps}"
    told: Reply = {"status": status, "mode": mode.get("mode", "off"), "lat": latitude, "lon": longitude}
    return {**told, "time": card.now, "max": 25}


def _wireless(card: NotecardCore, request: Request) -> Reply:
    card.settings.setdefault("card.wireless", {}).update(
        {name: request[name] for name in ("mode", "apn", "method", "hours") if name in request}
    )
    net: dict[str, Any] = {"iccid": "00000000000000000000", "imsi": "000000000000000", "imei": card.model.device[4:]}
    if card.air.cell:
        net |= {"band": "LTE BAND 2", "rat": "lte", "rssi": -70, "rsrp": -105, "sinr": -3, "rsrq": -17, "bars": 1}
        net |= {"mcc": 310, "mnc": 410, "lac": 28681, "cid": 211150856, "updated": card.now}
    status = "{modem-on}" if card.syncing.running == "cell" else "{modem-off}"
    return {"status": status, "count": 1, "net": net}


def _restart(card: NotecardCore, request: Request) -> Reply:
    card.schedule.after(0.5, card.restart, hardware=True)
    return {}


def _restore(card: NotecardCore, request: Request) -> Reply:
    card.restore()
    return _restart(card, request)


def _attn(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.setdefault("card.attn", {})
    modes = str(request.get("mode", "")).split(",")
    fired = kept.get("fired", [])
    if "mode" in request:
        if "arm" in modes or "rearm" in modes:
            kept |= {"armed": True, "fired": []}
            card.attn_pin.drive(False)
        if "disarm" in modes:
            kept |= {"armed": False}
            card.attn_pin.drive(True)
        if "files" in request:
            kept["files"] = list(request["files"])
    if "payload" in request:
        kept["payload"] = request["payload"]
    told: Reply = {"set": bool(card.attn_pin.read())}
    if request.get("start") and "payload" in kept:
        told |= {"payload": kept.pop("payload"), "time": card.now}
    return {**told, "files": fired} if fired else told


# --- the binary store -------------------------------------------------------------------------------------------------


def _binary(card: NotecardCore, request: Request) -> Reply:
    if request.get("delete"):
        card.binary = Binary()
    store = card.binary
    if store.bad:
        raise RequestError("the binary store holds bad data {bad-bin}")
    told: Reply = {"max": store.most}
    if store.data:
        told |= {"status": hashlib.md5(store.data).hexdigest(), "length": len(store.data)}
        told |= {"cobs": len(line.stuff(bytes(store.data)))}
    return {**told, "connected": True} if card.syncing.connected else told


def _binary_put(card: NotecardCore, request: Request) -> Reply:
    offset = int(request.get("offset", 0))
    if offset not in (0, len(card.binary.data)) or offset + int(request["cobs"]) > card.binary.most:
        raise RequestError("offset or length do not fit the binary store {bad-bin}")
    card.expect_binary(int(request["cobs"]), offset, str(request.get("status", "")))
    return {}


def _binary_get(card: NotecardCore, request: Request) -> Reply:
    offset = int(request.get("offset", 0))
    length = int(request.get("length", len(card.binary.data) - offset))
    data = bytes(card.binary.data[offset : offset + length])
    if card.binary.bad or not data or len(data) != length:
        raise RequestError("nothing of this kind in the binary store {bad-bin}")
    card.send_binary(data)
    return {"status": hashlib.md5(data).hexdigest()}


# --- the hub ----------------------------------------------------------------------------------------------------------

_HUB_FIELDS = ("product", "sn", "mode", "outbound", "inbound", "duration", "voutbound", "vinbound", "host", "version")


def _hub_set(card: NotecardCore, request: Request) -> Reply:
    if request.get("mode", "periodic") not in ("periodic", "continuous", "minimum", "off", "dfu"):
        raise RequestError(f"unrecognized mode: {request['mode']}")
    kept = card.settings.setdefault("hub.set", {})
    kept |= {name: request[name] for name in (*_HUB_FIELDS, "details", "umin", "sync", "align") if name in request}
    if "product" in kept and "mode" not in kept:
        kept["mode"] = "periodic"
    card.syncing.start()
    return {}


def _hub_get(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.get("hub.set", {})
    told: Reply = {"device": card.model.device, "mode": card.syncing.mode, "host": "a.notefile.net"}
    return {**told, **{name: kept[name] for name in _HUB_FIELDS if name in kept and name != "version"}}


def _hub_status(card: NotecardCore, request: Request) -> Reply:
    if card.syncing.connected:
        return {"status": "connected (session open) {connected}", "connected": True}
    return {"status": "disconnected"}


def _hub_sync(card: NotecardCore, request: Request) -> Reply:
    card.syncing.request()
    return {}


def _hub_sync_status(card: NotecardCore, request: Request) -> Reply:
    syncing = card.syncing
    if request.get("sync"):
        syncing.request()
    if syncing.running is not None:
        told: Reply = {"status": f"syncing over {syncing.running} {{sync-begin}}", "mode": "{modem-on}", "seconds": 1}
    elif syncing.failed:
        told = {"status": f"waiting {syncing.failed}", "mode": "{modem-off}", "seconds": 300}
    elif syncing.completed_at is None:
        told = {"status": "waiting {sync-none}", "mode": "{modem-off}"}
    else:
        told = {"status": "completed {sync-end}", "mode": "{modem-off}", "time": syncing.completed_at}
        told["completed"] = card.now - syncing.completed_at
    if any(file.unsent for file in card.files.files.values()):
        told["sync"] = True
    return told


def _hub_signal(card: NotecardCore, request: Request) -> Reply:
    return {"connected": card.syncing.connected}


REQUESTS: dict[str, Handler] = {
    "card.version": _version,
    "card.transport": _transport,
    "card.status": _status,
    "card.time": _time,
    "card.location": _location,
    "card.wireless": _wireless,
    "card.restart": _restart,
    "card.restore": _restore,
    "card.attn": _attn,
    "card.binary": _binary,
    "card.binary.put": _binary_put,
    "card.binary.get": _binary_get,
    "hub.set": _hub_set,
    "hub.get": _hub_get,
    "hub.status": _hub_status,
    "hub.sync": _hub_sync,
    "hub.sync.status": _hub_sync_status,
    "hub.signal": _hub_signal,
}
"""Requests of the card and the hub."""
