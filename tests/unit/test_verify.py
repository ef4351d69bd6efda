"""testinfra over `Machine`: its vocabulary, our deadlines."""

import subprocess
from ipaddress import IPv4Address

import pytest
from fake_lab import FakeMachine

from lab.errors import LabError
from lab.machine import Machine, Result
from lab.topology import Node
from lab.verify import COMMAND_TIMEOUT, host_of


class Here(FakeMachine):
    """Runs on this host, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(Node("k8s-lb", IPv4Address("192.168.100.100"), frozenset()))
        self.asked: list[tuple[tuple[str, ...], float]] = []

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.asked.append((argv, timeout))
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


def with_answer(result: Result) -> Machine:
    machine = Here()
    machine.run = lambda *_, **__: result  # type: ignore[method-assign]
    return machine


def test_files_and_commands_work_as_testinfra_has_them(tmp_path: object) -> None:
    host = host_of(Here())
    name = f"{tmp_path}/with 'quotes' ü"
    with open(name, "w") as file:  # noqa: PTH123
        file.write("text")
    assert host.file(name).content_string == "text"
    assert host.file(name).mode & 0o400
    assert not host.file(f"{tmp_path}/none").exists
    assert host.check_output("printf %s a") == "a"


def test_every_command_has_a_deadline_and_passes_one_shell() -> None:
    machine = Here()
    host_of(machine).run("echo %s", "a; b")
    ((argv, timeout),) = machine.asked
    assert argv == ("/bin/sh", "-c", "echo 'a; b'")
    assert timeout == COMMAND_TIMEOUT


def test_a_status_and_both_streams_come_back() -> None:
    done = host_of(Here()).run("echo out; echo err >&2; exit 3")
    assert (done.rc, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_deadline_shows_as_timeout_has_it_and_never_as_success() -> None:
    done = host_of(with_answer(Result(None, b"half"))).run("sleep 9")
    assert (done.rc, done.stdout) == (124, "half")


def test_bytes_that_are_no_text_are_no_error() -> None:
    done = host_of(with_answer(Result(0, b"\xaa\xff\x00", b"\xe9"))).run("x")
    assert done.stdout_bytes == b"\xaa\xff\x00"
    assert isinstance(done.stdout, str)
    assert isinstance(done.stderr, str)


def test_a_machine_that_cannot_be_asked_is_the_laboratorys_failure() -> None:
    machine = Here()

    def off(*_: object, **__: object) -> Result:
        raise LabError("k8s-lb is off")

    machine.run = off  # type: ignore[assignment,method-assign]
    with pytest.raises(LabError, match="k8s-lb is off"):
        host_of(machine).run("true")


def test_a_host_is_never_kept() -> None:
    machine = Here()
    assert host_of(machine) is not host_of(machine)
