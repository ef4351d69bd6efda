"""Machines under strain, or frozen: calls end at their deadline all the same, and nothing is left behind."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.background import start
from lab.cluster import Cluster
from lab.errors import CommandTimedOut
from lab.machine import OUTPUT_CAP, File, Machine, patience
from lab.providers.base import Capability
from lab.topology import Role
from lab.wait import NotYet, stretched, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
DEADLINE, LATE = 2.0, 4.0
BEGUN = "/run/thwlab-begun"
ROUNDS, SPREAD = 200, 8
MIB = 1 << 20


@pytest.fixture(scope="module")
def machine(lab_etcd: Cluster) -> Machine:
    """The last machine with etcd; of the guide's plan the balancer."""
    return lab_etcd.of(Role.ETCD)[-1]


def left(machine: Machine, *argv: str) -> str:
    """Processes on the machine with this command line."""
    return machine.run("pgrep", "-af", f"^{' '.join(argv)}$").stdout


@pytest.mark.parametrize("stdin", [b"", bytes(16 * MIB)], ids=["no-input", "input"])
def test_calls_to_a_frozen_machine_end_at_their_deadline(
    lab_etcd: Cluster, machine: Machine, stdin: bytes
) -> None:
    if Capability.PAUSE not in lab_etcd.lab.provider.capabilities:
        pytest.skip(f"provider {lab_etcd.lab.provider.name} cannot pause machines here")
    machine.check("rm", "-f", BEGUN)
    script = f"echo begun; touch {BEGUN}; sleep {stretched(1.0):.0f}; echo on; sleep 317"
    freezer = start(lambda: freeze_once_begun(machine))
    try:
        began = time.monotonic()
        caught = machine.run("sh", "-c", script, stdin=stdin, timeout=DEADLINE)
        first = time.monotonic() - began
        freezer.result()
        late = machine.run("echo", "never", timeout=DEADLINE)
        with pytest.raises(CommandTimedOut, match=machine.name):
            machine.apply([File("/run/thwlab-never", b"")], timeout=DEADLINE)
        all_three = time.monotonic() - began
    finally:
        freezer.exception()  # waits for it
        machine.resume()
    assert (caught.status, caught.out) == (None, b"begun\n"), f"{machine.name}: {caught}"
    assert (late.status, late.out) == (None, b""), f"{machine.name}: {late}"
    latest = patience(DEADLINE) + stretched(LATE)
    assert first < latest, f"{machine.name}: {DEADLINE}s to live took {first:.1f}s"
    assert all_three < 3 * latest, f"{machine.name}: three calls took {all_three:.1f}s"
    assert machine.check("echo", "again") == "again\n"
    wait_until(f"{machine.name} to end what was cut", lambda: gone(machine, "sleep", "317"), timeout=20)


def freeze_once_begun(machine: Machine) -> None:
    """Pause it when the command runs: slow machines need longer until then than any fixed time."""

    def begun() -> None:
        if not machine.run("test", "-e", BEGUN).ok:
            raise NotYet("it has not begun")

    wait_until(f"the command on {machine.name} to begin", begun, timeout=DEADLINE / 2, every=0.05)
    machine.pause()


def test_no_output_is_lost_however_many_commands_run_at_once(machine: Machine) -> None:
    """The daemon once dropped what a stream should have got that was only just open."""

    def both(number: int) -> str:
        done = machine.run("sh", "-c", f"echo out-{number}; echo err-{number} >&2")
        return (
            ""
            if (done.stdout, done.stderr) == (f"out-{number}\n", f"err-{number}\n")
            else f"{number}: {done}"
        )

    with ThreadPoolExecutor(max_workers=12) as pool:
        lost = [said for said in pool.map(both, range(300)) if said]
    assert not lost, f"{machine.name}: {len(lost)} of 300 commands lost output, such as {lost[0]}"


def gone(machine: Machine, *argv: str) -> None:
    if found := left(machine, *argv):
        raise NotYet(f"{machine.name} still runs {found}")


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_flood_on_one_stream_is_capped_and_the_cut_counted(machine: Machine, stream: str) -> None:
    redirect = "" if stream == "out" else ">&2"
    done = machine.run("sh", "-c", f"head -c {100 * MIB} /dev/zero {redirect}", timeout=60)
    kept, other = (done.out, done.err) if stream == "out" else (done.err, done.out)
    assert done.ok, f"{machine.name}: {done.status} {done.err[-200:]!r}"
    assert (len(kept), done.cut, other) == (OUTPUT_CAP, 100 * MIB - OUTPUT_CAP, b"")


def test_many_rounds_lose_nothing_and_leave_nothing_on_this_host(machine: Machine) -> None:
    """Of each kind that ends badly some, and quick ones for the rest."""
    bad = [("sh", "-c", "sleep 316 & echo x"), ("sleep", "316"), ("sh", "-c", "yes >&2")]
    rounds = [bad[n // 10 % len(bad)] if n % 10 == 0 else ("echo", str(n)) for n in range(ROUNDS)]
    spread(machine, [("echo", "x")] * 4 * SPREAD)  # as many kept connections as there will be
    before = held()
    lost = spread(machine, rounds)
    assert not lost, f"{machine.name}: {len(lost)} of {ROUNDS} commands lost output, such as {lost[0]}"
    wait_until("this process to hold no more than before", lambda: as_before(before), timeout=10)
    machine.run("pkill", "-f", "^sleep 316$")  # the children of those that ended live on
    gone(machine, "sleep", "316")


def as_before(before: dict[str, int]) -> None:
    now = held()
    if more := {what: f"{before[what]}, now {now[what]}" for what in now if now[what] > before[what]}:
        raise NotYet(str(more))


def spread(machine: Machine, rounds: Sequence[tuple[str, ...]]) -> list[str]:
    """All of them, some at a time; those whose output is not what they print."""
    todo, lock = iter(rounds), threading.Lock()
    lost: list[str] = []

    def work() -> None:
        while True:
            with lock:
                argv = next(todo, None)
            if argv is None:
                return
            done = machine.run(*argv, timeout=30 if argv[0] == "echo" else 1)
            if argv[0] == "echo" and (done.status, done.stdout) != (0, f"{argv[1]}\n"):
                lost.append(f"{argv}: {done}")

    for each in [start(work) for _ in range(SPREAD)]:
        each.result()
    return lost


def held() -> dict[str, int]:
    """What this process holds; an ended child that nobody waited for counts as one."""
    tasks = list(Path("/proc/self/task").iterdir())
    return {
        "threads": len(tasks),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "children": sum(children_of(task) for task in tasks),
    }


def children_of(task: Path) -> int:
    try:
        return len((task / "children").read_text().split())
    except FileNotFoundError:  # the thread ended after it was listed
        return 0
