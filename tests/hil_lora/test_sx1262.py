"""The virtual SX1262, opcode by opcode, as its datasheet tells a host to use it."""

from __future__ import annotations

import asyncio
import random

import pytest

from rataccess_hil.lora import Ether, VirtualSx1262, VirtualSx1276

pytestmark = pytest.mark.looptime

TX_DONE, RX_DONE, PREAMBLE, HEADER, CRC, CAD_DONE, CAD_DETECTED, TIMEOUT = 1, 2, 4, 16, 64, 128, 256, 512


class Host:
    """A host's hands: commands by opcode, each after BUSY has fallen."""

    def __init__(self, chip: VirtualSx1262) -> None:
        self.chip = chip
        self.spi = chip.spi
        self.busy = chip.gpio("busy")

    async def do(self, *data: int) -> bytes:
        while self.busy.read():
            await asyncio.sleep(0.0001)
        return bytes(self.spi.transfer(list(data)))

    async def start(self, frequency: int = 868_100_000, factor: int = 7, size: int = 4, inverted: int = 0) -> None:
        await self.do(0x80, 0)
        await self.do(0x8A, 1)
        await self.do(0x86, *round(frequency * 2**25 / 32e6).to_bytes(4))
        await self.do(0x95, 4, 7, 0, 1)
        await self.do(0x8E, 14, 4)
        await self.do(0x8F, 0, 128)
        await self.do(0x8B, factor, 4, 1, 1 if factor > 10 else 0)
        await self.do(0x8C, 0, 8, 0, size, 1, inverted)
        await self.do(0x0D, 0x07, 0x40, 0x34, 0x44)
        await self.do(0x08, 0x03, 0xFF, 0x03, 0xFF, 0, 0, 0, 0)

    async def transmit(self, data: bytes) -> None:
        await self.do(0x8C, 0, 8, 0, len(data), 1, 0)
        await self.do(0x0E, 0, *data)
        await self.do(0x02, 0x03, 0xFF)
        await self.do(0x83, 0, 0, 0)

    async def irq(self) -> int:
        return int.from_bytes((await self.do(0x12, 0, 0, 0))[2:])

    async def received(self) -> bytes:
        _, _, size, start = await self.do(0x13, 0, 0, 0)
        return (await self.do(0x1E, start, 0, *bytes(size)))[3:]

    async def mode(self) -> int:
        return (await self.do(0xC0, 0))[1] >> 4 & 7

    async def status(self) -> int:
        return (await self.do(0xC0, 0))[1] >> 1 & 7

    def close(self) -> None:
        self.busy.close()


async def two() -> tuple[Host, Host]:
    ether = Ether(seed=1)
    hosts = Host(VirtualSx1262(ether)), Host(VirtualSx1262(ether, position=(500.0, 0.0), name="other"))
    for host in hosts:
        await host.start()
    return hosts


async def test_a_packet_from_chip_to_chip() -> None:
    sender, receiver = await two()
    line = receiver.chip.gpio("dio1")
    edges = []
    loop = asyncio.get_running_loop()
    loop.add_reader(line.fd, lambda: edges.append(line.read_event().edge))
    await receiver.do(0x82, 0xFF, 0xFF, 0xFF)
    await sender.transmit(b"ping")
    assert await sender.mode() == 6
    await asyncio.sleep(1)
    loop.remove_reader(line.fd)
    assert edges == ["rising"]
    assert await sender.irq() == TX_DONE
    assert await sender.status() == 6
    assert await sender.mode() == 2
    assert await receiver.irq() == RX_DONE | PREAMBLE | HEADER
    assert await receiver.status() == 2
    assert await receiver.mode() == 5
    assert await receiver.received() == b"ping"
    _, _, rssi, snr, signal = await receiver.do(0x14, 0, 0, 0, 0)
    assert -rssi / 2 == pytest.approx(14 - 31.2 - 81, abs=1)
    assert snr == 13 * 4
    assert signal == rssi
    await receiver.do(0x02, 0x03, 0xFF)
    assert not line.read()
    assert not sender.chip.violations
    assert "15.2: register 08D8 for the PA clamping" in sender.chip.missed
    line.close()
    sender.close()
    receiver.close()


