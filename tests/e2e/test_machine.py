"""Commands on machines: whatever they do, the call ends at its deadline and tells what happened.

On a machine that runs no pods.  What strains it, or freezes it, is in test_machine_strain.py.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from support_host import THWLAB

from lab.cluster import Cluster
from lab.errors import CommandFailed, CommandTimedOut
from lab.machine import OUTPUT_CAP, File, Machine, Result, patience
from lab.providers.incus import IncusProvider, IncusVmProvider
from lab.providers.incus.api import ApiError
from lab.session import LabSession
from lab.topology import Role
from lab.wait import NotYet, stretched, wait_until

pytestmark = pytest.mark.e2e
DEADLINE, LATE = 1.0, 4.0  # LATE: what is granted after the deadline, to kill, to fetch, and to a loaded host
MIB = 1 << 20


@pytest.fixture(scope="module")
def machine(lab_etcd: Cluster) -> Machine:
    """The last machine with etcd; of the guide's plan the balancer."""
    return lab_etcd.of(Role.ETCD)[-1]


@pytest.fixture
def incus(lab_etcd: Cluster) -> IncusProvider:
    """The provider whose daemon begins, records and ends commands; over SSH none of that is the lab's."""
    provider = lab_etcd.lab.provider
    if not isinstance(provider, IncusProvider):
        pytest.skip(f"commands of provider {provider.name} go over SSH")
    return provider


def latest() -> float:
    """When a call with `DEADLINE` must be back, in seconds; slow machines are granted more for both."""
    return patience(DEADLINE) + stretched(LATE)


def took(machine: Machine, act: Callable[[], object]) -> None:
    """The call ends not long after its deadline."""
    start = time.monotonic()
    act()
    seconds = time.monotonic() - start
    assert seconds < latest(), f"{machine.name}: a call with {DEADLINE}s to live took {seconds:.1f}s"


ENDLESS = {  # by name: the command, and its input; nothing but time passes until they are cut
    "children": (("sh", "-c", "echo begun; (sleep 312; echo child) & sleep 312; echo over"), b""),
    "children, input": (("sh", "-c", "echo begun; (sleep 316; echo child) & sleep 316; echo over"), b"x"),
    "deaf": (("sh", "-c", "trap '' TERM INT HUP; while :; do sleep 314; done"), b""),
    "half a line": (("sh", "-c", "printf 'half a line'; sleep 313"), b""),
    "no environment": (("env", "-i", "/bin/sleep", "318"), b""),
}


@dataclass(frozen=True)
class Ended:
    """What became of a call; or what it raised."""

    result: Result
    raised: Exception | None
    seconds: float


@pytest.fixture(scope="module")
def ended(machine: Machine) -> dict[str, Ended]:
    """All of `ENDLESS` at once, that their deadlines pass together: each is judged by a test of its own."""

    def call(name: str) -> Ended:
        argv, stdin = ENDLESS[name]
        start, raised, result = time.monotonic(), None, Result(0)
        try:
            if name == "half a line":
                machine.check(*argv, timeout=DEADLINE)
            else:
                result = machine.run(*argv, stdin=stdin, timeout=DEADLINE)
        except CommandTimedOut as error:
            raised = error
        return Ended(result, raised, time.monotonic() - start)

    with ThreadPoolExecutor(len(ENDLESS)) as pool:
        return dict(zip(ENDLESS, pool.map(call, ENDLESS), strict=True))


def leftover(machine: Machine, word: str) -> str:
    """Processes on the machine whose command line has the word."""
    return machine.run("pgrep", "-af", f"{word[0]}[{word[1]}]{word[2:]}").stdout


@pytest.mark.parametrize("stdin", [b"", b"x"], ids=["no-input", "input"])
def test_output_held_open_by_a_child_keeps_the_status(
    lab_etcd: Cluster, machine: Machine, stdin: bytes
) -> None:
    """Either nobody waits for the child, and it lives on; or the deadline ends it, and it is named."""
    start = time.monotonic()
    done = machine.run("sh", "-c", "sleep 311 & echo done", stdin=stdin, timeout=DEADLINE)
    waited = time.monotonic() - start
    there = leftover(machine, "sleep 311")
    machine.run("pkill", "-f", "^sleep 311$")
    assert (done.status, done.out) == (0, b"done\n"), f"{machine.name}: {done}"
    if lab_etcd.lab.provider.name == "incus" and not stdin:
        assert waited < patience(DEADLINE), (
            f"{machine.name}: waited {waited:.1f}s for a child that is nobody's business"
        )
    if waited < patience(DEADLINE):
        assert done.leftover == ()
        assert there, f"{machine.name}: the child was ended, and nobody was told"
    else:
        assert waited < latest(), f"{machine.name}: took {waited:.1f}s"
        assert done.leftover == ("sleep 311",), f"{machine.name}: cut, but not marked: {done}"
        assert not there, f"{machine.name}: the child still runs"


