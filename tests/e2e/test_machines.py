"""Chapter "VM": machines of their own, none the twin of another, known by name, in time, not full."""

from collections.abc import Callable

import pytest
import support_clocks
from support_deadlines import whole

from lab.cli.status import units_of
from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.furnishing import identity
from lab.machine import on_each
from lab.providers.base import Provider
from lab.rights import same_lab

pytestmark = pytest.mark.e2e
FULL = 92  # percent
SHARED = ("product-uuid",)  # of containers: theirs is their host's


def test_no_two_machines_share_an_identity(
    lab_machines: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """Machine-id, product UUID, SSH host keys, MAC and address (case B1): twins are named."""
    seen = on_each(list(lab_machines.machines.values()), identity.ask)
    provider = lab_machines.lab.provider
    complaints = [
        f"{name} has no {kind}"
        for name, each in seen.items()
        for kind in needed(provider)
        if not any(mark.startswith(kind) for mark in each.marks)
    ]
    kinds = sorted({kind for each in seen.values() for kind in each.marks})
    record_property("marks compared", ", ".join(kinds))
    shared = SHARED if provider.platform.container else ()
    insist(complaints + identity.twins(seen, shared), identity.REMEDY)


def needed(provider: Provider) -> list[str]:
    """What each machine must have alone; a kind that none of them tells would be missed by nobody.

    Who is not reached by SSH need not have a host key.
    """
    kinds = [kind for kind in identity.UNIQUE if kind not in SHARED or not provider.platform.container]
    return [*kinds, *([identity.HOST_KEY] if provider.name == "vagrant" else [])]


def test_every_machines_clock_is_this_hosts(lab_machines: Cluster) -> None:
    if not support_clocks.own(lab_machines):
        pytest.skip("containers have no clock of their own: theirs is this host's")
    insist(support_clocks.wrong(lab_machines), "set it: timedatectl set-ntp true, or date -s")


def test_every_machine_knows_every_other_by_name(lab_machines: Cluster) -> None:
    """Asked of the first address only: a second line of /etc/hosts would win."""
    nodes = lab_machines.topology.nodes
    script = 'for name; do echo "$name $(timeout "$0" getent ahostsv4 "$name" | head -n 1)"; done'
    argv = ("sh", "-c", script, whole(5), *(node.name for node in nodes))
    seen = on_each(list(lab_machines.machines.values()), lambda machine: machine.check(*argv, timeout=40))
    insist(
        [
            f"{name} takes {words[0]} for {words[1] if words[1:] else 'nobody'}, not {planned[words[0]]}"
            for planned in [{node.name: str(node.address) for node in nodes}]
            for name, said in seen.items()
            for words in map(str.split, said.splitlines())
            if words[1:2] != [planned[words[0]]] and not (words[0] == name and _is_loopback(words))
        ],
        "`getent ahostsv4 NAME` there; /etc/hosts is the plan's, `thwlab up` writes it anew",
    )


def _is_loopback(words: list[str]) -> bool:
    return words[1:2] != [] and words[1].startswith("127.")


def test_no_machine_has_two_ways_out(lab_machines: Cluster) -> None:
    """Of two default routes the one with the lower metric wins, whoever added it, and answers go astray."""
    seen = on_each(
        list(lab_machines.machines.values()),
        lambda machine: machine.check("ip", "-4", "route", "show", "default").strip().splitlines(),
    )
    insist(
        [
            f"{name} has {len(routes)} default routes: {'; '.join(map(str.strip, routes)) or '(none)'}"
            for name, routes in seen.items()
            if len(routes) != 1
        ],
        "ip route del default via … on that machine, for the one that is not its own",
    )


def test_no_file_system_of_a_machine_is_full(lab_machines: Cluster) -> None:
    """Neither its room nor its inodes: etcd, containerd, kubelet and logs each stop in a way of their own."""
    seen = on_each(list(lab_machines.machines.values()), lambda m: m.check("sh", "-c", _ROOM, timeout=20))
    insist(
        [
            f"{name}: {place} is full to {share} % ({what})"
            for name, said in seen.items()
            for what, share, place in (line.split(" ", 2) for line in said.splitlines())
            if int(share) > FULL
        ],
        "`du -xh --max-depth=1 PLACE` there tells what fills it; journalctl --vacuum-size=100M frees logs",
    )


def insist(complaints: list[str], remedy: str) -> None:
    """Fail with every complaint; each names the machines."""
    if complaints:
        raise ClusterError(f"{'; '.join(complaints)}\n  remedy: {remedy}")


# Read-only ones are full by nature, and each container's root is its machine's.
_ROOM = r"""
not='^(overlay|proc|sysfs|cgroup2?|devpts|mqueue|bpf)$'
writable=$(awk -v not="$not" '$4 ~ /^rw/ && $3 !~ not {print $2}' /proc/mounts)
for what in pcent ipcent; do
    for place in $writable; do
        case $place in /dev/*|/sys/*|/proc/*) continue ;; esac
        share=$(df --output=$what "$place" 2>/dev/null | tail -n 1 | tr -dc 0-9)
        [ -z "$share" ] || echo "$([ $what = pcent ] && echo room || echo inodes) $share $place"
    done
done
"""


def test_every_unit_comes_back_with_its_machine_and_is_what_its_file_says(lab: Cluster) -> None:
    """Enabled; and no drop-in of somebody's in /etc changes it, which no comparison of files would show."""
    shown = ("systemctl", "show", "-p", "Id", "-p", "UnitFileState", "-p", "DropInPaths")
    planned = units_of(lab.topology)
    said = on_each(list(lab.machines.values()), lambda m: m.check(*shown, *planned[m.name]))
    complaints, remedies = [], []
    for name, text in said.items():
        for block in text.strip().split("\n\n"):
            unit = dict(line.partition("=")[::2] for line in block.splitlines())
            if unit["UnitFileState"] != "enabled":
                complaints.append(f"{name}: {unit['Id']} is {unit['UnitFileState'] or 'not there'}")
                remedies.append("thwlab up")
            for path in unit["DropInPaths"].split():
                if path.startswith("/etc/"):
                    complaints.append(f"{name}: {unit['Id']} is changed by {path}")
                    mend = f"rm {path} && systemctl daemon-reload && systemctl restart {unit['Id']}"
                    remedies.append(same_lab(f"thwlab exec {name} -- sh -c '{mend}'"))
    insist(complaints, "\n  ".join(dict.fromkeys(remedies)))
