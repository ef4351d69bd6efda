"""Connections of one run on which nobody says anything: opened, and what became of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError
from lab.kubeapi import Refused, path_of
from lab.probes import idle
from lab.probes.hosted import Hosted
from lab.probes.vantage import secrets_here
from lab.probes.workload import CONTAINER, NAMESPACE, quiet_pod
from lab.wait import NotYet, wait_until

NAME = "idle"
START = 60.0  # seconds for the pod to run
EXEC, LOGS, WATCH = "exec", "logs", "watch"
LONGEST = 86400  # seconds after which the API itself ends a watch
IN_POD = frozenset({EXEC, LOGS})


class Keeping:
    """A program of this host that opens them through the balancer, and says when one is cut."""

    def __init__(self, cluster: Cluster, folder: Path, kept: Sequence[str], mark: str) -> None:
        self.kept = tuple(kept)
        pod = f"{mark}-idle"
        if IN_POD & set(kept):
            _begin_pod(cluster, pod)
        topology = cluster.topology
        plan = {
            "address": str(topology.api_address),
            "port": topology.networks.api_port,
            "host": str(topology.api_address),
            "tls": secrets_here(cluster, "kubernetes", folder),
            "kept": {name: _PATHS[name].format(pod=pod) for name in kept},
        }
        self._program = Hosted(cluster, [idle], folder, {NAME: plan})

    def trouble(self) -> str:
        """Why it is not at work; empty if it is."""
        trouble = self._program.trouble()
        return trouble and f"what keeps idle connections {trouble}"

    def missing(self) -> list[str]:
        """What is not open yet, and why the last try failed."""
        lines = self._program.lines(NAME)
        opened = {line["kept"] for line in lines if "opened" in line}
        why = {line["kept"]: line["refused"] for line in lines if "refused" in line}
        return [f"an idle {name}: {why.get(name, 'no answer')}" for name in self.kept if name not in opened]

    def told(self) -> dict[str, dict[str, Any]]:
        """End it; the fact `idle`.  Raises `LabError` if nothing can be had."""
        self._program.finish()
        return lives(self._program.lines(NAME))


def lives(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """How long each was silent until somebody cut it, or until the end; `LabError` without an end.  Pure."""
    told = list(lines)
    end = next((line["ended"] for line in told if "ended" in line), None)
    if end is None:
        raise LabError("what keeps idle connections did not come to its end")
    return dict(_lives(told, end))


def _lives(told: Sequence[Mapping[str, Any]], end: float) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in dict.fromkeys(line["kept"] for line in told if "opened" in line):
        own = [line for line in told if line.get("kept") == name]
        since = max(line[word] for line in own for word in ("opened", "heard") if word in line)
        cut = next((line for line in own if "cut" in line), None)
        until = cut["cut"] if cut else end
        yield name, {"lived": round(until - since, 3), "cut": bool(cut), "said": cut["said"] if cut else ""}


def _begin_pod(cluster: Cluster, name: str) -> None:
    manifest = quiet_pod(cluster.topology, name)
    wait_until(path_of(manifest), partial(_applied, cluster, manifest), timeout=START)
    wait_until(f"pod {NAMESPACE}/{name}", partial(_check_runs, cluster, path_of(manifest)), timeout=START)


def _applied(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    try:
        cluster.api().apply(manifest)
    except Refused as error:
        raise NotYet(str(error)) from error


def _check_runs(cluster: Cluster, path: str) -> None:
    try:
        phase = cluster.api().get(path)["status"].get("phase", "")
    except Refused as error:
        raise NotYet(str(error)) from error
    if phase != "Running":
        raise NotYet(f"it is {phase or 'not known'}")


# What runs by `exec` ends when its input does; of the logs the pod's last line comes at once, for the kubelet
# sends no head of an answer before a line.
_POD = f"/api/v1/namespaces/{NAMESPACE}/pods/{{pod}}"
_PATHS = {
    EXEC: f"{_POD}/exec?command=/bin/busybox&command=cat&stdin=true&stdout=true&container={CONTAINER}",
    LOGS: f"{_POD}/log?follow=true&tailLines=1&container={CONTAINER}",
    WATCH: f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    f"?watch=1&fieldSelector=metadata.name%3Dnobody&timeoutSeconds={LONGEST}",
}
