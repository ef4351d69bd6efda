"""Writing all the while: the writer's process, what came of each write, and whether promises are kept."""

import base64
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

import support_writer

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, client_url
from lab.errors import LabError
from lab.topology import Role
from lab.wait import NotYet, stretched, wait_until

PERIOD, DEADLINE = 0.1, 5.0  # seconds; slow machines get fewer writes, and longer for each
SLOWEST = 1.0  # seconds between two writes at most, that there are enough of them
ETCD_ROOT = "/thwlab-e2e"


@dataclass(frozen=True, slots=True)
class Write:
    """One write as its writer saw it; seconds of this host's monotonic clock."""

    key: str
    target: str
    scheduled: float
    begun: float
    answered: float
    outcome: str
    sent: float | None = None
    status: int | None = None
    said: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was acknowledged."""
        return self.outcome == support_writer.OK

    def told(self, since: float) -> str:
        """One line for a report, its beat relative to an instant."""
        took = self.answered - self.begun
        return f"{self.scheduled - since:+.1f}s {self.target} {self.outcome} after {took:.2f}s: {self.said}"


@dataclass
class Writes:
    """Everything one writer did so far; complete once it was stopped."""

    where: str
    process: subprocess.Popen[bytes] = field(repr=False)
    folder: Path = field(repr=False)
    _kept: list[Write] | None = field(default=None, repr=False)

    def all(self) -> list[Write]:
        """The decided writes by beat."""
        if self._kept is not None:
            return self._kept
        lines = (self.folder / "out").read_text().split("\n")[:-1]
        return sorted((Write(**json.loads(line)) for line in lines), key=lambda write: write.scheduled)

    def since(self, instant: float) -> list[Write]:
        """Those whose beat came after the instant."""
        return [write for write in self.all() if write.scheduled >= instant]

    def acknowledged(self) -> set[str]:
        """Keys that must be there from now on."""
        return {write.key for write in self.all() if write.ok}

    def stop(self) -> None:
        """No more beats; returns when the last write is decided."""
        if self._kept is None:
            _end(self.process, self.folder / "err")
            self._kept = self.all()

    def summary(self, since: float) -> str:
        """Counts, the longest gap between acknowledgements, and the first failures since an instant."""
        these = self.since(since)
        bad = [write for write in these if not write.ok]
        ends = sorted(write.answered for write in these if write.ok)
        gap = max((later - earlier for earlier, later in pairwise([since, *ends])), default=float("inf"))
        head = f"{len(these)} writes, {len(bad)} not acknowledged, longest gap between answers {gap:.1f}s"
        return "\n  ".join([head, *(write.told(since) for write in bad[:12])])


def paced(period: float) -> float:
    """The period as slow machines can follow it: a new connection takes each of them long."""
    return max(period, min(SLOWEST, stretched(period)))


def first_run(writes: Sequence[Write], length: int) -> Write | None:
    """The first of `length` acknowledged writes in a row of the grid; None if no row is so long."""
    begin = 0
    for at, write in enumerate(writes):
        if not write.ok:
            begin = at + 1
        elif at - begin + 1 == length:
            return writes[begin]
    return None


@contextmanager
def api_writes(cluster: Cluster, targets: Sequence[IPv4Address], period: float = PERIOD) -> Iterator[Writes]:
    """ConfigMaps of a namespace of their own, written as administrator; it is removed when the body ends.

    Each beat goes to the next target.  When the body begins, a write has been acknowledged.
    """
    where = f"e2e-writes-{uuid.uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": where}}
    wait_until(f"namespace {where}", lambda: cluster.api().apply(namespace), timeout=60)
    plan = {"kind": "configmap", "where": where, "period": period}
    ends = [(str(address), cluster.topology.networks.api_port) for address in targets]
    try:
        with _writer(cluster, plan, ends, "kubernetes", "user") as writes:
            yield writes
    finally:
        path = f"/api/v1/namespaces/{where}"
        wait_until(f"removing {where}", lambda: cluster.api().delete(path), timeout=60)


@contextmanager
def etcd_writes(cluster: Cluster, targets: Sequence[IPv4Address], period: float = PERIOD) -> Iterator[Writes]:
    """Keys below a root of their own, written through members' JSON gateways; removed when the body ends."""
    where = f"{ETCD_ROOT}/{uuid.uuid4().hex[:8]}"
    plan = {"kind": "etcd", "where": where, "period": period}
    ends = [(str(address), CLIENT_PORT) for address in targets]
    try:
        with _writer(cluster, plan, ends, "etcd", "etcd-client") as writes:
            yield writes
    finally:
        wait_until(f"removing {where}", partial(_etcdctl, cluster, "del", "--prefix", where), timeout=60)


