"""Invariant 4 seen from outside: no listening network socket, no datagram to anybody but the two services."""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from rataccess.objects import Service
from rataccess_hil.access_point import NetworkNamespace, why_not
from tests.processes.fleet import Fleet, sockets_of, until


def address(text: str) -> tuple[str, int]:
    """An IPv4 address of proc(5): hexadecimal, the host's byte order, and a port."""
    host, _, port = text.partition(":")
    return socket.inet_ntoa(struct.pack("=I", int(host, 16))), int(port, 16)


def test_a_device_has_no_sockets_but_to_its_services(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        for service in Service:
            fleet.serve(service)
        writer = fleet.write(0.01)
        until(lambda: all(fleet.stored(service) for service in Service), "both services have records")
        found = list(sockets_of(writer.pid))
        services = {("127.0.0.1", port) for port in fleet.ports.values()}
        assert {table for table, _ in found} <= {"udp", "netlink", "unix"}
        assert {address(row[2]) for table, row in found if table == "udp"} == services
        assert all(row[2] != "00000000:0000" for table, row in found if table == "udp")
        listening = [row[-1] for table, row in found if table == "unix" and int(row[3], 16) & 0x10000]  # SO_ACCEPTCON
        assert listening == [str(fleet.state / "control.sock")]
        assert fleet.end("writer", signal.SIGTERM) == 0
        assert not (fleet.state / "control.sock").exists()


def test_the_check_sees_a_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = [row for table, row in sockets_of(_own_pid()) if table == "tcp"]
        assert server.getsockname() in [address(row[1]) for row in mine]


def _own_pid() -> int:
    return int(Path("/proc/self/stat").read_text().split()[0])


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_nothing_else_is_on_the_wire(tmp_path: Path) -> None:
    with NetworkNamespace() as namespace, Fleet(tmp_path, namespace=namespace.name) as fleet:
        with namespace.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL, packet(7)
        with wire:
            wire.setblocking(False)
            for service in Service:
                fleet.serve(service)
            fleet.write(0.01)
            until(lambda: all(len(fleet.stored(service)) > 10 for service in Service), "records arrive")
            assert fleet.end("writer", signal.SIGTERM) == 0
            ends = set(_udp_ends(wire))
        ports = set(fleet.ports.values())
        assert ends
        assert [pair for pair in ends if not {pair[0][1], pair[1][1]} & ports or pair[0][0] != pair[1][0]] == []


def _udp_ends(wire: socket.socket) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Source and destination of each packet that waits; anything that is no UDP over IPv4 is a failure."""
    while True:
        try:
            data = wire.recv(65_536)
        except BlockingIOError:
            return
        assert (data[0] >> 4, data[9]) == (4, socket.IPPROTO_UDP), data[:40].hex()
        header = (data[0] & 15) * 4
        source, target = struct.unpack(">HH", data[header : header + 4])
        yield (socket.inet_ntoa(data[12:16]), source), (socket.inet_ntoa(data[16:20]), target)
