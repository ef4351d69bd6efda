"""Folders that cannot be used and disks that are full: named at once, with a remedy that works."""

import errno
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import disks
from lab.artifacts.cache import Cache, Key
from lab.artifacts.fetch import fetch, verify
from lab.artifacts.source import SourceFailed
from lab.disks import CACHE, STATE, NoSpace, Place, Unusable, why_unwritable
from lab.errors import LabError
from lab.state import StateFolder
from lab.versions import rows

VERSIONS = rows()["1.37"]


def free(monkeypatch: pytest.MonkeyPatch, mib: dict[str, int]) -> None:
    """What is free below each of these folders; elsewhere there is room."""

    def usage(path: Path) -> SimpleNamespace:
        found = [each for folder, each in mib.items() if str(path).startswith(folder)]
        return SimpleNamespace(free=(found[0] if found else 9000) * disks.MIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)


class Counted:
    """A source that fails with these words and counts how often it was asked."""

    name = "counted"

    def __init__(self, words: str) -> None:
        self.words, self.asked = words, 0

    def offers(self, _: object) -> bool:
        return True

    def deliver(self, *_: object) -> str:
        self.asked += 1
        raise SourceFailed(self.words)


# -- full disks --------------------------------------------------------------------------------------


def test_on_a_full_disk_no_source_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, {str(tmp_path): 0})
    source = Counted("never")
    with pytest.raises(NoSpace) as caught:
        fetch(VERSIONS, Cache(tmp_path), sources=[source])
    assert source.asked == 0
    assert f"no space left on {tmp_path} (0 MiB free)" in str(caught.value)
    assert "THWLAB_CACHE" in caught.value.remedy
    assert "thwlab artifacts gc" in caught.value.remedy


def test_a_program_that_filled_the_disk_is_the_last_one_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is empty then, for that could not be written either."""
    first, second = Counted("`go install` exited 1:\n"), Counted("never")
    deliver = first.deliver

    def fill(*args: object) -> str:
        free(monkeypatch, {str(tmp_path): 3})
        return deliver(*args)

    monkeypatch.setattr(first, "deliver", fill)
    with pytest.raises(NoSpace, match=r"\(3 MiB free\); so this failed: `go install` exited 1:"):
        fetch(VERSIONS, Cache(tmp_path), sources=[first, second])
    assert (first.asked, second.asked) == (1, 0)


@pytest.mark.parametrize(
    "words",
    [
        "compile: writing output: write /x: no space left on device",
        "dpkg: error: failed to write (No space left on device)",
        "FATAL ERROR: Probably out of space on output filesystem",
        "tar: Disk quota exceeded",
    ],
)
def test_what_programs_say_of_a_full_disk_is_understood(words: str, tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="no space left on"), Place(tmp_path, CACHE).naming_trouble():
        raise LabError(f"`x` exited 1: {words}")


def test_another_disk_that_is_full_is_named_with_its_own_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOCACHE", str(tmp_path / "go"))
    free(monkeypatch, {str(tmp_path / "go"): 1, str(tmp_path): 9000})
    (tmp_path / "go").mkdir()
    with pytest.raises(NoSpace) as caught, Place(tmp_path / "cache", CACHE).naming_trouble():
        raise LabError("go: no space left on device")
    assert f"no space left on {tmp_path / 'go'} (1 MiB free)" in str(caught.value)
    assert "set GOCACHE" in caught.value.remedy


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="not found"), Place(tmp_path, CACHE).naming_trouble():
        raise SourceFailed("404 not found")
    with pytest.raises(FileNotFoundError), Place(tmp_path, CACHE).naming_trouble():
        (tmp_path / "missing").read_text()
    with pytest.raises(PermissionError), Place(tmp_path, CACHE).naming_trouble():
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/shadow")


# -- folders that cannot be used -------------------------------------------------------------------


def denied(path: Path) -> OSError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@pytest.mark.parametrize("variable", [CACHE, STATE])
def test_a_home_that_is_not_there_is_told_with_the_folder_and_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    place = Place(Path("/nonexistent/.cache/thwlab"), variable)
    with pytest.raises(Unusable) as caught, place.naming_trouble():
        raise denied(Path("/nonexistent"))
    assert "/nonexistent/.cache/thwlab cannot be used: /nonexistent: Permission denied" in str(caught.value)
    assert f'export {variable}="$(mktemp -d)"' in caught.value.remedy
    assert "chown" not in caught.value.remedy, "there is nothing to be owned"


def test_what_is_there_and_not_ones_own_is_told_how_to_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b").mkdir()
    place = Place(tmp_path / "a b", CACHE)
    for euid, told in ((1000, True), (0, False)):
        monkeypatch.setattr("os.geteuid", lambda euid=euid: euid)
        with pytest.raises(Unusable) as caught, place.naming_trouble():
            raise denied(place.path / "locks/x.lock")
        assert (f"sudo chown -R {os.getuid()} '{place.path}'" in caught.value.remedy) is told


def test_the_remedy_for_a_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(Unusable) as caught:
        Cache(blocked / "cache").put(Key("tool", "1.0", "amd64"), lambda _: "here")
    paste = caught.value.remedy.split(",")[0]
    told = subprocess.run(["sh", "-c", f'{paste}; echo "$THWLAB_CACHE"'], capture_output=True, check=True)
    instead = Path(told.stdout.decode().strip())
    assert Cache(instead).put(Key("tool", "1.0", "amd64"), lambda _: "here").source == "here"


def test_reading_a_cache_that_is_none_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cache = Cache(tmp_path / "file")
    for act in (lambda: verify(cache), lambda: cache.get(Key("tool", "1.0", "amd64"))):
        with pytest.raises(Unusable, match=CACHE):
            act()


def test_a_state_folder_that_cannot_be_made_is_told_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    state = StateFolder(tmp_path / "file/labs/thw")
    for act in (lambda: state.intend("incus", "d"), state.intent, lambda: state.locked().__enter__()):
        with pytest.raises(Unusable, match=STATE):
            act()


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x", "/dev/null"])
def test_a_folder_where_nothing_can_be_made_is_known_before(folder: str) -> None:
    assert why_unwritable(Path(folder)).startswith(("/proc: ", "/dev/null: "))


def test_looking_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    assert why_unwritable(tmp_path / "a/b") == ""
    assert not list(tmp_path.iterdir())
