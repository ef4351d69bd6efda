"""What a run comes to, in a word and a sentence.  Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.invariants.expectation import verdict_of
from lab.invariants.finding import Finding, Verdict, shown


class Outcome(StrEnum):
    """Broken beats invalid, for what broke did break; invalid beats unknown; none of them is a pass."""

    BROKEN = "broken"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    HELD = "held"


GRAVITY = tuple(Outcome)
ABSENT = " was not judged"  # how `verdict_of` ends its line on what was expected to break and is not there


@dataclass(frozen=True, slots=True)
class Weighed:
    """A finding and what it counts as: one that was expected to break, and did, counts as held."""

    finding: Finding
    expected: bool
    counts: Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """`decisive` is the finding on which it turns, None where there is none; `why` a line for each reason."""

    outcome: Outcome
    sentence: str
    why: tuple[str, ...]
    decisive: Finding | None


def weigh(findings: Sequence[Finding], expected: Collection[str] = ()) -> list[Weighed]:
    """What each finding counts as, in their order."""
    return [_weighed(each, each.invariant in expected) for each in findings]


def _weighed(finding: Finding, expected: bool) -> Weighed:
    if finding.verdict is Verdict.NOT_JUDGED and not expected:
        return Weighed(finding, expected, Verdict.NOT_JUDGED)
    counts, _ = verdict_of([finding], [finding.invariant] if expected else [])
    return Weighed(finding, expected, counts)


def judge(
    findings: Sequence[Finding], expected: Collection[str] = (), reasons: Sequence[str] = ()
) -> Judgement:
    """The verdict on a run, given why it proves nothing, if it does not."""
    verdict, why = verdict_of(findings, expected)
    weighed = weigh(findings, expected)
    outcome = Outcome(verdict.value)
    if reasons and outcome is not Outcome.BROKEN:
        outcome = Outcome.INVALID
    decisive = _decisive(weighed, verdict)
    sentence = " ".join(_sentence(outcome, weighed, decisive, reasons, why))
    return Judgement(outcome, sentence, tuple(why), decisive)


def strain(finding: Finding) -> float:
    """How near its limit a value is: 1 at the limit, more beyond it; used to find the one that decides."""
    value, limit = finding.value, finding.limit
    if value is None:
        return 0.0 if finding.verdict is Verdict.HELD else float("inf")
    if finding.bound == "at-most":
        return value / limit if limit else float("inf") if value else 0.0
    if 0 < limit < 1:
        return (1 - value) / (1 - limit)
    return limit / value if value else float("inf")


def measured(finding: Finding) -> str:
    """The value with its unit."""
    return "nothing" if finding.value is None else shown(finding.value, finding.unit)


def wanted(finding: Finding) -> str:
    """The limit with its unit."""
    return f"{finding.bound.replace('-', ' ')} {shown(finding.limit, finding.unit)}"


def _decisive(weighed: Sequence[Weighed], verdict: Verdict) -> Finding | None:
    among = [each.finding for each in weighed if each.counts is verdict]
    return max(among, key=strain, default=None)


def _sentence(
    outcome: Outcome,
    weighed: Sequence[Weighed],
    decisive: Finding | None,
    reasons: Sequence[str],
    why: Sequence[str],
) -> list[str]:
    said = [f"{outcome.value.capitalize()}: {_head(outcome, weighed, reasons)}"]
    said[0] += f"{_turning(outcome, decisive, weighed)}."
    if outcome is Outcome.BROKEN and reasons:
        said.append(f"Besides, the run is invalid, for {_first(reasons)}.")
    if absent := sum(line.endswith(ABSENT) for line in why):
        said.append(f"Expected to break and never judged: {absent}.")
    if idle := _count(weighed, Verdict.NOT_JUDGED):
        said.append(f"Limits of time not judged, since the machines are emulated: {idle}.")
    return said


def _head(outcome: Outcome, weighed: Sequence[Weighed], reasons: Sequence[str]) -> str:
    of = f"of {len(weighed)} invariant{'s' * (len(weighed) != 1)}"
    if outcome is Outcome.INVALID:
        return f"the run proves nothing, for {_first(reasons)}"
    if outcome is Outcome.BROKEN:
        return f"{_count(weighed, Verdict.BROKEN)} {of} did not come out as wanted"
    if outcome is Outcome.HELD:
        return f"{_count(weighed, Verdict.HELD)} {of} came out as wanted"
    return f"{_count(weighed, Verdict.UNKNOWN)} {of} could not be judged" if weighed else "nothing was judged"


def _count(weighed: Sequence[Weighed], verdict: Verdict) -> int:
    return sum(each.counts is verdict for each in weighed)


def _first(reasons: Sequence[str]) -> str:
    more = len(reasons) - 1
    return reasons[0].rstrip(".") + (f" (and {more} more reason{'s' * (more > 1)})" if more else "")


_LEAD = {
    Outcome.BROKEN: "the gravest is",
    Outcome.UNKNOWN: "the first is",
    Outcome.HELD: "the nearest to its limit is",
}
_OUGHT = {Outcome.BROKEN: ", and it should have broken", Outcome.HELD: ", as expected"}


def _turning(outcome: Outcome, decisive: Finding | None, weighed: Sequence[Weighed]) -> str:
    """The finding that decides, in words; of a run that proves nothing there is none."""
    if decisive is None or outcome is Outcome.INVALID:
        return ""
    expected = any(each.expected and each.finding is decisive for each in weighed)
    said = f"; {_LEAD[outcome]} {decisive.invariant}: {measured(decisive)}, {wanted(decisive)} wanted"
    return said + (_OUGHT.get(outcome, "") if expected else "")
