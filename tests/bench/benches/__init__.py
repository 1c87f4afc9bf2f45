"""The benches, one subject a file, and their order."""

from __future__ import annotations

from tests.bench.bench import Bench
from tests.bench.benches import drain, imports, wire_bytes

ALL: tuple[type[Bench], ...] = (
    wire_bytes.OneByOne,
    wire_bytes.Batch,
    wire_bytes.Day,
    drain.Drain,
    imports.Imports,
)
