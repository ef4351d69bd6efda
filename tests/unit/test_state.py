"""What a lab keeps on this host: intent before deed, one builder at a time, nothing left behind."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import state as module
from lab.errors import LabError
from lab.state import StateFolder, labs, state_root


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    return StateFolder(tmp_path / "state" / "thw")


def test_an_intent_is_read_back_with_this_boot(folder: StateFolder) -> None:
    folder.intend("incus:private", "abc")
    intent = folder.intent()
    assert intent is not None
    assert (intent.name, intent.provider, intent.digest, intent.schema) == ("thw", "incus:private", "abc", 1)
    assert intent.boot == module.boot_id() != ""


def test_the_folder_is_the_owners_alone_also_if_it_was_open(folder: StateFolder) -> None:
    folder.path.mkdir(parents=True, mode=0o755)
    folder.intend("incus", "abc")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.path.iterdir()] == ["lab.json"]


def test_nothing_intended_is_none(folder: StateFolder) -> None:
    assert folder.intent() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": "thw"}', json.dumps({"name": "a", "from": "later"})]
)
def test_a_file_that_is_not_ours_is_named_with_the_way_out(folder: StateFolder, text: str) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "lab.json").write_text(text)
    with pytest.raises(LabError, match=r"lab.json is not this version's[\s\S]*thwlab down --name thw"):
        folder.intent()


def test_an_intent_of_another_schema_is_refused(folder: StateFolder) -> None:
    folder.intend("incus", "abc")
    path = folder.path / "lab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(LabError, match="schema 2"):
        folder.intent()


def test_bytes_that_are_no_text_are_an_intent_of_nobody(folder: StateFolder) -> None:
    folder.intend("incus", "abc")
    (folder.path / "lab.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabError, match="thwlab down"):
        folder.intent()


def test_forgetting_leaves_nothing_and_follows_no_link(folder: StateFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    folder.intend("incus", "abc")
    (folder.path / "pki/deep").mkdir(parents=True)
    (folder.path / "pki/deep/key.pem").write_text("secret")
    (folder.path / "link").symlink_to(outside)
    (folder.path / "dangling").symlink_to("nowhere")
    folder.forget()
    assert not folder.path.exists()
    assert (outside / "file").exists()
    folder.forget()  # harmless when there is nothing


def test_whoever_holds_the_lock_may_take_it_again(folder: StateFolder) -> None:
    with folder.locked(timeout=0.1), StateFolder(folder.path).locked(timeout=0.1):
        pass


HOLD = """
import sys
from pathlib import Path
from lab.state import StateFolder
with StateFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_waits_and_is_told_who_to_look_for(folder: StateFolder) -> None:
    argv = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        who = rf"another process has held .*\.thw\.lock for 0s: pid {holder.pid} [\s\S]*fuser"
        refused = pytest.raises(LabError, match=who)
        with refused, folder.locked(timeout=0.05):
            raise AssertionError
        holder.kill()  # the lock ends with its process
        holder.wait()
        with folder.locked(timeout=5):
            pass


def beside(folder: StateFolder) -> list[str]:
    return sorted(path.name for path in folder.path.parent.iterdir())


def test_the_lock_of_a_lab_that_is_gone_is_gone_too(folder: StateFolder) -> None:
    with folder.locked():
        folder.intend("incus", "abc")
        folder.turn.touch()
    assert beside(folder) == [".thw.lock", ".thw.turn", "thw"]
    with folder.locked(), folder.locked():
        folder.forget()
    assert beside(folder) == []


def test_a_lock_is_given_back_by_who_fails_and_by_who_is_interrupted(folder: StateFolder) -> None:
    for error in (LabError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), folder.locked():
            raise error
        assert beside(folder) == []


def test_who_waited_while_a_lab_was_removed_is_alone_with_it(folder: StateFolder) -> None:
    argv = [sys.executable, "-c", HOLD, str(folder.path)]
    with folder.locked():
        waiter = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert waiter.stdout is not None
    with waiter:
        assert waiter.stdout.readline() == b"held\n"
        with pytest.raises(LabError), folder.locked(timeout=0.05):
            raise AssertionError
        waiter.kill()


def test_another_thread_waits_like_another_process(folder: StateFolder) -> None:
    def refused() -> None:
        with pytest.raises(LabError, match="another process"), folder.locked(timeout=0.05):
            raise AssertionError

    with folder.locked(), ThreadPoolExecutor(1) as pool:
        pool.submit(refused).result()


def test_what_lies_beside_the_labs_is_none(folder: StateFolder) -> None:
    (state_root() / ".locks").mkdir(parents=True)
    assert labs() == []


def test_labs_are_listed_by_name_and_locks_are_none(folder: StateFolder) -> None:
    assert labs() == []
    for name in ("two", "one"):
        StateFolder(state_root() / name).intend("incus", "x")
    with StateFolder(state_root() / "one").locked():
        assert [lab.name for lab in labs()] == ["one", "two"]


def test_root_and_users_keep_their_state_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THWLAB_STATE", raising=False)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert state_root() == Path("/var/lib/thwlab")
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ada/.state")
    assert state_root() == Path("/home/ada/.state/thwlab")


def test_a_host_without_boot_id_is_one_that_never_boots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "none")
    assert module.boot_id() == "unknown"
