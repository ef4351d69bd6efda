"""What a proof that builds a disk wants of this host, else it is skipped and says why."""

import os
import shutil
from collections.abc import Iterable

import pytest


def skip_without(tools: Iterable[str]) -> None:
    """Skip the test unless this is root's process, and these programs are there."""
    if os.geteuid() != 0:
        pytest.skip("building a disk needs root")
    if lacking := [tool for tool in tools if not shutil.which(tool)]:
        pytest.skip(f"{', '.join(lacking)} are not installed")