async def test_single_reception_by_symbols_and_by_time() -> None:
    sender, receiver = await two()
    await receiver.do(0xA0, 8)
    await receiver.do(0x82, 0, 0, 0)
    await asyncio.sleep(0.009)
    assert await receiver.irq() == TIMEOUT
    assert await receiver.mode() == 2
    await receiver.do(0xA0, 0)
    await receiver.do(0x02, 0x03, 0xFF)
    await receiver.do(0x82, 0x00, 0x01, 0x00)
    await asyncio.sleep(256 * 15.625e-6 + 0.001)
    assert await receiver.irq() == TIMEOUT
    await receiver.do(0x02, 0x03, 0xFF)
    await receiver.do(0x82, 0, 0, 0)
    await sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert await receiver.irq() & (RX_DONE | TIMEOUT) == RX_DONE
    assert await receiver.mode() == 2
    assert await receiver.received() == b"ping"
    sender.close()
    receiver.close()


async def test_a_wrong_checksum_and_a_foreign_sync_word() -> None:
    sender, receiver = await two()
    receiver.chip.station.loss_rate = 1.0
    await receiver.do(0x82, 0xFF, 0xFF, 0xFF)
    await sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert await receiver.irq() & (RX_DONE | CRC) == RX_DONE | CRC
    receiver.chip.station.loss_rate = 0.0
    await receiver.do(0x02, 0x03, 0xFF)
    await receiver.do(0x0D, 0x07, 0x40, 0x14, 0x24)
    await receiver.do(0x82, 0xFF, 0xFF, 0xFF)
    await sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert await receiver.irq() == 0
    sender.close()
    receiver.close()


async def test_channel_activity_detection() -> None:
    sender, receiver = await two()
    await receiver.do(0x88, 1, 22, 10, 0, 0, 0, 0)
    for busy in (False, True):
        if busy:
            await sender.transmit(b"x" * 100)
        await receiver.do(0x02, 0x03, 0xFF)
        await receiver.do(0xC5)
        await asyncio.sleep(0.003)
        assert await receiver.irq() == CAD_DONE | (CAD_DETECTED if busy else 0)
    sender.close()
    receiver.close()


async def test_commands_in_the_wrong_state_fail_and_change_nothing() -> None:
    host = Host(VirtualSx1262(Ether()))
    await host.do(0x83, 0, 0, 0)
    assert await host.status() == 5
    assert await host.mode() == 2
    assert not host.chip.ether.log
    await host.do(0x55, 1)
    assert await host.status() == 4
    await host.do(0x8A, 1)
    assert await host.status() == 1
    await host.do(0x8B, 13, 4, 1, 0)
    assert await host.status() == 5
    await host.do(0x8E, 30, 4)
    assert await host.status() == 5
    host.close()


async def test_busy_after_reset_and_commands_meanwhile_are_ignored() -> None:
    host = Host(VirtualSx1262(Ether()))
    reset = host.chip.gpio("reset", "out")
    await asyncio.sleep(0.001)
    reset.write(True)
    assert host.busy.read()
    host.spi.transfer([0x8A, 1])
    assert host.chip.violations == ["command 8a while BUSY is high"]
    await asyncio.sleep(0.0036)
    assert not host.busy.read()
    assert (await host.do(0x11, 0, 0))[2] == 0
    reset.close()
    host.close()


async def test_sleep_wakes_by_nss_and_forgets_unless_warm() -> None:
    host = Host(VirtualSx1262(Ether()))
    for warm in (4, 0):
        await host.start()
        await host.do(0x84, warm)
        assert host.busy.read()
        host.spi.transfer([0xC0, 0])
        assert host.busy.read()
        await asyncio.sleep(0.004)
        assert (await host.do(0x11, 0, 0))[2] == (1 if warm else 0)
    host.close()


