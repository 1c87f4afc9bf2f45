"""The channel to the management service, which alone sends environment variables.

Rules of this file: it keeps what the service sends; what the variables mean is the application's business.
"""

from __future__ import annotations

from rataccess.channel.channel import AsyncChannel, Parts
from rataccess.channel.environment import KEY, AsyncEnvironment, Variables
from rataccess.objects import Service
from rataccess.store import Inbound

QUEUE = "$environment"


class AsyncManagementChannel(AsyncChannel):
    """The channel to the management service."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(Service.MANAGEMENT, parts)
        self.variables = Variables(parts.store.get_object(self.service, KEY), parts.report)
        self.env = AsyncEnvironment(self.variables)
        """Fleet environment variables: a live mapping of text to text."""

    def close(self) -> None:
        super().close()
        self.variables.watched.close()

    def _keep(self, record: Inbound) -> None:
        if record.queue == QUEUE:
            self._parts.store.put_object(self.service, KEY, record.body)
            self.variables.replace(record.body)
        else:
            super()._keep(record)

    def _take_reserved(self, record: Inbound) -> None:
        if record.queue != QUEUE:
            super()._take_reserved(record)
