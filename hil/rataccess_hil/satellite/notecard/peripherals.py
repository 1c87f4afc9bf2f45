"""The requests that a radio link does not need: sensors, power, lights, tracking.

Rules of this file: tables.  A setting is kept and told; a reading is a fixed plausible one.  They are here so that a client
of another kind finds a whole Notecard.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from rataccess_hil.satellite.notecard.core import Handler, NotecardCore, Reply, Request

_FIRST_MOTION = 1_599_741_952


def _setting(request_name: str, fields: Sequence[str], **first: Any) -> Handler:
    """Keeps the request's fields of these names, and tells what is kept."""

    def serve(card: NotecardCore, request: Request) -> Reply:
        kept = card.settings.setdefault(request_name, dict(first))
        kept |= {field: request[field] for field in fields if field in request}
        return dict(kept)

    return serve


def _switch(request_name: str, fields: Sequence[str], **first: Any) -> Handler:
    """As a setting, with `start` and `stop` excluding one another."""

    def serve(card: NotecardCore, request: Request) -> Reply:
        kept = card.settings.setdefault(request_name, {"stop": True, **first})
        for asked, other in (("start", "stop"), ("stop", "start")):
            if request.get(asked):
                kept.pop(other, None)
                kept[asked] = True
        kept |= {field: request[field] for field in fields if field in request}
        return dict(kept)

    return serve


def _quiet(name: str) -> Handler:
    """Kept, and answered with nothing."""

    def serve(card: NotecardCore, request: Request) -> Reply:
        kept = {field: value for field, value in request.items() if field not in ("req", "cmd")}
        card.settings.setdefault(name, {}).update(kept)
        return {}

    return serve


def _reading(**told: Any) -> Handler:
    """Always the same."""

    def serve(card: NotecardCore, request: Request) -> Reply:
        return dict(told)

    return serve


def _random(card: NotecardCore, request: Request) -> Reply:
    count = int(request.get("count", 100))
    if request.get("mode") == "payload":
        return {"payload": base64.b64encode(card.chance.randbytes(count)).decode()}
    return {"count": card.chance.randrange(max(1, count))}


def _usage(card: NotecardCore, request: Request) -> Reply:
    told: Reply = {"seconds": int(card.schedule.now - card.booted_at), "time": card.now}
    told |= {"bytes_sent": 100 * card.counts.sent, "bytes_received": 100 * card.counts.received}
    told |= {"notes_sent": card.counts.sent, "notes_received": card.counts.received}
    return {**told, "sessions_standard": card.counts.syncs, "sessions_secure": 0}


def _usage_test(card: NotecardCore, request: Request) -> Reply:
    told = {"max": 12_730, "days": int(request.get("days", 7)), "bytes_per_day": 41_136}
    return {**told, **_usage(card, request)}


def _aux(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.setdefault("card.aux", {"mode": "off"})
    kept |= {name: request[name] for name in ("mode", "usage", "rate") if name in request}
    told: Reply = {"mode": kept["mode"]}
    if kept["mode"] == "gpio":
        told["state"] = [{name: True} if name in ("low", "high") else {} for name in kept.get("usage", ())]
        told |= {"time": card.now, "seconds": int(request.get("seconds", 0))}
    return told


def _dfu_status(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.setdefault("dfu.status", {"on": True})
    if request.get("off"):
        kept["on"] = False
    if request.get("on"):
        kept["on"] = True
    return {"mode": "idle", "status": "no download in progress", "on": kept["on"]}


def _penalty(card: NotecardCore, request: Request) -> Reply:
    return {"count": 0, "minutes": 0}


def _location_mode(card: NotecardCore, request: Request) -> Reply:
    fields = ("mode", "seconds", "lat", "lon", "max", "minutes", "threshold", "vseconds")
    kept = card.settings.setdefault("card.location.mode", {"mode": "off"})
    kept |= {name: request[name] for name in fields if name in request}
    return dict(kept)


PERIPHERALS: dict[str, Handler] = {
    "card.aux": _aux,
    "card.aux.serial": _setting("card.aux.serial", ("mode", "rate"), mode="req", rate=115_200),
    "card.carrier": _setting("card.carrier", ("mode",), mode="off", charging=False),
    "card.contact": _setting("card.contact", ("name", "org", "role", "email")),
    "card.dfu": _setting("card.dfu", ("name",), name="stm32"),
    "card.illumination": _reading(value=8806.4),
    "card.io": _quiet("card.io"),
    "card.led": _quiet("card.led"),
    "card.location.mode": _location_mode,
    "card.location.track": _switch("card.location.track", ("heartbeat", "hours", "file", "sync"), file="locations.qo"),
    "card.monitor": _quiet("card.monitor"),
    "card.motion": _reading(
        count=17, status="face-up", alert=True, motion=_FIRST_MOTION, seconds=5, movements="52000000"
    ),
    "card.motion.mode": _switch("card.motion.mode", ("seconds", "sensitivity", "motion"), seconds=5),
    "card.motion.sync": _switch("card.motion.sync", ("minutes", "count", "threshold")),
    "card.motion.track": _switch("card.motion.track", ("minutes", "count", "threshold", "file", "now")),
    "card.power": _reading(temperature=26.03, voltage=4.2, milliamp_hours=3.96),
    "card.random": _random,
    "card.sleep": _setting("card.sleep", ("seconds", "mode", "on"), on=False),
    "card.temp": _reading(value=27.625, calibration=-3.0),
    "card.trace": _quiet("card.trace"),
    "card.triangulate": _setting("card.triangulate", ("mode", "on", "usb"), mode="-", on=False),
    "card.usage.get": _usage,
    "card.usage.test": _usage_test,
    "card.voltage": _reading(usb=True, hours=120, mode="usb", value=5.11, vmin=4.0, vmax=5.2, vavg=5.0),
    "card.wifi": _setting(
        "card.wifi", ("ssid", "name", "org"), ssid="", secure=True, version="3.12.3", security="open"
    ),
    "card.wireless.penalty": _penalty,
    "dfu.get": _reading(payload=""),
    "dfu.status": _dfu_status,
    "hub.log": _quiet("hub.log"),
}
"""Requests without behaviour."""
