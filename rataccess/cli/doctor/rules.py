"""Lines for udev and NetworkManager that give radios to this library: text from facts.

Rules of this file: pure; nothing is written anywhere.  udev(7) for the rules; the name of the file must sort after
60-serial.rules, which sets ID_USB_INTERFACE_NUM, and ModemManager asks for ID_MM_DEVICE_IGNORE in rules from 78 on (its
reference manual, "Modem filter").  NetworkManager.conf(5) for `unmanaged-devices`, in its section `keyfile`.
"""

from __future__ import annotations

import re

from rataccess.cli.doctor.checks import MODEM_VENDORS, NM_FILE, RULES_FILE
from rataccess.cli.doctor.facts import Facts, Port, UsbDevice

GROUP = "dialout"
_SAFE = re.compile(r"[A-Za-z0-9_.:-]+")


def fix_rules(facts: Facts) -> str:
    """Both files, with comments that say where each belongs; the whole text is a valid rules file."""
    return "\n".join([*_udev(facts), "", *_network_manager(facts)]) + "\n"


def radios(facts: Facts) -> list[UsbDevice]:
    """USB devices that are radios: by their maker, or by a configured port."""
    wanted = {link.port for link in facts.configured.links}
    mine = {port.usb[:2] for port in facts.ports if port.usb and port.identity in wanted}
    serial = {port.usb[:2] for port in facts.ports if port.usb}
    return [
        device
        for device in facts.usb
        if (device.vendor, device.product) in mine
        or (device.vendor in MODEM_VENDORS and (device.vendor, device.product) in serial)
    ]


def _udev(facts: Facts) -> list[str]:
    lines = [f"# {RULES_FILE}"]
    found = radios(facts)
    if not found:
        return [*lines, "# no radio is plugged in, or none whose serial ports have a driver: nothing to give away"]
    done: set[tuple[int, int]] = set()
    for device in found:
        key = (device.vendor, device.product)
        if key in done:
            continue
        done.add(key)
        lines += ["", f"# {_comment(str(device))}", *_of_device(device, facts)]
    return lines


def _of_device(device: UsbDevice, facts: Facts) -> list[str]:
    attributes = f'ATTR{{idVendor}}=="{device.vendor:04x}", ATTR{{idProduct}}=="{device.product:04x}"'
    above = attributes.replace("ATTR{", "ATTRS{")
    change = 'ACTION=="add|change|move|bind"'
    lines = [
        f'{change}, SUBSYSTEM=="usb", ENV{{DEVTYPE}}=="usb_device", {attributes}, '
        'TEST=="power/control", ATTR{power/control}="on"',
        f'{change}, {above}, ENV{{ID_MM_DEVICE_IGNORE}}="1"',
        f'SUBSYSTEM=="tty", {above}, GROUP="{GROUP}", MODE="0660"',
    ]
    mine = [port for port in facts.ports if port.usb and port.usb[:2] == (device.vendor, device.product)]
    twins = len({port.usb[3] for port in mine if port.usb}) > 1
    return lines + [_symlink(port, above, twins) for port in mine]


def _symlink(port: Port, above: str, twins: bool) -> str:
    """A name that stays: /dev/rataccess/2c7c-0700-if03, with the serial number where there are several such devices."""
    assert port.usb is not None
    vendor, product, interface, serial_number = port.usb
    name = f"{vendor:04x}-{product:04x}-if{interface:02x}"
    which = ""
    if twins and serial_number and _SAFE.fullmatch(serial_number):
        name = f"{vendor:04x}-{product:04x}-{serial_number}-if{interface:02x}"
        which = f'ATTRS{{serial}}=="{serial_number}", '
    return (
        f'SUBSYSTEM=="tty", {above}, {which}ENV{{ID_USB_INTERFACE_NUM}}=="{interface:02x}", SYMLINK+="rataccess/{name}"'
    )


def _network_manager(facts: Facts) -> list[str]:
    """Interfaces that something else configures; those that NetworkManager alone keeps up are left to it."""
    names = [each.name for each in facts.interfaces if "NetworkManager" in each.managers and len(each.managers) > 1]
    lines = [f"# {NM_FILE}  (without the leading #; then: sudo systemctl reload NetworkManager)"]
    if not names:
        return [*lines, "# NetworkManager shares no interface with another program: nothing to take from it"]
    return [*lines, "# [keyfile]", "# unmanaged-devices=" + ";".join(f"interface-name:{name}" for name in names)]


def _comment(text: str) -> str:
    """What a device says of itself, in one line: it must not end the comment and begin a rule."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
