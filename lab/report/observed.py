"""The lanes of what observers saw: who leads in which term, who holds leases, which nodes are Ready.

Every observer has lanes of its own: that two of them differ is a thing to be seen, not to be averaged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from lab.history import History, Outcome, Probed, Sample
from lab.invariants.terms import LEASES, STEADY
from lab.report.lanes import EVEN, ODD, OK, PART, SILENT, TONES, Lane, Section, away
from lab.report.runs import runs_of, seen

NOBODY = "nobody"
READY = "True"
UNTOLD = dict.fromkeys(TONES, SILENT)  # that an observer was not answered says nothing of what it looks at
SAME_TONES = {**UNTOLD, NOBODY: PART}


def raft(history: History) -> Section:
    """Leader and term, as each member told them."""
    names = _members(history)

    def leader(sample: Sample) -> str:
        said = str(_of(sample).get("leader", ""))
        return NOBODY if said in ("", "0") else names.get(said, said)

    def term(sample: Sample) -> str:
        return f"term {_of(sample).get('term', '?')}"

    return _section(
        history,
        "Raft",
        "raft",
        lambda probe: [
            _lane(history, probe, f"leader@{_who(probe)}", leader, SAME_TONES),
            _toned(_lane(history, probe, f"term@{_who(probe)}", term, UNTOLD), _parity),
        ],
    )


def _members(history: History) -> dict[str, str]:
    """The machine behind each member's number, as far as members told their own."""
    return {
        str(_of(sample)["member"]): probe.target or probe.name
        for probe in history.asking("raft")
        for sample in history.samples.get(probe.name, ())
        if sample.ok and "member" in _of(sample)
    }


def leases(history: History) -> Section:
    """Who holds the leases of controller-manager and scheduler, as each master told it."""

    def each(probe: Probed) -> Iterator[Lane]:
        for lease in LEASES:

            def holder(sample: Sample, lease: str = lease) -> str:
                return _machine(str((_of(sample).get(lease) or {}).get("holder", ""))) or NOBODY

            yield _lane(history, probe, f"{lease}@{_who(probe)}", holder, SAME_TONES)

    return _section(history, "Lease holders", "leases", each)


def _machine(holder: str) -> str:
    """A holder calls itself by its machine and a number of its own."""
    return holder.partition("_")[0]


def nodes(history: History) -> Section:
    """Which nodes are Ready, as each master told it."""

    def each(probe: Probed) -> Iterator[Lane]:
        known = chain.from_iterable(_of(s) for s in history.samples.get(probe.name, ()) if s.ok)
        for node in sorted(set(known)):

            def ready(sample: Sample, node: str = node) -> str:
                state = _of(sample).get(node)
                return "Ready" if state == READY else "gone" if state is None else f"Ready={state or '?'}"

            name = f"{node}@{_who(probe)}"
            yield _toned(_lane(history, probe, name, ready, {**UNTOLD, "Ready": OK}), lambda _: PART)

    return _section(history, "Nodes", "nodes", each)


def pods(history: History) -> Section:
    """How many pods are ready of those that were there all through the steady phase, as each master told it.

    Others come and go in any run, for probes make them.
    """

    def each(probe: Probed) -> Iterator[Lane]:
        known = _steady_pods(history, probe)

        def ready(sample: Sample) -> str:
            return f"{sum(_is_ready(_of(sample).get(pod)) for pod in known)} of {len(known)} ready"

        yield _toned(_lane(history, probe, f"pods@{_who(probe)}", ready, UNTOLD), _wholeness)

    return _section(history, "Pods that were there before", "pods", each)


def _steady_pods(history: History, probe: Probed) -> frozenset[str]:
    """The pods of every answer in the steady phase; without one, those of the first answer."""
    told = [sample for sample in history.samples.get(probe.name, ()) if sample.ok]
    steady = history.phases.get(STEADY)
    early = [sample for sample in told if steady and steady.has(sample.scheduled)] or told[:1]
    sets = [frozenset(_of(sample)) for sample in early]
    return frozenset.intersection(*sets) if sets else frozenset()


def _is_ready(pod: Any) -> bool:
    """A pod is where it runs, its phase, whether it is ready, and when it was told to go."""
    return isinstance(pod, Sequence) and len(pod) > 3 and bool(pod[2]) and not pod[3]


def _toned(lane: Lane, tone: Callable[[str], str]) -> Lane:
    """The lane with a tone for each word that has none yet."""
    more = {run.word: tone(run.word) for run in lane.runs if run.word not in lane.tones}
    return replace(lane, tones={**lane.tones, **more})


def _wholeness(word: str) -> str:
    ready, _, of = word.partition(" of ")
    return OK if ready == of.partition(" ")[0] else PART


def _parity(word: str) -> str:
    number = word.rpartition(" ")[2]
    return ODD if number.isdigit() and int(number) % 2 else EVEN


def endpoints(history: History) -> Section:
    """The masters behind the Service `kubernetes`, as each of them told it."""

    def listed(sample: Sample) -> str:
        told = sample.value if isinstance(sample.value, list | tuple) else ()
        return ", ".join(map(str, told)) or NOBODY

    return _section(
        history,
        "Endpoints of the Service kubernetes",
        "endpoints",
        lambda probe: [_lane(history, probe, f"endpoints@{_who(probe)}", listed, SAME_TONES)],
    )


SECTIONS: Mapping[str, Callable[[History], Section]] = {
    "raft": raft,
    "leases": leases,
    "nodes": nodes,
    "pods": pods,
    "endpoints": endpoints,
}


def _section(
    history: History, title: str, question: str, lanes: Callable[[Probed], Iterator[Lane] | Sequence[Lane]]
) -> Section:
    found: list[Lane] = []
    for probe in history.asking(question):
        told = any(sample.ok for sample in history.samples.get(probe.name, ()))
        found += lanes(probe) if told else [_silent(history, probe)]
    return Section(
        title, found, f"no data: nobody was asked for {question}", "as each machine after the @ told it"
    )


def _silent(history: History, probe: Probed) -> Lane:
    """An observer that never got an answer: its failures are all there is to see."""
    runs = runs_of(history.samples.get(probe.name, ()), probe.interval)
    return Lane(probe.name, runs, UNTOLD, away(probe), "no data: not one question was asked")


def _lane(
    history: History, probe: Probed, name: str, value: Callable[[Sample], str], tones: dict[str, str]
) -> Lane:
    runs = runs_of(history.samples.get(probe.name, ()), probe.interval, seen(value))
    return Lane(name, runs, tones, away(probe))


def _who(probe: Probed) -> str:
    return probe.target or probe.name


def _of(sample: Sample) -> Mapping[str, Any]:
    return sample.value if sample.outcome is Outcome.OK and isinstance(sample.value, Mapping) else {}
