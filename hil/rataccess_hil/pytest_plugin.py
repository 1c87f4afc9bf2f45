"""The pytest plug-in: virtual radios as fixtures, and the same tests on real ones.

Rules of this file: fixtures are factories that open nothing; a test enters what they return with `async with`.  So the
plug-in needs no asyncio plug-in itself.  Hardware is asked for by `--rataccess-radio`; absent hardware is a skip that
says why.

    async def test_attach(virtual_bg95):
        async with virtual_bg95() as modem:
            driver = QuectelDriver(modem.address)

    async def test_on_anything(radio_under_test):          # runs twice: virtual, and real
        async with radio_under_test as radio:
            driver = QuectelDriver(radio.address)
"""

from __future__ import annotations

import os
from functools import partial
from types import TracebackType
from typing import Self

import pytest

from rataccess.bus import DevicePort, parse_port
from rataccess.errors import ConfigurationError
from rataccess_hil.modem import VirtualBg95
from rataccess_hil.modem.controls import ModemControls
from rataccess_hil.network import VirtualNetwork
from rataccess_hil.pty_radio import PtyRadio

_OPTION = "--rataccess-radio"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--rataccess-radio`."""
    parser.getgroup("rataccess", "radios for hardware-in-the-loop tests").addoption(
        _OPTION,
        metavar="ADDRESS",
        default=None,
        help="port of a real radio (usb:2c7c:0700#if3, serial:/dev/ttyUSB2) on which to run the tests that can run on it",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Reports record what was under test."""
    address = config.getoption(_OPTION)
    return f"rataccess radio: {address}" if address else None


@pytest.fixture
def virtual_network() -> VirtualNetwork:
    """A strict virtual network with nothing in it; add to it by `forward`."""
    return VirtualNetwork()


@pytest.fixture
def virtual_bg95(virtual_network: VirtualNetwork) -> partial[VirtualBg95]:
    """A factory of virtual BG95s on `virtual_network`; takes `VirtualModem`'s arguments, opens nothing."""
    return partial(VirtualBg95, virtual_network)


@pytest.fixture
def pty_radio() -> type[PtyRadio]:
    """A factory of bare ports whose byte path can be spoilt; takes `PtyRadio`'s arguments, opens nothing."""
    return PtyRadio


class RadioUnderTest:
    """A radio to run a test on, virtual or real: `address` is its port, and `controls` its faults where it is virtual."""

    def __init__(self, address: str | None, network: VirtualNetwork) -> None:
        self._modem = VirtualBg95(network) if address is None else None
        self._address = address or ""
        self.network = network

    @property
    def address(self) -> str:
        """The port address for a configuration."""
        return self._modem.address if self._modem is not None else self._address

    @property
    def is_virtual(self) -> bool:
        """Whether faults can be had on demand."""
        return self._modem is not None

    @property
    def controls(self) -> ModemControls:
        """The hands on a virtual radio; on a real one the test is skipped, for nothing can make it fail on demand."""
        if self._modem is None:
            pytest.skip("this test makes the radio fail, which a real one does not do on demand")
        return self._modem.controls

    async def __aenter__(self) -> Self:
        if self._modem is not None:
            await self._modem.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._modem is not None:
            await self._modem.aclose()


def why_not(address: str | None) -> str | None:
    """Why tests cannot run on the radio at `address`, or `None` where they can."""
    if address is None:
        return f"no real radio: name its port with {_OPTION}"
    try:
        port = parse_port(address)
    except ConfigurationError as error:
        return str(error)
    if isinstance(port, DevicePort) and not os.path.exists(port.path):
        return f"no real radio: there is no {port.path} (from {_OPTION} {address})"
    return None


@pytest.fixture(params=["virtual", "real"])
def radio_under_test(request: pytest.FixtureRequest, virtual_network: VirtualNetwork) -> RadioUnderTest:
    """The same test on a virtual radio and on the one that `--rataccess-radio` names."""
    address: str | None = None
    if request.param == "real":
        address = request.config.getoption(_OPTION)
        reason = why_not(address)
        if reason is not None:
            pytest.skip(reason)
    return RadioUnderTest(address, virtual_network)
