"""What a machine is told and answers; its receiver of files runs here as it does there."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from lab import transfer
from lab.errors import CommandFailed, CommandTimedOut, LabError, OutputLost
from lab.machine import File, Machine, Result, on_each, patience
from lab.topology import Node
from lab.transfer import Carried
from lab.wait import NotYet, stretch, wait_until


class Here(Machine):
    """A machine that is this host: commands run as they would there, without site packages."""

    cut = 0  # bytes that never arrive
    answer: Result | None = None

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        if self.answer is not None:
            return self.answer
        line = [argv[0], "-S", *argv[1:]] if argv[0] == "python3" else list(argv)
        fed = stdin[: len(stdin) - self.cut]
        done = subprocess.run(line, input=fed, capture_output=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def pull_plug(self) -> None:
        raise NotImplementedError

    boot = reboot = pause = resume = pull_plug


def machine(name: str = "k8s-lb") -> Here:
    return Here(Node(name, IPv4Address("192.168.100.100"), frozenset()))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# -- apply ------------------------------------------------------------------------------------------


def test_files_arrive_with_content_mode_and_folders(tmp_path: Path) -> None:
    wanted = [
        File(str(tmp_path / "opt/etcd/cfg/etcd.conf"), b"name: etcd-1\n"),
        File(str(tmp_path / "opt/etcd/ssl/server-key.pem"), b"secret", 0o600),
        File(str(tmp_path / "bin/run"), b"\x00\xff\n\n", 0o755),
        File(str(tmp_path / "empty"), b""),
    ]
    assert machine().apply(wanted) == {file.path for file in wanted}
    assert [(Path(f.path).read_bytes(), mode(Path(f.path))) for f in wanted] == [
        (f.content, f.mode) for f in wanted
    ]


def test_only_what_changed_is_named_and_touched(tmp_path: Path) -> None:
    same, content, bits = (str(tmp_path / name) for name in ("same", "content", "bits"))
    machine().apply([File(same, b"1"), File(content, b"1"), File(bits, b"1")])
    before = Path(same).stat()
    changed = machine().apply([File(same, b"1"), File(content, b"2"), File(bits, b"1", 0o600)])
    assert changed == {content, bits}
    assert (Path(same).stat().st_ino, Path(same).stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert mode(Path(bits)) == 0o600


def test_a_file_is_replaced_and_never_seen_half_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    machine().apply([File(str(path), b"old")])
    with path.open("rb") as reader:
        machine().apply([File(str(path), b"new")])
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_stream_that_breaks_off_changes_nothing_it_did_not_bring_whole(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    broken.write_bytes(b"old")
    torn = machine()
    torn.cut = 3
    with pytest.raises(CommandFailed, match=r"stream ended inside .*broken"):
        torn.apply([File(str(whole), b"1"), File(str(broken), b"12345")])
    assert (whole.read_bytes(), broken.read_bytes()) == (b"1", b"old")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "whole"]


def test_a_stream_that_breaks_off_in_its_list_changes_nothing(tmp_path: Path) -> None:
    torn = machine()
    files = [File(str(tmp_path / "file"), b"1")]
    torn.cut = len(transfer.stream(files, {})[0]) - 5
    with pytest.raises(CommandFailed):
        torn.apply(files)
    assert list(tmp_path.iterdir()) == []


def test_what_is_only_lacking_goes_where_nothing_stands(tmp_path: Path) -> None:
    own, new, same, other, masked = (
        str(tmp_path / name) for name in ("own", "d/new", "same", "other", "masked")
    )
    for path in (own, other):
        Path(path).write_bytes(b"theirs")
    machine().apply([File(same, b"2")])
    Path(masked).symlink_to("/dev/null")
    lacking = [File(path, b"2") for path in (new, same, other, masked)]
    assert machine().carry([File(own, b"1")], {"/nowhere/a.service": lacking}) == Carried(
        frozenset({own, new}), frozenset({other, masked})
    )
    assert [Path(path).read_bytes() for path in (own, new, same, other)] == [b"1", b"2", b"2", b"theirs"]
    assert Path(masked).is_symlink()


def test_what_is_lacking_of_a_unit_that_is_there_is_left_to_whoever_tells_it(tmp_path: Path) -> None:
    """Also where another, that is not there yet, reads it too."""
    old, new = (str(tmp_path / f"{name}.service") for name in ("old", "new"))
    Path(old).touch()
    shared, alone, unit = (File(str(tmp_path / name), b"1") for name in ("ca", "conf", "new.service"))
    told = machine().carry([], {old: [shared], new: [unit, alone, shared]})
    assert told == Carried(frozenset({unit.path, alone.path}), frozenset({shared.path}))


def test_what_cannot_be_written_of_what_is_lacking_hinders_nobody_else(tmp_path: Path) -> None:
    """Who needs it meets that himself; and all that was lacking is tried before anything that is changed."""
    (tmp_path / "folder").write_bytes(b"a file")
    bad, good, own = (File(str(tmp_path / name), b"1") for name in ("folder/conf", "good", "own"))
    told = machine().carry([own], {"/nowhere/a.service": [bad, good]})
    assert told == Carried(frozenset({good.path, own.path}), frozenset({bad.path}))
    with pytest.raises(CommandFailed, match="folder"):
        machine().apply([bad])
    words = [line.split(b" ")[0] for line in transfer.stream([own], {"/a": [bad]})[0].splitlines()[:2]]
    assert words == [b"none:" + b"/a".hex().encode(), b"any"]


def test_a_report_that_is_lost_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LXD drops a stream now and then.  What the first time wrote has changed, and what was right has not."""
    old, new = (File(str(tmp_path / name), b"1") for name in ("old", "new"))
    asked = machine()
    asked.apply([old])
    wait_until("the old file to be old", partial(_check_older, Path(old.path), 0.5), timeout=5)
    really, lost = asked.run, []

    def losing(*argv: str, **extra: Any) -> Result:
        result = really(*argv, **extra)
        if len(lost) < losses:
            lost.append(argv)
            raise OutputLost("the daemon lost output")
        return result

    monkeypatch.setattr(asked, "run", losing)
    losses = 2
    assert asked.apply([old, new]) == {new.path}
    assert len(lost) == losses
    lost.clear()
    losses = 3
    with pytest.raises(OutputLost):
        asked.apply([old, new])


