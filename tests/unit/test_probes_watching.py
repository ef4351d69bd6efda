"""All probes of a run together."""

from lab.plan import load_topology
from lab.probes.catalogue import WORDS, probes
from lab.probes.watching import _marked
from lab.probes.workload import Workload

SERVED = Workload("10.0.0.10", 30080, {})


def test_what_one_run_writes_has_no_name_that_another_run_uses() -> None:
    """A run that was killed leaves objects; the next one took their being there for failures of the API."""
    every = probes(load_topology(), SERVED, WORDS)
    prefixes = {str(_marked(each, "abcd").plan.get("prefix", "abcd-")) for each in every}
    assert all("abcd-" in prefix for prefix in prefixes)
    assert "/thwlab-probes/abcd-etcd-1-" in prefixes
    assert "abcd-api-" in prefixes


def test_every_probe_has_a_name_of_its_own_and_a_deadline_that_its_unit_outlives() -> None:
    every = probes(load_topology(), SERVED, WORDS)
    assert len({each.name for each in every}) == len(every)
    assert all(0 < each.interval <= 10 and 0 < each.deadline <= 30 for each in every)


def test_observers_are_always_among_them() -> None:
    asked = {each.question for each in probes(load_topology(), SERVED, ("api",))}
    assert asked == {"api", "raft", "leases", "nodes", "pods", "endpoints"}
