"""Around each test that uses the lab: its turn on it, and whether the lab is still there."""

from collections.abc import Collection, Generator, Sequence

import pytest

from lab.errors import LabError
from lab.session import LabSession

PLUGIN = "lab.plugin"
HEALS = "failover"  # such a test begins with healing whatever is broken on purpose
ALONE = ("disruptive", "defects", HEALS)


class Guard:
    """Hooks of pytest; `fixtures` are those whose tests use the lab."""

    def __init__(self, session: LabSession, fixtures: Collection[str]) -> None:
        self._session = session
        self._fixtures = frozenset(fixtures)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture: nothing begins on a lab that is gone, out of turn, or broken on purpose."""
        if not self._uses_lab(item):
            return
        if self._session.gone is not None:
            pytest.fail(str(self._session.gone).splitlines()[0], pytrace=False)
        try:
            alone = any(item.get_closest_marker(mark) for mark in ALONE)
            self._session.turns.take(item.nodeid, alone=alone)
            if not item.get_closest_marker(HEALS):
                self._session.insist_sound()
        except LabError as error:
            pytest.fail(str(error), pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """The turn ends after the last fixture is torn down, whatever happened."""
        try:
            return (yield)
        finally:
            if self._uses_lab(item):
                self._session.turns.end()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What fails because the lab is gone is an error of the laboratory, and says so in one line."""
        report = yield
        if report.failed and self._uses_lab(item) and (gone := self._session.look()) is not None:
            report.sections.append(("what failed without the lab", report.longreprtext))
            report.longrepr = str(gone)
            report.when = "setup" if report.when == "call" else report.when
        return report

    def _uses_lab(self, item: pytest.Item) -> bool:
        """Whether it asks for a fixture of ours; others may have given theirs the same name."""
        known = getattr(item, "_fixtureinfo", None)
        asked = known.name2fixturedefs if known else {}
        return any(_is_ours(name, asked[name]) for name in self._fixtures & asked.keys())


def _is_ours(name: str, definitions: Sequence[pytest.FixtureDef[object]]) -> bool:
    """Whether the fixture that counts, the last, is the plugin's, or is built upon it."""
    for each in reversed(definitions):
        if each.func.__module__ == PLUGIN:
            return True
        if name not in each.argnames:
            return False
    return False
