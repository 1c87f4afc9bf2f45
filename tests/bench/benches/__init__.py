"""The benches, one subject a file, and their order."""

from __future__ import annotations

from tests.bench.bench import Bench
from tests.bench.benches import at_port, client_cost, drain, enqueue, imports, load, quiet, rats, switching, wire_bytes

ALL: tuple[type[Bench], ...] = (
    wire_bytes.OneByOne,
    wire_bytes.Batch,
    wire_bytes.Day,
    rats.Rats,
    switching.Switching,
    quiet.Jitter,
    quiet.Idle,
    drain.Drain,
    client_cost.Start,
    enqueue.EnqueueOne,
    enqueue.EnqueueMany,
    at_port.AtPorts,
    client_cost.Cost,
    client_cost.Resident,
    imports.Imports,
    load.Load,
)
