"""A TLS server that answers each line with `ok`, over MPTCP or TCP: `line_server.py HOST PORT CERTIFICATE KEY tcp|mptcp`."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

from lines import say  # type: ignore[import-not-found,unused-ignore]

IPPROTO_MPTCP = 262


def serve(connection: ssl.SSLSocket) -> None:
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            at = time.time()
            body = json.loads(line)
            say(at=at, t=body.get("t"), n=body.get("n"))
            connection.sendall(b"ok\n")


def main(host: str, port: int, certificate: str, key: str, kind: str) -> None:
    security = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    security.load_cert_chain(certificate, key)
    protocol = IPPROTO_MPTCP if kind == "mptcp" else 0
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
        say(ready=True)
        while True:
            raw, _ = listener.accept()
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=lambda: serve(security.wrap_socket(raw, server_side=True)), daemon=True).start()  # noqa: B023


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