def lost_of_api(cluster: Cluster, writes: Writes) -> list[str]:
    """Acknowledged writes that an apiserver does not have; each apiserver is asked for all of them."""
    promised = writes.acknowledged()
    path = f"/api/v1/namespaces/{writes.where}/configmaps"
    lost = []
    for node in cluster.topology.of(Role.CONTROL_PLANE):
        items = wait_until(f"{node.name} to list", partial(cluster.api(node.name).items, path), timeout=30)
        values = {item["metadata"]["name"]: (item.get("data") or {}).get("key") for item in items}
        lost += [f"{node.name} lacks {key}" for key in sorted(promised) if values.get(key) != key]
    return lost


def lost_of_etcd(cluster: Cluster, writes: Writes) -> list[str]:
    """Acknowledged writes that a member does not have; each is asked for all, by linearizable reads."""
    promised = writes.acknowledged()
    lost = []
    for node in cluster.topology.of(Role.ETCD):
        told = json.loads(_etcdctl(cluster, f"--endpoints={client_url(node)}", *_GET, writes.where))
        values = {_text(kv["key"]).rsplit("/", 1)[1]: _text(kv["value"]) for kv in told.get("kvs", ())}
        lost += [f"{node.name} lacks {key}" for key in sorted(promised) if values.get(key) != key]
    return lost


_GET = ("get", "--prefix", "-w", "json")


def _etcdctl(cluster: Cluster, *args: str) -> str:
    done = cluster.etcdctl(*args)
    if not done.ok:
        raise NotYet(f"etcdctl {' '.join(args)}: {done.stderr.strip()[-500:] or 'no answer'}")
    return done.stdout


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


@contextmanager
def _writer(
    cluster: Cluster, plan: dict[str, Any], targets: Sequence[tuple[str, int]], authority: str, use: str
) -> Iterator[Writes]:
    """The writer in the lab's network; its secrets lie in a folder that only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="thwlab-writes-") as name:
        folder = Path(name)
        files = _secrets(cluster, folder, authority, use)
        pace = {"deadline": stretched(DEADLINE), "period": paced(plan["period"])}
        told = {**plan, **files, **pace, "targets": targets}
        (folder / "plan").write_text(json.dumps(told))
        argv = [sys.executable, "-I", support_writer.__file__, str(folder / "plan")]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            inside = cluster.lab.provider.host_argv(argv)
            process = subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=out, stderr=err)
        writes = Writes(plan["where"], process, folder)
        try:
            wait_until("a first acknowledged write", partial(_check_first, writes), timeout=30)
            yield writes
        finally:
            writes.stop()


def _secrets(cluster: Cluster, folder: Path, authority: Any, use: str) -> dict[str, str]:
    secrets = cluster.credentials
    pair = secrets.pair(use) if use == "user" else secrets.pair(use, cluster.topology.of(Role.ETCD)[0])
    contents = {"ca": secrets.ca(authority), "cert": pair.cert, "key": pair.key}
    for name, content in contents.items():
        (folder / name).touch(0o600)
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def _check_first(writes: Writes) -> None:
    if writes.process.poll() is not None:
        said = (writes.folder / "err").read_text(errors="replace")[-2000:]
        raise LabError(f"the writer ended with {writes.process.returncode} before its first write: {said}")
    if not writes.acknowledged():
        raise NotYet("; ".join(write.said for write in writes.all()[-3:]) or "no write was decided yet")


def _end(process: subprocess.Popen[bytes], err: Path) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(timeout=stretched(DEADLINE) + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
    if process.returncode != 0:
        raise LabError(
            f"the writer ended with {process.returncode}: {err.read_text(errors='replace')[-2000:]}"
        )