def _check_older(path: Path, seconds: float) -> None:
    if time.time() - path.stat().st_ctime < seconds:
        raise NotYet("it was just written")


def test_what_lacks_its_mode_is_not_right_and_is_left(tmp_path: Path) -> None:
    machine().apply([File(str(tmp_path / "key"), b"1")])
    key = File(str(tmp_path / "key"), b"1", 0o600)
    assert machine().carry([], {"/nowhere/a.service": [key]}) == Carried(left=frozenset({key.path}))
    assert mode(tmp_path / "key") == 0o644


def test_a_look_is_taken_where_something_was_there_and_only_there(tmp_path: Path) -> None:
    old, new = (File(str(tmp_path / name), b"1") for name in ("old", "new"))
    look = ("sh", "-c", 'printf "%s\\0" "$@"', "look", "a b", "")
    assert machine().carry([old], look=look) == Carried(frozenset({old.path}))
    assert machine().carry([old], look=look) == Carried(seen="a b\0\0")
    assert machine().carry([old, new], look=look) == Carried(frozenset({new.path}), seen="a b\0\0")


def test_a_look_that_fails_is_named(tmp_path: Path) -> None:
    old = File(str(tmp_path / "old"), b"1")
    machine().apply([old])
    with pytest.raises(CommandFailed, match="no such unit"):
        machine().carry([old], look=("sh", "-c", "echo no such unit >&2; exit 3"))


