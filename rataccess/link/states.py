"""The states of a link and every transition between them, as a table.

Rules of this file: values only, no I/O, no time.  A transition that is not in the table does not exist: asking for it is
an internal error, `IllegalTransition`.  The diagram in docs/links.md is made by `diagram` from this table, and a test
holds the two together.

A state says what supervision is busy with.  How far the link has provably got is another matter: see
`rataccess.driver.Evidence`.
"""

from __future__ import annotations

import enum


class LinkState(enum.StrEnum):
    """What supervision of a link is doing now."""

    IDLE = "idle"
    """Not started, or held: nothing is open."""
    WAITING = "waiting"
    """Backing off.  The driver is open where the radio answered last time."""
    OPENING = "opening"
    """`Driver.open` runs."""
    ATTACHING = "attaching"
    """`Driver.attach` runs."""
    STARTING = "starting"
    """The transport is being made and opened."""
    UP = "up"
    """Packets may be sent."""
    RECOVERING = "recovering"
    """A rung of the recovery ladder runs; the transport is closed."""
    FAULTY = "faulty"
    """Past the last rung, or wrong until somebody changes something; tried again rarely."""
    CLOSED = "closed"
    """For good."""


class LinkEvent(enum.StrEnum):
    """Why a link changes its state."""

    BEGIN = "begin"
    """Started, or released from hold."""
    DUE = "due"
    """The wait is over and the driver is closed."""
    DUE_OPEN = "due, driver open"
    """The wait is over (or the carrier is back) and the driver is still open."""
    OPENED = "opened"
    ATTACHED = "attached"
    STARTED = "started"
    REATTACH = "reattach"
    """The bearer or transport is gone and the radio answers: attach again without waiting."""
    POSTPONE = "postpone"
    """Failed; back off."""
    REPAIR = "repair"
    """Failed in a way that the recovery ladder is for."""
    RUNG_DONE = "rung done"
    """A rung has run, well or not: see whether the radio can be opened."""
    GIVE_UP = "give up"
    """Past the last rung, or a permanent error."""
    HOLD = "hold"
    CLOSE = "close"


class IllegalTransition(RuntimeError):
    """A defect of this package: a state was asked for a transition that it does not have."""


_S, _E = LinkState, LinkEvent
_BUSY = (_S.OPENING, _S.ATTACHING, _S.STARTING, _S.UP)

TRANSITIONS: dict[tuple[LinkState, LinkEvent], LinkState] = {
    (_S.IDLE, _E.BEGIN): _S.WAITING,
    (_S.WAITING, _E.DUE): _S.OPENING,
    (_S.WAITING, _E.DUE_OPEN): _S.ATTACHING,
    (_S.OPENING, _E.OPENED): _S.ATTACHING,
    (_S.ATTACHING, _E.ATTACHED): _S.STARTING,
    (_S.STARTING, _E.STARTED): _S.UP,
    (_S.RECOVERING, _E.RUNG_DONE): _S.OPENING,
    (_S.FAULTY, _E.DUE): _S.OPENING,
    (_S.FAULTY, _E.DUE_OPEN): _S.ATTACHING,
    **{(state, _E.REATTACH): _S.ATTACHING for state in (_S.STARTING, _S.UP)},
    **{(state, _E.POSTPONE): _S.WAITING for state in _BUSY},
    **{(state, _E.REPAIR): _S.RECOVERING for state in _BUSY},
    **{(state, _E.GIVE_UP): _S.FAULTY for state in _BUSY},
    **{(state, _E.HOLD): _S.IDLE for state in (_S.WAITING, *_BUSY, _S.RECOVERING, _S.FAULTY)},
    **{(state, _E.CLOSE): _S.CLOSED for state in _S if state is not _S.CLOSED},
}


def advance(state: LinkState, event: LinkEvent) -> LinkState:
    """The state after `event`; raises `IllegalTransition` where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError as error:
        raise IllegalTransition(f"a link that is {state} cannot {event}") from error


def diagram() -> str:
    """The table as a Mermaid state diagram, for docs/links.md."""
    lines = ["stateDiagram-v2", "    [*] --> idle"]
    grouped: dict[tuple[LinkState, LinkState], list[str]] = {}
    for (old, event), new in TRANSITIONS.items():
        if event is not LinkEvent.CLOSE:
            grouped.setdefault((old, new), []).append(event.value)
    lines += [f"    {old} --> {new} : {' / '.join(events)}" for (old, new), events in grouped.items()]
    return "\n".join([*lines, "    closed --> [*]", "    note right of closed : from every state, by close"])
