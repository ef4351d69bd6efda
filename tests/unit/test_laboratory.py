"""One lab on this host: live machines by name and role, clients on request."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_lab import FakeProvider
from fixed import guide_topology

from lab.errors import LabError
from lab.laboratory import Laboratory
from lab.state import StateFolder
from lab.topology import Role, Topology


class Reached(FakeProvider):
    """Keeps what it was asked to make reachable."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    def reach(self, machine: str, port: int) -> tuple[str, int]:
        self.asked.append((machine, port))
        return "127.0.0.1", 40000 + len(self.asked)


def lab_of(folder: Path, topology: Topology | None = None) -> tuple[Laboratory, Reached]:
    provider = Reached()
    plan = topology or guide_topology()
    lab = Laboratory(plan, provider, StateFolder(folder / "thw"))
    provider.there = [node.name for node in plan.nodes]
    lab.machines.update(provider.attach(plan))
    return lab, provider


def test_machines_of_a_role_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    lab, _ = lab_of(tmp_path)
    assert [m.name for m in lab.of(Role.ETCD)] == ["k8s-master1", "k8s-master2", "k8s-lb"]
    assert next(m.name for m in lab.at(lab.topology.nodes[::-1])) == "k8s-lb"


def test_a_machine_nobody_has_created_is_named_with_those_that_run(tmp_path: Path) -> None:
    lab, _ = lab_of(tmp_path)
    del lab.machines["k8s-worker1"]
    with pytest.raises(
        LabError, match=r"k8s-worker1 is not running; there are: k8s-master1, [\s\S]*thwlab up"
    ):
        lab.of(Role.WORKER)
    lab.machines.clear()
    with pytest.raises(LabError, match="there are: none"):
        lab.machine("k8s-lb")


def test_the_api_is_asked_where_users_find_it_or_at_one_master(tmp_path: Path) -> None:
    lab, provider = lab_of(tmp_path)
    assert lab.api().url == "https://127.0.0.1:40001"
    assert lab.api("k8s-master2").url == "https://127.0.0.1:40002"
    assert lab.api() is lab.api()
    assert provider.asked == [("k8s-lb", 6443), ("k8s-master2", 6443)]


def test_after_closing_a_client_is_made_anew(tmp_path: Path) -> None:
    lab, provider = lab_of(tmp_path)
    before = lab.api()
    lab.close()
    assert lab.api() is not before
    assert len(provider.asked) == 2


def test_without_a_balancer_the_first_master_is_the_entrance(tmp_path: Path) -> None:
    plan = guide_topology()
    nodes = tuple(replace(node, roles=node.roles - {Role.LOAD_BALANCER}) for node in plan.nodes)
    lab, provider = lab_of(tmp_path, replace(plan, nodes=nodes))
    lab.api()
    assert provider.asked == [("k8s-master1", 6443)]


def test_credentials_are_made_at_the_first_question_and_kept(tmp_path: Path) -> None:
    lab, _ = lab_of(tmp_path)
    assert not (tmp_path / "thw/pki").exists()
    token = lab.credentials.bootstrap_token.text
    again, _ = lab_of(tmp_path)
    assert again.credentials.bootstrap_token.text == token
