"""The requests for notes: note, file, env, var, ntn, web.

Rules of this file: one function for each request, from request to reply; `RequestError` becomes `err`.  Fields follow the
public notecard-schema samples; texts of errors are the Notecard's style with its machine tags, not always its words.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from rataccess_hil.satellite.notecard.core import Handler, NotecardCore, Reply, Request, RequestError
from rataccess_hil.satellite.notecard.files import Note, Notefile, Template
from rataccess_hil.satellite.notecard.state import Binary

# --- notes ------------------------------------------------------------------------------------------------------------


def _template(card: NotecardCore, request: Request) -> Reply:
    file = card.files.get(str(request["file"]))
    if request.get("verify"):
        if file.template is None:
            raise RequestError("template not found {template-noexist}")
        told: Reply = {"template": True, "bytes": file.template.size}
        if file.template.body is not None:
            told["body"] = file.template.body
        return {**told, "format": "compact"} if file.template.compact else told
    if request.get("delete") or ("body" not in request and "length" not in request):
        file.template = None
        return {"bytes": 0}
    port = request.get("port")
    compact = request.get("format") == "compact"
    if port is not None and not 1 <= int(port) <= 100:
        raise RequestError(f"port must be 1-100, not {port}")
    body = request.get("body")
    file.template = Template(body, port, compact, int(request.get("length", 0)))
    return {"bytes": file.template.size}


def _add(card: NotecardCore, request: Request) -> Reply:
    file = card.files.get(str(request.get("file", "data.qo")))
    body, payload = request.get("body"), request.get("payload")
    if request.get("binary"):
        if not card.binary.data or card.binary.bad:
            raise RequestError("no binary data {bad-bin}")
        payload, card.binary = base64.b64encode(card.binary.data).decode(), Binary()
    if body is None and payload is None:
        raise RequestError("nothing to add: neither body nor payload {note-noexist}")
    _check(card, file, body, payload)
    if card.files.total() >= card.files.most:
        raise RequestError("note storage is full {file-full}")
    name = request.get("note")
    if name == "?":
        name = None
    note = card.files.put(file, name, body, payload, card.now)
    card.syncing.added(bool(request.get("sync")))
    told: Reply = {"total": len(file.alive())}
    return {**told, "note": note.name} if "note" in request else told


def _check(card: NotecardCore, file: Notefile, body: Any, payload: Any) -> None:
    """Whether a note fits its template, and the satellite where nothing else would carry it."""
    try:
        size = len(base64.b64decode(payload or "", validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise RequestError(f"payload is no base64: {error} {{bad-request}}") from error
    template = file.template
    if template is not None and not set(body or {}) <= set(template.body or {}):
        raise RequestError("note does not match its template {template-incompatible}")
    if template is not None and template.length and size > template.length:
        raise RequestError(f"payload of {size} bytes is longer than its template says {{template-incompatible}}")
    if card.syncing.method != "ntn":
        return
    if card.model.needs_compact and (template is None or not template.compact or not template.port):
        raise RequestError("NTN needs a compact template with a port {template-incompatible}")
    whole = card.syncing.note_size(file, payload)
    if whole > card.syncing.longest_packet:
        raise RequestError(f"{whole} bytes are more than the {card.syncing.longest_packet} of a packet {{too-large}}")


def _get(card: NotecardCore, request: Request) -> Reply:
    file = card.files.get(str(request.get("file", "data.qi")))
    name = request.get("note")
    notes = file.alive() if name is None else [note for note in file.notes.values() if note.name == name]
    if not request.get("deleted"):
        notes = [note for note in notes if not note.deleted]
    if not notes:
        raise RequestError(f"no notes available in {file.name} {{note-noexist}}")
    if request.get("delete"):
        card.files.delete(file, notes[0].name)
    return notes[0].told()


def _update(card: NotecardCore, request: Request) -> Reply:
    file = card.files.get(str(request["file"]))
    note = file.notes.get(str(request["note"]))
    if request.get("verify") and (note is None or note.deleted):
        raise RequestError("note not found {note-noexist}")
    card.files.put(file, str(request["note"]), request.get("body"), request.get("payload"), card.now)
    card.syncing.added(bool(request.get("sync")))
    return {}


def _delete(card: NotecardCore, request: Request) -> Reply:
    if not card.files.delete(card.files.get(str(request["file"])), str(request["note"])):
        raise RequestError("note not found {note-noexist}")
    return {}


def _changes(card: NotecardCore, request: Request) -> Reply:
    file, tracker = card.files.get(str(request["file"])), request.get("tracker")
    if request.get("start") or request.get("reset") or request.get("stop"):
        card.files.clear(str(tracker), file.name)
    if request.get("stop"):
        return {"changes": 0, "total": len(file.alive()), "notes": {}}
    found = card.files.changed(file, tracker)
    if not request.get("deleted"):
        found = [note for note in found if not note.deleted]
    shown = found[: int(request.get("max", len(found)))]
    card.files.seen(file, tracker, shown)
    told = {"changes": len(found), "total": len(file.alive()), "notes": {note.name: note.told() for note in shown}}
    if request.get("delete"):
        for note in shown:
            card.files.delete(file, note.name)
    return told


# --- files ------------------------------------------------------------------------------------------------------------


def _file_changes(card: NotecardCore, request: Request) -> Reply:
    wanted = request.get("files")
    files = [file for file in card.files.files.values() if wanted is None or file.name in wanted]
    tracker = request.get("tracker")

    def told(file: Notefile) -> dict[str, int]:
        changed: list[Note] = card.files.changed(file, tracker)
        return {"changes": len(changed), "total": len(file.alive())}

    info = {file.name: told(file) for file in files if file.notes}
    totals = {key: sum(each[key] for each in info.values()) for key in ("changes", "total")}
    return {**totals, "info": info}


def _file_pending(card: NotecardCore, request: Request) -> Reply:
    info = {
        file.name: {"changes": len(file.unsent), "total": len(file.alive())}
        for file in card.files.files.values()
        if file.unsent
    }
    if not info:
        return {}
    totals = {key: sum(each[key] for each in info.values()) for key in ("total", "changes")}
    return {**totals, "pending": True, "info": info}


def _file_delete(card: NotecardCore, request: Request) -> Reply:
    for name in request["files"]:
        card.files.files.pop(name, None)
    return {}


def _file_clear(card: NotecardCore, request: Request) -> Reply:
    file = card.files.get(str(request["file"]))
    file.notes.clear()
    file.unsent.clear()
    return {}


def _file_stats(card: NotecardCore, request: Request) -> Reply:
    wanted = request.get("file")
    files = [file for file in card.files.files.values() if wanted is None or file.name == wanted]
    told: Reply = {"total": sum(len(file.alive()) for file in files)}
    unsent = sum(len(file.unsent) for file in files)
    return {**told, "changes": unsent, "sync": True} if unsent else told


# --- environment and variables ----------------------------------------------------------------------------------------


def _environment(card: NotecardCore) -> dict[str, str]:
    return {**card.environment, **card.notehub.environment} if card.syncing.completed_at else dict(card.environment)


def _env_get(card: NotecardCore, request: Request) -> Reply:
    found, changed = _environment(card), card.notehub.environment_changed
    if "name" in request:
        return {"text": found.get(request["name"], ""), "time": changed}
    names = request.get("names")
    return {
        "body": {name: found[name] for name in (found if names is None else names) if name in found},
        "time": changed,
    }


def _env_set(card: NotecardCore, request: Request) -> Reply:
    if "text" in request:
        card.environment[request["name"]] = request["text"]
    else:
        card.environment.pop(request["name"], None)
    return {"time": card.now}


def _env_default(card: NotecardCore, request: Request) -> Reply:
    _env_set(card, request)
    return {}


def _env_modified(card: NotecardCore, request: Request) -> Reply:
    return {"time": card.notehub.environment_changed}


def _env_template(card: NotecardCore, request: Request) -> Reply:
    return {"bytes": Template(request.get("body")).size}


def _var_set(card: NotecardCore, request: Request) -> Reply:
    card.variables[request["name"]] = {name: request[name] for name in ("text", "value", "flag") if name in request}
    return {}


def _var_get(card: NotecardCore, request: Request) -> Reply:
    found = card.variables.get(request["name"])
    if found is None:
        raise RequestError(f"variable not found: {request['name']} {{note-noexist}}")
    return dict(found)


def _var_delete(card: NotecardCore, request: Request) -> Reply:
    card.variables.pop(request["name"], None)
    return {}


# --- satellite --------------------------------------------------------------------------------------------------------


def _ntn_status(card: NotecardCore, request: Request) -> Reply:
    if not card.ntn:
        raise RequestError("no NTN module is connected {no-ntn-module}")
    if card.syncing.running == "ntn":
        return {"status": "{ntn-busy}"}
    known = card.air.latitude is not None or card.settings.get("card.location.mode", {}).get("mode") == "fixed"
    return {"status": "{ntn-idle}" if known else "{ntn-idle}{ntn-unknown-location}"}


def _ntn_gps(card: NotecardCore, request: Request) -> Reply:
    kept = card.settings.setdefault("ntn.gps", {"off": True})
    for name, other in (("on", "off"), ("off", "on")):
        if request.get(name):
            kept.pop(other, None)
            kept[name] = True
    return dict(kept)


def _ntn_reset(card: NotecardCore, request: Request) -> Reply:
    card.ntn = False
    return {}


def _ntn_config(card: NotecardCore, request: Request) -> Reply:
    if not card.ntn:
        raise RequestError("no NTN module is connected {no-ntn-module}")
    return {"network": card.model.ntn, "sku": card.model.sku}  # (unverified)


# --- the web ----------------------------------------------------------------------------------------------------------


def _web(card: NotecardCore, request: Request) -> Reply:
    if card.syncing.way() not in ("wifi", "cell") or not card.syncing.connected:
        raise RequestError("web requests need a connection {network-down}")
    return card.notehub.web(str(request.get("route", "")), request)


NOTE_REQUESTS: dict[str, Handler] = {
    "note.template": _template,
    "note.add": _add,
    "note.get": _get,
    "note.update": _update,
    "note.delete": _delete,
    "note.changes": _changes,
    "file.changes": _file_changes,
    "file.changes.pending": _file_pending,
    "file.delete": _file_delete,
    "file.clear": _file_clear,
    "file.stats": _file_stats,
    "env.get": _env_get,
    "env.set": _env_set,
    "env.default": _env_default,
    "env.modified": _env_modified,
    "env.template": _env_template,
    "var.set": _var_set,
    "var.get": _var_get,
    "var.delete": _var_delete,
    "ntn.status": _ntn_status,
    "ntn.gps": _ntn_gps,
    "ntn.reset": _ntn_reset,
    "ntn.config": _ntn_config,
    "web": _web,
    "web.get": _web,
    "web.post": _web,
    "web.put": _web,
    "web.delete": _web,
}
"""Requests for notes."""
