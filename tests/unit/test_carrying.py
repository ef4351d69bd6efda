"""Files of several stages in one go: who carries, who waits, what is told to whom."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_lab import until
from fixed import guide_topology
from test_machine import Here

from lab.background import start
from lab.carrying import Cargo, Load
from lab.errors import LabError
from lab.machine import File, Result

NODE = guide_topology().node("k8s-lb")


class Counted(Here):
    """This host as a machine; `transfers` are the numbers of bytes that were sent."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        super().__init__(NODE)
        self.transfers: list[int] = []
        self.during = during

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.transfers.append(len(stdin))
        self.during()
        return super().run(*argv, stdin=stdin, timeout=timeout)


def files(folder: Path, *names: str, content: bytes = b"1") -> list[File]:
    return [File(str(folder / name), content) for name in names]


def load(machine: Counted, freely: Sequence[File] = (), lacking: Sequence[File] = ()) -> Load:
    return Load(machine, lambda: Cargo(freely, {"/nowhere/some.service": lacking}))


def test_the_first_brings_what_the_others_need_and_they_send_nothing(tmp_path: Path) -> None:
    etcd, kubelet, hosts = (
        files(tmp_path, f"{name}.conf", f"{name}.key") for name in ("etcd", "kubelet", "hosts")
    )
    machine = Counted()
    carried = load(machine, hosts, [*etcd, *kubelet])
    for own in (etcd, kubelet, hosts, etcd):
        carried.bring(own)
    assert len(machine.transfers) == 1
    assert all(Path(file.path).read_bytes() == b"1" for file in (*etcd, *kubelet, *hosts))
    assert machine.touched == {file.path: set() for file in (*etcd, *kubelet, *hosts)}


def test_what_a_running_program_may_read_is_replaced_by_its_own_stage_alone(tmp_path: Path) -> None:
    """Killed in between, nobody would know that the program has to be told."""
    etcd, kubelet = files(tmp_path, "etcd.conf"), files(tmp_path, "kubelet.conf")
    for file in (*etcd, *kubelet):
        Path(file.path).write_bytes(b"old")
    machine = Counted()
    carried = load(machine, (), [*etcd, *kubelet])
    carried.bring(etcd)
    assert Path(kubelet[0].path).read_bytes() == b"old"
    assert machine.touched == {etcd[0].path: set()}
    carried.bring(kubelet)
    assert Path(kubelet[0].path).read_bytes() == b"1"
    assert machine.touched.keys() == {etcd[0].path, kubelet[0].path}


def test_what_no_program_reads_is_replaced_at_once(tmp_path: Path) -> None:
    hosts = files(tmp_path, "hosts")
    Path(hosts[0].path).write_bytes(b"old")
    carried = load(Counted(), hosts)
    carried.bring(files(tmp_path, "etcd.conf"))
    assert Path(hosts[0].path).read_bytes() == b"1"


def test_a_file_that_nobody_announced_or_that_is_another_now_is_sent(tmp_path: Path) -> None:
    machine = Counted()
    carried = load(machine, (), files(tmp_path, "a"))
    carried.bring(files(tmp_path, "b"))
    carried.bring([*files(tmp_path, "a", content=b"2"), *files(tmp_path, "c")])
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"2", b"1", b"1"]
    assert len(machine.transfers) == 2


def test_who_comes_while_the_first_is_at_it_waits_and_sends_nothing(tmp_path: Path) -> None:
    waiting = threading.Event()
    machine = Counted(lambda: waiting.wait(5) and None)
    etcd, kubelet = files(tmp_path, "etcd.conf"), files(tmp_path, "kubelet.conf")
    carried = load(machine, (), [*etcd, *kubelet])
    first = start(lambda: carried.bring(etcd), "first")
    until(lambda: len(machine.transfers) == 1)
    second = start(lambda: carried.bring(kubelet), "second")
    waiting.set()
    first.result(5)
    second.result(5)
    assert len(machine.transfers) == 1
    assert machine.touched.keys() == {etcd[0].path, kubelet[0].path}


def test_who_waits_for_one_that_fails_fails_with_it_and_the_next_tries_himself(tmp_path: Path) -> None:
    """Of a machine that hangs all hear after one deadline, not one after the other."""
    going, hung = threading.Event(), [True]

    def during() -> None:
        if hung:
            going.wait(5)
            raise LabError("no answer")

    machine = Counted(during)
    carried = load(machine, (), files(tmp_path, "a", "b"))
    first = start(lambda: carried.bring(files(tmp_path, "a")), "first")
    until(lambda: len(machine.transfers) == 1)
    second = start(lambda: carried.bring(files(tmp_path, "b")), "second")
    until(lambda: len([t for t in threading.enumerate() if t.name == "second"]) == 1)
    going.set()
    for each in (first, second):
        with pytest.raises(LabError, match="no answer"):
            each.result(5)
    hung.clear()
    carried.bring(files(tmp_path, "b"))
    assert (tmp_path / "a").read_bytes() == b"1"
