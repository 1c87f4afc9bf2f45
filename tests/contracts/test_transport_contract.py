"""Every transport of ours passes the contract, on a real interface and on loopback; so does the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from rataccess.testing import TransportContract
from rataccess_hil.access_point import NetworkNamespace, why_not
from tests.contracts.contract_rigs import MemoryTransportRig, UdpRig, UdpTunRig, udp_over_relay, udp_over_tun


class TestMemoryTransport(TransportContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[MemoryTransportRig]:
        yield MemoryTransportRig()


class TestUdpOverRelay(TransportContract):
    def make(self) -> AbstractAsyncContextManager[UdpRig]:
        return udp_over_relay()


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
class TestUdpOverTun(TransportContract):
    namespace: NetworkNamespace

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def in_a_namespace(cls) -> Iterator[None]:
        with NetworkNamespace() as cls.namespace:
            yield

    def make(self) -> AbstractAsyncContextManager[UdpTunRig]:
        return udp_over_tun(self.namespace)
