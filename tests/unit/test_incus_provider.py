"""The provider against a small daemon: what it asks for, what it leaves alone, what it says."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import Asked, Daemon, ok, refused, running
from fixed import guide_topology

from lab.errors import LabError
from lab.machine import Machine
from lab.providers import enclosed
from lab.providers.base import Capability, Gone
from lab.providers.incus import daemon as daemon_module
from lab.providers.incus import description, ground, labdaemon
from lab.providers.incus import provider as module
from lab.providers.incus.daemon import PrivateDaemon
from lab.providers.incus.image import Image
from lab.providers.incus.machine import IncusMachine
from lab.providers.incus.provider import IncusProvider
from lab.topology import Role

PROJECT, INSTANCES = "/1.0/projects/thwlab-thw", "/1.0/instances"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """The user's own daemon, which the provider finds by the environment."""
    for name in ("INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "d").mkdir()
    with running(tmp_path / "d") as started:
        monkeypatch.setenv("INCUS_SOCKET", str(started.socket))
        yield started


@pytest.fixture
def image(tmp_path: Path) -> Image:
    (tmp_path / "root.squashfs").write_bytes(b"root")
    return Image(b"metadata", tmp_path / "root.squashfs", "f00")


@pytest.fixture
def provider(daemon: Daemon, tmp_path: Path, image: Image) -> IncusProvider:
    return IncusProvider("thw", tmp_path / "state", image=image, daemon="running")


def instance(name: str, status: str = "Running") -> dict[str, Any]:
    plan = guide_topology()
    made = description.instance_of(plan, plan.node(name), "f00", 2)
    return {**made, "status": status}


def bodies(daemon: Daemon, line: str) -> list[Any]:
    return [each.body for each in daemon.asked if f"{each.method} {each.path}" == line]


# -- create -----------------------------------------------------------------------------------------


@pytest.fixture
def empty(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that takes everything, and machines that boot at once."""
    monkeypatch.setattr(IncusMachine, "await_boot", lambda _: None)
    for collection in ("projects", "storage-pools", "networks", "images", "instances"):
        daemon.replies[f"POST /1.0/{collection}"] = ok()
    daemon.replies[f"GET {INSTANCES}"] = ok([])
    for node in guide_topology().nodes:
        daemon.replies[f"PUT {INSTANCES}/{node.name}/state"] = ok()
        daemon.replies[f"GET {INSTANCES}/{node.name}"] = ok(instance(node.name))
    return daemon


def test_the_ground_is_laid_before_the_first_machine(provider: IncusProvider, empty: Daemon) -> None:
    provider.create(guide_topology(), ["k8s-lb"])
    changes = [line for line in empty.lines() if not line.startswith("GET")]
    at_once = {"POST /1.0/storage-pools", "POST /1.0/networks", "POST /1.0/images"}
    assert changes[0] == "POST /1.0/projects"
    assert set(changes[1:4]) == at_once
    assert changes[4:] == ["POST /1.0/instances", f"PUT {INSTANCES}/k8s-lb/state"]
    assert bodies(empty, f"PUT {INSTANCES}/k8s-lb/state")[0]["action"] == "start"


def test_only_a_pool_that_ends_with_this_hosts_boot_is_not_flushed_to_its_disk(
    provider: IncusProvider, empty: Daemon
) -> None:
    provider.create(guide_topology(), ["k8s-lb"])
    (pool,) = bodies(empty, "POST /1.0/storage-pools")
    assert "btrfs.mount_options" not in pool["config"], "the user's own daemon mounts it again"
    ours = description.pool_of("thw", lasting=False)
    assert "nobarrier" in ours["config"].pop("btrfs.mount_options").split(",")
    assert ours == pool


def test_all_machines_asked_for_are_created(provider: IncusProvider, empty: Daemon) -> None:
    names = [node.name for node in guide_topology().nodes]
    provider.create(guide_topology(), names)
    assert sorted(body["name"] for body in bodies(empty, f"POST {INSTANCES}")) == sorted(names)


def test_what_is_there_is_left_alone_and_what_is_off_is_started(
    provider: IncusProvider, empty: Daemon
) -> None:
    plan = guide_topology()
    for path in (
        PROJECT,
        "/1.0/storage-pools/thwlab-thw",
        f"/1.0/networks/{description.bridge_of('thw')}",
        "/1.0/images/f00",
    ):
        empty.replies[f"GET {path}"] = ok({"config": {}})
    empty.replies[f"GET {INSTANCES}"] = ok([instance("k8s-lb"), instance("k8s-master1", "Stopped")])
    provider.create(plan, ["k8s-lb", "k8s-master1", "k8s-master2"])
    changes = [line for line in empty.lines() if not line.startswith("GET")]
    assert sorted(changes) == [
        "POST /1.0/instances",
        f"PUT {INSTANCES}/k8s-master1/state",
        f"PUT {INSTANCES}/k8s-master2/state",
    ]


def test_what_is_paused_is_resumed(provider: IncusProvider, empty: Daemon) -> None:
    empty.replies[f"GET {INSTANCES}"] = ok([instance("k8s-lb", "Frozen")])
    provider.create(guide_topology(), ["k8s-lb"])
    assert [body["action"] for body in bodies(empty, f"PUT {INSTANCES}/k8s-lb/state")] == ["unfreeze"]


def test_two_processes_that_lay_the_ground_at_once_do_not_fail(
    provider: IncusProvider, empty: Daemon
) -> None:
    empty.replies["POST /1.0/projects"] = refused(409, "already exists")
    provider.create(guide_topology(), ["k8s-lb"])


def test_every_machine_is_tried_and_all_refusals_come_back(provider: IncusProvider, empty: Daemon) -> None:
    empty.replies[f"POST {INSTANCES}"] = lambda asked: refused(500, f"no space for {asked.body['name']}")
    with pytest.raises(BaseExceptionGroup) as caught:
        provider.create(guide_topology(), ["k8s-master1", "k8s-master2"])
    assert {str(error).rsplit(" ", 1)[1] for error in caught.value.exceptions} == {
        "k8s-master1",
        "k8s-master2",
    }


def test_a_lab_attached_to_without_image_creates_nothing(empty: Daemon, tmp_path: Path) -> None:
    attached = IncusProvider("thw", tmp_path / "state", image=None, daemon="running")
    with pytest.raises(LabError, match="attached to without an image"):
        attached.create(guide_topology(), ["k8s-lb"])


def test_a_place_in_a_cluster_of_hosts_is_asked_for(provider: IncusProvider, empty: Daemon) -> None:
    plan = guide_topology()
    nodes = tuple(replace(node, place="host2") if node.name == "k8s-lb" else node for node in plan.nodes)
    provider.create(replace(plan, nodes=nodes), ["k8s-lb", "k8s-master1"])
    targets = {
        each.body["name"]: each.query.get("target")
        for each in empty.asked
        if each.method == "POST" and each.path == INSTANCES
    }
    assert targets == {"k8s-lb": "host2", "k8s-master1": None}


def test_a_description_has_the_planned_address_and_no_way_out() -> None:
    made = instance("k8s-worker1")
    assert "Address=192.168.100.21/24" in made["config"]["user.thwlab.network"]
    assert description.node_of(made).address == guide_topology().node("k8s-worker1").address
    network = description.network_of(guide_topology())["config"]
    assert network["ipv4.address"] == "192.168.100.1/24"
    assert (network["ipv4.nat"], network["ipv6.address"]) == ("false", "none")


@pytest.mark.parametrize("name", ["thw", "a" * 20, "x-1"])
def test_a_bridge_has_a_name_the_kernel_takes(name: str) -> None:
    assert len(description.bridge_of(name)) <= 15


# -- attach, remove ---------------------------------------------------------------------------------


def test_attaching_finds_what_the_daemon_lists_in_the_plans_order(
    provider: IncusProvider, daemon: Daemon
) -> None:
    daemon.replies |= {
        f"GET {PROJECT}": ok({"config": {}}),
        f"GET {INSTANCES}": ok(
            [instance("k8s-lb"), instance("k8s-master1"), {**instance("k8s-lb"), "name": "other"}]
        ),
    }
    found = provider.attach(guide_topology())
    assert list(found) == ["k8s-master1", "k8s-lb"]
    assert isinstance(found["k8s-lb"], Machine)
    assert found["k8s-lb"].node.roles == guide_topology().node("k8s-lb").roles


def test_without_a_project_nothing_is_there_and_removing_is_harmless(
    provider: IncusProvider, daemon: Daemon
) -> None:
    assert provider.attach(guide_topology()) == {}
    assert not provider.is_there()
    provider.destroy()
    assert f"DELETE {PROJECT}" not in daemon.lines()


def test_removing_empties_the_project_and_leaves_nothing(provider: IncusProvider, daemon: Daemon) -> None:
    daemon.replies |= {
        f"GET {PROJECT}": ok({"config": {}}),
        f"GET {INSTANCES}": ok([instance("k8s-lb"), instance("k8s-master1", "Stopped")]),
        "GET /1.0/images": ok([{"fingerprint": "f00"}]),
        f"PUT {INSTANCES}/k8s-lb/state": ok(),
    }
    gone = [f"{INSTANCES}/k8s-lb", f"{INSTANCES}/k8s-master1", "/1.0/images/f00", PROJECT]
    gone += [f"/1.0/networks/{description.bridge_of('thw')}", "/1.0/storage-pools/thwlab-thw"]
    daemon.replies |= {f"DELETE {path}": ok() for path in gone}
    assert provider.is_there()
    provider.destroy()
    assert [line.removeprefix("DELETE ") for line in daemon.lines() if line.startswith("DELETE")] == gone
    assert f"PUT {INSTANCES}/k8s-master1/state" not in daemon.lines()


def test_somebody_elses_lab_of_that_name_is_neither_taken_nor_removed_unasked(
    provider: IncusProvider, empty: Daemon, tmp_path: Path
) -> None:
    """The daemon's users share one list of projects."""
    provider.create(guide_topology(), ["k8s-lb"])
    (made,) = bodies(empty, "POST /1.0/projects")
    assert made["config"]["user.thwlab.state"] == str(tmp_path / "state")
    empty.replies[f"GET {PROJECT}"] = ok(made)
    provider.insist_ours()
    theirs = IncusProvider("thw", tmp_path / "theirs", image=provider._image, daemon="running")
    for call in (theirs.insist_ours, lambda: theirs.create(guide_topology(), ["k8s-lb"])):
        with pytest.raises(LabError, match=f"begun from {tmp_path}/state") as caught:
            call()
        assert "thwlab --name thw down --force" in caught.value.remedy
    assert len(bodies(empty, "POST /1.0/instances")) == 1
    empty.replies[f"GET {PROJECT}"] = ok({"config": {}})
    theirs.insist_ours()  # of a version that did not tell


def test_a_removal_that_is_refused_is_told(provider: IncusProvider, daemon: Daemon) -> None:
    daemon.replies |= {
        f"GET {PROJECT}": ok({"config": {}}),
        f"GET {INSTANCES}": ok([instance("k8s-lb", "Stopped")]),
        f"DELETE {INSTANCES}/k8s-lb": refused(500, "dataset is busy"),
    }
    with pytest.raises(LabError, match="dataset is busy"):
        provider.destroy()


# -- snapshots, power -------------------------------------------------------------------------------


@pytest.fixture
def three(daemon: Daemon) -> Daemon:
    """Three running machines that remember their state."""
    states = dict.fromkeys(("k8s-lb", "k8s-master1", "k8s-worker1"), "Running")
    after = {"freeze": "Frozen", "unfreeze": "Running", "start": "Running", "stop": "Stopped"}

    def change(asked: Asked) -> dict[str, Any]:
        states[asked.path.split("/")[3]] = after[asked.body["action"]]
        return ok()

    daemon.replies[f"GET {INSTANCES}"] = ok([instance(name) for name in states])
    for name in states:
        path = f"{INSTANCES}/{name}"
        daemon.replies |= {
            f"GET {path}": lambda asked: ok(
                instance(asked.path.split("/")[3], states[asked.path.split("/")[3]])
            ),
            f"PUT {path}/state": change,
            f"POST {path}/snapshots": ok(),
            f"PUT {path}": ok(),
            f"PATCH {path}": ok(),
        }
    return daemon


def test_all_are_paused_before_the_first_snapshot_and_resumed_after_the_last(
    provider: IncusProvider, three: Daemon
) -> None:
    provider.snapshot("fresh")
    steps = [each.body.get("action", "snapshot") for each in three.asked if each.method in ("PUT", "POST")]
    assert steps == ["freeze"] * 3 + ["snapshot"] * 3 + ["unfreeze"] * 3


def test_a_snapshot_that_fails_leaves_no_machine_paused(provider: IncusProvider, three: Daemon) -> None:
    three.replies[f"POST {INSTANCES}/k8s-lb/snapshots"] = refused(400, "exists")
    with pytest.raises(LabError, match="exists"):
        provider.snapshot("fresh")
    assert sum(each.method == "PUT" and each.body.get("action") == "unfreeze" for each in three.asked) == 3


def test_a_restore_that_fails_on_one_boots_all_and_says_what_it_left(
    provider: IncusProvider, three: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[str] = []
    monkeypatch.setattr(IncusMachine, "boot", lambda machine: booted.append(machine.name))
    three.replies[f"PUT {INSTANCES}/k8s-lb"] = refused(500, "the pool is full")
    with pytest.raises(
        LabError, match=r"not all machines went back to 'fresh'[\s\S]*the pool is full"
    ) as caught:
        provider.restore("fresh")
    assert caught.value.remedy == "thwlab restore fresh"
    assert sorted(booted) == ["k8s-lb", "k8s-master1", "k8s-worker1"]


def test_a_restore_brings_every_machine_back_running(
    provider: IncusProvider, three: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[str] = []
    monkeypatch.setattr(IncusMachine, "await_boot", lambda machine: booted.append(machine.name))
    provider.restore("fresh")
    restored = [each.path.rsplit("/", 1)[1] for each in three.asked if each.body == {"restore": "fresh"}]
    assert sorted(restored) == sorted(booted) == ["k8s-lb", "k8s-master1", "k8s-worker1"]


def test_the_plug_takes_the_link_first_and_gives_it_back_after_the_kill(
    provider: IncusProvider, three: Daemon
) -> None:
    machine = IncusMachine(guide_topology().node("k8s-lb"), provider.api)
    machine.pull_plug()
    steps = [each.body for each in three.asked if each.method != "GET"]
    nic = instance("k8s-lb")["devices"]["eth0"]
    assert steps[0]["devices"] == {"eth0": {"type": "none"}}
    assert json.loads(steps[0]["config"]["user.thwlab.nic"]) == nic
    assert (steps[1]["action"], steps[1]["force"]) == ("stop", True)
    assert steps[2]["devices"]["eth0"] == nic


@pytest.mark.parametrize("status", ["Running", "Stopped"])
def test_a_power_cut_that_was_interrupted_is_made_an_end_of_by_the_next_boot(
    provider: IncusProvider, three: Daemon, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(IncusMachine, "await_boot", lambda _: None)
    nic = instance("k8s-lb")["devices"]["eth0"]
    seen = instance("k8s-lb", status)
    seen["devices"]["eth0"] = {"type": "none"}
    seen["config"]["user.thwlab.nic"] = json.dumps(nic)
    three.replies[f"GET {INSTANCES}/k8s-lb"] = ok(seen)
    IncusMachine(guide_topology().node("k8s-lb"), provider.api).boot()
    steps = [each.body for each in three.asked if each.method != "GET"]
    assert steps[0] == {"devices": {"eth0": nic}}
    assert steps[1]["action"] == ("stop" if status == "Running" else "start")


def test_a_command_on_a_machine_that_is_off_says_so_and_what_boots_it(
    provider: IncusProvider, three: Daemon
) -> None:
    three.replies["POST /1.0/instances/k8s-lb/exec"] = refused(400, "Instance is not running")
    machine = IncusMachine(guide_topology().node("k8s-lb"), provider.api)
    with pytest.raises(LabError, match=r"k8s-lb is not running[\s\S]*thwlab up"):
        machine.run("true")


@pytest.mark.parametrize(
    ("status", "plight"), [("Running", ""), ("Frozen", "paused"), ("Stopped", "stopped")]
)
def test_why_a_machine_does_not_answer_is_the_daemons_word(
    provider: IncusProvider, three: Daemon, status: str, plight: str
) -> None:
    machine = IncusMachine(guide_topology().node("k8s-lb"), provider.api)
    three.replies[f"GET {INSTANCES}/k8s-lb"] = ok(instance("k8s-lb", status))
    assert machine.plight() == plight
    three.replies[f"GET {INSTANCES}/k8s-lb"] = refused(500, "it broke")
    assert machine.plight() == "", "nobody can tell"


def test_pause_resume_and_boot_are_harmless_when_there_is_nothing_to_do(
    provider: IncusProvider, three: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IncusMachine, "await_boot", lambda _: None)
    machine = IncusMachine(guide_topology().node("k8s-lb"), provider.api)
    machine.resume()
    machine.boot()
    machine.pause()
    machine.pause()
    machine.resume()
    assert [each.body["action"] for each in three.asked if each.method == "PUT"] == ["freeze", "unfreeze"]


def test_a_machine_that_cannot_be_paused_leaves_no_other_paused(
    provider: IncusProvider, three: Daemon
) -> None:
    three.replies[f"PUT {INSTANCES}/k8s-lb/state"] = refused(400, "cannot freeze")
    with pytest.raises(LabError, match="cannot freeze"):
        provider.snapshot("fresh")
    assert sum(each.method == "PUT" and each.body["action"] == "unfreeze" for each in three.asked) == 2
    assert not any(each.method == "POST" for each in three.asked)


def listed(name: str, when: str) -> dict[str, str]:
    return {"name": name, "created_at": when}


def test_snapshots_are_what_the_daemon_lists_oldest_first(provider: IncusProvider, three: Daemon) -> None:
    for name in ("k8s-lb", "k8s-master1", "k8s-worker1"):
        early = [] if name == "k8s-worker1" else [listed("early", "2026-01-02T03:04:05.1Z")]
        later = listed(f"{name}/later", "2026-01-02T03:05:00Z")  # as some versions name it
        three.replies[f"GET {INSTANCES}/{name}/snapshots"] = ok([later, *early])
    early, later = provider.snapshots()
    assert (early.name, early.taken) == ("early", "2026-01-02T03:04:05Z")
    assert early.machines == ("k8s-lb", "k8s-master1")
    assert (later.name, later.machines) == ("later", ("k8s-lb", "k8s-master1", "k8s-worker1"))


def test_a_snapshot_is_deleted_wherever_it_is(provider: IncusProvider, three: Daemon) -> None:
    for name in ("k8s-lb", "k8s-master1"):  # the third has none of that name
        three.replies[f"DELETE {INSTANCES}/{name}/snapshots/fresh"] = ok()
    provider.forget_snapshot("fresh")
    assert sum(line.startswith("DELETE") for line in three.lines()) == 3
    three.replies[f"DELETE {INSTANCES}/k8s-lb/snapshots/fresh"] = refused(500, "busy")
    with pytest.raises(LabError, match="busy"):
        provider.forget_snapshot("fresh")


def test_a_snapshot_that_fails_leaves_no_part_of_it_and_touches_no_older_one(
    provider: IncusProvider, three: Daemon
) -> None:
    three.replies[f"POST {INSTANCES}/k8s-lb/snapshots"] = refused(400, "exists")
    with pytest.raises(LabError, match="exists"):
        provider.snapshot("fresh")
    deleted = sorted(line for line in three.lines() if line.startswith("DELETE"))
    assert deleted == [
        f"DELETE {INSTANCES}/{name}/snapshots/fresh" for name in ("k8s-master1", "k8s-worker1")
    ]


def test_a_machines_state_is_the_daemons_word_for_it(provider: IncusProvider, daemon: Daemon) -> None:
    assert provider.states() == {}
    words = {"k8s-lb": "Running", "k8s-master1": "Frozen", "k8s-master2": "Stopped", "k8s-worker1": "Error"}
    daemon.replies |= {
        f"GET {PROJECT}": ok({"config": {}}),
        f"GET {INSTANCES}": ok([instance(name, word) for name, word in words.items()]),
    }
    assert list(provider.states().values()) == ["running", "paused", "stopped", "error"]


def test_machines_nobody_created_are_told_from_a_dead_daemon(tmp_path: Path) -> None:
    private = IncusProvider("thw", tmp_path / "state", daemon="private")
    assert private.states() == {}
    left = tmp_path / "state" / "incus"
    left.mkdir(parents=True)
    with pytest.raises(Gone, match=r"is dead.*daemon\.log"):
        private.states()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(left / "unix.socket"))
        with pytest.raises(Gone, match="is dead"):  # a socket that nobody listens to
            private.states()


# -- what it says of itself --------------------------------------------------------------------------


def test_with_the_running_daemon_machines_are_in_reach_by_their_own_address(
    provider: IncusProvider, three: Daemon
) -> None:
    assert provider.reach("k8s-lb", 6443) == ("192.168.100.100", 6443)
    assert provider.host_argv(["curl"]) == ["curl"]
    assert Capability.PAUSE in provider.capabilities
    assert Capability.LOSES_PAGE_CACHE not in provider.capabilities


def test_a_subnet_in_use_is_refused_with_a_free_one(
    provider: IncusProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: "/bin/x")
    monkeypatch.setattr(ground, "networks_of_host", lambda: {"virbr0": IPv4Network("192.168.100.0/22")})
    (missing,) = provider.preflight(guide_topology())
    assert missing.what == "192.168.100.0/24 overlaps 192.168.100.0/22 of virbr0"
    assert "192.168.0.0/24" in missing.remedy
    own = {description.bridge_of("thw"): IPv4Network("192.168.100.0/24")}
    monkeypatch.setattr(ground, "networks_of_host", lambda: own)
    assert provider.preflight(guide_topology()) == []


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(labdaemon, "running_socket", lambda: None)
    missing = IncusProvider("thw", tmp_path / "state", image=None).preflight(guide_topology())
    assert [each.what for each in missing] == ["no Incus or LXD", "no ip", "no nsenter", "no mkfs.btrfs"]
    assert all(each.remedy for each in missing)


def test_a_daemon_that_was_asked_for_and_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labdaemon, "running_socket", lambda: None)
    with pytest.raises(LabError, match=r"no running Incus or LXD[\s\S]*incus:private"):
        _ = IncusProvider("thw", tmp_path / "state", image=None, daemon="running").private


@pytest.mark.parametrize("word", ["auto", "private", "incusd", "lxd"])
def test_without_any_daemon_there_is_no_lab_and_none_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """To look and to remove must work there too: the daemon may have been uninstalled since."""
    monkeypatch.setattr(labdaemon, "running_socket", lambda: None)
    monkeypatch.setattr("lab.providers.incus.daemon.shutil.which", lambda *_, **__: None)
    provider = IncusProvider("thw", tmp_path / "state", image=None, daemon=word)
    assert provider.states() == {}
    assert not provider.is_there()
    provider.destroy()
    assert provider.private
    name = "lxd" if word == "lxd" else "incusd"
    with pytest.raises(LabError, match=rf"{name} is not installed[\s\S]*doctor --fix"):
        provider.private.start()
    assert not (tmp_path / "state").exists()


def test_a_lab_of_a_running_daemon_that_is_off_is_not_taken_for_removed(
    provider: IncusProvider, empty: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.create(guide_topology(), ["k8s-lb"])
    empty.socket.unlink()
    monkeypatch.setattr(labdaemon, "running_socket", lambda: None)
    again = IncusProvider("thw", tmp_path / "state", image=None)
    assert not again.ends_with_boot, "its machines are there when the daemon is"
    for act in (again.is_there, again.states, again.destroy):
        with pytest.raises(LabError, match=r"made with the daemon at .*unix.socket[\s\S]*systemctl start"):
            act()


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Daemon]]:
    """Another daemon, which is the one that the provider would find from when it is called for."""
    (tmp_path / "other").mkdir()
    with running(tmp_path / "other") as started:

        def swap() -> Daemon:
            monkeypatch.setenv("INCUS_SOCKET", str(started.socket))
            return started

        yield swap


def test_a_lab_is_held_to_the_daemon_it_was_made_with(
    provider: IncusProvider, empty: Daemon, tmp_path: Path, other: Callable[[], Daemon]
) -> None:
    provider.create(guide_topology(), ["k8s-lb"])
    found = other()
    empty.replies |= {f"GET {PROJECT}": ok({"config": {}}), f"GET {INSTANCES}": ok([instance("k8s-lb")])}
    for _ in range(2):  # a second `up` there notes nothing else
        again = IncusProvider("thw", tmp_path / "state", image=None)
        assert again.is_there()
        assert again.states() == {"k8s-lb": "running"}
        again.create(guide_topology(), ["k8s-lb"])
    empty.replies |= dict.fromkeys((f"DELETE {INSTANCES}/k8s-lb", f"DELETE {PROJECT}"), ok())
    empty.replies |= {f"GET {INSTANCES}": ok([instance("k8s-lb", "Stopped")]), "GET /1.0/images": ok([])}
    IncusProvider("thw", tmp_path / "state", image=None).destroy()
    assert f"DELETE {INSTANCES}/k8s-lb" in empty.lines()
    assert found.asked == []


@pytest.mark.parametrize("name_is_left", [True, False])
def test_if_that_daemon_is_gone_both_are_named_and_the_other_is_not_asked(
    provider: IncusProvider, empty: Daemon, tmp_path: Path, other: Callable[[], Daemon], name_is_left: bool
) -> None:
    provider.create(guide_topology(), ["k8s-lb"])
    noted = empty.socket
    noted.unlink()
    if name_is_left:  # as of a daemon that was killed
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(noted))
    found = other()
    again = IncusProvider("thw", tmp_path / "state", image=None)
    for act in (again.is_there, again.states, again.destroy, partial(again.create, guide_topology(), [])):
        with pytest.raises(LabError) as caught:
            act()
        assert f"made with the daemon at {noted}" in str(caught.value)
        assert f"the one at {found.socket} does, and is not asked in its place" in str(caught.value)
        assert f"echo {found.socket} >{tmp_path / 'state' / 'daemon'}" in caught.value.remedy
        assert f"rm -r {tmp_path / 'state'}" in caught.value.remedy
    (missing,) = again.preflight(guide_topology())[:1]
    assert str(found.socket) in missing.what
    assert found.asked == []
    assert (tmp_path / "state/daemon").read_text() == f"{noted}\n"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/var/lib/incus/unix.socket", "incus"),
        ("/var/snap/lxd/common/lxd/unix.socket", "snap.lxd.daemon"),
        ("/var/lib/lxd/unix.socket", "lxd"),
    ],
)
def test_the_unit_of_a_daemon_is_told_by_its_socket(path: str, unit: str) -> None:
    assert daemon_module.unit_of(Path(path)) == unit


