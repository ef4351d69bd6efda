"""A Vagrant that outlives a killed thwlab is ended by whoever comes next; nobody else is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.providers.vagrant import strays
from lab.providers.vagrant.process import Call, carry_out
from lab.wait import NotYet, wait_until

KILLED = """
import sys
from pathlib import Path
from lab.providers.vagrant.process import Call, carry_out
carry_out(Call(["sh", "-c", "sleep 300 & wait"], 300, noted=Path(sys.argv[1])))
"""


def test_what_outlives_a_kill_is_found_and_ended_with_its_group(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "at-work")]) as ours:
        wait_until("its note", lambda: _noted(tmp_path / "at-work"), timeout=20)
        ours.send_signal(signal.SIGKILL)
    (path,) = (tmp_path / "at-work").iterdir()
    pid = int(path.name)
    assert strays.born(pid)
    assert strays.end(tmp_path / "at-work") == [pid]
    assert not strays.born(pid)
    assert list((tmp_path / "at-work").iterdir()) == []
    assert strays.end(tmp_path / "at-work") == []


def test_what_has_ended_leaves_no_note(tmp_path: Path) -> None:
    assert carry_out(Call(["true"], 20, noted=tmp_path / "at-work")).status == 0
    assert list((tmp_path / "at-work").iterdir()) == []


def test_another_process_by_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        strays.note(tmp_path, other.pid).write_text("Mon Jan  1 00:00:00 2001")
        assert strays.end(tmp_path) == []
        assert other.poll() is None
        other.kill()
    assert strays.end(tmp_path / "none") == []


def _noted(folder: Path) -> None:
    if not folder.exists() or not any(path.read_text() for path in folder.iterdir()):
        raise NotYet("not yet")


def test_what_cannot_be_noted_does_not_go_on(tmp_path: Path) -> None:
    """As on a full disk: nobody would end it."""
    (tmp_path / "at-work").write_text("a file where the folder should be")
    told = tmp_path / "pid"
    with pytest.raises(FileExistsError):
        carry_out(Call(["sh", "-c", f"echo $$ >{told}; sleep 300"], 300, noted=tmp_path / "at-work"))
    assert not told.exists() or not strays.born(int(told.read_text() or "0"))
