"""What members have in the end is written down, above all where it is not the same."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.history import Recorder, history, read
from lab.invariants.finding import Verdict
from lab.invariants.writes import HashKv, LostWrites
from lab.machine import Result
from lab.plan import load_topology
from lab.scenario import ledger
from lab.topology import Role

MEMBERS = [node.name for node in load_topology().of(Role.ETCD)]


class Cluster:
    """Members that have these keys, by name; one with None cannot be read."""

    topology = load_topology()

    def __init__(self, **keys: list[str] | None) -> None:
        self.keys = {name.replace("_", "-"): of for name, of in keys.items()}

    def of(self, role: Role) -> list[Any]:
        return [SimpleNamespace(name=node.name, node=node) for node in self.topology.of(role)]

    def etcdctl(self, *args: str, member: Any = None, timeout: float = 60) -> Result:
        if args[0] == "del":
            return Result(0)
        keys = self.keys[member.name]
        if keys is None:
            return Result(1, err=b"context deadline exceeded")
        if "status" in args:
            return said([{"Status": {"header": {"revision": 7}}}])
        if "hashkv" in args:
            return said([{"HashKV": {"hash": len(keys)}}])
        return Result(0, out="\n".join(f"{args[1]}{key}" for key in keys).encode())

    def api(self) -> Any:
        return SimpleNamespace(delete=lambda _: None)


def said(told: Any) -> Result:
    return Result(0, out=json.dumps(told).encode())


@pytest.mark.parametrize(
    ("third", "lost", "hashes"),
    [
        (["a", "b"], Verdict.HELD, Verdict.HELD),
        (["a"], Verdict.BROKEN, Verdict.BROKEN),
        (None, Verdict.UNKNOWN, Verdict.UNKNOWN),
    ],
)
def test_a_member_that_lost_something_is_broken_and_one_that_is_silent_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, third: list[str] | None, lost: Verdict, hashes: Verdict
) -> None:
    monkeypatch.setattr(ledger, "SECONDS", 0.1)
    recorder = Recorder(tmp_path / "records.jsonl")
    first, second, last = (name.replace("-", "_") for name in MEMBERS)
    cluster: Any = Cluster(**{first: ["a", "b"], second: ["a", "b"], last: third})
    ledger.reckon(cluster, recorder)
    sample = {"scheduled": 1.0, "sent": 1.0, "answered": 1.01, "outcome": "ok", "acked": True}
    for key in ("a", "b"):
        recorder.write("sample", probe="api", key=f"{ledger.ETCD_ROOT}/{key}", **sample)
    seen = history(read(recorder.path))
    assert (LostWrites().judge(seen).verdict, HashKv().judge(seen).verdict) == (lost, hashes)
