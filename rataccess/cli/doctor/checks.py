"""What is wrong with a machine: a table of pure checks, facts in, findings out.

Rules of this file: no I/O.  Each check is named for what it looks for, and says of each finding what it means and the exact
command that mends it.  Checks about permissions, clocks and disks are in `checks_system`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rataccess.cli.doctor import checks_system as system
from rataccess.cli.doctor.facts import Facts, Finding, Level, Port, Process

Check = Callable[[Facts], Iterator[Finding]]

RULES_FILE = "/etc/udev/rules.d/78-rataccess.rules"
NM_FILE = "/etc/NetworkManager/conf.d/78-rataccess.conf"
MODEM_VENDORS = {
    0x2C7C: "Quectel",
    0x05C6: "Qualcomm",
    0x1199: "Sierra Wireless",
    0x1E0E: "SIMCom",
    0x1BC7: "Telit",
    0x1546: "u-blox",
    0x12D1: "Huawei",
    0x19D2: "ZTE",
    0x1E2D: "Cinterion",
    0x2CB7: "Fibocom",
    0x1915: "Nordic",
}
"""USB vendor ids of makers of radios (usb.ids)."""
_VENDOR_SPECIFIC, _CDC, _CDC_DATA = 0xFF, 0x02, 0x0A
"""bInterfaceClass (usb.org, defined class codes)."""
_INSTALL_RULES = (f"rataccess doctor --fix-rules | sudo tee {RULES_FILE}", "sudo udevadm control --reload")
RELOAD = (*_INSTALL_RULES, "sudo udevadm trigger")


def port_held(facts: Facts) -> Iterator[Finding]:
    """Somebody has a serial port open that is, or could be, a radio's."""
    wanted = _wanted(facts)
    for port in facts.ports:
        for holder in port.holders:
            if not port.identity or holder.name.startswith(("rataccess", "agetty")):
                continue
            level = Level.PROBLEM if port.path in wanted else Level.WARNING
            yield Finding(
                "port-held",
                level,
                port.identity,
                f"{port.path} is held by {holder}",
                "a serial port belongs to one program: opening it fails with PortBusy, or two programs read each other's "
                "answers",
                _release(port, holder),
            )


def _release(port: Port, holder: Process) -> tuple[str, ...]:
    if holder.name == "ModemManager":
        return (*RELOAD, "sudo systemctl restart ModemManager") if port.usb else (_stop("ModemManager"),)
    if holder.name == "gpsd":
        return (
            'set USBAUTO="false" and remove the port from DEVICES in /etc/default/gpsd',
            "sudo systemctl restart gpsd",
        )
    return (f"ps -fp {holder.number}", f"sudo kill {holder.number}")


def _stop(unit: str) -> str:
    return f"sudo systemctl disable --now {unit}"


def port_prober(facts: Facts) -> Iterator[Finding]:
    """A program that opens serial ports by itself runs, and this user cannot see whether it has one open."""
    if not any(port.usb for port in facts.ports):
        return
    for name in ("ModemManager", "gpsd"):
        process = facts.running(name)
        held = any(holder.name == name for port in facts.ports for holder in port.holders)
        if process and not held:
            unseen = f"; {facts.unseen} processes cannot be looked into: run this with sudo" if facts.unseen else ""
            yield Finding(
                "port-prober",
                Level.WARNING,
                name,
                f"{process} runs{unseen}",
                "it opens new serial ports to see what is behind them, for up to half a minute after each plug-in and each "
                "reset of a modem",
                RELOAD if name == "ModemManager" else ('set USBAUTO="false" in /etc/default/gpsd',),
            )


def unseen_holders(facts: Facts) -> Iterator[Finding]:
    """Not everybody's open files may be looked at."""
    if facts.unseen and facts.ports:
        yield Finding(
            "unseen-holders",
            Level.NOTE,
            "processes",
            f"the open files of {facts.unseen} processes of other users cannot be seen",
            "a port that is shown as free may be held by one of them",
            ("sudo rataccess doctor",),
        )


def no_hardware(facts: Facts) -> Iterator[Finding]:
    """No radio can be seen."""
    if not any(port.identity for port in facts.ports):
        yield Finding(
            "no-hardware",
            Level.NOTE,
            "serial ports",
            "there is no serial port: no radio on USB, no UART",
            "everything but radios can still be examined; virtual radios (rataccess demo) need none",
        )


def usb_without_driver(facts: Facts) -> Iterator[Finding]:
    """A modem's serial interfaces have no kernel driver, so that there is no port."""
    for device in facts.usb:
        maker = MODEM_VENDORS.get(device.vendor)
        bare = [each for each in device.interfaces if each.driver is None]
        kinds = {each.kind for each in bare}
        if not bare or (maker is None and not kinds & {_CDC, _CDC_DATA}):
            continue
        module = "cdc_acm" if kinds <= {_CDC, _CDC_DATA} else "option"
        if any(each.driver in ("option", "qcserial", "cdc_acm") for each in device.interfaces) and module == "option":
            continue  # the rest is diagnostics or sound, which no driver wants
        yield Finding(
            "usb-without-driver",
            Level.PROBLEM,
            f"usb {device.name}",
            f"{device}: interfaces {', '.join(str(each.number) for each in bare)} have no driver",
            "without a driver there is no /dev/ttyUSB or /dev/ttyACM: the radio cannot be talked to",
            _load(facts, module, device.vendor, device.product),
        )


