"""What a run comes to, also where something was expected to break."""

from collections.abc import Collection, Iterator, Sequence

from lab.invariants.finding import Finding, Verdict, worst


def verdict_of(findings: Sequence[Finding], expected: Collection[str] = ()) -> tuple[Verdict, list[str]]:
    """What the findings come to, and why it is not held: a line for each reason.  Pure.

    ``expected`` are the titles that must break.  One of them that held is a failure, as is another that
    broke; one that could not be judged is unknown.
    """
    judged = [(finding, _weighed(finding, expected)) for finding in findings]
    absent = sorted(set(expected) - {finding.invariant for finding in findings})
    verdicts = [verdict for _, verdict in judged] + [Verdict.UNKNOWN] * len(absent)
    return worst(verdicts), [*_reasons(judged, expected), *(f"{name} was not judged" for name in absent)]


def _weighed(finding: Finding, expected: Collection[str]) -> Verdict:
    if finding.invariant not in expected:
        return finding.verdict
    turned = {Verdict.BROKEN: Verdict.HELD, Verdict.HELD: Verdict.BROKEN}
    return turned.get(finding.verdict, Verdict.UNKNOWN)


def _reasons(judged: Sequence[tuple[Finding, Verdict]], expected: Collection[str]) -> Iterator[str]:
    for finding, verdict in judged:
        if verdict is Verdict.BROKEN and finding.invariant in expected:
            yield f"{finding.invariant} held, and should have broken: {finding.text}"
        elif verdict in (Verdict.BROKEN, Verdict.UNKNOWN):
            yield f"{finding.line()}"
