"""mosquitto for the benches: TLS for clients, a plain listener on loopback for who watches arrivals.

Rules of this file: certificates are made for each run and thrown away; nothing but what the broker needs is configured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.desk import Desk, Failed, Program, tool
from tests.bench.fleet import free_port, listening

TLS_PORT = 8883
WATCH_PORT = 1883


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker."""

    host: str
    port: int
    watch_port: int
    authority: Path


def certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """A self-signed ECDSA P-256 certificate for `host`, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [tool("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=bench"]
    command += ["-addext", f"subjectAltName=IP:{host}"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise Failed(f"openssl: {done.stderr.decode()[-300:]}")
    return certificate, key


@contextmanager
def running(desk: Desk, host: str = "127.0.0.1", inside: str | None = None) -> Iterator[Broker]:
    """A broker at `host`; in the namespace `inside`, its usual ports are free."""
    program = tool("mosquitto", "mosquitto")
    folder = desk.room("broker")
    certificate, key = certificates(folder, host)
    port, watch = (TLS_PORT, WATCH_PORT) if inside else (free_port(), free_port())
    (folder / "mosquitto.conf").write_text(
        f"user root\nallow_anonymous true\nlistener {watch} 127.0.0.1\nlistener {port} {host}\n"
        f"certfile {certificate}\nkeyfile {key}\n"
    )
    with Program([program, "-c", str(folder / "mosquitto.conf")], inside=inside, log=folder / "log") as broker:
        listening(broker, port, "tcp", inside)
        yield Broker(host, port, watch, certificate)