def _load(facts: Facts, module: str, vendor: int, product: int) -> tuple[str, ...]:
    if facts.available_modules is not None and module not in facts.available_modules | facts.modules:
        return (
            f"install a kernel with the module {module} (Debian: sudo apt install linux-image-$(dpkg --print-architecture))",
        )
    commands = [f"sudo modprobe {module}", f"echo {module} | sudo tee /etc/modules-load.d/rataccess.conf"]
    if module == "option":
        commands.append(f"echo {vendor:04x} {product:04x} | sudo tee /sys/bus/usb-serial/drivers/option1/new_id")
    return tuple(commands)


def bus_missing(facts: Facts) -> Iterator[Finding]:
    """On a Raspberry Pi SPI and I2C are off until they are switched on."""
    if not facts.raspberry:
        return
    for pattern, module, word in (("/spidev", "spidev", "spi"), ("/i2c-", "i2c_dev", "i2c")):
        if any(pattern in port.path for port in facts.ports):
            continue
        yield Finding(
            "bus-missing",
            Level.NOTE,
            word.upper(),
            f"there is no /dev{pattern}*",
            f"radios on {word.upper()} cannot be used"
            + ("" if module in facts.modules else f"; {module} is not loaded"),
            (f"sudo raspi-config nonint do_{word} 0", f"sudo modprobe {module.replace('_', '-')}"),
        )


def usb_autosuspend(facts: Facts) -> Iterator[Finding]:
    """The kernel may suspend a radio."""
    for device in facts.usb:
        serial = any(port.usb and port.usb[:2] == (device.vendor, device.product) for port in facts.ports)
        if device.power_control == "auto" and (serial or device.vendor in MODEM_VENDORS):
            yield Finding(
                "usb-autosuspend",
                Level.WARNING,
                f"usb {device.name}",
                f"{device} may be suspended when idle",
                "many modems lose URCs, or vanish and come back, when the port is suspended",
                (f"echo on | sudo tee /sys/bus/usb/devices/{device.name}/power/control", *RELOAD),
            )


def serial_console(facts: Facts) -> Iterator[Finding]:
    """The kernel or a log-in prompt uses a UART."""
    where = facts.boot_file or "the boot loader's kernel command line"
    for name in facts.consoles:
        yield Finding(
            "serial-console",
            Level.WARNING,
            f"/dev/{name}",
            f"the kernel's console is on {name}",
            "the kernel writes its messages into whatever radio is wired to that UART",
            ("sudo raspi-config nonint do_serial_cons 1",)
            if facts.raspberry
            else (f"remove console={name},... from {where} and reboot",),
        )
    for name in facts.gettys:
        yield Finding(
            "serial-getty",
            Level.WARNING,
            f"/dev/{name}",
            f"a log-in prompt (getty) runs on {name}",
            "it answers what the radio says with log-in prompts, and holds the port",
            (f"sudo systemctl disable --now serial-getty@{name}.service",),
        )


def two_managers(facts: Facts) -> Iterator[Finding]:
    """Two programs configure one interface."""
    for interface in facts.interfaces:
        if len(interface.managers) > 1:
            first, *others = interface.managers
            yield Finding(
                "two-managers",
                Level.WARNING,
                interface.name,
                f"{interface.name} is configured by {' and '.join(interface.managers)}",
                "each takes away the addresses and routes of the other, which shows as carrier that comes and goes",
                (f"rataccess doctor --fix-rules  # has the lines for {NM_FILE}",)
                if first == "NetworkManager" and others == ["systemd-networkd"]
                else tuple(_stop(other) for other in others),
            )


def interface_down(facts: Facts) -> Iterator[Finding]:
    """A configured link's interface has no carrier, no address, or is switched off."""
    wanted = {link.interface: link.name for link in facts.configured.links if link.interface}
    for interface in facts.interfaces:
        if interface.name not in wanted:
            continue
        name, who = interface.name, " (managed by nobody)" if not interface.managers else ""
        if not interface.up:
            text, mend = f"{name} is switched off", f"sudo ip link set {name} up"
        elif not interface.carrier:
            text, mend = f"{name} has no carrier", "plug the cable in, or join a network: nmcli device wifi list"
        elif not interface.addresses:
            text = f"{name} has no address{who}"
            mend = (
                f"sudo nmcli device connect {name}"
                if "NetworkManager" in interface.managers
                else f"sudo dhclient {name}"
            )
        else:
            continue
        yield Finding(
            "interface-down", Level.WARNING, name, text, f"link {wanted[name]!r} stays below BEARER until then", (mend,)
        )


def _wanted(facts: Facts) -> set[str]:
    """Device files of configured links."""
    ports = {link.port for link in facts.configured.links if link.port}
    direct = {each.partition(":")[2] for each in ports if each.startswith(("serial:", "pty:"))}
    return direct | {port.path for port in facts.ports if port.identity in ports}


CHECKS: dict[str, Check] = {
    "port-held": port_held,
    "port-prober": port_prober,
    "unseen-holders": unseen_holders,
    "no-hardware": no_hardware,
    "usb-without-driver": usb_without_driver,
    "bus-missing": bus_missing,
    "usb-autosuspend": usb_autosuspend,
    "serial-console": serial_console,
    "two-managers": two_managers,
    "interface-down": interface_down,
    **system.CHECKS,
}
"""Every check, in the order in which findings of equal level are shown."""


def examine(facts: Facts) -> list[Finding]:
    """Everything that is wrong, worst first."""
    found = [finding for check in CHECKS.values() for finding in check(facts)]
    return sorted(found, key=lambda finding: list(Level).index(finding.level))
