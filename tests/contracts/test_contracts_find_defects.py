"""A contract that cannot fail is no contract: each defect in `flawed_suite.py` is found by the clause that it breaks."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.contracts.flawed_suite import CATCHES

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What failed, as class and test, when pytest ran the flawed suites."""
    report = tmp_path_factory.mktemp("flawed") / "report.xml"
    # Leaks are among the defects: what Python says of them at the end is not the point here.
    tests = [f"{HERE / 'flawed_suite.py'}::{suite}::{test}" for suite, test in CATCHES.items()]
    run = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", f"--junitxml={report}", *tests]
    done = subprocess.run(run, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"])
        for case in cases
        if any(child.tag in ("failure", "error") for child in case)
    }


@pytest.mark.parametrize(("suite", "test"), sorted(CATCHES.items()))
def test_defect_is_found(failed: set[tuple[str, str]], suite: str, test: str) -> None:
    assert (suite, test) in failed