def test_auto_takes_the_running_daemon_unless_the_lab_has_its_own(daemon: Daemon, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert IncusProvider("thw", state, image=None).private is None
    (state / "incus").mkdir(parents=True)
    assert IncusProvider("thw", state, image=None).private is not None


# -- the private daemon, as far as it can be told without one -----------------------------------------


def test_labs_of_one_name_in_other_folders_are_other_labs(tmp_path: Path) -> None:
    ours = PrivateDaemon("thw", enclosed.DEFAULT_ROOT / "thw/incus", "lxd")
    other = PrivateDaemon("thw", tmp_path / "thw/incus", "lxd")
    assert ours.network == Path("/run/netns/thwlab-thw")
    assert other.tag.startswith("thw-")
    assert not other.is_there()
    assert not other.is_running()
    assert other.inside(["ping", "x"]) == ["nsenter", f"--net={other.network}", "--", "ping", "x"]


def test_proxies_and_other_daemons_do_not_reach_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "no_proxy", "INCUS_SOCKET", "LXD_SOCKET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KEPT", "y")
    env = daemon_module._clean_environment()
    assert env["KEPT"] == "y"
    assert not {
        name for name in env if name.lower().endswith("_proxy") or name in ("INCUS_SOCKET", "LXD_SOCKET")
    }
    assert "/usr/sbin" in env["PATH"].split(":")


