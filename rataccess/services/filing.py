"""Blocks that waited for a template which the configuration has now: filed when the service starts.

Rules of this file: one transaction for each device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rataccess.services.inbound import Inbound, Limits
from rataccess.services.schematics import Templates
from rataccess.services.store import Changes, ServiceStore
from rataccess.template import Template


def file_known(
    store: ServiceStore, known: Mapping[int, Template], limits: Limits, count: Callable[[str], None], *, calls: bool
) -> None:
    """File what can be filed; `known`: the configuration's templates by id, `calls` as for `Inbound`."""
    for device in store.devices_with_blocks():
        with store.transaction():
            store.lock_devices([device])
            state, changes = store.load_devices([device])[device], Changes()
            templates = Templates(state.schemas, known)
            if any(templates.find(schema) is not None for schema in state.awaited_schemas):
                inbound = Inbound(store, state, templates, limits, count, calls=calls)
                inbound.file_blocks(changes)
                changes.kept[device] = inbound.kept
                store.commit(changes, {})