async def test_a_tcxo_must_be_fed_before_anything_works() -> None:
    host = Host(VirtualSx1262(Ether(), tcxo=True, tcxo_volts=1.8))
    assert int.from_bytes((await host.do(0x17, 0, 0, 0))[2:]) == 1 << 5
    await host.start()
    await host.transmit(b"ping")
    assert await host.status() == 5
    assert int.from_bytes((await host.do(0x17, 0, 0, 0))[2:]) == 1 << 5 | 1 << 6
    await host.do(0x97, 2, 0, 1, 0x40)
    await host.do(0x89, 0x7F)
    assert host.busy.read()
    await host.do(0x07, 0, 0)
    assert int.from_bytes((await host.do(0x17, 0, 0, 0))[2:]) == 0
    await host.transmit(b"ping")
    await asyncio.sleep(1)
    assert len(host.chip.ether.log) == 1
    host.close()


@pytest.mark.parametrize("switch", ["dio2", "lines"])
async def test_an_antenna_switch_that_nobody_moves_costs_the_range(switch: str) -> None:
    ether = Ether()
    sender = Host(VirtualSx1262(ether, switch=switch))
    receiver = Host(VirtualSx1262(ether, position=(1000.0, 0.0)))
    await sender.start()
    await receiver.start()
    await receiver.do(0x82, 0xFF, 0xFF, 0xFF)
    await sender.transmit(b"one.")
    await asyncio.sleep(1)
    assert await receiver.irq() == 0
    await sender.do(0x9D, 1)
    enable = sender.chip.gpio("tx_enable", "out")
    enable.write(True)
    await sender.transmit(b"two.")
    await asyncio.sleep(1)
    assert await receiver.received() == b"two."
    enable.close()
    sender.close()
    receiver.close()


async def test_stuck_busy_and_hang_until_reset() -> None:
    host = Host(VirtualSx1262(Ether()))
    host.chip.faults.stuck_busy = True
    await asyncio.sleep(10)
    assert host.busy.read()
    host.chip.faults.stuck_busy = False
    host.chip.hang()
    assert host.busy.read()
    assert host.spi.transfer([0xC0, 0]) == [0, 0]
    host.chip.power(False)
    host.chip.power(True)
    await asyncio.sleep(0.004)
    assert not host.busy.read()
    assert await host.mode() == 2
    host.close()


async def test_altered_bytes_lost_edges_and_no_chip() -> None:
    sender, receiver = await two()
    sender.chip.faults.corrupt = 1
    assert await sender.do(0x1D, 0x07, 0x40, 0, 0, 0) != await sender.do(0x1D, 0x07, 0x40, 0, 0, 0)
    line = sender.chip.gpio("dio1")
    sender.chip.lose_edges(1)
    await sender.transmit(b"ping")
    await asyncio.sleep(1)
    assert line.read()
    assert not line.poll(0)
    assert await sender.irq() == TX_DONE
    sender.chip.faults.absent = True
    assert sender.spi.transfer([0x1D, 0x07, 0x40, 0, 0, 0]) == [0xFF] * 6
    line.close()
    sender.close()
    receiver.close()


async def test_an_implicit_header_and_inverted_polarity() -> None:
    sender, receiver = await two()
    for host in (sender, receiver):
        await host.do(0x8C, 0, 8, 1, 4, 1, 1)
    await receiver.do(0x82, 0xFF, 0xFF, 0xFF)
    await sender.do(0x0E, 0, *b"ping")
    await sender.do(0x83, 0, 0, 0)
    await asyncio.sleep(1)
    assert await receiver.irq() & (RX_DONE | CRC) == RX_DONE
    assert await receiver.received() == b"ping"
    assert "15.4: register 0736 bit 2 for the polarity of IQ" in sender.chip.missed
    sender.close()
    receiver.close()


async def test_any_bytes_are_survived() -> None:
    chance = random.Random(3)
    for kind in (VirtualSx1262, VirtualSx1276):
        chip = kind(Ether())
        for _ in range(500):
            chip.spi.transfer(chance.randbytes(chance.randrange(0, 12)))
            await asyncio.sleep(0.005)
        chip.power(False)
        chip.power(True)
        await asyncio.sleep(1)
        if isinstance(chip, VirtualSx1276):
            assert chip.spi.transfer([0x42, 0]) == [0, 0x12]
        else:
            assert chip.spi.transfer([0xC0, 0])[1] >> 4 == 2
