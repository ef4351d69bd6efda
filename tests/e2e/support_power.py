"""A silent power cut, all the while watched: by its peers, by writers, and by those who must notice it."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

import support_interface
import support_pods
import support_writes
from support_deadlines import whole
from support_pods import PodSet, http
from support_writes import Writes

from lab import health
from lab.cluster import Cluster
from lab.errors import ClusterError, WaitExpired
from lab.machine import Machine, on_each
from lab.topology import Role
from lab.wait import NotYet, wait_until

ROW = 20  # writes in a row
ROW_SECONDS, DROP_SECONDS = 30, 30
ROUNDS = 3
SETTLE_SECONDS = 20
CAPTURE = "thwlab-capture"
ENDS = re.compile(r"Flags \[[^]]*[FR]")


@dataclass
class Cut:
    """What was seen when one machine lost its power and got it back; seconds of the monotonic clock."""

    name: str
    writes: dict[str, Writes] = field(default_factory=dict)
    lasting: dict[str, set[str]] = field(default_factory=dict)
    pulled: float = 0.0
    dead: float = 0.0
    still_open: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    goodbyes: dict[str, list[str]] = field(default_factory=dict)
    undropped: ClusterError | None = None
    unserved: list[str] = field(default_factory=list)
    booted: float = 0.0
    api_back: float = 0.0
    rejoined: ClusterError | None = None
    lost: dict[str, list[str]] = field(default_factory=dict)


def cut(cluster: Cluster, machine: Machine, pods: PodSet) -> Cut:
    """Pull the machine's plug under load, wait until everybody noticed, and boot it again."""
    seen = Cut(machine.name)
    watchers = [each for each in cluster.of(Role.ETCD) if each is not machine]
    with _writers(cluster, machine, seen):
        seen.lasting = on_each(watchers, lambda each: capturing(each, machine))
        since = on_each(watchers, clock)
        seen.pulled = time.monotonic()
        machine.pull_plug()
        seen.dead = time.monotonic()
        try:
            seen.still_open = on_each(
                watchers, lambda each: len(_flows(each, machine) & seen.lasting[each.name])
            )
            _while_dead(cluster, machine, pods, seen)
            lines_of = on_each(watchers, captured)
            for name, lines in lines_of.items():
                seen.heard[name] = len(heard(lines, since[name]))
                seen.goodbyes[name] = goodbyes(lines, seen.lasting[name], since[name])
        finally:
            seen.booted = time.monotonic()
            machine.boot()
        _back(cluster, machine, seen)
        _reckoned(cluster, seen)
    return seen


@contextmanager
def _writers(cluster: Cluster, machine: Machine, seen: Cut) -> Iterator[None]:
    """One writer through the API as users reach it, or past it if that way is cut; and one into etcd."""
    topology = cluster.topology
    masters = [node.address for node in topology.of(Role.CONTROL_PLANE) if node != machine.node]
    through = masters if machine.node.address == topology.api_address else [topology.api_address]
    members = [node.address for node in topology.of(Role.ETCD) if node != machine.node]
    with (
        support_writes.api_writes(cluster, through) as seen.writes["api"],
        support_writes.etcd_writes(cluster, members) as seen.writes["etcd"],
    ):
        yield


def _while_dead(cluster: Cluster, machine: Machine, pods: PodSet, seen: Cut) -> None:
    for writes in seen.writes.values():
        _await_row(writes, seen.dead)
    if Role.CONTROL_PLANE in machine.node.roles:
        try:
            health.await_api_addresses(cluster, DROP_SECONDS, without=machine.name)
        except ClusterError as error:
            seen.undropped = error
    if machine.node.address == cluster.topology.api_address:
        for _ in range(ROUNDS):
            seen.unserved += _unserved(cluster, pods)


def _await_row(writes: Writes, since: float) -> None:
    """Give a row of acknowledged writes its time; whether it came in time is for the tests to say."""

    def check() -> None:
        if support_writes.first_run(writes.since(since), ROW) is None:
            raise NotYet(writes.summary(since))

    try:
        wait_until("writes in a row", check, timeout=ROW_SECONDS)
    except WaitExpired:
        return


def _unserved(cluster: Cluster, pods: PodSet) -> list[str]:
    """What workers and their pods do not get from a Service by its address, or from DNS by its name."""
    url = http(pods.ip("web"), "hostname", 80)
    servers = {pod.name for pod in pods.servers.values()}
    networks = cluster.topology.networks
    name = f"web.{pods.namespace}.svc.{networks.domain}"
    dig = f"dig +short +time={whole(2)} +tries=1 @{networks.dns} {name}"

    def asked(machine: Machine) -> list[str]:
        client = pods.clients[machine.name]
        wrong = []
        for who, run in (
            (machine.name, support_pods.shell(machine)),
            (f"a pod on {machine.name}", client.net),
        ):
            if (said := support_pods.ask(run, [url])[url]) not in servers:
                wrong.append(f"{who} got {said!r} from {url}")
            if (said := run(dig).stdout.strip()) != pods.ip("web"):
                wrong.append(f"{who} got {said!r} for {name}")
        return wrong

    return [line for lines in on_each(cluster.of(Role.WORKER), asked).values() for line in lines]