@pytest.mark.parametrize("name", ["with blank", " lead", "ä ü 漢", "quo\"te's", "$(touch x)", "-rf", "a\tb"])
def test_any_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in folder ü" / name
    assert machine().apply([File(str(path), b"1")]) == {str(path)}
    assert path.read_bytes() == b"1"
    assert machine().apply([File(str(path), b"1")]) == frozenset()


def test_names_arrive_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONUTF8", "0")
    path = tmp_path / "ä"
    assert machine().apply([File(str(path), b"1")]) == {str(path)}


def test_a_link_in_the_place_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"theirs")
    link.symlink_to(target)
    assert machine().apply([File(str(link), b"ours")]) == {str(link)}
    assert not link.is_symlink()
    assert (target.read_bytes(), link.read_bytes()) == (b"theirs", b"ours")


def test_a_link_to_equal_content_is_replaced_too(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"ours")
    target.chmod(0o644)
    link.symlink_to(target)
    assert machine().apply([File(str(link), b"ours")]) == {str(link)}
    assert not link.is_symlink()


def test_a_dangling_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/full-of-nothing")
    machine().apply([File(str(tmp_path / "link"), b"1")])
    assert (tmp_path / "link").read_bytes() == b"1"


def test_a_secret_is_never_readable_for_others_while_it_is_written(tmp_path: Path) -> None:
    """The part file is made 0600, whatever the mask, and widened only when it is whole."""
    machine().apply([File(str(tmp_path / "key"), b"secret", 0o600)])
    assert mode(tmp_path / "key") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_two_streams_may_bring_the_same_file_at_once(tmp_path: Path) -> None:
    """Stages that run at once share files, such as a CA's certificate on a master with etcd."""
    files = [File(str(tmp_path / f"file-{number}"), os.urandom(1000)) for number in range(50)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        for _ in range(5):
            assert all(isinstance(done, frozenset) for done in pool.map(machine().apply, [files] * 6))
            for file in files:
                Path(file.path).unlink()


def test_ten_megabytes_arrive(tmp_path: Path) -> None:
    content = os.urandom(10 * 1024 * 1024)
    machine().apply([File(str(tmp_path / "big"), content), File(str(tmp_path / "small"), b"1")])
    assert (tmp_path / "big").read_bytes() == content
    assert (tmp_path / "small").read_bytes() == b"1"


def test_a_name_that_the_stream_cannot_carry_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="line break"):
        machine().apply([File(str(tmp_path / "a\nb"), b"1")])


def test_no_files_ask_nothing() -> None:
    silent = machine()
    silent.answer = Result(1)
    assert silent.apply([]) == frozenset()


def test_a_files_content_is_not_shown() -> None:
    assert "secret" not in repr(File("/key", b"secret"))


# -- check and results ------------------------------------------------------------------------------


def test_check_returns_what_was_printed() -> None:
    assert machine().check("printf", "%s", "a b") == "a b"


def test_check_names_machine_command_status_and_words() -> None:
    with pytest.raises(CommandFailed, match=r"k8s-lb: `sh -c 'echo no >&2; exit 3'` exited 3: no") as caught:
        machine().check("sh", "-c", "echo no >&2; exit 3")
    assert caught.value.status == 3


def test_check_at_the_deadline_shows_what_was_printed_so_far() -> None:
    frozen = machine()
    frozen.answer = Result(None, b"half")
    with pytest.raises(CommandTimedOut, match=r"k8s-lb: `true` timed out after 5\.0s; printed so far: half"):
        frozen.check("true", timeout=5)


