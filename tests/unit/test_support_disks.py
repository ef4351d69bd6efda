"""What a report says of the disks whose power is cut."""

import pytest
import support_disks
from test_machine import machine


def test_each_disks_mode_is_told_and_that_nobody_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = machine("a"), machine("b"), machine("c")
    monkeypatch.setattr(two, "disk_cache", lambda: "unsafe")
    monkeypatch.setattr(three, "disk_cache", lambda: "unsafe")
    modes = support_disks.cache_modes([one, two, three])
    assert support_disks.told(modes) == "not told by its hypervisor: a; unsafe: b, c"
