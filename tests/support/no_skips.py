"""A pytest plugin that fails a run in which a test was skipped: `pytest -p tests.support.no_skips`.

`make test` installs everything that a test may ask for, so a skip there means that something was not tested.
"""

from __future__ import annotations

import pytest


class NoSkips:
    """Notes each skipped test; with several workers, whichever ran it."""

    def __init__(self) -> None:
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test."""
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self._skipped.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Turn a passed run into a failed one when something was skipped."""
        if self._skipped and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was skipped."""
        for line in self._skipped:
            terminalreporter.write_line(f"skipped, so this run fails: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watch where the reports come together, not in each worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoSkips(), "no-skips")
