"""A rig: virtual radios as processes of their own, for demonstrations and for tests of whole programs.

Rules of this file: it starts processes, and ends exactly those.  Nothing here knows what a radio says.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rataccess_hil.control import ControlError, Controls
from rataccess_hil.network import Address


class RadioProcess:
    """A virtual radio in a process of its own; it ends with this one.

    `package` is run with `python -m`, `arguments` are its own.  `address` is its port, `controls` its control channel.
    """

    def __init__(self, package: str, *arguments: str, folder: Path | str | None = None) -> None:
        self._package = package
        self._arguments: Sequence[str] = arguments
        self._wanted = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._controls: Controls | None = None
        self.address = ""
        """`pty:/path`, once open."""
        self.told: dict[str, Any] = {}
        """What it said of itself when it could be used."""

    def open(self, timeout: float = 20.0) -> None:
        """Start it, and wait up to `timeout` seconds until it can be used; raises `ControlError`."""
        if self._wanted is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rataccess-rig-")
            folder = Path(self._folder.name)
        else:
            folder = Path(self._wanted)
        folder.mkdir(parents=True, exist_ok=True)
        control = folder / "control"
        command = [sys.executable, "-m", self._package, "--until-eof"]
        command += ["--link", str(folder / "tty"), "--control", str(control), *self._more(folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [*command, *self._arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        try:
            self.told = json.loads(self._first_line(timeout))
            self.address = self.told["address"]
            self._controls = Controls(control)
            self._controls.open()
        except BaseException:
            self.close()
            raise

    def _more(self, folder: Path) -> Sequence[str]:
        """Further arguments that need the folder."""
        return ()

    def _first_line(self, timeout: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(timeout) else b""
        if not line:
            raise ControlError(f"the virtual radio did not start within {timeout:.0f} s: {self._process.args!r}")
        return line

    @property
    def controls(self) -> Controls:
        """The control channel; raises `ControlError` while the process does not run."""
        if self._controls is None:
            raise ControlError("the virtual radio does not run")
        return self._controls

    @property
    def process_id(self) -> int:
        """Of the radio's process; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def kill(self) -> None:
        """End it as a power cut of the whole rig would: SIGKILL, with nothing cleaned up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it and remove what it made; idempotent."""
        if self._controls is not None:
            self._controls.close()
            self._controls = None
        if self._process is not None:
            process, self._process = self._process, None
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address or 'closed'}>"


class ModemProcess(RadioProcess):
    """A virtual modem in a process of its own; it ends with this one.

    `nat` maps public addresses to where they really are; `arguments` are further ones of `python -m rataccess_hil.modem`.
    """

    def __init__(
        self, nat: Mapping[Address, Address] | None = None, *arguments: str, folder: Path | str | None = None
    ) -> None:
        super().__init__("rataccess_hil.modem", *arguments, folder=folder)
        self._nat = dict(nat or {})
        self.lines = Path()
        """The folder of its lines' named pipes, once open."""

    def _more(self, folder: Path) -> Sequence[str]:
        self.lines = folder / "lines"
        nat = [f"{public[0]}:{public[1]}={real[0]}:{real[1]}" for public, real in self._nat.items()]
        return ["--lines", str(self.lines), *(part for each in nat for part in ("--nat", each))]
