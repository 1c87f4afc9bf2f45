"""The virtual SX1276, register by register, as its datasheet tells a host to use it."""

from __future__ import annotations

import asyncio

import pytest
from periphery import GPIOError, SPIError

from rataccess_hil.lora import Ether, VirtualSx1276

pytestmark = pytest.mark.looptime


class Host:
    """A host's hands: registers by number."""

    def __init__(self, chip: VirtualSx1276) -> None:
        self.chip = chip
        self.spi = chip.spi

    def write(self, address: int, *values: int) -> None:
        self.spi.transfer([address | 0x80, *values])

    def read(self, address: int, size: int = 1) -> bytes:
        return bytes(self.spi.transfer(bytes([address]) + bytes(size))[1:])

    def start(self, frequency: int = 868_100_000, factor: int = 7, symbols: int = 100) -> None:
        self.write(0x01, 0x80)
        self.write(0x01, 0x80)
        self.write(0x06, *round(frequency * 2**19 / 32e6).to_bytes(3))
        self.write(0x0E, 0x00, 0x00)
        self.write(0x1D, 0x72, factor << 4 | 4 | symbols >> 8, symbols & 0xFF)
        self.write(0x26, 0x08 if factor > 10 else 0)
        self.write(0x31, 0xC3)
        self.write(0x37, 0x0A)
        self.write(0x39, 0x34)
        self.write(0x09, 0x8C)
        self.write(0x01, 0x81)

    def transmit(self, data: bytes) -> None:
        self.write(0x01, 0x81)
        self.write(0x0D, 0x00)
        self.write(0x00, *data)
        self.write(0x22, len(data))
        self.write(0x12, 0xFF)
        self.write(0x40, 0x40)
        self.write(0x01, 0x83)

    def receive(self, mode: int = 5) -> None:
        self.write(0x01, 0x81)
        self.write(0x12, 0xFF)
        self.write(0x40, 0x00)
        self.write(0x01, 0x80 | mode)

    def received(self) -> bytes:
        self.write(0x0D, *self.read(0x10))
        return self.read(0x00, self.read(0x13)[0])


def two(distance: float = 500.0) -> tuple[Host, Host]:
    ether = Ether(seed=1)
    return Host(VirtualSx1276(ether)), Host(VirtualSx1276(ether, position=(distance, 0.0), name="other"))


async def test_presence_and_values_after_reset() -> None:
    host, _ = two()
    assert host.read(0x42) == b"\x12"
    assert host.read(0x01) == b"\x09"
    host.write(0x42, 0x55)
    assert host.read(0x42) == b"\x12"


async def test_the_lora_bit_changes_only_in_sleep() -> None:
    host, _ = two()
    host.write(0x01, 0x81)
    assert host.read(0x01)[0] & 0x80 == 0
    host.write(0x01, 0x00)
    host.write(0x01, 0x80)
    assert host.read(0x01)[0] == 0x80
    assert host.chip.violations == ["LoRa bit changed outside of sleep mode"]


async def test_a_packet_from_chip_to_chip_with_levels_and_lines() -> None:
    sender, receiver = two()
    sender.start()
    receiver.start()
    receiver.receive()
    done, heard = sender.chip.gpio("dio0"), receiver.chip.gpio("dio0", "in", "rising")
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(heard.fd, readable.set)
    sender.transmit(b"ping")
    await asyncio.wait_for(readable.wait(), 5)
    loop.remove_reader(heard.fd)
    assert done.read()
    assert sender.read(0x12)[0] == 0x08
    assert sender.read(0x01)[0] == 0x81
    event = heard.read_event()
    assert event.edge == "rising"
    assert event.timestamp == pytest.approx(loop.time() * 1e9, abs=1e6)
    assert receiver.read(0x12)[0] == 0x50
    assert receiver.received() == b"ping"
    assert receiver.read(0x01)[0] == 0x85
    rssi = -157 + receiver.read(0x1A)[0] * 16 / 15
    assert rssi == pytest.approx(14 - 31.2 - 81, abs=1.5)
    receiver.write(0x12, 0xFF)
    assert not heard.read()
    done.close()
    heard.close()
    with pytest.raises(GPIOError):
        heard.read()


