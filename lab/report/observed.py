"""The lanes of what observers saw: who leads in which term, who holds leases, which nodes are Ready.

Every observer has lanes of its own: that two of them differ is a thing to be seen, not to be averaged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from lab.history import History, Outcome, Probed, Sample
from lab.invariants.terms import LEASES
from lab.report.lanes import OK, PART, SILENT, TONES, Lane, Section, away
from lab.report.runs import Run, runs_of, seen

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
            _lane(history, probe, f"term@{_who(probe)}", term, UNTOLD),
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

            tones = {**UNTOLD, "Ready": OK}
            yield _lane(history, probe, f"{node}@{_who(probe)}", ready, tones, otherwise=PART)

    return _section(history, "Nodes", "nodes", each)


def pods(history: History) -> Section:
    """How many pods are ready, as each master told it."""

    def ready(sample: Sample) -> str:
        states = [each[2] for each in _of(sample).values() if isinstance(each, Sequence) and len(each) > 2]
        return f"{sum(map(bool, states))} of {len(states)} ready"

    def each(probe: Probed) -> Iterator[Lane]:
        lane = _lane(history, probe, f"pods@{_who(probe)}", ready, UNTOLD)
        whole = {run.word: OK if _is_whole(run.word) else PART for run in lane.runs if run.word not in TONES}
        yield Lane(lane.name, lane.runs, {**UNTOLD, **whole}, lane.note, lane.empty)

    return _section(history, "Pods", "pods", each)


def _is_whole(word: str) -> bool:
    ready, _, of = word.partition(" of ")
    return ready == of.partition(" ")[0]


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
    history: History,
    probe: Probed,
    name: str,
    value: Callable[[Sample], str],
    tones: dict[str, str],
    otherwise: str = "",
) -> Lane:
    runs: list[Run] = runs_of(history.samples.get(probe.name, ()), probe.interval, seen(value))
    more = {run.word: otherwise for run in runs if run.word not in tones} if otherwise else {}
    return Lane(name, runs, {**tones, **more}, away(probe))


def _who(probe: Probed) -> str:
    return probe.target or probe.name


def _of(sample: Sample) -> Mapping[str, Any]:
    return sample.value if sample.outcome is Outcome.OK and isinstance(sample.value, Mapping) else {}
