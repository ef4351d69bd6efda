"""Lines for whoever watches a run, past pytest's capture."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Teller:
    """Prints a line at once, also while a session fixture is at work."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(self, text: str) -> None:
        """Print one line; silent where there is no terminal, as in a worker of xdist."""
        plugins = self._config.pluginmanager
        terminal = plugins.get_plugin("terminalreporter")
        if terminal is None:
            return
        with _uncaptured(plugins.get_plugin("capturemanager")):
            terminal.ensure_newline()
            if self._config.get_terminal_writer().width_of_current_line:
                terminal.write_line("")
            terminal.write_line(text)


@contextmanager
def _uncaptured(capture: Any) -> Iterator[None]:
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield
