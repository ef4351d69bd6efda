"""A member of etcd that the others removed: it is named at once, and one command gives it a new one."""

import json
import re
import shlex
import time
from functools import partial

import pytest
from support_host import thwlab, tried

from lab import health
from lab.cluster import Cluster
from lab.faults import quorum
from lab.limits import Limits
from lab.topology import Role
from lab.wait import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]


def members(lab: Cluster) -> dict[str, int]:
    """The number of each member, by its name."""
    said = lab.etcdctl("member", "list", "-w", "json")
    assert said.ok, said.stderr
    return {each["name"]: each["ID"] for each in json.loads(said.stdout)["members"]}


def test_a_removed_member_is_named_and_its_remedy_can_be_pasted(
    lab: Cluster, flags: list[str], lab_limits: Limits
) -> None:
    *_, victim = lab.of(Role.ETCD)
    name = lab.topology.etcd_name(victim.node)
    before = members(lab)
    remove = partial(quorum.from_anybody, lab, "member", "remove", f"{before[name]:x}", but=victim.name)
    # After a reboot etcd calls itself an unhealthy cluster for some seconds, and takes no such order.
    wait_until(f"the others to remove {name}", remove, timeout=30)
    began = time.monotonic()
    refused = tried(*flags, "up", timeout=120)
    lab_limits.at_most(time.monotonic() - began, 30, "until a removed member is given up")
    assert refused.returncode != 0, refused.stdout
    assert f"etcd on {victim.name}" in refused.stderr
    assert "the others have removed this etcd member" in refused.stderr
    remedy = re.search(rf"remedy: thwlab( .*)? rejoin {victim.name}\b", refused.stderr)
    assert remedy, refused.stderr
    words = shlex.split(remedy[0].removeprefix("remedy: thwlab"))
    done = tried(*words, timeout=120)
    assert done.returncode == 0, done.stderr
    thwlab(*flags, "up")
    health.await_etcd(lab)
    after = members(lab)
    assert {*after} == {*before}
    assert {each for each in after if after[each] != before[each]} == {name}
    again = tried(*words, timeout=60)
    assert "its member serves; nothing was done" in again.stdout, again.stderr
