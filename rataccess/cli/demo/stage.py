"""The stage: services, access point, modem and application as processes, and the deeds of the script.

Rules of this file: it starts, steers and ends processes, and keeps their files in one folder; it judges nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from rataccess.cli.demo import configuration
from rataccess.cli.demo.configuration import RATS
from rataccess.cli.demo.signals import Signals
from rataccess.cli.provision import provision_device
from rataccess.device.snapshot import MOST_PATH
from rataccess.errors import ConfigurationError
from rataccess.objects import Service
from rataccess.services.provisioning import set_app_key, set_identities
from rataccess_hil.access_point import Control, why_not
from rataccess_hil.control import Controls

SERIAL_NUMBER = "DEMO-0001"
PERIOD = 0.1
"""Seconds between samples."""
PATIENCE = 20.0
"""Seconds for a process to be ready, and for one to end."""
GATEWAY = "10.64.0.1"
"""Where the services are, as the device sees them through a TUN access point."""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of 127.0.0.1 that nobody has now, below those that the kernel gives to others by itself (ip(7))."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port of 127.0.0.1 is free")


class Stage:
    """Everything that the demo runs, in one folder."""

    def __init__(self, folder: Path, failback: float, signals: Signals, rats: Sequence[str] = RATS) -> None:
        """`failback`: `failback_after` of each link, seconds; `rats`: which links there are, of `RATS`."""
        self.folder = folder
        self.rats = rats
        self.journal = folder / "journal.ndjson"
        self.state = folder / SERIAL_NUMBER
        self._failback, self._signals = failback, signals
        self.reason_for_relay = why_not()
        """Why the Wi-Fi path is a relay; `None` where it is a network interface of its own."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}
        self._namespace: str | None = None
        self._ports = {name: free_port() for name in (*map(str, Service), "semtech", "relay")}
        self._ports |= {name: free_port(socket.SOCK_STREAM) for name in ("mo-management", "mo-solution", "mt")}
        self._real = {service: self._ports[str(service)] for service in Service}

    def __enter__(self) -> Self:
        """Start everything.  Raises `ConfigurationError` where the folder's path is too long for sockets in it."""
        longest = os.fsencode(self.state.absolute() / "control.sock")
        if len(longest) > MOST_PATH:
            raise ConfigurationError(
                f"{self.folder} is too long a path: a socket in it would have a name of {len(longest)} bytes; "
                f"allowed: {MOST_PATH}; choose another --folder or TMPDIR"
            )
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wifi_path(self) -> str:
        """What the Wi-Fi path is, in words."""
        if self.reason_for_relay:
            return f"a relay on loopback ({self.reason_for_relay})"
        return f"a network interface of its own (TUN) in the network namespace {self._namespace}"

    # --- setting up ----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        services = self.folder / "services.toml"
        services.write_text(configuration.services(self.rats, self._ports))
        provision_device(SERIAL_NUMBER, self.state, services, ["demo"])
        if "lora" in self.rats or "satellite" in self.rats:
            self._introduce(services)
        for service in Service:
            self._serve(service)
        public = self._start_access_point()
        if "cellular" in self.rats:
            self._start_modem(public)
        if "satellite" in self.rats:
            self._start_satellite()
        if "lora" in self.rats:
            self._start_lora()  # last: its gateway calls the service once in ten seconds
        self._write_configuration(public)
        self.start_application()

    def _introduce(self, services: Path) -> None:
        """What the networks call the device, and its LoRaWAN key: at the services, and in its own key store."""
        for service in Service:
            set_identities(
                services, service, SERIAL_NUMBER, {"deveui": configuration.DEV_EUI, "imei": configuration.IMEI}
            )
        key = os.urandom(16)
        set_app_key(services, Service.SOLUTION, SERIAL_NUMBER, key)
        secrets = self.state / "secrets.toml"
        secrets.touch(mode=0o600)
        secrets.write_text(f'[lora]\nappkey = "{key.hex()}"\n')

    def _serve(self, service: Service) -> None:
        self._spawn(str(service), ["-m", "rataccess", "serve", str(service), "-c", str(self.folder / "services.toml")])

    def _start_access_point(self) -> dict[Service, tuple[str, int]]:
        kind = "relay" if self.reason_for_relay else "tun"
        arguments = ["-m", "rataccess_hil.access_point", "--kind", kind, "--control", str(self.folder / "wifi.sock")]
        wanted = {
            service: ("127.0.0.1", free_port()) if self.reason_for_relay else (GATEWAY, port)
            for service, port in self._real.items()
        }
        for service, (host, port) in wanted.items():
            arguments += ["--nat", f"{host}:{port}=127.0.0.1:{self._real[service]}"]
        self._spawn("access-point", [*arguments, "--delay", "0.015"], ready=True)
        return wanted

    def _start_modem(self, public: dict[Service, tuple[str, int]]) -> None:
        arguments = ["-m", "rataccess_hil.modem", "--link", str(self.folder / "ttyBG95")]
        arguments += ["--control", str(self.folder / "modem.sock"), "--lines", str(self.folder / "lines")]
        for service, (host, port) in public.items():
            arguments += ["--nat", f"{host}:{port}=127.0.0.1:{self._real[service]}"]
        self._spawn("modem", arguments, ready=True)

    def _start_lora(self) -> None:
        arguments = ["-m", "rataccess_hil.lora", "--link", str(self.folder / "ttyRAK3172")]
        arguments += ["--control", str(self.folder / "lora.sock"), "--dev-eui", configuration.DEV_EUI]
        arguments += ["--region", configuration.REGION]
        self._spawn("lora", [*arguments, "--server", f"127.0.0.1:{self._ports['semtech']}"], ready=True)

    def _start_satellite(self) -> None:
        arguments = ["-m", "rataccess_hil.satellite", "--link", str(self.folder / "tty9603")]
        arguments += ["--control", str(self.folder / "satellite.sock"), "--imei", configuration.IMEI]
        for service in Service:
            arguments += ["--mo", f"127.0.0.1:{self._ports[f'mo-{service}']}"]
        arguments += ["--mt", f"127.0.0.1:{self._ports['mt']}", "--session-seconds", "1.5"]
        self._spawn("satellite", arguments, ready=True)

    def _write_configuration(self, public: dict[Service, tuple[str, int]]) -> None:
        if self.reason_for_relay:
            options = f'{{ control = "{self.folder / "wifi.sock"}" }}'
            wifi = f'driver = "virtual_interface"\noptions = {options}'
        else:
            wifi = 'driver = "interface"\noptions = { interface = "wlan0" }'
        text = configuration.device(
            self.rats, public, serial=SERIAL_NUMBER, state=self.state, failback=self._failback, wifi=wifi
        )
        (self.state / "rataccess.toml").write_text(text)

    def _spawn(self, name: str, arguments: Sequence[str], *, ready: bool = False, inside: bool = False) -> None:
        self._signals.check()
        command = [sys.executable, *arguments]
        if inside and self._namespace:
            command = ["ip", "netns", "exec", self._namespace, *command]
        if name not in self._logs:
            self._logs[name] = (self.folder / f"{name}.log").open("ab")
        log = self._logs[name]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if ready else log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is the demo's own affair: it ends its processes in order
            preexec_fn=functools.partial(_end_with_parent, signal.SIGKILL if name == "application" else signal.SIGTERM),
        )
        self._processes[name] = process
        if ready:
            told = self._first_line(name, process)
            self._namespace = told.get("namespace") or self._namespace

    def _first_line(self, name: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline() if self._signals.wait(PATIENCE, process.stdout) else b""
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError as error:
            log = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the {name} process did not start: {line!r}\n{log}") from error
        return told

    # --- deeds ---------------------------------------------------------------------------------------------------------

    def wifi(self, **change: bool) -> None:
        """`carrier` or `silent` of the access point."""
        with Control(self.folder / "wifi.sock") as control:
            control.ask(**change)

    def modem_hangs(self) -> None:
        """The modem's port hangs: it swallows bytes and answers nothing until it is closed and opened again."""
        with Controls(self.folder / "modem.sock") as controls:
            controls.do("hang", how="port")

    def cellular(self, *, coverage: bool) -> None:
        """Whether the modem finds a network."""
        with Controls(self.folder / "modem.sock") as controls:
            controls.do("coverage", on=coverage)

    def lora(self, *, coverage: bool) -> None:
        """Whether module and gateway hear each other."""
        with Controls(self.folder / "lora.sock") as controls:
            controls.do("coverage", on=coverage)

    def picture(self) -> None:
        """Have the application enqueue an object that fits no small packet."""
        self._processes["application"].send_signal(signal.SIGUSR1)

    def kill_application(self) -> None:
        """SIGKILL in the middle of traffic."""
        self._kill("application")

    def start_application(self) -> None:
        """Start it, or start it again; it finds what it left on disk."""
        arguments = ["-m", "rataccess.cli.demo.application", str(self.state / "rataccess.toml"), str(self.journal)]
        self._spawn("application", [*arguments, str(PERIOD)], inside=True)

    def kill_solution(self) -> None:
        """SIGKILL."""
        self._kill(str(Service.SOLUTION))

    def start_solution(self) -> None:
        """Start it again."""
        self._serve(Service.SOLUTION)

    def ask_to_end(self) -> None:
        """Tell the application to end, once it has delivered what it has."""
        self._processes["application"].terminate()

    def ended(self) -> bool:
        """Whether the application has ended."""
        return self._processes["application"].poll() is not None

    # --- ending --------------------------------------------------------------------------------------------------------

    def _kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()

    def close(self) -> None:
        """End every process, application first; idempotent."""
        if "application" in self._processes:  # still there only where the demo was broken off: it must not wait
            self._processes["application"].kill()
        order = ("application", "modem", "lora", "satellite", "access-point", *map(str, Service))
        for name in [each for each in order if each in self._processes]:
            _end(self._processes.pop(name))
        for log in self._logs.values():
            log.close()
        self._logs.clear()


_LIBC = ctypes.CDLL(None)  # loaded before a fork, where nothing may be loaded
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_with_parent(number: int) -> None:
    """Even where the demo is killed with SIGKILL its processes end (prctl(2)), and clean up what they made."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()
