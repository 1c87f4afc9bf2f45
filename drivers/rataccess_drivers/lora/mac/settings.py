"""What a LoRaWAN device is told about itself.

Rules of this file: values and what follows from them; nothing changes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from rataccess.lorawan.regions import Region

ADR_ACK_LIMIT = 64
"""Uplinks without a downlink before the network is asked for one (RP002-1.0.3, default of every region)."""
ADR_ACK_DELAY = 32
"""Further uplinks before each step down."""
MAX_FCNT_GAP = 16384
"""Downlinks that may have been lost between two (LoRaWAN 1.0.3 clause 4.3.1.5; 1.0.4 leaves it to the device)."""
JOIN_ACCEPT_DELAY = 5.0
"""Seconds from the end of a join-request to RX1 (RP002-1.0.3)."""
RX2_AFTER_RX1 = 1.0
RETRANSMIT = (1.0, 3.0)
"""Seconds after RX2 before anything is sent again, where an acknowledgement was waited for (RETRANSMIT_TIMEOUT,
RP002-1.0.3: 2 s, give or take 1)."""
JOIN_REQUEST_SIZE = 23
"""Octets."""
LAST_APPLICATION_PORT = 223
ROOM_WANTED = 48
"""Bytes: by default no data rate is used for data that carries less.  One record in compact form needs 16 and its values."""


@dataclass(frozen=True, slots=True)
class MacSettings:
    """Identity and preferences of one device."""

    region: Region
    dev_eui: int
    join_eui: int
    app_key: bytes = field(repr=False)
    sub_band: int | None = None
    """1 to 8 in a fixed plan; `None`: all channels, and one sub-band after another for joining."""
    adr: bool = True
    """Whether the network controls data rate and power."""
    data_rate: int | None = None
    """To begin with, and for good without `adr`; `None`: that of the join-request that was answered."""
    min_data_rate: int | None = None
    """Never send data slower than this; `None`: the slowest that carries `ROOM_WANTED` bytes."""
    join_nonce: Literal["counter", "any"] = "counter"
    """Whether JoinNonces must grow, as they do since LoRaWAN 1.0.4; `any`: networks before may have random ones."""
    attempts: int = 4
    """Transmissions of a confirmed payload at most, where the network asks for fewer."""
    patience: float = 30.0
    """Seconds that a further transmission may wait for the duty cycle before it is given up."""
    antenna_gain: float = 0.0
    """dBi, less the loss of the cable."""
    max_power: int | None = None
    """dBm at the transmitter's pin."""

    @property
    def device(self) -> bytes:
        """8 octets that stand for EUIs and key, and tell nothing of the key: what DevNonces are counted for."""
        return self._digest("")

    @property
    def identity(self) -> bytes:
        """As `device`, for one region: what a kept session belongs to."""
        return self._digest(self.region.name)

    def _digest(self, more: str) -> bytes:
        mac = CMAC(AES(self.app_key))
        mac.update(b"rataccess" + self.dev_eui.to_bytes(8, "big") + self.join_eui.to_bytes(8, "big") + more.encode())
        return mac.finalize()[:8]

    def slowest(self, *, dwell: bool) -> int:
        """The lowest data rate for data; `dwell`: whether the dwell time of uplinks is limited."""
        region = self.region
        usable = [dr for dr in sorted(region.data_rates) if region.max_payload(dr, dwell=dwell)]
        wanted = self.min_data_rate
        if wanted is None:
            return next(dr for dr in usable if region.max_payload(dr, dwell=dwell) >= ROOM_WANTED)
        return next((dr for dr in usable if dr >= wanted), usable[-1])
