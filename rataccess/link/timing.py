"""Every duration and count that supervision goes by, in one place, each with its reason.

Rules of this file: values only.  Durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """How patient supervision is.  The defaults are for real radios; tests may change them."""

    open_limit: float = 330.0
    """`Driver.open`.  A net under the drivers' own limits, which report better: a cellular module needs up to about 30 s
    from power to its first answer, a satellite modem may be configured to be waited for for 240 s, and one that was left in
    the middle of a session is waited for another minute."""
    attach_limit: float = 4_200.0
    """`Driver.attach`.  A net under the driver's own limits, which report better: a search may be configured to last an
    hour, and modem manuals give 140 s for `+CGATT` and 150 s for the context on top."""
    start_limit: float = 90.0
    """`Transport.open`: a modem's socket may take 75 s (TCP/IP AT manuals), a name look-up 60 s."""
    close_limit: float = 10.0
    """Closing a transport or a driver; more would hold up the process at exit."""
    doubt_limit: float = 5.0
    """`Driver.status` when a link is doubted: one AT command of 5 s or less is enough to see a hung radio."""
    watch_every: float = 15.0
    """`Driver.status` while up.  It spends no network bytes, and finds a hung modem on a standby link."""
    watch_limit: float = 15.0
    """`Driver.status` for the watch: several commands, each with its own limit."""

    backoff_first: float = 2.0
    backoff_longest: float = 300.0
    """The end of an outage is noticed within five minutes; a mobile network sees at most 12 attempts an hour."""
    local_longest: float = 60.0
    """The same where only the machine itself is asked (no such device, port held): that costs nobody anything."""
    retry_after_longest: float = 86_400.0
    """A longer `retry_after` from a driver or transport is taken for this: one attempt a day annoys no network."""
    denied_first: float = 300.0
    """Least wait after a reject cause of the network: asking again soon does not change a subscription."""
    faulty_first: float = 900.0
    faulty_longest: float = 21_600.0
    """A radio past its last rung: 15 min, growing to 6 h."""
    permanent_longest: float = 3_600.0
    """After a permanent error (SIM, wrong radio, configuration): looks at least once an hour; nothing is transmitted."""
    stable_after: float = 300.0
    """Up for this long without a doubt: back-off and ladder start anew, even where nothing was sent to prove it."""

    immediate_retries: int = 3
    immediate_window: float = 60.0
    """At most so many attaches without back-off in this time: a carrier that flaps faster must wait like everybody."""
    attach_failures: int = 8
    """Refused attaches, with the radio answering, before the ladder is tried: with back-off, after three minutes or more."""
    port_losses: int = 3
    """Lost ports before the ladder is tried; the first ones are a renumbering or a loose plug."""
    absences: int = 6
    """Look-ups that find no device before the ladder is tried: a module that restarts is away for up to 30 s."""
    transport_failures: int = 4
    """Broken transports, none of which was proved or stable, before the ladder is tried."""
    doubts: int = 3
    doubt_patience: float = 60.0
    """So many doubts over at least this time, with a radio that says all is well: attach again.  Doubles each time (up to
    `faulty_longest`), because the service itself may be down, which no radio can repair."""
    doubt_rounds: int = 2
    """Attaches for doubt before the ladder is tried."""