def _back(cluster: Cluster, machine: Machine, seen: Cut) -> None:
    cluster.lab.close()  # a connection kept from before the cut would be waited for
    try:
        what = f"the API at {cluster.topology.api_url} after the boot of {machine.name}"
        health.insist(what, lambda: health.answered(lambda: cluster.api().text("/readyz")), timeout=60)
        seen.api_back = time.monotonic()
        health.await_units(cluster, machine)
        health.await_etcd(cluster)
        health.await_apiservers(cluster)
        health.await_api_addresses(cluster, DROP_SECONDS)
        health.await_nodes(cluster)
    except ClusterError as error:
        seen.rejoined = error


def _reckoned(cluster: Cluster, seen: Cut) -> None:
    for kind, lost in (("api", support_writes.lost_of_api), ("etcd", support_writes.lost_of_etcd)):
        seen.writes[kind].stop()
        seen.lost[kind] = lost(cluster, seen.writes[kind])


def capturing(watcher: Machine, machine: Machine) -> set[str]:
    """Start to keep the heads of all packets from the machine; the connections with it that last.

    It is asked for one packet: two followers of etcd have nothing to say to each other for seconds.
    """
    address = str(machine.node.address)
    told = (support_interface.of(watcher), f"src host {address}", whole(100))
    watcher.check("sh", "-c", _CAPTURE, CAPTURE, *told)
    watcher.check("ping", "-c", "1", "-W", whole(5), address)
    known = _flows(watcher, machine)

    def lasting() -> set[str]:
        nonlocal known
        before, known = known, _flows(watcher, machine)
        if not before & known:
            raise NotYet(f"{watcher.name} has no connection with {machine.name} for longer than a moment")
        return before & known

    what = f"lasting connections of {watcher.name} with {machine.name}"
    return health.insist(what, lasting, timeout=SETTLE_SECONDS, every=1)


def _flows(watcher: Machine, machine: Machine) -> set[str]:
    """The watcher's open connections with the machine, as tcpdump would name what comes from there."""
    listed = watcher.check("ss", "-Htn", "state", "established", "dst", str(machine.node.address))
    ends = (line.split()[-2:] for line in listed.splitlines())
    return {f"{_dotted(far)} > {_dotted(near)}:" for near, far in ends}


def _dotted(end: str) -> str:
    address, _, port = end.rpartition(":")
    return f"{address.removeprefix('[::ffff:').removesuffix(']')}.{port}"


def clock(watcher: Machine) -> float:
    """The watcher's own clock, which its captures are stamped by."""
    return float(watcher.check("date", "+%s.%N"))


def captured(watcher: Machine) -> list[str]:
    """What was captured, by the lines of tcpdump; the capture is ended."""
    return watcher.check("sh", "-c", _TELL, CAPTURE).splitlines()


def heard(lines: Sequence[str], since: float) -> list[str]:
    """Lines from before the cut: without any the capture looked elsewhere.  Pure."""
    return [line for line in lines if 0 < _stamp(line) < since]


def goodbyes(lines: Sequence[str], lasting: set[str], since: float, until: float = inf) -> list[str]:
    """Lines with FIN or RST of connections that were to last, from the cut on and ``until``.  Pure.

    On a loaded host even a request lasts, and its connection may end in good order before the cut.
    """
    return [
        line
        for line in lines
        if since <= _stamp(line) < until and _is_about(line, lasting) and ENDS.search(line)
    ]


def _stamp(line: str) -> float:
    """The time of the line's packet; 0 if it is about none."""
    stamp = line.partition(" ")[0]
    return float(stamp) if stamp.replace(".", "", 1).isdigit() else 0.0


def _is_about(line: str, flows: set[str]) -> bool:
    return any(flow in line for flow in flows)


_CAPTURE = """\
systemctl stop "$0" 2>/dev/null
systemd-run --quiet --collect --unit="$0" \\
    tcpdump -i "$1" -nn -U --immediate-mode -s 96 -w "/run/$0.pcap" "$2"
for turn in $(seq "$3"); do test -s "/run/$0.pcap" && exit 0; sleep 0.05; done
journalctl -u "$0" -n 5 -o cat >&2; exit 1
"""
_TELL = """\
systemctl stop "$0" && tcpdump -nn -tt -r "/run/$0.pcap" 2>/dev/null; rm -f "/run/$0.pcap"
"""