@pytest.mark.parametrize(("plight", "remedy"), [("", "thwlab status"), ("paused", "thwlab up")])
def test_a_deadline_tells_what_the_machine_was_found_in_and_what_helps(
    plight: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = machine()
    silent.answer = Result(None, silence="k8s-lb did not answer by SSH")
    monkeypatch.setattr(silent, "plight", lambda: plight)
    with pytest.raises(CommandTimedOut, match="last seen: k8s-lb did not answer by SSH") as caught:
        silent.check("true", timeout=5)
    assert ("; k8s-lb is paused;" in str(caught.value)) is bool(plight)
    assert caught.value.remedy == remedy


def test_bytes_that_are_no_text_show_replacement_marks_and_are_kept() -> None:
    result = Result(0, b"\xaa\xff\x00", b"\xe9")
    assert (result.out, result.stdout, result.stderr) == (b"\xaa\xff\x00", "��\0", "�")


@pytest.mark.parametrize(
    ("status", "ok", "timed_out"), [(0, True, False), (1, False, False), (None, False, True)]
)
def test_a_deadline_is_neither_success_nor_a_status(status: int | None, ok: bool, timed_out: bool) -> None:
    assert (Result(status).ok, Result(status).timed_out) == (ok, timed_out)


# -- on_each ----------------------------------------------------------------------------------------


def three() -> Sequence[Machine]:
    return [machine(name) for name in ("a", "b", "c")]


def test_all_machines_are_worked_on_at_once_and_answers_keep_the_order() -> None:
    together = threading.Barrier(3, timeout=5)
    assert list(on_each(three(), lambda m: (together.wait(), m.name)[1]).items()) == [
        ("a", "a"), ("b", "b"), ("c", "c"),
    ]  # fmt: skip


def test_every_machine_is_tried_and_all_failures_come_back() -> None:
    tried = []

    def act(m: Machine) -> None:
        tried.append(m.name)
        if m.name != "b":
            raise LabError(m.name)

    with pytest.raises(BaseExceptionGroup, match="2 of 3 machines failed") as caught:
        on_each(three(), act)
    assert sorted(tried) == ["a", "b", "c"]
    assert [str(error) for error in caught.value.exceptions] == ["a", "c"]


def test_one_failure_comes_back_as_it_is() -> None:
    def act(m: Machine) -> None:
        if m.name == "b":
            raise LabError("b is off")

    with pytest.raises(LabError, match="b is off"):
        on_each(three(), act)


def test_no_machines_are_no_work() -> None:
    assert on_each([], lambda m: m.name) == {}


def test_work_left_behind_keeps_no_process_from_ending() -> None:
    program = (
        "import threading\nfrom lab.background import start\nstart(lambda: threading.Event().wait(60))\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=15, check=True)


def test_machines_that_are_not_ready_yet_may_still_be_waited_for() -> None:
    def act(machine: Machine) -> None:
        raise NotYet(f"{machine.name} has no route")

    with pytest.raises(NotYet) as seen:
        on_each(three(), act)
    assert str(seen.value).count("has no route") == 3


def test_one_machine_that_failed_for_good_is_not_hidden_by_those_that_are_not_ready_yet() -> None:
    def act(machine: Machine) -> None:
        raise LabError("gone") if machine is machines[0] else NotYet("no route")

    machines = three()
    with pytest.raises(BaseExceptionGroup, match="3 of 3"):
        on_each(machines, act)


@pytest.mark.parametrize(
    ("slowness", "given", "limit"),
    [(1.0, 60.0, 60.0), (3.0, 60.0, 180.0), (10.0, 60.0, 300.0), (10.0, 900.0, 900.0)],
)
def test_slow_machines_get_more_time_for_commands_up_to_a_limit(
    slowness: float, given: float, limit: float
) -> None:
    stretch(slowness)
    try:
        assert patience(given) == limit
    finally:
        stretch(1.0)


def test_what_is_told_of_a_cut_command_is_the_time_that_it_had() -> None:
    class Hanging(Here):
        def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
            return Result(None)

    stretch(3.0)
    try:
        with pytest.raises(CommandTimedOut, match=r"timed out after 30\.0s"):
            Hanging(Node("a", IPv4Address("192.168.100.5"), frozenset())).check("true", timeout=10)
    finally:
        stretch(1.0)
