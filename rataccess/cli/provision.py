"""`rataccess provision`: keys for a device, entries at both services, an identity to stick on the box.

Rules of this file: the root key is made and stays in the device's folder; each service is given its own derived secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import segno

from rataccess.errors import ConfigurationError, KeyStoreError
from rataccess.keys import FileKeyStore
from rataccess.objects import Service
from rataccess.services.admin import check_name
from rataccess.services.identities import check_identity
from rataccess.services.provisioning import add_device, entries, set_identities
from rataccess.services.settings import load

TEMPLATE = """\
# The device {serial_number}.  Every value can be overridden: RATACCESS_SOLUTION__HOST=... and so on.

[device]
serial_number = {serial}
state = {state}   # this folder: say where it is on the device, once it was carried there

[management]
host = "127.0.0.1"   # where the device reaches the management service
port = {management_port}

[solution]
host = "127.0.0.1"
port = {solution_port}

[links.ethernet]
driver = "interface"
transport = "udp"
order = 1
options = {{ interface = "eth0" }}

# [links.cellular]
# driver = "quectel"
# transport = "at_socket"
# order = 2
# failback_after = 30
# options = {{ port = "usb:2c7c:0700#if3", apn = "internet" }}

# [links.lora]                       # its AppKey: secrets.toml in this folder, mode 0600, [lora] appkey = "..."
# driver = "rak3172"
# transport = "lorawan"
# order = 3
# budget = {{ airtime = 30, period = 86400 }}
# options = {{ port = "serial:/dev/serial0", region = "EU868" }}

# [links.satellite]
# driver = "sbd"
# transport = "sbd"
# order = 4
# min_urgency = "alarm"
# cost_per_unit = 0.12
# budget = {{ credits = 40, period = 86400 }}
# options = {{ port = "usb:0403:6001#if0" }}
"""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was made; nothing of it is secret."""

    serial_number: str
    folder: Path
    kids: dict[Service, bytes]
    oddities: list[str] = field(default_factory=list)
    """What is odd about the names that networks are said to call it."""

    @property
    def identity(self) -> str:
        """The public identity, as on the label: JSON."""
        return json.dumps({"serial_number": self.serial_number, **{str(k): v.hex() for k, v in self.kids.items()}})


def provision_device(
    serial_number: str,
    folder: Path,
    services: Path,
    fleets: Sequence[str] = (),
    *,
    identities: Mapping[str, str | None] | None = None,
) -> Provisioned:
    """Make the device's folder (keys, `rataccess.toml`) and enrol it at both services of `services`, by the names that
    networks call it (`identities`).

    What was interrupted before both services knew the device is taken up again.  Raises `KeyStoreError` where the folder
    holds a provisioned device, another device is meant, or a file can be read by others; and `ConfigurationError`.
    """
    for what, name in (("a device", serial_number), *(("a fleet", fleet) for fleet in fleets)):
        check_name(what, name)
    names = {kind: check_identity(kind, name) for kind, name in (identities or {}).items() if name is not None}
    ports = {service: load(services, service).port for service in Service}  # checked before anything is made
    keys = _begun(serial_number, folder)
    if keys is None:
        _refuse_enrolled(serial_number, services)
        keys = FileKeyStore.create(folder, serial_number)
    kids = {
        service: add_device(services, service, serial_number, keys.session_secret(service), fleets=fleets)
        for service in Service
    }
    for service, kid in kids.items():
        keys.assign(service, kid)
    odd = [each for service in Service if names for each in set_identities(services, service, serial_number, names)]
    text = TEMPLATE.format(
        serial_number=serial_number,
        serial=json.dumps(serial_number),
        state=json.dumps(str(folder.resolve())),
        management_port=ports[Service.MANAGEMENT],
        solution_port=ports[Service.SOLUTION],
    )
    configuration = folder / "rataccess.toml"
    if not configuration.exists():
        configuration.write_text(text, encoding="utf-8")
    return Provisioned(serial_number, folder, kids, list(dict.fromkeys(odd)))


def default_folder(serial_number: str) -> Path:
    """A folder here that has the device's name.  Raises `ConfigurationError` where that is no name of one folder."""
    if serial_number and re.fullmatch(r"[^./\0\s-][^/\0]*", serial_number) is None:
        raise ConfigurationError(
            f"{serial_number!r:.100} is not fit for a folder's name; name the folder with --folder"
        )
    return Path(serial_number)


def _begun(serial_number: str, folder: Path) -> FileKeyStore | None:
    """The keys of a provisioning that was interrupted, or `None`; raises `KeyStoreError` where it was complete."""
    if not (folder / "root.key").exists():
        return None
    keys = FileKeyStore.open(folder)
    complete = True
    for service in Service:
        try:
            keys.device_id(service)
        except KeyStoreError:
            complete = False
    if complete or keys.serial_number != serial_number:
        state = "is provisioned already" if complete else "was begun here"
        raise KeyStoreError(
            f"{folder / 'root.key'} exists: {keys.serial_number} {state}, and keys are never overwritten"
        )
    return keys


def _refuse_enrolled(serial_number: str, services: Path) -> None:
    for service in Service:
        if any(each.serial_number == serial_number and not each.revoked for each in entries(services, service)):
            raise KeyStoreError(
                f"{serial_number} is enrolled at the {service} service with keys that are not in this folder; "
                "name the folder that has them with --folder, or revoke that enrolment first"
            )


def show(made: Provisioned) -> None:
    """Print the identity as text and as a QR code."""
    print(f"{made.serial_number} is provisioned; its folder is {made.folder}")
    for service, kid in made.kids.items():
        print(f"  {service}: kid {kid.hex()}")
    for each in made.oddities:
        print(f"note: {each}")
    print(made.identity)
    segno.make(made.identity, error="m").terminal(compact=True)
