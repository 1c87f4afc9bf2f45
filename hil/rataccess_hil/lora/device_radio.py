"""The radio of a virtual end device: one packet up, then two receive windows.

Rules of this file: waveforms and bytes; no frame.  Everything later is a timer that `stop` cancels.  Source: LoRaWAN L2
1.0.4, section 3.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rataccess_hil.lora.airtime import Waveform
from rataccess_hil.lora.ether import Ether, Heard, Listener, Station, Transmission

_WINDOW_SYMBOLS = 16
_EARLY_SYMBOLS = 5

Window = tuple[float, Waveform]
"""Seconds after the end of the uplink, and what to listen for."""


class ClassARadio:
    """Transmits, and opens windows until one has had what it was opened for."""

    def __init__(self, ether: Ether, station: Station) -> None:
        self._ether = ether
        self._station = station
        self._timers: set[asyncio.TimerHandle] = set()
        self._listener: Listener | None = None
        self._sending: Transmission | None = None

    def stop(self) -> None:
        """Give up what is under way."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._close()
        if self._sending is not None:
            self._ether.abort(self._sending)
            self._sending = None

    def at(self, when: float, run: Callable[[], None]) -> None:
        """Do something at a loop time, unless stopped before."""

        def due() -> None:
            self._timers.discard(handle)
            run()

        handle = asyncio.get_running_loop().call_at(when, due)
        self._timers.add(handle)

    def transmit(
        self,
        waveform: Waveform,
        sealed: bytes,
        power: float,
        sent: Callable[[], None],
        windows: list[Window],
        heard: Callable[[bytes, int, Heard], bool],
        done: Callable[[bool], None],
    ) -> Transmission:
        """Send, then listen.

        `heard` gets each whole packet with the number of its window, and says whether it was the awaited one; `done` is
        called once, with whether there was one.
        """
        packet = self._ether.transmit(self._station, waveform, sealed, power)
        self._sending = packet

        def ended() -> None:
            self._sending = None
            sent()

        self.at(packet.end, ended)
        self._open_window(1, windows, packet.end, heard, done)
        return packet

    def _open_window(
        self,
        number: int,
        windows: list[Window],
        end: float,
        heard: Callable[[bytes, int, Heard], bool],
        done: Callable[[bool], None],
    ) -> None:
        if number > len(windows):
            done(False)
            return
        delay, wave = windows[number - 1]
        opens = end + delay - _EARLY_SYMBOLS * wave.symbol_time
        closes = opens + _WINDOW_SYMBOLS * wave.symbol_time

        def after() -> None:
            self._close()
            self._open_window(number + 1, windows, end, heard, done)

        def packet(received: Heard) -> None:
            self._close()
            if received.intact and heard(received.data, number, received):
                done(True)
            else:
                after()

        def close() -> None:
            listener = self._listener
            if listener is not None:
                listener.settle(closes)
                if not listener.locked:
                    after()

        def open_() -> None:
            self._listener = self._ether.listen(self._station, wave.matches, on_packet=packet, since=opens)
            self.at(closes, close)

        if asyncio.get_running_loop().time() > opens + 1e-6:
            # The first window's packet lasted beyond the second's beginning.
            done(False)
        else:
            self.at(opens, open_)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
