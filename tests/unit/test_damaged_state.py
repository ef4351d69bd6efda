"""Files of the harness' own that a full disk, a killed process or a user's editor left damaged."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.artifacts.release import Lock
from lab.artifacts.source import SourceFailed
from lab.errors import LabError
from lab.history import read
from lab.providers.vagrant import networks, shared
from lab.providers.vagrant.plan import Project
from lab.users import InUse, Sign, insist_unused, users

CUT = ['{"machines": {"k8s-', "", "null", "[]", "3", '{"machines": [1], "network": {"cidr": "?"}}']


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "my lab" / "vagrant").mkdir(parents=True)
    return Project("my lab", tmp_path / "my lab" / "vagrant", "virtualbox")


@pytest.mark.parametrize("text", CUT)
def test_a_plan_for_vagrant_is_named_with_what_to_do(project: Project, text: str) -> None:
    project.plan.write_text(text)
    for ask in (project.addresses, project.network):
        with pytest.raises(LabError, match="is not what was written there: ") as raised:
            ask()
        assert str(project.plan) in str(raised.value)
        assert raised.value.remedy.startswith("thwlab up writes it anew; ")
        assert f"rm '{project.plan}', then thwlab down" in raised.value.remedy


def test_without_a_plan_for_vagrant_nothing_is_planned(project: Project) -> None:
    assert project.addresses() == {}
    assert project.network() == "192.168.100.0/24"


def hypervisor(**there: str) -> Any:
    removed: list[str] = []
    return SimpleNamespace(
        networks=lambda: {name: there[name] for name in there if name not in removed},
        remove_network=removed.append,
        removed=removed,
        shared=lambda _: ["a network"],
        network=None,
    )


def test_a_cut_note_of_what_was_at_the_hypervisor_before_gives_nothing_away(project: Project) -> None:
    project.shared_before.write_text("")
    assert shared.remove_brought(project, hypervisor()) == []


def test_a_note_of_networks_is_there_as_a_whole_or_not_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, it would make networks the lab's own that were somebody's."""

    def cut(path: Path, text: str) -> None:
        with path.open("w") as stream:
            stream.write(text[:3])
        raise OSError(28, "No space left on device")

    there = hypervisor(vboxnet0=str(IPv4Address("192.168.100.1")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut)
        with pytest.raises(OSError, match="No space"):
            networks.note(project, there)
    networks.remove_brought(project, there)
    assert there.removed == []


@pytest.mark.parametrize("text", ['{"pid": 1', "", "[]", '{"pid": 1, "unknown": 2}'])
def test_who_uses_a_lab_is_known_by_the_name_of_a_damaged_file(tmp_path: Path, text: str) -> None:
    sign = Sign(tmp_path)
    (path,) = (tmp_path / "users").iterdir()
    path.write_text(text)
    try:
        (user,) = users(tmp_path)
        assert str(user.pid) == path.name.partition("-")[0]
        assert str(path) in str(user)
        path.rename(path.with_name("9999999-0"))
        with pytest.raises(InUse, match=r"pid 9999999 \(what is not known, for .*/9999999-0 is damaged\)"):
            insist_unused(tmp_path, "thwlab down --force")
    finally:
        sign.lift()


@pytest.mark.parametrize("text", ['{"https://a', "null", "[1]", "3"])
def test_locked_hashes_are_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(SourceFailed, match="cannot be read: ") as raised:
        Lock(tmp_path / "lock").get("https://a.example/file")
    assert raised.value.remedy == f"rm {tmp_path / 'lock'}"


@pytest.mark.parametrize("damage", [b"\x00\x00\x00", b"\xff\xfe", b'{"at": 2'])
def test_a_stream_of_records_ends_where_it_is_damaged(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(json.dumps({"at": 1.0}).encode() + b"\n" + damage + b"\n")
    assert read(path) == [{"at": 1.0}]
