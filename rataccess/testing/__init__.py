"""Contract suites: what every transport and every driver must pass, ours and a third party's.

Subclass `TransportContract` or `DriverContract` in a pytest module, override `make`, and name the class `Test...`:

    class TestMyTransport(TransportContract):
        @asynccontextmanager
        async def make(self):
            async with MyMedium() as medium:
                yield MyRig(medium)                  # a TransportRig

The rig builds transports (not opened) and is the far side of the medium.  What only some media can do (break, hang,
refuse, shrink) is a type that the rig also implements; without it the tests for that are skipped, with the reason.
The suites need pytest, pytest-asyncio and hypothesis.  `MemoryTransport` and `MemoryDriver` are fakes that pass them.
"""

from rataccess.testing.driver_contract import DriverContract, DriverRig, HangsRadio, Unplugs
from rataccess.testing.memory import MemoryDriver, MemoryMedium, MemoryTransport
from rataccess.testing.transport_contract import CompactTransportContract, TransportContract
from rataccess.testing.transport_rig import BreaksMedium, HangsMedium, RefusesService, ShrinksMtu, TransportRig

__all__ = [
    "BreaksMedium",
    "CompactTransportContract",
    "DriverContract",
    "DriverRig",
    "HangsMedium",
    "HangsRadio",
    "MemoryDriver",
    "MemoryMedium",
    "MemoryTransport",
    "RefusesService",
    "ShrinksMtu",
    "TransportContract",
    "TransportRig",
    "Unplugs",
]
