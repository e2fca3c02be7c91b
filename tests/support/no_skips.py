"""A pytest plugin that fails a run in which a test was skipped: `pytest -p tests.support.no_skips`.

`make test` installs everything that a test may ask for, so a skip there means that something was not tested.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

SKIPPED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing skipped."""
    config.stash[SKIPPED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each skipped test."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        item.config.stash[SKIPPED].append(f"{item.nodeid}: {reason}")
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a passed run into a failed one when something was skipped."""
    if session.config.stash[SKIPPED] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was skipped."""
    for line in config.stash[SKIPPED]:
        terminalreporter.write_line(f"skipped, so this run fails: {line}", red=True)
