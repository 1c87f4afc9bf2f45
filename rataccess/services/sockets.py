"""Listening TCP sockets of the services, and who may use them.

Rules of this file: opening and judging addresses; nothing is read or written.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

from rataccess.errors import ConfigurationError

NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a machine says that has no IPv6 when it is to listen on `::`."""


def listen_tcp(host: str, port: int) -> socket.socket:
    """A TCP socket on `host`, non-blocking; `::` takes IPv4 as well.  Raises `ConfigurationError`.

    Where the machine has no IPv6, `::` is `0.0.0.0`.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        if host == "::" and error.errno in NO_IPV6:
            return listen_tcp("0.0.0.0", port)
        raise ConfigurationError(f"cannot listen on {host} port {port} (TCP): {error.strerror or error}") from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    result = socket.socket(
        family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP
    )  # or asyncio delays answers
    try:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            result.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        result.bind((host, port))
        result.setblocking(False)
        result.listen(128)
    except BaseException:
        result.close()
        raise
    return result


class Allowed:
    """Addresses and networks that something may come from; none named: any."""

    def __init__(self, named: Iterable[str], key: str) -> None:
        """Raises `ConfigurationError`, which names `key`, for what is neither address nor network."""
        try:
            self._networks = [ipaddress.ip_network(each, strict=False) for each in named]
        except ValueError as error:
            raise ConfigurationError(f"{key}: {error}; allowed: addresses and networks such as 192.0.2.0/24") from error

    def __contains__(self, address: object) -> bool:
        if not self._networks:
            return True
        try:
            found = ipaddress.ip_address(str(address).partition("%")[0])
        except ValueError:
            return False
        plain = getattr(found, "ipv4_mapped", None) or found
        return any(plain in network for network in self._networks)


def host_and_port(text: str) -> tuple[str, int]:
    """The parts of `host:port` or `[address]:port`, as the settings have checked it."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
