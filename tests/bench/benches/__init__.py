"""The benches, one subject a file, and their order."""

from __future__ import annotations

from tests.bench.bench import Bench
from tests.bench.benches import at_port, drain, enqueue, imports, load, switching, wire_bytes

ALL: tuple[type[Bench], ...] = (
    wire_bytes.OneByOne,
    wire_bytes.Batch,
    wire_bytes.Day,
    switching.CarrierLoss,
    switching.SilentLoss,
    drain.Drain,
    enqueue.EnqueueOne,
    enqueue.EnqueueMany,
    at_port.AtPorts,
    imports.Imports,
    load.Load,
)
