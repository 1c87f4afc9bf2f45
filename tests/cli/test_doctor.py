"""Each check of `rataccess doctor`, with the trouble there and not there, on machines made of files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rataccess.cli.doctor import CHECKS, Facts, Finding, Level, Machine, examine, gather
from rataccess.cli.doctor.configured import configured
from rataccess.cli.doctor.facts import Disk, Me, Process, Time
from rataccess.cli.doctor.machine import kernel_addresses, kernel_synchronised, sync_error
from rataccess.cli.doctor.rules import fix_rules
from rataccess.cli.doctor.show import exit_status
from rataccess.cli.provision import provision_device
from rataccess.clock import EARLIEST_PLAUSIBLE
from tests.cli.conftest import Cli
from tests.cli.doctor_tree import Tree, sound


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "machine").mkdir()
    return sound(tmp_path / "machine")


def found(tree: Tree, machine: Machine | None = None, config: Path | None = None) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(gather(machine or tree.machine, config))}


def test_a_sound_machine_has_nothing_but_a_note(tree: Tree) -> None:
    facts = gather(tree.machine)
    findings = examine(facts)
    assert [finding.check for finding in findings] == ["no-configuration"]
    assert exit_status(findings) == 0
    assert [port.identity for port in facts.ports[:3]] == [f"usb:2c7c:0700#if{n}" for n in range(3)]
    assert facts.ports[0].group == "dialout"
    assert {each.name: each.managers for each in facts.interfaces} == {
        "eth0": ("NetworkManager",),
        "wlan0": ("NetworkManager",),
    }
    assert facts.interfaces[0].addresses == ("192.0.2.7",)


def test_an_empty_machine_is_survived(tmp_path: Path) -> None:
    """No hardware, no /proc: said, not raised."""
    (tmp_path / "empty").mkdir()
    tree = Tree(tmp_path / "empty")
    findings = examine(gather(tree.machine))
    assert [finding.check for finding in findings if finding.level is Level.PROBLEM] == []
    assert "no-hardware" in {finding.check for finding in findings}


# --- by files: trouble -> (check, in its text, in its mend) -----------------------------------------------------------


def hold(name: str) -> Callable[[Tree], None]:
    return lambda tree: tree.process(412, name, "/dev/ttyUSB2")


def bare_modem(tree: Tree) -> None:
    tree.usb("1-1.3", "2c7c", "0125", {0: None, 1: None}, product="EC25")


def two_managers(tree: Tree) -> None:
    tree.write("run/systemd/netif/links/3", "ADMIN_STATE=configured\n")


def dhcpcd(tree: Tree) -> None:
    tree.process(413, "dhcpcd")
    tree.write("run/dhcpcd/wlan0-4.pid", "413")


def worn(tree: Tree) -> None:
    tree.write("sys/block/mmcblk0/device/life_time", "0x03 0x0a\n")
    tree.write("sys/block/mmcblk0/device/pre_eol_info", "0x01\n")
    (tree.root / "var/lib/rataccess").mkdir(parents=True)


def getty(tree: Tree) -> None:
    tree.process(500, "agetty", command="/sbin/agetty\0-o\0-p\0--\0ttyAMA0\0vt220")


def enabled_getty(tree: Tree) -> None:
    tree.write("etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service")


TROUBLES: dict[str, tuple[Callable[[Tree], object], str, str, str]] = {
    "ModemManager": (hold("ModemManager"), "port-held", "ModemManager (process 412)", "systemctl restart ModemManager"),
    "gpsd": (hold("gpsd"), "port-held", "gpsd (process 412)", "/etc/default/gpsd"),
    "minicom": (hold("minicom"), "port-held", "minicom (process 412)", "kill 412"),
    "prober": (lambda t: t.process(9, "ModemManager"), "port-prober", "(process 9) runs", "--fix-rules"),
    "gpsd idle": (lambda t: t.process(9, "gpsd"), "port-prober", "gpsd", "USBAUTO"),
    "no driver": (bare_modem, "usb-without-driver", "interfaces 0, 1", "sudo modprobe option"),
    "autosuspend": (
        lambda t: t.write("sys/bus/usb/devices/1-1.2/power/control", "auto\n"),
        "usb-autosuspend",
        "BG95-M3",
        "1-1.2/power/control",
    ),
    "no spi": (lambda t: (t.root / "dev/spidev0.0").unlink(), "bus-missing", "/dev/spidev", "do_spi 0"),
    "no i2c": (lambda t: (t.root / "dev/i2c-1").unlink(), "bus-missing", "/dev/i2c-", "do_i2c 0"),
    "console": (
        lambda t: t.write("boot/firmware/cmdline.txt", "console=serial0,115200 console=tty1"),
        "serial-console",
        "serial0",
        "do_serial_cons 1",
    ),
    "getty": (getty, "serial-getty", "ttyAMA0", "serial-getty@ttyAMA0.service"),
    "getty enabled": (enabled_getty, "serial-getty", "ttyS0", "serial-getty@ttyS0.service"),
    "two managers": (two_managers, "two-managers", "NetworkManager and systemd-networkd", "--fix-rules"),
    "dhcpcd too": (dhcpcd, "two-managers", "NetworkManager and dhcpcd", "disable --now dhcpcd"),
    "slept": (lambda t: t.write("proc/uptime", "9000.1 1.0"), "clock-slept", "8000 s", "mask sleep.target"),
    "jiffies": (
        lambda t: t.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "jiffies"),
        "clock-coarse",
        "jiffies",
        "available_clocksource",
    ),
    "worn": (worn, "disk-worn", "10 tenths", "replace it"),
    "voltage": (
        lambda t: t.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
        "under-voltage",
        "rpi_volt in0_lcrit_alarm",
        "vcgencmd",
    ),
    "throttled": (
        lambda t: t.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
        "under-voltage",
        "since the machine started",
        "vcgencmd",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_in_files_is_found_and_its_absence_is_not(name: str, tree: Tree) -> None:
    cause, check, text, mend = TROUBLES[name]
    assert check not in found(tree)
    cause(tree)
    finding = found(tree)[check]
    assert text in finding.text
    assert any(mend in line for line in finding.mend)
    assert finding.meaning


def test_a_configured_port_that_is_held_is_a_problem_and_any_other_a_warning(tree: Tree) -> None:
    tree.process(412, "minicom", "/dev/ttyUSB2")
    facts = gather(tree.machine)
    link = facts.configured.links
    assert not link
    [warning] = [each for each in examine(facts) if each.check == "port-held"]
    assert warning.level is Level.WARNING
    from rataccess.cli.doctor.facts import Configured, LinkFact

    mine = replace(facts, configured=Configured("x", links=(LinkFact("lte", "quectel", port="usb:2c7c:0700#if2"),)))
    [problem] = [each for each in examine(mine) if each.check == "port-held"]
    assert (problem.level, problem.subject) == (Level.PROBLEM, "usb:2c7c:0700#if2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root sees everything")
def test_processes_that_cannot_be_seen_are_counted(tree: Tree) -> None:
    tree.process(412, "ModemManager")
    (tree.root / "proc/412/fd").chmod(0)
    assert "1 processes cannot be looked into" in found(tree)["port-prober"].text


def test_unseen_processes_are_told(tree: Tree) -> None:
    facts = replace(gather(tree.machine), unseen=40, processes=(Process(412, "ModemManager"),))
    checks = {finding.check: finding for finding in examine(facts)}
    assert "40 processes" in checks["unseen-holders"].text
    assert "run this with sudo" in checks["port-prober"].text
    assert checks["unseen-holders"].mend == ("sudo rataccess doctor",)


# --- by facts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "owner", "group", "me", "may"),
    [
        (0o660, 0, 20, Me(1000, frozenset({20})), True),
        (0o660, 0, 20, Me(1000, frozenset({27})), False),
        (0o666, 0, 20, Me(1000), True),
        (0o600, 1000, 0, Me(1000), True),
        (0o600, 0, 0, Me(1000, frozenset({0})), False),
        (0o640, 0, 20, Me(1000, frozenset({20})), False),
        (0o600, 0, 0, Me(0), True),
        (0o600, 0, 0, Me(1000, capabilities=1 << 1), True),
    ],
)
def test_permission_to_open_a_port(tree: Tree, mode: int, owner: int, group: int, me: Me, may: bool) -> None:
    tree.modes["ttyUSB0"] = (mode, owner, group)
    facts = replace(gather(tree.machine), me=me)
    facts = replace(facts, ports=tuple(port for port in facts.ports if port.path.endswith("ttyUSB0")))
    findings = [finding for finding in examine(facts) if finding.check == "port-permission"]
    assert not findings if may else findings
    if findings:
        wanted = "usermod -aG dialout" if mode & 0o060 == 0o060 else "--fix-rules"
        assert wanted in findings[0].mend[0]


GOOD_TIME = Time(EARLIEST_PLAUSIBLE + 9, 100.0, 100.0, True, ("chronyd",), ("rtc0",), "tsc")
GOOD_DISK = Disk("/var/lib/rataccess", True, 1 << 33, 9_000, 10_000, mount="/", kind="ext4", sync_seconds=0.01)


@pytest.mark.parametrize(
    ("facts", "check"),
    [
        (Facts(time=replace(GOOD_TIME, wall=5.0)), "clock-unset"),
        (Facts(time=replace(GOOD_TIME, synchronised=False)), "clock-unsynchronised"),
        (Facts(time=GOOD_TIME), None),
        (Facts(time=replace(GOOD_TIME, synchronised=None)), None),
        (Facts(time=replace(GOOD_TIME, rtcs=()), model="Raspberry Pi Zero"), "no-rtc"),
        (Facts(time=GOOD_TIME, disk=GOOD_DISK), None),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, exists=False)), "state-missing"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, read_only=True)), "disk-read-only"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, sync_error="No space left on device")), "disk-sync"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, sync_seconds=2.0)), "disk-slow"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, free_bytes=1 << 20)), "disk-full"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, free_inodes=3)), "disk-inodes"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, free_inodes=0, inodes=0)), None),  # btrfs has none to count
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, kind="tmpfs")), "disk-volatile"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, device="/dev/mmcblk0p2", options=("rw",))), "disk-atime"),
        (Facts(time=GOOD_TIME, disk=replace(GOOD_DISK, device="/dev/mmcblk0p2", options=("rw", "noatime"))), None),
        (Facts(time=GOOD_TIME, missing_packages=(("serial", "serial ports"),)), "package"),
    ],
)
def test_facts_are_judged(facts: Facts, check: str | None) -> None:
    checks = [finding.check for finding in examine(facts) if finding.check not in ("no-hardware", "no-configuration")]
    assert [each for each in checks if each != "bus-missing"] == ([check] if check else [])


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.fixture
def device(services: Path, tmp_path: Path) -> Path:
    """A provisioned device with a link on each kind of hardware of the sound machine."""
    provision_device("D-1", tmp_path / "D-1", services)
    path = tmp_path / "D-1/rataccess.toml"
    head = path.read_text().split("[links.ethernet]")[0]
    path.write_text(
        head + '[links.wifi]\ndriver = "interface"\ntransport = "udp"\noptions = { interface = "wlan0" }\n'
        '[links.lte]\ndriver = "quectel"\ntransport = "at_socket"\noptions = { port = "usb:2c7c:0700#if2" }\n'
    )
    return path


def test_a_sound_configuration(tree: Tree, device: Path) -> None:
    (device.parent / "secrets.toml").write_text('[lte]\npin = "7531"\n')
    (device.parent / "secrets.toml").chmod(0o600)
    facts = gather(tree.machine, device)
    names = [finding.check for finding in examine(facts) if finding.level is not Level.NOTE]
    assert names == ["state-missing"]  # below the fake root
    assert [(link.port_error, link.pin) for link in facts.configured.links] == [(None, None), (None, True)]
    assert "7531" not in repr(facts)


def test_what_a_configuration_names_is_looked_for(tree: Tree, device: Path) -> None:
    device.write_text(device.read_text().replace("wlan0", "wlan7").replace("0700#if2", "0700#if9"))
    (device.parent / "root.key").chmod(0o644)
    checks = found(tree, config=device)
    assert "wlan7; there are eth0, wlan0" in checks["link-interface"].text
    assert "usb:2c7c:0700#if9 is not plugged in" in checks["link-port"].text
    assert checks["key-mode"].mend == (f"chmod go= {device.parent / 'root.key'}",)


def test_missing_keys_pin_and_unknown_drivers(tree: Tree, device: Path) -> None:
    checks = found(tree, config=device)
    assert "secrets.toml" in checks["no-pin"].mend[0]
    device.write_text(device.read_text().replace('"quectel"', '"quecktel"'))
    assert "quecktel" in found(tree, config=device)["link-driver"].text
    (device.parent / "root.key").unlink()
    assert found(tree, config=device)["keys"].level is Level.PROBLEM


LORA = """[links.lora]
driver = "rak3172"
transport = "lorawan"
budget = { airtime = 30, period = 86400 }
options = { port = "usb:2c7c:0700#if2", region = "EU868" }
[links.chip]
driver = "lorawan_chip"
transport = "lorawan"
options = { region = "EU868", dev_eui = "70B3D57ED0001234", transceiver = { wiring = "adafruit_rfm95" } }
"""


def test_lora_links_their_buses_keys_and_budgets(tree: Tree, device: Path) -> None:
    device.write_text(device.read_text() + LORA)
    by_check = {(each.check, each.subject): each for each in examine(gather(tree.machine, device))}
    assert by_check["no-app-key", "links.lora"].level is Level.NOTE
    assert by_check["no-app-key", "links.chip"].level is Level.PROBLEM
    assert by_check["link-port", "links.chip"].text == "there is no /dev/spidev0.1"
    secrets = device.parent / "secrets.toml"
    secrets.write_text(f'[lora]\nappkey = "{"2B" * 16}"\n[chip]\nappkey = "{"2B" * 15}2"\n')
    secrets.chmod(0o600)
    finding = found(tree, config=device)["no-app-key"]
    assert (finding.subject, finding.level) == ("links.chip", Level.PROBLEM)
    assert "chip.appkey in the key store has 31 characters" in finding.text
    device.write_text(device.read_text().replace("airtime = 30", "credits = 30"))
    text = found(tree, config=device)["link-driver"].text
    line = device.read_text().split("credits = 30")[0].count("\n") + 1
    assert (
        text
        == f"{device}:{line}: links.lora.budget: the transport lorawan counts air time; found credits; allowed: airtime"
    )
    device.write_text(device.read_text().replace("credits = 30", "airtime = 30").replace("EU868", "EU433"))
    assert "options.region" in found(tree, config=device)["link-driver"].text


WRONG = [
    ('"lorawan"\nbudget', '"sbd"\nbudget', ".transport: found sbd; allowed with the driver rak3172: lorawan"),
    ("budget =", "cost_per_byte = 1.0\nbudget =", ".cost_per_byte: the transport lorawan counts air time; found"),
    ('driver = "rak3172"', 'driver = "rak3127"', ".driver: there is no driver 'rak3127'; known: "),
    ("adafruit_rfm95", "adafruit", "there is no wiring 'adafruit'; known: adafruit_rfm95"),
    ('{ wiring = "adafruit_rfm95" }', '{ wiring = "adafruit_rfm95", chip = "sx1278" }', "beyond this transceiver"),
    ('"adafruit_rfm95" } }', '"adafruit_rfm95" }, appkey = "2B" }', "kept here but in secrets.toml beside the keys"),
]


def test_what_cannot_go_together_is_found_before_it_is_tried(tree: Tree, device: Path) -> None:
    head = device.read_text()
    for old, new, text in WRONG:
        assert old in LORA
        device.write_text(head + LORA.replace(old, new))
        facts = configured(device, {}, tree.root)
        assert text in "\n".join(link.driver_error or "" for link in facts.links), new


def test_two_links_with_one_radio(tree: Tree, device: Path) -> None:
    port, chip = LORA.replace("[links.chip]", "[links.c]").split("[links.c]")
    other = chip.replace("adafruit_rfm95", "waveshare_sx1262")
    device.write_text(f"{device.read_text()}{port}[links.c]{chip}[links.d]{other}[links.e]{chip}")
    shared = {each.subject: each.text for each in examine(gather(tree.machine, device)) if "as well" in each.text}
    assert shared == {
        "links.lora": f"links.lte is on {tree.root}/dev/ttyUSB2 as well",
        "links.e": "links.c is on /dev/spidev0.1 as well",
    }


def test_bad_options_and_a_bad_file(tree: Tree, device: Path) -> None:
    good = device.read_text()
    device.write_text(good.replace('port = "usb:2c7c:0700#if2"', 'port = "usb:2c7c"'))
    assert "links.lte" in found(tree, config=device)["link-driver"].text
    device.write_text("nonsense")
    assert found(tree, config=device)["configuration"].level is Level.PROBLEM


@pytest.mark.parametrize(
    ("flags", "carrier", "addresses", "text"),
    [
        ("0x1002", "", (), "switched off"),
        ("0x1003", "0", (), "no carrier"),
        ("0x1003", "1", (), "no address"),
        ("0x1003", "1", ("192.0.2.8",), None),
    ],
)
def test_a_links_interface(
    tree: Tree, device: Path, flags: str, carrier: str, addresses: tuple[str, ...], text: str | None
) -> None:
    tree.interface("wlan0", 3, flags=flags, carrier=carrier)
    finding = found(tree, tree.but(addresses=lambda: {3: addresses}), device).get("interface-down")
    assert (finding is None) if text is None else (finding is not None and text in finding.text)


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_for_what_was_found(tree: Tree) -> None:
    two_managers(tree)
    text = fix_rules(gather(tree.machine))
    assert 'ENV{ID_MM_DEVICE_IGNORE}="1"' in text
    assert 'ATTRS{idVendor}=="2c7c", ATTRS{idProduct}=="0700"' in text
    assert 'ENV{ID_USB_INTERFACE_NUM}=="02", SYMLINK+="rataccess/2c7c-0700-if02"' in text
    assert 'TEST=="power/control", ATTR{power/control}="on"' in text
    assert 'GROUP="dialout", MODE="0660"' in text
    assert "# [keyfile]\n# unmanaged-devices=interface-name:wlan0\n" in text


def test_every_rule_is_a_rule(tree: Tree) -> None:
    """udev(7): comma-separated KEY{attribute}OPERATOR"value" pairs; only known keys."""
    tree.usb("1-1.4", "2c7c", "0700", {0: "option"}, serial="FEDCBA", product='Evil\nRUN+="/bin/sh"')
    pair = re.compile(r'(ACTION|SUBSYSTEM|ENV|ATTRS?|TEST|GROUP|MODE|SYMLINK)(\{[^{}"]+\})?(==|=|\+=)"[^"]*"')
    rules = [line for line in fix_rules(gather(tree.machine)).splitlines() if line and not line.startswith("#")]
    assert len(rules) > 5
    for rule in rules:
        assert all(pair.fullmatch(part) for part in rule.split(", ")), rule
    assert any('ATTRS{serial}=="FEDCBA"' in rule for rule in rules)


def test_rules_where_nothing_was_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lines = fix_rules(gather(Tree(tmp_path / "empty").machine)).splitlines()
    assert all(line.startswith("#") or not line for line in lines)


# --- this machine, and the command ------------------------------------------------------------------------------------


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert "127.0.0.1" in kernel_addresses().get(1, ())
    assert kernel_synchronised() in (True, False, None)
    assert sync_error(tmp_path)[0] is None
    assert list(tmp_path.iterdir()) == []
    assert sync_error(tmp_path / "nowhere")[0]


def test_the_command(cli: Cli) -> None:
    told = cli("doctor")
    assert told.code in (0, 1)
    assert re.search(r"\d+ problems?, \d+ warnings?, \d+ notes?\n$", told.out)
    as_json = cli("doctor", "--json")
    document = json.loads(as_json.out)
    serious = [each for each in document["findings"] if each["level"] != "note"]
    assert as_json.code == told.code == int(bool(serious))
    assert set(document) == {"findings", "facts"}
    assert cli("doctor", "--fix-rules").code == 0


def test_every_check_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/tools.md").read_text()
    source = "".join(
        (Path(__file__).parents[2] / f"rataccess/cli/doctor/{name}.py").read_text()
        for name in ("checks", "checks_system")
    )
    names = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))
    assert len(names) >= len(CHECKS)
    assert {name for name in names if f"`{name}`" not in text} == set()
