"""Environment variables: typed reads, and who is told of changes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rataccess.channel.environment import Environment, Variables
from rataccess.channel.watching import Watched
from rataccess.objects import Service, encode
from tests.channel.rig import Rig

pytestmark = pytest.mark.looptime


def environment(values: object) -> tuple[Environment, list[dict[str, object]]]:
    reports: list[dict[str, object]] = []
    return Environment(Variables(encode(values), reports.append)), reports


def change(rig: Rig, number: int, values: object) -> None:
    rig.arrive(number, "$environment", values, Service.MANAGEMENT)


@pytest.mark.parametrize(
    ("method", "text", "expected"),
    [
        ("get_int", "10", 10),
        ("get_int", " -7 ", -7),
        ("get_int", "+0", 0),
        ("get_int", "10s", "default"),
        ("get_int", "1e3", "default"),
        ("get_int", "1_000", "default"),
        ("get_int", "", "default"),
        ("get_int", "9" * 5000, "default"),
        ("get_int", "\N{ARABIC-INDIC DIGIT ONE}", "default"),
        ("get_float", "0.5", 0.5),
        ("get_float", "1e-3", 0.001),
        ("get_float", "10", 10.0),
        ("get_float", "nan", "default"),
        ("get_float", "inf", "default"),
        ("get_float", "1e999", "default"),
        ("get_float", "half", "default"),
        ("get_bool", "TRUE", True),
        ("get_bool", "yes", True),
        ("get_bool", "on", True),
        ("get_bool", "1", True),
        ("get_bool", "False", False),
        ("get_bool", "no", False),
        ("get_bool", " off ", False),
        ("get_bool", "0", False),
        ("get_bool", "2", "default"),
        ("get_bool", "", "default"),
    ],
)
def test_typed_reads(method: str, text: str, expected: object) -> None:
    env, reports = environment({"A": text})
    found = getattr(env, method)("A", "default")
    assert found == expected
    assert type(found) is type(expected)
    assert bool(reports) == (expected == "default")
    assert getattr(env, method)("ABSENT", expected) is expected


def test_a_malformed_value_is_told_once_for_each_value(caplog: pytest.LogCaptureFixture) -> None:
    reports: list[dict[str, object]] = []
    variables = Variables(encode({"PERIOD": "soon"}), reports.append)
    env = Environment(variables)
    with caplog.at_level(logging.WARNING):
        assert [env.get_int("PERIOD", 60) for _ in range(3)] == [60] * 3
        variables.replace(encode({"PERIOD": "x" * 1000}))
        assert [env.get_int("PERIOD", 60) for _ in range(3)] == [60] * 3
        variables.replace(encode({"PERIOD": "5"}))
        assert env.get_int("PERIOD", 60) == 5
    assert len(caplog.records) == len(reports) == 2
    assert "PERIOD is 'soon', not a whole number" in str(reports[0]["text"])
    assert len(str(reports[1]["text"])) < 200


@given(st.text(max_size=30))
def test_no_text_breaks_a_typed_read(text: str) -> None:
    env, _ = environment({"A": text})
    for found in (env.get_int("A", None), env.get_float("A", None), env.get_bool("A", None)):
        assert found is None or isinstance(found, int | float)


async def test_changes_tell_what_changed(rig: Rig) -> None:
    change(rig, 1, {"A": "1", "B": "2"})
    changes = rig.management.env.changes()
    waiting = asyncio.create_task(anext(changes))
    await asyncio.sleep(1)
    assert not waiting.done(), "what holds already is no change"
    change(rig, 2, {"A": "1", "B": "2"})
    await asyncio.sleep(1)
    assert not waiting.done(), "the same again is no change"
    change(rig, 3, {"A": "1", "B": "3", "C": "4"})
    assert await waiting == {"B": "3", "C": "4"}
    assert dict(rig.management.env) == {"A": "1", "B": "3", "C": "4"}
    change(rig, 4, {"B": "3", "C": "5"})
    change(rig, 5, {"B": "3", "C": "6"})
    assert await anext(changes) == {"A": None, "C": "6"}, "several at once are one"
    change(rig, 6, {})
    change(rig, 7, {"B": "3", "C": "6"})
    waiting = asyncio.create_task(anext(changes))
    await asyncio.sleep(1)
    assert not waiting.done(), "what cancels out is no change"
    rig.management.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_loop_over_changes_ends_with_the_device(rig: Rig) -> None:
    seen: list[Any] = []

    async def follow() -> None:
        async for changed in rig.management.env.changes():
            seen.append(changed)

    tasks = [asyncio.create_task(follow()) for _ in range(2)]
    await asyncio.sleep(1)
    change(rig, 1, {"A": "1"})
    await asyncio.sleep(1)
    rig.management.close()
    await asyncio.gather(*tasks)
    assert seen == [{"A": "1"}] * 2


async def test_reading_touches_no_store_and_a_restart_keeps_the_values(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(rig, 1, {"A": "1", "N": 5})
    await rig.restart()
    monkeypatch.setattr(rig.store._engine, "read", lambda query: pytest.fail("read"))
    monkeypatch.setattr(rig.store, "get_object", lambda *_: pytest.fail("read"))
    env = rig.management.env
    assert (env["A"], env.get_int("N", 0), sorted(env), repr(env)) == ("1", 5, ["A", "N"], "<Environment ['A', 'N']>")


@pytest.mark.parametrize("nonsense", [7, None, ["A"], "text"])
async def test_nonsense_is_an_empty_environment(rig: Rig, nonsense: object) -> None:
    change(rig, 1, {"A": "1"})
    change(rig, 2, nonsense)
    assert dict(rig.management.env) == {}


async def test_a_watched_value_wakes_all_who_wait_for_another() -> None:
    watched = Watched(1)
    tasks = [asyncio.create_task(watched.another(than)) for than in (1, 1, 2)]
    await asyncio.sleep(0)
    assert await tasks[2] == 1
    watched.change(2)
    assert [await task for task in tasks[:2]] == [2, 2]
