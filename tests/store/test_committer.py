"""Who commits: the thread, or whoever has to wait and finds nobody at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rataccess.errors import Closed
from rataccess.store.committer import Committer, Item


class Run:
    """Commits nothing, and remembers who asked for what; `gates` hold up the groups, one each."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, list[Any]]] = []
        self.gates: list[threading.Event] = []
        self.begun = threading.Semaphore(0)
        self.left: list[bool] = []
        self.inside = 0
        self.then: Callable[[], None] = lambda: None

    def __call__(self, group: list[Item]) -> bool:
        self.inside += 1
        assert self.inside == 1 or threading.get_ident() == self.groups[-1][0], "one at a time"
        self.groups.append((threading.get_ident(), [what for what, _ in group]))
        self.begun.release()
        if self.gates:
            assert self.gates.pop(0).wait(30)
        for what, done in group:
            done(what)
        then, self.then = self.then, lambda: None
        then()
        self.inside -= 1
        return self.left.pop(0) if self.left else False


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def committer(run: Run) -> Iterator[Committer]:
    made = Committer(run, threaded=True, name="committer")
    while not made._sleeping:
        pass
    yield made
    for gate in run.gates:
        gate.set()
    made.close()


def begin(run: Run, call: Callable[[], Any]) -> threading.Thread:
    """`call` in a thread of its own, once its group is under way."""
    thread = threading.Thread(target=call)
    thread.start()
    assert run.begun.acquire(timeout=30)
    return thread


def elsewhere(call: Callable[[], Any]) -> Any:
    """The result of `call` in a thread that is not the main one, or its error."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - whatever it is
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    return outcome[0]


def test_a_lone_caller_commits_itself(committer: Committer, run: Run) -> None:
    here = elsewhere(lambda: (threading.get_ident(), [committer.call(n) for n in range(3)]))
    assert here[1] == [0, 1, 2]
    assert run.groups == [(here[0], [n]) for n in range(3)]


def test_the_main_thread_never_commits_where_a_signal_might_interrupt_it(committer: Committer, run: Run) -> None:
    assert [committer.call(n) for n in range(3)] == [0, 1, 2]
    assert {who for who, _ in run.groups} == {committer._thread.ident}  # type: ignore[union-attr]


def test_what_nobody_waits_for_is_the_thread_s_work(committer: Committer, run: Run) -> None:
    done = threading.Event()
    committer.submit(("a", lambda result: done.set()))
    assert done.wait(30)
    assert run.groups[0][0] != threading.get_ident()


def test_those_who_come_meanwhile_are_committed_together_by_the_thread(committer: Committer, run: Run) -> None:
    gate = threading.Event()
    run.gates.append(gate)
    first = begin(run, lambda: committer.call("first"))
    results: list[Any] = []
    others = [threading.Thread(target=lambda n=n: results.append(committer.call(n))) for n in range(5)]
    for each in others:
        each.start()
    while len(committer._items) < 5:
        pass
    committer.wake()
    assert len(run.groups) == 1, "nobody begins while somebody is at it"
    gate.set()
    for each in (first, *others):
        each.join(30)
    assert sorted(results) == list(range(5))
    assert [sorted(group) for _, group in run.groups] == [["first"], list(range(5))]
    assert run.groups[1][0] == committer._thread.ident  # type: ignore[union-attr]


def test_what_is_left_over_is_tried_again_by_the_thread(committer: Committer, run: Run) -> None:
    run.left.append(True)
    here = elsewhere(lambda: (threading.get_ident(), committer.call("a")))
    assert run.begun.acquire(timeout=30)
    assert run.begun.acquire(timeout=30)
    assert run.groups == [(here[0], ["a"]), (committer._thread.ident, [])]  # type: ignore[union-attr]


def test_a_callback_may_use_the_store(committer: Committer, run: Run) -> None:
    inner: list[Any] = []
    run.then = lambda: inner.append(committer.call("inner"))
    assert elsewhere(lambda: committer.call("outer")) == "outer"
    assert inner == ["inner"]


def test_closing_waits_for_whoever_commits(committer: Committer, run: Run) -> None:
    gate = threading.Event()
    run.gates.append(gate)
    caller = begin(run, lambda: committer.call("last"))
    committer.submit(("later", lambda result: None))
    closer = threading.Thread(target=committer.close)
    closer.start()
    while not committer._closed:
        pass
    with pytest.raises(Closed):
        committer.call("too late")
    gate.set()
    caller.join(30)
    closer.join(30)
    assert [group for _, group in run.groups] == [["last"], ["later"]]
    with pytest.raises(Closed):
        committer.call("too late")


def test_an_error_in_the_leader_leaves_the_committer_usable(committer: Committer, run: Run) -> None:
    def fail() -> None:
        run.inside -= 1
        raise KeyboardInterrupt

    run.then = fail
    assert isinstance(elsewhere(lambda: committer.call("a")), KeyboardInterrupt)
    assert committer.call("b") == "b"
