"""Adaptive data rate as the device has its part in it: asking whether it is still heard, and stepping down.

Rules of this file: functions of a session.  Source: LoRaWAN L2 1.0.4, clause 4.3.1.1.
"""

from __future__ import annotations

from rataccess.lorawan.regions import Region
from rataccess_drivers.lora.mac.session import Session
from rataccess_drivers.lora.mac.settings import ADR_ACK_DELAY, ADR_ACK_LIMIT


def wants_answer(session: Session) -> bool:
    """Whether the next uplink has ADRACKReq set."""
    return session.adr_ack_cnt >= ADR_ACK_LIMIT


def after_uplink(session: Session, region: Region, defaults: frozenset[int], slowest: int) -> Session:
    """The session after one more uplink of which nothing came back yet; repetitions of a frame do not count.

    Each `ADR_ACK_DELAY` uplinks beyond `ADR_ACK_LIMIT` it takes one step: full power, then a data rate less, at the end all
    `defaults` (channels) with one transmission each.
    """
    count = session.adr_ack_cnt + 1
    counted = session.replace(adr_ack_cnt=count)
    beyond = count - ADR_ACK_LIMIT
    if beyond < ADR_ACK_DELAY or beyond % ADR_ACK_DELAY:
        return counted
    return _step(counted, region, defaults, slowest)


def _step(session: Session, region: Region, defaults: frozenset[int], slowest: int) -> Session:
    if session.tx_power:
        return session.replace(tx_power=0)
    slower = [dr for dr in session.data_rates(region) if slowest <= dr < session.dr]
    if slower:
        return session.replace(dr=slower[-1])
    # Nothing is slower on the channels that are on: have them all back, and with them perhaps slower ones.
    return session.replace(enabled=session.enabled | defaults, nb_trans=1)