def test_members_are_found_by_their_namespace_only(tmp_path: Path) -> None:
    assert list(enclosed.members(tmp_path / "none")) == []
    assert list(enclosed.members(tmp_path)) == []


def test_mounts_and_loop_devices_of_a_folder_are_only_its_own(tmp_path: Path) -> None:
    assert enclosed.mounts(tmp_path) == []
    assert enclosed.loop_devices(tmp_path) == []
    assert enclosed.mounts(Path("/proc")) != []


def test_fsyncs_of_machines_do_not_wait_for_this_hosts_disk(tmp_path: Path) -> None:
    daemon, image = (
        PrivateDaemon("unit-test-of-nothing", tmp_path / "incus", "lxd"),
        tmp_path / "incus/disk.img",
    )
    image.parent.mkdir()
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(
        ["losetup", "--find", "--show", "--direct-io=on", image], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    try:
        direct = Path("/sys/block", Path(made.stdout.strip()).name, "loop/dio")
        assert direct.read_text() == "1\n"
        daemon.cache_disks()
        assert direct.read_text() == "0\n"
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@pytest.mark.parametrize("device", ["not a device", "not there"])
def test_a_disk_that_goes_round_the_page_cache_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    (tmp_path / "not a device").touch()
    asked = tmp_path / device
    monkeypatch.setattr(enclosed, "loop_devices", lambda _: [str(asked)])
    PrivateDaemon("two", tmp_path / "incus", "lxd").cache_disks()
    (said,) = caplog.messages
    assert said.startswith(f"lab two: {asked} cannot be told to use this host's page cache (")
    assert "each fsync" in said


def test_ending_what_is_not_there_is_harmless(tmp_path: Path) -> None:
    PrivateDaemon("unit-test-of-nothing", tmp_path / "incus", "lxd").end()


def test_the_environment_names_the_running_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INCUS_SOCKET", "INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(daemon_module, "RUNNING_SOCKETS", ("/nowhere/unix.socket",))
    assert daemon_module.running_socket() is None
    monkeypatch.setenv("LXD_DIR", "/x")
    assert daemon_module.running_socket() == Path("/x/unix.socket")
    monkeypatch.setenv("INCUS_SOCKET", "/y.socket")
    assert daemon_module.running_socket() == Path("/y.socket")


def test_roles_of_an_attached_machine_come_from_the_plan(provider: IncusProvider, daemon: Daemon) -> None:
    daemon.replies |= {
        f"GET {PROJECT}": ok({"config": {}}),
        f"GET {INSTANCES}": ok([instance("k8s-worker1")]),
    }
    assert Role.WORKER in provider.attach(guide_topology())["k8s-worker1"].node.roles


def test_a_user_is_told_to_join_the_group_of_a_running_daemon_or_to_become_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: "/bin/x")
    monkeypatch.setattr(labdaemon, "installed_program", lambda: "lxd")
    monkeypatch.setattr(labdaemon, "running_socket", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    monkeypatch.setattr("sys.argv", ["/usr/bin/thwlab", "--name", "two", "up"])
    provider = IncusProvider("thw", tmp_path / "state")
    monkeypatch.setattr(labdaemon, "closed_socket", lambda: None)
    (missing,) = provider.preflight(guide_topology())
    assert missing.remedy == 'sudo -E env "PATH=$PATH" /usr/bin/thwlab --name two up'
    monkeypatch.setattr(labdaemon, "closed_socket", lambda: tmp_path)
    (missing,) = provider.preflight(guide_topology())
    assert missing.remedy.startswith("sudo usermod -aG ")


def test_a_socket_that_this_user_may_not_use_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("INCUS_SOCKET", "INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "unix.socket"
    monkeypatch.setattr(daemon_module, "RUNNING_SOCKETS", ("/no/such", str(path)))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert (daemon_module.running_socket(), daemon_module.closed_socket()) == (path, None)
        monkeypatch.setattr("os.access", lambda *_: False)
        assert (daemon_module.running_socket(), daemon_module.closed_socket()) == (None, path)
