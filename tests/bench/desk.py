"""What every bench works with: folders, programs, interpreters, and the processes that it starts.

Rules of this file: every process started here is ended here; a program speaks JSON lines on its standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.bench import peers_venv
from tests.bench.bench import Unavailable

HERE = Path(__file__).absolute().parent
ROOT = HERE.parents[1]
PATIENCE = 60.0
"""Seconds after which a program counts as hung."""


class Failed(Exception):
    """A program ended badly or said nothing; the text has the end of what it said."""


@dataclass
class Desk:
    """The folder of this run and how to start programs; use it in a `with` block."""

    quick: bool = False
    build: Path = ROOT / "build"
    folder: Path = field(init=False)
    _peer_python: Path | None = None
    _count: int = 0

    def __enter__(self) -> Self:
        self.build.mkdir(exist_ok=True)
        # on the disk of the tree, not in a /tmp that may be memory: what is durable has to reach a disk
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=self.build))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201

    def room(self, name: str) -> Path:
        """A new, empty folder."""
        self._count += 1
        path = self.folder / f"{self._count}-{name}"
        path.mkdir()
        return path

    @property
    def own_python(self) -> str:
        return sys.executable

    @property
    def peer_python(self) -> str:
        """The interpreter of the peers; its environment is made on first use.  Raises `Unavailable`."""
        if self._peer_python is None:
            self._peer_python = peers_venv.ready(self.build, self.say)
        return str(self._peer_python)

    def client(self, name: str, *arguments: object, **how: Any) -> Program:
        """A program of ours, of `clients/`."""
        how["environment"] = {**own_environment(), **how.get("environment", {})}
        return Program([self.own_python, str(HERE / "clients" / f"{name}.py"), *map(str, arguments)], **how)

    def peer(self, name: str, *arguments: object, **how: Any) -> Program:
        """A program of a peer, of `peers/`."""
        return Program([self.peer_python, str(HERE / "peers" / f"{name}.py"), *map(str, arguments)], **how)


def tool(name: str, package: str) -> str:
    """The path of a program of the system; raises `Unavailable` that names the package."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise Unavailable(f"{name} is not installed (Debian: {package})")
    return path


class Program:
    """A running process that says JSON lines; in a `with` block it is ended at its end."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        inside: str | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        log: Path | None = None,
        pinned: bool = False,
    ) -> None:
        """`inside`: a network namespace.  `pinned`: on the last core only."""
        self.command = list(command)
        if pinned and shutil.which("taskset"):
            self.command = ["taskset", "-c", str((os.cpu_count() or 1) - 1), *self.command]
        if inside:
            self.command = ["ip", "netns", "exec", inside, *self.command]
        self._log = log.open("ab") if log else tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env={**base_environment(), **(environment or {})},
        )
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, text: str = "") -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"{self} is gone: {self.said()}") from error

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Its next JSON line; other lines are passed over.  Raises `Failed`."""
        end = time.monotonic() + patience
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        if "error" in found:
                            raise Failed(str(found["error"]))
                        return found
                continue
            self._read(end)

    def heard(self) -> list[dict[str, Any]]:
        """What it has said until now and nobody has heard yet."""
        assert self.process.stdout is not None
        found = []
        while b"\n" in self._rest or select.select([self.process.stdout], [], [], 0)[0]:
            try:
                found.append(self.hear(0.5))
            except Failed:
                break
        return found

    def _read(self, end: float) -> None:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            raise Failed(f"{self} says nothing: {self.said()}")
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            raise Failed(f"{self} ended with {self.process.wait()}: {self.said()}")
        self._rest += data

    def close(self) -> None:
        """End it; idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __str__(self) -> str:
        return " ".join(Path(each).name for each in self.command[-4:])

    def said(self) -> str:
        """The end of what it wrote to its log."""
        with contextlib.suppress(OSError, ValueError):
            self._log.flush()
            size = self._log.seek(0, os.SEEK_END) if self._log.readable() else 0
            if self._log.readable():
                self._log.seek(max(0, size - 1500))
                return self._log.read().decode(errors="replace").strip()[-600:]
            return Path(self._log.name).read_text(errors="replace").strip()[-600:]
        return ""


def base_environment() -> dict[str, str]:
    """The environment of every program: what it needs and nothing that could change what is measured."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"}


def own_environment() -> dict[str, str]:
    """What programs of ours need besides: this tree, whether it is installed or not."""
    return {"PYTHONPATH": ":".join(str(ROOT / each) for each in ("", "drivers", "transports", "hil"))}


@contextlib.contextmanager
def several(programs: Sequence[Program]) -> Iterator[None]:
    """End all of them, whatever happens."""
    with contextlib.ExitStack() as stack:
        for program in programs:
            stack.callback(program.close)
        yield
