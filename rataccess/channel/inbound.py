"""An object from a service, in the application's hands until it says that it is done with it.

Rules of this file: no waiting; what is acknowledged goes with the store's next commit.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rataccess.objects import Object, Service, decode
from rataccess.store import Inbound, Store


class InboundObject:
    """One inbound object, from `dequeue`.

    It stays on disk until it is acknowledged: by `ack`, or by a `with` block that ends without an exception:

        with item as command:
            carry_out(command)

    An object that is neither acknowledged nor given back comes again after a restart of the device, and not before: at
    least once, each time with the same `number`.  Every method may be called from any thread, and in a coroutine: none
    waits.
    """

    __slots__ = ("_held", "_returned", "_service", "_store", "captured_at", "number", "queue", "value")

    def __init__(self, service: Service, record: Inbound, store: Store, returned: Callable[[], None]) -> None:
        """Raises `ObjectError` where `record` is no object; `returned` is called when it was given back."""
        self.value: Object = decode(record.body)
        self.queue = record.queue
        self.number = record.number
        """The service's number for it, from 1: the same however often it comes."""
        self.captured_at = record.captured_at
        """When the service took it (seconds since 1970), or `None` where that is unknown."""
        self._service, self._store, self._returned = service, store, returned
        self._held = True

    def __repr__(self) -> str:
        return f"<InboundObject {self._service} {self.number} {self.queue}>"

    def ack(self) -> None:
        """Be done with it: it never comes again.  Returns at once; a power cut within the next moments undoes it.

        Idempotent; nothing where it was given back before.  Raises `Closed` where the device is closed already: then it
        comes again.
        """
        if self._held:
            self._store.acknowledge(self._service, self.number)
            self._held = False

    def give_back(self) -> None:
        """Let `dequeue` give it again, in its old place; nothing where it was acknowledged or given back before."""
        if self._held:
            self._held = False
            if self._store.give_back(self._service, self.number):
                self._returned()

    def __enter__(self) -> Object:
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.ack()
        else:
            self.give_back()
