"""Reports of machines: whatever is dead or broken is part of the picture, secrets are not."""

import io
import subprocess
import tarfile
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from fake_lab import FakeMachine

from lab import collect as module
from lab.collect import collect
from lab.errors import LabError
from lab.machine import Machine, Result
from lab.topology import Node


def machine(name: str, answer: Result | LabError) -> Machine:
    made = FakeMachine(Node(name, IPv4Address("192.168.100.9"), frozenset()))

    def run(*_: object, **__: object) -> Result:
        if isinstance(answer, LabError):
            raise answer
        return answer

    made.run = run  # type: ignore[method-assign]
    return made


def tar(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def gather(folder: Path, **answers: Result | LabError) -> list[str]:
    return collect({name: machine(name, answer) for name, answer in answers.items()}, folder)


def test_each_machine_has_a_folder_of_its_own(tmp_path: Path) -> None:
    good = {name: Result(0, tar(**{"journal.txt": name})) for name in ("a", "b")}
    assert gather(tmp_path / "machines", **good) == []
    assert (tmp_path / "machines/b/journal.txt").read_text() == "b"


def test_no_machines_are_no_folder(tmp_path: Path) -> None:
    assert collect({}, tmp_path / "machines") == []
    assert not (tmp_path / "machines").exists()


def test_what_could_not_be_had_is_said_for_each_and_the_rest_is_there(tmp_path: Path) -> None:
    whole = tar(**{"journal.txt": "x" * 5000})
    missing = gather(
        tmp_path,
        off=LabError("off is stopped"),
        frozen=Result(None),
        full=Result(2, b"", b"tar: No space left on device"),
        torn=Result(0, whole[:2000], cut=7000),
        good=Result(0, whole),
    )
    assert missing[:3] == [
        "off: off is stopped",
        "frozen: no answer within 30s",
        "full: tar: No space left on device",
    ]
    assert missing[3].startswith("torn: its report broke off")
    assert "7000 bytes were cut" in missing[3]
    assert (tmp_path / "good/journal.txt").exists()


def test_a_report_reaches_nothing_outside_its_folder(tmp_path: Path) -> None:
    assert "broke off" in gather(tmp_path / "m", evil=Result(0, tar(**{"../../out": "x"})))[0]
    assert not (tmp_path / "out").exists()


@pytest.fixture
def report(tmp_path: Path) -> bytes:
    """What the script prints on this host, which has none of the cluster's files."""
    argv = ["sh", "-c", module._COLLECT, str(tmp_path / "thwlab report")]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
    assert not (tmp_path / "thwlab report").exists()
    return done.stdout


def test_the_script_ends_with_a_whole_archive_where_much_is_missing(report: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(report)) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    assert {"journal.txt", "network.txt", "system.txt", "config-hosts"} <= names


@pytest.mark.parametrize("secret", ["ssl", "kubeconfig", "token", "pem", "admin.conf"])
def test_the_script_names_nothing_secret(secret: str) -> None:
    assert secret not in module._COLLECT
