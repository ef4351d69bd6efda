"""Accidents: whatever is killed, and whenever, `thwlab down` leaves nothing and the next `up` is green."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_host import THWLAB, leftovers, processes_of, thwlab

from lab.artifacts.cache import default_root
from lab.choice import provider_of
from lab.debts import read
from lab.faults.machine import PowerCut
from lab.faults.watchdog import guard
from lab.plan import load_topology
from lab.providers.incus import IncusProvider, IncusVmProvider
from lab.session import LabSession
from lab.state import state_root
from lab.wait import NotYet, stretched, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
NAME = "accident"
SECONDS = 120.0


@pytest.fixture(scope="session")
def suited(lab_session: LabSession) -> None:
    """Asked before `room`, which takes the session's lab away."""
    if why := unlike(lab_session.settings["provider"].value):
        pytest.skip(why)


@pytest.fixture(autouse=True)
def nothing_left(suited: None, room: None) -> Iterator[None]:
    """Each test starts from nothing and leaves nothing.

    `room` stands among its arguments, for by that these tests are put last.
    """
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []
    yield
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


def unlike(word: str) -> str:
    """Why these accidents cannot happen with the provider; nothing if they can."""
    provider = provider_of(word, NAME)
    if isinstance(provider, IncusProvider) and provider.private and not isinstance(provider, IncusVmProvider):
        return ""
    return f"{word}: these accidents are those of a daemon of the lab's own, and of its containers"


def start(*args: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*THWLAB, "--name", NAME, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {}), "PYTHONUNBUFFERED": "1"},
    )


def kill_after(process: subprocess.Popen[str], sign: str) -> str:
    """SIGKILL it as soon as it has printed the sign; what it had printed."""
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if sign in line:
            break
    process.kill()
    process.wait(timeout=10)
    assert process.returncode == -signal.SIGKILL, f"it ended before it was killed:\n{''.join(said)}"
    return "".join(said)


def is_up() -> bool:
    return (state_root() / NAME / "incus" / "unix.socket").exists()


def test_killed_while_machines_are_created() -> None:
    process = start("up", "--until", "etcd")

    def check() -> None:
        assert process.poll() is None, "it ended before it was killed"
        if not is_up():
            raise NotYet("no daemon yet")

    wait_until("the private daemon to start", check, timeout=SECONDS, every=0.02)
    process.kill()
    process.wait(timeout=10)
    assert leftovers(NAME), "nothing had been started, so nothing was tried"
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


@pytest.mark.parametrize("stage", ["machines", "hosts", "etcd", "apiserver", "kubelet"])
def test_killed_after_a_stage_and_taken_up_again(stage: str) -> None:
    kill_after(start("up"), f" {stage} ")
    said = thwlab("--name", NAME, "up", "--until", "etcd")
    assert "etcd" in said
    if stage == "etcd":  # and once more, on a lab that is there; more is to come, so it does not end before
        kill_after(start("up"), " etcd ")
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


def test_killed_between_a_file_and_its_unit() -> None:
    """The file is right by the next `up`, but the unit runs on with what was there before."""

    def runs() -> dict[str, str]:
        machines = ("k8s-master1", "k8s-master2")
        shown = ("systemctl", "show", "-P", "MainPID", "etcd")
        return {each: thwlab("--name", NAME, "exec", each, "--", *shown) for each in machines}

    thwlab("--name", NAME, "up", "--until", "etcd")
    first, key = runs(), "/opt/etcd/ssl/server-key.pem"
    newer = f"cp -p {key} {key}.new && mv {key}.new {key}"
    thwlab("--name", NAME, "exec", "k8s-master1", "--", "sh", "-c", newer)
    assert "etcd on k8s-master1" in thwlab("--name", NAME, "up", "--until", "etcd")
    second = runs()
    assert {name for name, pid in second.items() if first[name] != pid} == {"k8s-master1"}
    thwlab("--name", NAME, "up", "--until", "etcd")
    assert runs() == second