def test_a_child_that_prints_on_is_ended_soon_after_the_deadline(machine: Machine) -> None:
    """Else what nobody reads any more would fill a disk."""
    script = "(while sleep 0.05; do echo thwlab-chatter; done) & echo done"
    assert machine.run("sh", "-c", script, timeout=DEADLINE).ok

    def gone() -> None:
        if found := leftover(machine, "thwlab-chatter"):
            raise NotYet(f"{machine.name} still runs {found}")

    try:
        wait_until(f"{machine.name} to end what prints on", gone, timeout=DEADLINE + LATE)
    finally:
        machine.run("pkill", "-f", "thwlab-chatte[r]")


def test_a_command_that_drops_its_environment_is_cut_too(
    machine: Machine, incus: IncusProvider, ended: dict[str, Ended]
) -> None:
    if isinstance(incus, IncusVmProvider):
        pytest.skip("in a VM it is known by its environment alone: its output is a pipe to the agent")
    assert ended["no environment"].result.timed_out
    assert not leftover(machine, "sleep 318")


@pytest.mark.usefixtures("incus")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_an_interrupted_call_leaves_no_command_behind(
    lab_session: LabSession, machine: Machine, number: int, status: int
) -> None:
    """Ctrl-C at `thwlab exec`, whose command has an hour to live."""
    flags = [word.replace("--lab-", "--") for word in lab_session.arguments()]
    argv = [*THWLAB, *flags, "exec", machine.name, "--", "sleep", "319"]

    def begun() -> None:
        if not leftover(machine, "sleep 319"):
            raise NotYet("not yet")

    def ended() -> None:
        if found := leftover(machine, "sleep 319"):
            raise NotYet(f"{machine.name} still runs {found}")

    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        wait_until("the command to run", begun, timeout=20)
        process.send_signal(number)
        assert process.wait(timeout=10) == status
    try:
        wait_until(f"{machine.name} to end the command", ended, timeout=5)
    finally:
        machine.run("pkill", "-f", "^sleep 319$")


def test_output_opened_by_name_is_not_emptied(machine: Machine) -> None:
    script = "echo a; echo b >/dev/stdout; echo c; echo d >&2; echo e >/dev/stderr"
    done = machine.run("sh", "-c", script)
    assert (done.stdout, done.stderr) == ("a\nb\nc\n", "d\ne\n")


def test_the_daemon_keeps_no_log_of_commands(incus: IncusProvider, machine: Machine) -> None:
    before = logs_of_commands(incus, machine)  # whoever was killed may have left some
    for _ in range(10):
        machine.check("echo", "kept by nobody")

    def deleted() -> None:
        if kept := logs_of_commands(incus, machine) - before:
            raise NotYet(f"{len(kept)} logs, such as {min(kept)}")

    wait_until(f"the logs of {machine.name}'s commands to be deleted", deleted, timeout=10)


def logs_of_commands(provider: IncusProvider, machine: Machine) -> set[str]:
    """Of LXD 5.0 beside all other logs, of Incus and later LXD in a folder, which the first command makes."""
    found: set[str] = set()
    for folder in ("logs", "logs/exec-output"):
        with suppress(ApiError):
            found |= set(provider.api.get(f"/1.0/instances/{machine.name}/{folder}"))
    return {each for each in found if "/exec_" in each}


@pytest.mark.parametrize(("name", "word"), [("children", "sleep 312"), ("children, input", "sleep 316")])
def test_a_command_that_never_ends_is_cut_with_all_its_children(
    machine: Machine, ended: dict[str, Ended], name: str, word: str
) -> None:
    call = ended[name]
    assert call.seconds < latest(), f"{machine.name}: {name}: took {call.seconds:.1f}s"
    assert call.result.timed_out, f"{machine.name}: ended with {call.result.status}, not by its deadline"
    assert call.result.out == b"begun\n", f"{machine.name}: printed {call.result.out!r}"
    assert not leftover(machine, word), f"{machine.name}: left {leftover(machine, word)}"


def test_check_tells_of_a_cut_command_what_it_had_printed(machine: Machine, ended: dict[str, Ended]) -> None:
    limit = re.escape(f"{patience(DEADLINE):.1f}s")
    told = str(ended["half a line"].raised)
    assert re.search(rf"{machine.name}.*timed out after {limit}.*half a line", told), told


