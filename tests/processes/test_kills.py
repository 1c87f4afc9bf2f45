"""Invariant 1 with real processes: whatever is killed, every accepted record is stored exactly once, unaltered."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from rataccess.objects import Service
from tests.processes.fleet import Fleet, until

LIVES = 7


def test_what_was_accepted_is_stored_once_whatever_is_killed(tmp_path: Path) -> None:
    source = random.Random(7)
    with Fleet(tmp_path) as fleet:
        for service in Service:
            fleet.serve(service)
        down: Service | None = None
        for life in range(LIVES):
            before = fleet.accepted()
            fleet.write(0.003)
            _await_more(fleet, before + source.randrange(1, 120))
            if down is None and life % 2:
                down = source.choice(list(Service))
                fleet.end(str(down), signal.SIGKILL)
                _await_more(fleet, fleet.accepted() + source.randrange(1, 60))
            elif down is not None:
                fleet.serve(down)
                down = None
                _await_more(fleet, fleet.accepted() + source.randrange(1, 60))
            if life < LIVES - 1:
                fleet.end("writer", signal.SIGKILL)
        if down is not None:
            fleet.serve(down)
        assert fleet.end("writer", signal.SIGTERM) == 0, (tmp_path / "writer.log").read_text()[-3000:]
        assert fleet.account() == []
        assert fleet.accepted() > LIVES
        for service in Service:
            assert fleet.end(str(service), signal.SIGTERM) == 0
        assert fleet.account() == []  # and it is on disk


def _await_more(fleet: Fleet, accepted: int) -> None:
    until(lambda: fleet.accepted() >= accepted or fleet.processes["writer"].poll() is not None, f"{accepted} accepted")
    assert fleet.processes["writer"].poll() is None, (fleet.folder / "writer.log").read_text()[-3000:]
