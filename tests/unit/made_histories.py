"""Histories written by hand: 10 s steady, 20 s fault, 30 s recovery, and what was asked meanwhile."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from lab.history import History, Injection, Outcome, Probed, Sample, Span

PHASES = {"steady": Span(0, 10), "fault": Span(10, 30), "recovery": Span(30, 60)}
END = 60.0
SILENCE = "timed out in connect"
Asked = tuple[Probed, tuple[Sample, ...]]
KILL = Injection(
    1,
    "kill-and-hold",
    "k8s-master1",
    ("k8s-master1",),
    10.0,
    10.2,
    "no process",
    heal_begun=30.0,
    healed=31.0,
)


def asked(
    question: str = "api",
    *,
    failing: Iterable[tuple[float, float]] = (),
    name: str = "",
    every: float = 0.1,
    took: float = 0.01,
    said: str = SILENCE,
    outcome: Outcome = Outcome.FAILED,
    at: str = "",
    target: str = "",
    missing: Iterable[tuple[float, float]] = (),
    lost: str = "",
    deadline: float = 5.0,
    end: float = END,
    value: Callable[[float], Any] = lambda beat: None,
    writes: bool = False,
) -> Asked:
    """A probe and its samples: what beats in ``failing`` fails, those in ``missing`` left no record."""
    probed = Probed(name or question, question, at, every, deadline, target, 0.0, end, lost)
    bad, gone = [Span(*each) for each in failing], [Span(*each) for each in missing]
    samples = []
    for number in range(round(end / every)):
        beat = round(number * every, 6)
        if any(span.has(beat) for span in gone):
            continue
        failed = any(span.has(beat) for span in bad)
        seen = value(beat)
        ends = "" if not failed else said
        samples.append(
            Sample(
                probe=probed.name,
                scheduled=beat,
                sent=beat,
                answered=beat + took,
                outcome=outcome if failed else Outcome.OK,
                said=ends,
                key=f"{probed.name}-{number}" if writes else "",
                acked=writes and not failed,
                value=None if failed else seen,
            )
        )
    return probed, tuple(samples)


def single(question: str, *samples: Sample, every: float = 10.0, target: str = "") -> Asked:
    """A probe with exactly these samples; their name is the question's."""
    probed = Probed(question, question, "", every, 120.0, target, 0.0, END)
    return probed, tuple(replace(each, probe=question) for each in samples)


def made(
    *probes: Asked, injections: Sequence[Injection] = (KILL,), phases: Any = None, **facts: Any
) -> History:
    """A history of these probes; underscores in names of facts are hyphens."""
    return History(
        phases=PHASES if phases is None else phases,
        probes={probed.name: probed for probed, _ in probes},
        samples={probed.name: samples for probed, samples in probes},
        injections=tuple(injections),
        facts={name.replace("_", "-"): value for name, value in facts.items()},
    )


def raft(member: str, *course: tuple[float, int, str], silent: Iterable[tuple[float, float]] = ()) -> Asked:
    """A member that reports (from when on, term, leader)."""

    def value(beat: float) -> dict[str, Any]:
        _, term, leader = [step for step in course if step[0] <= beat][-1]
        return {"term": term, "leader": leader}

    return asked("raft", name=f"raft@{member}", target=member, value=value, failing=silent)


def stepped(question: str, *course: tuple[float, Any], every: float = 1.0, **more: Any) -> Asked:
    """An observer that sees (from when on, value)."""
    return asked(
        question, every=every, value=lambda t: [step for step in course if step[0] <= t][-1][1], **more
    )