def test_a_lab_with_a_paused_machine_is_removed_like_any_other() -> None:
    thwlab("--name", NAME, "up", "--until", "etcd")
    plan = load_topology(name=NAME)
    machines = provider_of("incus:private", NAME).attach(plan)
    machines["k8s-master1"].pause()
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


def test_killed_while_it_is_removed() -> None:
    thwlab("--name", NAME, "up", "--until", "hosts")
    process = start("down")

    def check() -> None:
        if is_up() and process.poll() is None:
            raise NotYet("the daemon is still there")

    wait_until("the removal to begin", check, timeout=SECONDS, every=0.001)
    process.kill()
    process.wait(timeout=10)
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


def test_who_heals_for_a_killed_run_ends_with_the_lab() -> None:
    """Amid healing too: one went on, and booted the machines of the next lab of that name."""
    thwlab("--name", NAME, "up", "--until", "hosts")
    state = state_root() / NAME
    record = PowerCut(("k8s-lb",)).record()  # never done; but what is planned there does not serve yet
    owing = f"""if True:
        from pathlib import Path
        from lab.debts import owe
        print(owe(Path({str(state)!r}), {record}, 0).path)
    """  # by a process that is no more
    argv = [sys.executable, "-c", owing]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=stretched(60), check=True)
    path = Path(done.stdout.strip())
    guard(NAME, read(path))

    def check_begun() -> None:
        if "healing it" not in path.with_suffix(".log").read_text():
            raise NotYet("it has not begun to heal")

    wait_until("the watchdog to heal", check_begun, timeout=SECONDS)
    assert processes_of(path), "nothing was started, so nothing was tried"
    thwlab("--name", NAME, "down")
    assert leftovers(NAME) == []


def test_killed_while_the_image_is_built(tmp_path: Path) -> None:
    cache = tmp_path / "cache with a blank"
    cache.mkdir()
    (cache / "programs").symlink_to(default_root() / "programs")
    env = {"THWLAB_CACHE": str(cache)}
    process = start("up", "--until", "hosts", env=env)

    def check() -> None:
        assert process.poll() is None, "it ended before it was killed"
        if not list((cache / "work").glob("*/*")):
            raise NotYet("nothing is being built yet")

    wait_until("the build of the base to begin", check, timeout=SECONDS, every=0.05)
    process.kill()
    process.wait(timeout=10)
    wait_until("the build's own processes to end", lambda: none_of(cache), timeout=SECONDS)
    thwlab("--name", NAME, "down", env=env)
    assert list((cache / "work").iterdir()) == [], "a killed build left its working folder"
    assert not list(cache.glob("bases/*.tar")), "half a base was taken for a whole one"


def none_of(folder: Path) -> None:
    if left := processes_of(folder):
        raise NotYet("; ".join(left))


def test_the_lab_of_an_earlier_boot_is_recognised() -> None:
    thwlab("--name", NAME, "up", "--until", "hosts")
    record = state_root() / NAME / "lab.json"
    record.write_text(record.read_text().replace('"boot": "', '"boot": "another-'))
    done = subprocess.run(
        [*THWLAB, "--name", NAME, "up"], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "before this host's last boot" in said
    assert "Traceback" not in said


def test_a_second_lab_beside_the_first_shares_nothing_with_it() -> None:
    other = f"{NAME}2"
    try:
        thwlab("--name", NAME, "up", "--until", "etcd")
        thwlab("--name", other, "up", "--until", "etcd")
        ids = [
            thwlab("--name", name, "exec", "k8s-master1", "--", "cat", "/etc/machine-id")
            for name in (NAME, other)
        ]
        assert ids[0] != ids[1]
        thwlab("--name", other, "down")
        health = thwlab("--name", NAME, "exec", "k8s-master1", "--", "systemctl", "is-active", "etcd")
        assert "active" in health
    finally:
        thwlab("--name", other, "down")
    assert leftovers(other) == []


def test_ctrl_c_is_clean() -> None:
    process = start("up")
    assert process.stdout is not None
    for line in process.stdout:
        if " hosts " in line:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "thwlab" in said, "it does not say how to remove what is left"
    assert time.monotonic() - began < 15, "Ctrl-C was heard late"
