"""A real mosquitto for tests: in a temporary folder, on loopback ports of its own, ended with the session.

Rules of this file: what is started here is ended here.  Without the program, tests that need it are skipped with the reason.
Listeners: plain and anonymous; with password; with TLS (a certificate made here).  A quick restart keeps port and sessions.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_PASSWORD = shutil.which("mosquitto_passwd")
USER, PASSWORD = "forwarder", "correct horse"
LARGEST = 20_000
"""Bytes of the largest packet that the broker takes."""


class Mosquitto:
    """One broker; `port` is plain, `password_port` wants `USER` and `PASSWORD`, `tls_port` has the certificate `ca_file`."""

    def __init__(self, program: str) -> None:
        self._program = program
        self.folder = Path(tempfile.mkdtemp(prefix="mosquitto-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port, self.password_port, self.tls_port = _free_ports(3)
        self.ca_file = self.folder / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None
        _make_certificate(self.ca_file, self.folder / "key.pem")
        self._write_configuration()

    def _write_configuration(self) -> None:
        passwords, access = self.folder / "passwords", self.folder / "access"
        assert _PASSWORD is not None
        subprocess.run([_PASSWORD, "-b", "-c", str(passwords), USER, PASSWORD], check=True, capture_output=True)
        access.write_text(f"topic readwrite #\ntopic deny forbidden/#\nuser {USER}\ntopic readwrite #\n")
        for each in (passwords, access):
            each.chmod(0o644)
        (self.folder / "mosquitto.conf").write_text(
            f"""per_listener_settings true
user root
persistence true
persistence_location {self.folder}/
log_type none
max_packet_size {LARGEST}
listener {self.port} 127.0.0.1
allow_anonymous true
acl_file {access}
listener {self.password_port} 127.0.0.1
allow_anonymous false
password_file {passwords}
listener {self.tls_port} 127.0.0.1
allow_anonymous true
certfile {self.ca_file}
keyfile {self.folder / "key.pem"}
"""
        )

    def start(self) -> None:
        """Returns once it takes connections."""
        command = [self._program, "-c", str(self.folder / "mosquitto.conf")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            if all(_listens(port) for port in (self.port, self.password_port, self.tls_port)):
                return
            assert self._process.poll() is None, "mosquitto ended at once"
            time.sleep(0.02)  # another process's start has no event to wait for
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        """Ends it; connections break, sessions are kept for the next start.  Idempotent."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for each in probes:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in probes]
    finally:
        for each in probes:
            each.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _make_certificate(certificate_file: Path, key_file: Path) -> None:
    """A certificate for 127.0.0.1 that is its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o644)


@pytest.fixture(scope="session")
def mosquitto_server() -> Iterator[Mosquitto]:
    """The broker of this session."""
    pytest.importorskip("aiomqtt", reason="aiomqtt is not installed (pip install rataccess[services])")
    if _PROGRAM is None or _PASSWORD is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    broker = Mosquitto(_PROGRAM)
    try:
        broker.start()
        yield broker
    finally:
        broker.end()


@pytest.fixture
def mosquitto(mosquitto_server: Mosquitto) -> Mosquitto:
    """The broker, running."""
    if mosquitto_server._process is None:  # a test that failed had stopped it
        mosquitto_server.start()
    return mosquitto_server
