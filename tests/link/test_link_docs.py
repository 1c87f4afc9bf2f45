"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from rataccess.link import LinkState
from rataccess.link.states import TRANSITIONS, LinkEvent, diagram
from rataccess.link.timing import LinkTiming

DOCS = Path(__file__).parents[2] / "docs" / "links.md"


def test_the_diagram_in_the_docs_is_the_table() -> None:
    (found,) = re.findall(r"```mermaid\n(.*?)\n```", DOCS.read_text(), re.DOTALL)
    assert found == diagram(), "run the command that docs/links.md names and paste what it prints"


def test_the_diagram_shows_every_transition() -> None:
    drawn = {
        (old, event, new)
        for old, new, events in re.findall(r"^    (\w+) --> (\w+) : (.*)$", diagram(), re.MULTILINE)
        for event in events.split(" / ")
    }
    table = {(old.value, event.value, new.value) for (old, event), new in TRANSITIONS.items()}
    assert drawn == {entry for entry in table if entry[1] != LinkEvent.CLOSE}
    assert all((state, LinkEvent.CLOSE) in TRANSITIONS for state in LinkState if state is not LinkState.CLOSED)


def test_the_limits_in_the_docs_are_those_of_the_code() -> None:
    text, timing = " ".join(DOCS.read_text().split()), LinkTiming()
    limits = f"(open {timing.open_limit:g} s, attach {timing.attach_limit:g} s, transport {timing.start_limit:g} s, "
    assert limits + f"closing {timing.close_limit:g} s)" in text
    assert f"({timing.backoff_first:g} s doubling to {timing.backoff_longest:g} s" in text
    assert f"called every {timing.watch_every:g} s" in text
    assert f"with {timing.doubt_limit:g} s to answer" in text