async def test_a_single_window_ends_by_its_symbols_and_a_late_preamble_keeps_it_open() -> None:
    sender, receiver = two()
    sender.start()
    receiver.start(symbols=8)
    receiver.write(0x40, 0x00)
    receiver.receive(6)
    timeout = receiver.chip.gpio("dio1")
    await asyncio.sleep(8 * 0.001024 + 0.0001)
    assert timeout.read()
    assert receiver.read(0x12)[0] == 0x80
    assert receiver.read(0x01)[0] == 0x81
    receiver.receive(6)
    await asyncio.sleep(3 * 0.001024)
    sender.transmit(b"x" * 40)
    await asyncio.sleep(0.5)
    assert receiver.read(0x12)[0] == 0x50
    assert receiver.read(0x01)[0] == 0x81
    timeout.close()


async def test_inverted_polarity_and_sync_word_part_the_networks() -> None:
    for register, value in ((0x33, 0x67), (0x39, 0x12)):
        sender, receiver = two()
        sender.start()
        receiver.start()
        receiver.write(register, value)
        if register == 0x33:
            receiver.write(0x3B, 0x19)
        receiver.receive()
        sender.transmit(b"ping")
        await asyncio.sleep(1)
        assert receiver.read(0x12)[0] == 0
    sender.write(0x33, 0x26)
    sender.write(0x3B, 0x19)
    receiver.write(0x39, 0x34)
    receiver.write(0x33, 0x67)
    receiver.write(0x3B, 0x19)
    receiver.receive()
    sender.transmit(b"down")
    await asyncio.sleep(1)
    assert receiver.received() == b"down"
    assert not sender.chip.missed


async def test_a_wrong_checksum_is_flagged() -> None:
    sender, receiver = two()
    sender.start()
    receiver.start()
    receiver.receive()
    receiver.chip.station.loss_rate = 1.0
    sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert receiver.read(0x12)[0] == 0x70
    assert receiver.received() != b"ping"


async def test_channel_activity_detection() -> None:
    sender, receiver = two()
    sender.start()
    receiver.start()
    for busy in (False, True):
        if busy:
            sender.transmit(b"x" * 100)
        receiver.write(0x12, 0xFF)
        receiver.write(0x01, 0x87)
        await asyncio.sleep(0.002)
        assert receiver.read(0x12)[0] == (0x05 if busy else 0x04)
        assert receiver.read(0x01)[0] == 0x81


async def test_masked_interrupts_and_sleep_that_forgets_the_fifo() -> None:
    sender, _ = two()
    sender.start()
    sender.write(0x11, 0x08)
    sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert sender.read(0x12)[0] == 0
    sender.write(0x0D, 0)
    assert sender.read(0x00, 4) == b"ping"
    sender.write(0x01, 0x80)
    sender.write(0x01, 0x81)
    sender.write(0x0D, 0)
    assert sender.read(0x00, 4) == bytes(4)


async def test_hang_until_reset_and_what_reset_forgets() -> None:
    sender, _ = two()
    sender.start()
    sender.chip.hang()
    sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert sender.read(0x12)[0] == 0
    assert not sender.chip.ether.log
    reset = sender.chip.gpio("reset", "out")
    assert sender.read(0x42) == b"\0"
    reset.write(True)
    assert sender.read(0x42) == b"\0"
    await asyncio.sleep(0.006)
    assert sender.read(0x42) == b"\x12"
    assert sender.read(0x01) == b"\x09"
    sender.start()
    sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert sender.read(0x12)[0] == 0x08
    reset.close()


async def test_nothing_there_wrong_version_broken_bus_and_altered_bytes() -> None:
    host, _ = two()
    host.chip.faults.absent = True
    assert host.read(0x42) == b"\xff"
    host.chip.faults.absent = False
    host.chip.faults.corrupt = 1
    assert host.spi.transfer([0x42, 0x00]) != [0x00, 0x12]
    assert host.spi.transfer([0x42, 0x00]) == [0x00, 0x12]
    assert Host(VirtualSx1276(Ether(), version=0x22)).read(0x42) == b"\x22"
    host.chip.unplug()
    with pytest.raises(SPIError):
        host.read(0x42)


async def test_an_edge_that_is_lost_leaves_the_flag() -> None:
    sender, _ = two()
    sender.start()
    line = sender.chip.gpio("dio0")
    sender.chip.lose_edges(1)
    sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert line.read()
    assert not line.poll(0)
    assert sender.read(0x12)[0] == 0x08
    line.close()
