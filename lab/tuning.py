"""Numbers of the profile `hardened` that a plan may set otherwise.  Times are in seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

PATH, COUNT = "path", "count"
KINDS = {"check_path": PATH, "check_fall": COUNT, "tcp_retries2": COUNT}  # the others are times
LEAST_BEATS, LONGEST_ELECTION = 5, 50.0  # what etcd refuses beyond


@dataclass(frozen=True, slots=True)
class Tuning:
    """How soon each part notices that another is gone; the defaults are what measured best so far."""

    check_path: str | None = None  # what HAProxy asks; as it fits to whom apiservers ask
    check_every: float = 0.5
    check_fall: int = 3  # failed checks until a server is out; see lab/components/haproxy.py
    idle_limit: float = 86400.0  # of a connection through the balancer on which nobody says anything
    tcp_retries2: int = 5  # on members of etcd; Linux' own is 15
    http2_idle: float = 10.0  # of kubelet and kube-proxy: silence until they ask, whole seconds
    http2_ping: float = 5.0  # and until they give up
    dns_tolerates: float = 30.0  # a lost node, before CoreDNS gets a pod elsewhere; whole seconds
    etcd_heartbeat: float = 0.1  # etcd's own
    etcd_election: float = 1.0  # etcd's own


def written(tuning: Tuning) -> dict[str, str]:
    """Each number as a plan has it.  Pure."""
    values = {each.name: getattr(tuning, each.name) for each in fields(tuning)}
    return {
        name.replace("_", "-"): str(value) if name in KINDS else in_seconds(value)
        for name, value in values.items()
        if value is not None
    }


def in_seconds(value: float) -> str:
    """A time as a plan and both balancers have it, such as 500ms, 10s or 24h.  Pure."""
    if value and value % 3600 == 0:
        return f"{value / 3600:g}h"
    return f"{value:g}s" if float(value).is_integer() else f"{value * 1000:g}ms"


def unfit(tuning: Tuning) -> Iterator[tuple[str, str]]:
    """Each number with which a part would not start or do nothing, by its key.  Pure."""
    beat, election = tuning.etcd_heartbeat, tuning.etcd_election
    if not LEAST_BEATS * beat <= election <= LONGEST_ELECTION:
        yield (
            "etcd-election",
            f"etcd-election {in_seconds(election)} is refused by etcd beside a heartbeat of"
            f" {in_seconds(beat)}; write {in_seconds(LEAST_BEATS * beat)} to {in_seconds(LONGEST_ELECTION)}",
        )
    for name in ("http2_idle", "http2_ping", "dns_tolerates"):
        value = getattr(tuning, name)
        if not value.is_integer():
            key = name.replace("_", "-")
            yield key, f"{key} {in_seconds(value)} is read in whole seconds; write {max(1, round(value))}s"
