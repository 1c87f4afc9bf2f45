"""UDP sockets bound to one interface and connected to one service.

Rules of this file: from a bearer and an endpoint to a socket; no datagram is sent or read here.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from rataccess.driver import Bearer
from rataccess.errors import TransportBroken
from rataccess.transport import Endpoint

IP_HEADERS = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}
"""IP and UDP headers, bytes (RFC 791, RFC 8200, RFC 768), without options."""

# linux/in.h, linux/in6.h; Python's socket module does not name them.  Level, "discover" option, "mtu" option.
_PATH_MTU = {socket.AF_INET: (socket.IPPROTO_IP, 10, 14), socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 24)}
_PMTUDISC_DO = 2  # never fragment; EMSGSIZE instead

RESOLVE_LIMIT = 10.0
"""Seconds for a host name: two tries of a resolver's usual 5 s (resolv.conf(5))."""


async def connected(bearer: Bearer, endpoint: Endpoint) -> socket.socket:
    """A socket connected to the first of the endpoint's addresses to which the bearer's interface has a route.

    Raises `TransportBroken` where name, route, interface or permission is missing.
    """
    failure: OSError | None = None
    for family, address in await _addresses(bearer, endpoint):
        try:
            return _socket_to(bearer, family, address)
        except OSError as error:
            failure = error
    where = f" over {bearer.interface}" if bearer.interface else ""
    why = failure.strerror if failure else f"it has no address of a kind that {bearer.addresses} can reach"
    raise TransportBroken(f"cannot reach {endpoint.host} port {endpoint.port}{where}: {why}") from failure


def path_mtu(sock: socket.socket) -> int:
    """What the kernel has learned of the path (IP_MTU of a connected socket), bytes, headers included."""
    level, _, mtu = _PATH_MTU[sock.family]
    return sock.getsockopt(level, mtu)


async def _addresses(bearer: Bearer, endpoint: Endpoint) -> list[tuple[socket.AddressFamily, Any]]:
    try:
        try:  # an address needs no resolver, and so no thread
            found = socket.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            async with asyncio.timeout(RESOLVE_LIMIT):
                loop = asyncio.get_running_loop()
                found = list(await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM))
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError; UnicodeError: no host name at all
        why = getattr(error, "strerror", None) or type(error).__name__
        raise TransportBroken(f"cannot resolve the host name {endpoint.host!r}: {why}") from error
    usable = _families(bearer)
    return [(socket.AddressFamily(family), address) for family, _, _, _, address in found if family in usable]


def _families(bearer: Bearer) -> set[int]:
    families = {socket.AF_INET6 if ":" in address else socket.AF_INET for address in bearer.addresses}
    return {int(family) for family in families or IP_HEADERS}


def _socket_to(bearer: Bearer, family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _bind_to_interface(sock, bearer.interface)
        level, discover, _ = _PATH_MTU[family]
        sock.setsockopt(level, discover, _PMTUDISC_DO)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_to_interface(sock: socket.socket, name: str | None) -> None:
    if name is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except PermissionError as error:
        raise TransportBroken(
            f"binding a socket to {name} is not permitted: kernels before 5.7 need the capability CAP_NET_RAW "
            "(systemd: AmbientCapabilities=CAP_NET_RAW)"
        ) from error
