"""Cgroup hierarchies as hosts have them, from their own mount tables."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.providers import enclosure
from lab.providers.enclosure import cgroup_mounts

ROOT = "24 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard\n"
V2 = (
    ROOT
    + "31 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)
V1 = (
    ROOT
    + """\
31 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
33 31 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,release_agent=/a,name=systemd
34 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:12 - cgroup cgroup rw,cpu,cpuacct
35 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
36 31 0:31 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
"""
)
HYBRID = V1 + "32 31 0:27 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_v2_host_has_one_hierarchy() -> None:
    assert cgroup_mounts(V2) == {"/sys/fs/cgroup": ("cgroup2", "")}


def test_a_v1_host_has_one_for_each_controller_under_the_options_that_mount_it_again() -> None:
    assert cgroup_mounts(V1) == {
        "/sys/fs/cgroup/systemd": ("cgroup", "none,name=systemd"),
        "/sys/fs/cgroup/cpu,cpuacct": ("cgroup", "cpu,cpuacct"),
        "/sys/fs/cgroup/cpuset": ("cgroup", "cpuset"),
        "/sys/fs/cgroup/net_cls,net_prio": ("cgroup", "net_cls,net_prio"),
    }


def test_a_hybrid_host_has_both_kinds() -> None:
    found = cgroup_mounts(HYBRID)
    assert found["/sys/fs/cgroup/unified"] == ("cgroup2", "")
    assert found["/sys/fs/cgroup/cpuset"] == ("cgroup", "cpuset")
    assert len(found) == 5


def test_a_host_without_cgroups_has_none() -> None:
    assert cgroup_mounts(ROOT) == {}
    assert cgroup_mounts("") == {}


def test_a_line_may_have_any_number_of_optional_fields() -> None:
    line = "31 23 0:27 / /sys/fs/cgroup rw shared:9 master:2 propagate_from:1 - cgroup2 cgroup2 rw\n"
    assert list(cgroup_mounts(line)) == ["/sys/fs/cgroup"]


def test_this_host_can_be_read() -> None:
    assert all(kind in ("cgroup", "cgroup2") for kind, _ in cgroup_mounts().values())


@pytest.mark.parametrize(
    "args", [["name"], ["name", "log"], ["name", "log", "--"], ["name", "log", "daemon"]]
)
def test_a_call_that_is_not_whole_starts_nothing(args: list[str]) -> None:
    argv = [sys.executable, "-I", enclosure.__file__, *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "usage: enclosure.py" in done.stderr


def test_groups_are_entered_and_a_cpuset_gets_its_parents_first(tmp_path: Path) -> None:
    for name in ("cpuset", "memory"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    mounts = {str(tmp_path / "cpuset"): ("cgroup", "cpuset"), str(tmp_path / "memory"): ("cgroup", "memory")}
    enclosure._enter_cgroups("x", mounts)
    group = tmp_path / "cpuset/thwlab-x"
    assert (group / "cpuset.cpus").read_text() == "0-1\n"
    assert (
        (group / "cgroup.procs").read_text() == (tmp_path / "memory/thwlab-x/cgroup.procs").read_text() != ""
    )


def test_only_the_standard_library_is_needed() -> None:
    """The program runs isolated, before any namespace of the lab exists."""
    argv = [sys.executable, "-I", "-S", enclosure.__file__]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert "ModuleNotFoundError" not in done.stderr


def test_a_system_without_such_a_list_has_no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, where VMs are looked for and removed all the same."""
    monkeypatch.setattr(enclosure.Path, "read_text", _no_such_file)
    assert cgroup_mounts() == {}


def _no_such_file(_: Path) -> str:
    raise FileNotFoundError("/proc/self/mountinfo")
