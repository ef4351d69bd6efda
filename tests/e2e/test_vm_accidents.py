"""Accidents of virtual machines on a real hypervisor: each is named with its remedy, and the remedy mends it.

What Vagrant and VirtualBox make of the same is in tests/unit/test_vagrant_accidents.py, with a stand-in.
By hand means by a user: the tests ask the hypervisor behind the lab's back.
"""

import re
import threading
import time
from collections.abc import Iterator

import pytest
from support_host import thwlab, tried

from lab import health
from lab.cluster import Cluster
from lab.errors import LabError
from lab.machine import Machine, on_each, patience
from lab.providers.vagrant.connection import OtherHostKey
from lab.providers.vagrant.hypervisor import Hypervisor
from lab.providers.vagrant.machine import BOOT_ID, VagrantMachine
from lab.providers.vagrant.provider import VagrantProvider
from lab.topology import Role
from lab.wait import NotYet, shortened, stretched, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
MAKE = "ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ssh_host_ecdsa_key"
BUSY = 4.0  # seconds for a command that is paused in its middle; slow machines get more


@pytest.fixture
def hypervisor(lab: Cluster) -> Hypervisor:
    provider = lab.lab.provider
    if not isinstance(provider, VagrantProvider):
        pytest.skip(f"machines of provider {provider.name} are no virtual machines of a hypervisor's")
    return provider.hypervisor


@pytest.fixture
def victim(lab: Cluster, hypervisor: Hypervisor) -> VagrantMachine:
    """The last worker: whoever loses it loses least."""
    machine = lab.of(Role.WORKER)[-1]
    assert isinstance(machine, VagrantMachine)
    return machine


@pytest.fixture(autouse=True)
def whole(lab: Cluster, hypervisor: Hypervisor) -> Iterator[None]:
    """The lab is whole again after each; that it was before is what bring-up, or the one before, has seen."""
    yield
    health.await_whole(lab)


def boots(machines: list[Machine]) -> dict[str, str]:
    return on_each(machines, lambda machine: machine.check("cat", BOOT_ID).strip())


def others(lab: Cluster, victim: Machine) -> list[Machine]:
    return [machine for machine in lab.machines.values() if machine.name != victim.name]


def insist_named_as_off(flags: list[str], victim: Machine, word: str) -> None:
    seen = tried(*flags, "status")
    assert seen.returncode == 1, seen.stdout + seen.stderr
    line = next(line for line in seen.stdout.splitlines() if victim.name in line)
    assert word in line, seen.stdout


def test_a_vm_that_was_switched_off_by_hand_is_named_and_up_has_it_back(
    lab: Cluster, victim: VagrantMachine, hypervisor: Hypervisor, flags: list[str]
) -> None:
    before, rest = boots(list(lab.machines.values())), others(lab, victim)
    hypervisor.cut(victim.domain)
    victim.connection.close()
    insist_named_as_off(flags, victim, "stopped")
    thwlab(*flags, "up", timeout=600)
    after = boots(list(lab.machines.values()))
    assert after[victim.name] != before[victim.name]
    assert {m.name: after[m.name] for m in rest} == {m.name: before[m.name] for m in rest}


def test_a_vm_that_was_removed_by_hand_is_made_anew_and_only_that_one(
    lab: Cluster, victim: VagrantMachine, hypervisor: Hypervisor, flags: list[str]
) -> None:
    """With its disk: it joins as a new node by the same name."""
    rest = others(lab, victim)
    before = boots(rest)
    identity = victim.check("cat", "/etc/machine-id")
    hypervisor.remove(victim.domain)
    victim.connection.close()
    insist_named_as_off(flags, victim, "gone")
    thwlab(*flags, "up", timeout=900)
    assert boots(rest) == before
    assert victim.check("cat", "/etc/machine-id") != identity


def test_another_host_key_is_named_and_its_remedy_is_not_to_trust_it(
    lab: Cluster, victim: VagrantMachine
) -> None:
    """As if somebody else had the address: nobody goes on by himself, and no waiting helps."""
    keys = "/etc/ssh/kept-by-a-test"
    restart = "systemctl restart ssh"
    keep = f"mkdir -p {keys} && cp -a /etc/ssh/ssh_host_* {keys}"
    old = f"rm -f /etc/ssh/ssh_host_* && cp -a {keys}/* /etc/ssh && rm -r {keys}"
    victim.check("sh", "-c", keep)
    # Nobody comes in any more to mend it, so the machine does it by itself; begun before anything is changed.
    mending = f"sleep {stretched(10):.0f}; {old}; {restart}"
    victim.check("systemd-run", "--quiet", "--collect", "sh", "-c", mending)
    victim.check("sh", "-c", f"rm /etc/ssh/ssh_host_* && {MAKE} >/dev/null && {restart}", timeout=60)
    victim.connection.close()
    try:
        began = time.monotonic()
        with pytest.raises(OtherHostKey, match="another SSH host key than when it was made") as caught:
            victim.run("true", timeout=60)
        assert time.monotonic() - began < stretched(10), "no waiting helps, so there is none"
    finally:
        wait_until(f"{victim.name} to have its key again", lambda: check_own_key(victim), timeout=60)
    assert victim.name in str(caught.value)
    assert re.search(r"thwlab\b.* down, then thwlab\b.* up$", caught.value.remedy), caught.value


def check_own_key(machine: Machine) -> None:
    """Its sshd is restarted for it, and answers nobody for a moment."""
    try:
        machine.check("true", timeout=20)
    except LabError as error:
        raise NotYet(str(error)) from error


def test_a_vm_that_is_paused_in_the_middle_of_a_command_is_named_at_the_deadline(
    lab: Cluster, victim: VagrantMachine, hypervisor: Hypervisor
) -> None:
    seconds = shortened(max(BUSY, stretched(0.5)))
    mark = "/run/thwlab-begun"
    victim.check("rm", "-f", mark)
    paused: list[float] = []

    def pause() -> None:
        hypervisor.pause(victim.domain)
        paused.append(time.monotonic())

    hand = threading.Timer(patience(seconds) / 2, pause)
    began = time.monotonic()
    hand.start()
    try:
        asked = victim.run("sh", "-c", f"touch {mark}; sleep 600", timeout=seconds)
        took = time.monotonic() - began
    finally:
        hand.join()
        victim.resume()
    assert asked.timed_out
    assert paused
    assert paused[0] - began < patience(seconds), "it was paused too late to have been in the middle"
    assert victim.name in asked.silence, asked
    assert "did not answer" in asked.silence, asked
    assert took < patience(seconds) + stretched(5)
    assert victim.check("cat", mark, timeout=60) == "", "it had begun"
