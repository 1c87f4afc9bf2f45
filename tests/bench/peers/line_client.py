"""A TLS client that sends an event a line, over MPTCP or TCP: `line_client.py HOST PORT CERTIFICATE tcp|mptcp`.

Events are written whether or not the answers have come, as an application with a connection does.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time

from lines import commands, event, say  # type: ignore[import-not-found,unused-ignore]

IPPROTO_MPTCP = 262


def drain(connection: ssl.SSLSocket) -> None:
    while connection.recv(4096):
        pass


def main(host: str, port: int, certificate: str, kind: str) -> None:
    security = ssl.create_default_context(cafile=certificate)
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP if kind == "mptcp" else 0)
    raw.connect((host, port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = security.wrap_socket(raw, server_hostname=host)
    connection.sendall(event(-1) + b"\n")
    connection.recv(4096)
    say(ready=True)
    threading.Thread(target=drain, args=(connection,), daemon=True).start()
    for command in commands():
        for number in range(1_000_000):
            connection.sendall(event(number) + b"\n")
            time.sleep(command["period"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
