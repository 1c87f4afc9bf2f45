"""Every driver of ours passes the contract, on a real interface and on a virtual one; so does the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from rataccess.testing import DriverContract
from rataccess_hil.access_point import NetworkNamespace, why_not
from tests.contracts.contract_rigs import (
    InterfaceRig,
    MemoryDriverRig,
    VirtualInterfaceRig,
    interface_on_tun,
    virtual_interface,
)


class TestMemoryDriver(DriverContract):
    @asynccontextmanager
    async def make(self) -> AsyncIterator[MemoryDriverRig]:
        yield MemoryDriverRig()


class TestVirtualInterfaceDriver(DriverContract):
    def make(self) -> AbstractAsyncContextManager[VirtualInterfaceRig]:
        return virtual_interface()


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
class TestInterfaceDriver(DriverContract):
    namespace: NetworkNamespace

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def in_a_namespace(cls) -> Iterator[None]:
        with NetworkNamespace() as cls.namespace:
            yield

    def make(self) -> AbstractAsyncContextManager[InterfaceRig]:
        return interface_on_tun(self.namespace)