def test_a_command_that_ignores_signals_is_cut(machine: Machine, ended: dict[str, Ended]) -> None:
    assert ended["deaf"].result.timed_out
    assert not leftover(machine, "sleep 314")


@pytest.mark.parametrize("stdin", [b"", b"x"], ids=["no-input", "input"])
def test_an_endless_flood_is_cut_at_its_deadline(machine: Machine, stdin: bytes) -> None:
    def act() -> None:
        done = machine.run("sh", "-c", "yes >&2", stdin=stdin, timeout=DEADLINE)
        assert done.timed_out, f"{machine.name}: `yes` ended with {done.status}"
        assert len(done.err) == OUTPUT_CAP
        assert done.cut

    took(machine, act)


def test_lines_with_colours_on_stderr_come_back_as_they_were(machine: Machine) -> None:
    script = "for n in $(seq 100000); do printf '\\033[31m%s\\033[0m\\n' $n; done >&2"
    done = machine.run("bash", "-c", script, timeout=60)
    lines = done.err.split(b"\n")
    assert (len(lines), lines[0], lines[-2]) == (100001, b"\x1b[31m1\x1b[0m", b"\x1b[31m100000\x1b[0m")


def test_bytes_that_are_no_text_are_kept_and_shown_with_marks(machine: Machine) -> None:
    every = bytes(range(256)) * 64
    done = machine.run("cat", stdin=every)
    assert done.out == every, f"{machine.name}: bytes were changed on their way"
    shown = machine.run("printf", "\\252\\377\\000ok")
    assert (shown.out, shown.stdout) == (b"\xaa\xff\x00ok", "\ufffd\ufffd\x00ok")


def test_bytes_that_are_no_text_can_be_told_in_a_failure(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match="exited 3: \ufffd\ufffd no text"):
        machine.check("sh", "-c", "printf '\\252\\377 no text' >&2; exit 3")


def test_a_journal_in_latin_1_can_be_read(machine: Machine) -> None:
    name = f"thwlab-latin1-{os.getpid()}"
    machine.check("systemd-run", "--quiet", "--wait", f"--unit={name}", "printf", "caf\\351 au lait\\n")
    told = machine.run("journalctl", "-u", name, "-o", "cat", "--all")
    assert "au lait" in told.stdout, f"{machine.name}: {told}"


def test_arguments_pass_no_shell(machine: Machine) -> None:
    strange = ["a b", "$HOME", "`id`", "'", '"', "\\", "*", "-n", "ä\u2028\n", "", "x" * 30000]
    done = machine.run("printf", "%s\\0", *strange)
    assert done.stdout.split("\0")[:-1] == strange


def test_much_input_that_nobody_reads_delays_nobody(machine: Machine) -> None:
    def unread() -> None:
        assert machine.run("sleep", "315", stdin=bytes(64 * MIB), timeout=DEADLINE).timed_out

    took(machine, unread)
    assert machine.run("true", stdin=bytes(16 * MIB)).ok


def test_statuses_are_answers(machine: Machine) -> None:
    assert [machine.run("sh", "-c", f"exit {n}").status for n in (0, 1, 126, 255)] == [0, 1, 126, 255]
    assert machine.run("sh", "-c", "kill -9 $$").status == 137
    for stdin in (b"", b"x"):
        missing = machine.run("no-such-program", stdin=stdin)
        assert missing.status in (126, 127), "Incus says 126 of what is not there, LXD and shells 127"
        assert b"not found" in missing.err


def test_files_arrive_whole_with_their_modes_and_only_when_they_differ(machine: Machine) -> None:
    folder = f"/run/thwlab-files-{os.getpid()}"
    files = [
        File(f"{folder}/deep/er/ä b", bytes(range(256)), 0o600),
        File(f"{folder}/empty", b"", 0o755),
        File(f"{folder}/big", os.urandom(12 * MIB), 0o640),
    ]
    try:
        assert machine.apply(files) == {file.path for file in files}
        assert machine.apply(files) == frozenset()
        other = [File(files[0].path, files[0].content, 0o644), files[1]]
        assert machine.apply(other) == {files[0].path}
        read = machine.run("cat", files[0].path)
        assert read.out == files[0].content
        modes = machine.check("stat", "-c", "%a", *(file.path for file in files)).split()
        assert modes == ["644", "755", "640"]
    finally:
        machine.check("rm", "-rf", folder)
