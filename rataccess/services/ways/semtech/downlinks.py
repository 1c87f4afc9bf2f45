"""Downlinks: which receive window, which gateway, what goes into it, and what if the gateway refuses.

Rules of this file: sans-I/O; decisions and the frames that come of them.  A counter is used for one frame only; the same
frame may go into RX2 where a gateway refused it for RX1, since nobody heard it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from rataccess.lorawan.crypto import seal
from rataccess.lorawan.frame import Downlink, encode
from rataccess.services.ways.forwarder import Received, Transmission
from rataccess.services.ways.rooms import largest_downlink
from rataccess.services.ways.semtech.gateways import Gateway
from rataccess.services.ways.semtech.network import NetworkServer, Reception

LEAD = 0.1
"""Seconds before a window in which it is too late to give a gateway something."""
_MOST_OPEN = 1024


@dataclass(frozen=True, slots=True)
class Window:
    """One receive window of a class A device."""

    delay: int
    """Seconds after the end of the uplink."""
    frequency: int
    data_rate: int


@dataclass(frozen=True, slots=True)
class Order:
    """A downlink that was given to a gateway."""

    reception: Reception
    frame: bytes
    content: tuple[int, bytes] | None
    """FPort and packet in it."""
    window: Window
    later: tuple[Window, ...]
    """Windows that come after it."""
    gateway: Gateway
    airtime: float
    at: float
    token: bytes
    transmission: Transmission


class Downlinks:
    """Decides about downlinks, and remembers them until their gateways have said what became of them."""

    def __init__(self, network: NetworkServer, power: int, random: Random, count: Callable[[str], None]) -> None:
        """`power`: dBm that gateways transmit with at most."""
        self._network, self._power, self._random, self._count = network, power, random, count
        self._open: OrderedDict[bytes, Order] = OrderedDict()

    def decide(self, reception: Reception, now: float) -> Order | None:
        """What answers an uplink, of which no more copies are waited for; `None`: nothing does."""
        self._network.settled(reception)
        queue = self._network.queues.get(reception.state.dev_eui)
        content = queue[0] if queue and reception.accept is None else None
        if content is None and not reception.must_answer:
            return None
        if reception.accept is None and reception.session.fcnt_down >= reception.session.usable:
            self._count("downlinks that could not be numbered")  # the store is away
            return None
        windows = tuple(self._windows(reception))
        for at, window in enumerate(windows):
            fits = content if self._fits(reception, window, content) else None
            if fits is None and not reception.must_answer:
                continue
            found = self._gateway(reception, window, self._size(reception, fits), now)
            if found is not None:
                return self._order(reception, window, windows[at + 1 :], fits, *found, now)
        self._count("downlinks that no gateway could send")
        if (
            queue
            and content is not None
            and not any(self._fits(reception, each, content, alone=True) for each in windows)
        ):
            queue.popleft()  # in this device's present windows it will never fit
            self._count("answers that a way in lost")
        return None

    def _windows(self, reception: Reception) -> Iterator[Window]:
        region = self._network.region
        data_rate = region.rx1_dr(reception.data_rate, 0)
        if data_rate is not None:
            index = region.channel_index(reception.frequency) or 0
            yield Window(reception.delay, region.rx1_frequency(index, reception.frequency), data_rate)
        yield Window(reception.delay + 1, region.rx2_frequency, region.rx2_dr)

    def _fits(
        self, reception: Reception, window: Window, content: tuple[int, bytes] | None, *, alone: bool = False
    ) -> bool:
        room = largest_downlink(self._network.region, window.data_rate) - (0 if alone else len(reception.fopts))
        return content is not None and len(content[1]) <= room

    @staticmethod
    def _size(reception: Reception, content: tuple[int, bytes] | None) -> int:
        if reception.accept is not None:
            return len(reception.accept)
        return 12 + len(reception.fopts) + (0 if content is None else 1 + len(content[1]))

    def _gateway(
        self, reception: Reception, window: Window, size: int, now: float, *, refused: Gateway | None = None
    ) -> tuple[Gateway, Received, float] | None:
        """Of those that heard the device the best that may and can send; with the seconds that takes.  One that has refused
        (it is far away, or busy) is the last that is asked again."""
        modulation = self._network.region.downlink_modulation(window.data_rate)
        if modulation is None or now > reception.begun + window.delay - LEAD:
            return None
        airtime = modulation.time_on_air(size)
        best = sorted(
            reception.copies, key=lambda each: (each[0] is not refused, each[1].snr, each[1].rssi), reverse=True
        )
        for gateway, received in best:
            if gateway.reachable(now) and gateway.may_send(self._network.region, window.frequency, airtime, now):
                return gateway, received, airtime
        return None

    def _order(
        self,
        reception: Reception,
        window: Window,
        later: tuple[Window, ...],
        content: tuple[int, bytes] | None,
        gateway: Gateway,
        received: Received,
        airtime: float,
        now: float,
    ) -> Order:
        if content is not None:
            self._network.queues[reception.state.dev_eui].popleft()
        frame = reception.accept or self._frame(reception, content)
        return self._given(reception, frame, content, window, later, gateway, received, airtime, now)

    def _given(
        self,
        reception: Reception,
        frame: bytes,
        content: tuple[int, bytes] | None,
        window: Window,
        later: tuple[Window, ...],
        gateway: Gateway,
        received: Received,
        airtime: float,
        now: float,
    ) -> Order:
        gateway.charge(self._network.region, window.frequency, airtime, now)
        modulation = self._network.region.downlink_modulation(window.data_rate)
        assert modulation is not None
        transmission = Transmission(
            data=frame,
            tmst=received.tmst + window.delay * 1_000_000,
            frequency=window.frequency,
            spreading_factor=modulation.spreading_factor,
            bandwidth=modulation.bandwidth,
            power=min(self._power, self._network.region.max_eirp),
        )
        token = self._random.randbytes(2)
        order = Order(reception, frame, content, window, later, gateway, airtime, now, token, transmission)
        self._open[token] = order
        self._open.move_to_end(token)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return order

    def _frame(self, reception: Reception, content: tuple[int, bytes] | None) -> bytes:
        session, more = reception.session, self._network.queues.get(reception.state.dev_eui)
        counter = session.fcnt_down
        session.fcnt_down += 1
        port, payload = content or (None, b"")
        frame = Downlink(
            dev_addr=session.dev_addr,
            fcnt=counter,
            adr=self._network.adapts,
            ack=reception.ack,
            fopts=reception.fopts,
            port=port,
            payload=payload,
            fpending=bool(more),
        )
        return encode(seal(session.keys, frame))

    def reported(self, token: bytes, gateway: Gateway, error: str, now: float) -> Order | None:
        """A gateway says what became of a downlink; the same one for the next window where that helps."""
        order = self._open.get(token)
        if order is None or order.gateway is not gateway:
            return None
        del self._open[token]
        if error in ("", "NONE"):
            return None
        self._count("downlinks that a gateway refused")
        gateway.refund(self._network.region, order.window.frequency, order.airtime, order.at)
        for at, window in enumerate(order.later):
            if order.content is not None and not self._fits(order.reception, window, order.content):
                continue
            found = self._gateway(order.reception, window, len(order.frame), now, refused=gateway)
            if found is not None:
                later = order.later[at + 1 :]
                return self._given(order.reception, order.frame, order.content, window, later, *found, now)
        if order.content is not None:  # nobody heard it: it goes into a new frame with the next uplink
            self._network.put_back(order.reception.state.dev_eui, *order.content)
        return None
