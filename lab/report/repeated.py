"""The same scenario several times: each invariant at worst, in the middle, and how far apart."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from lab.invariants.finding import Unit
from lab.report.document import Document
from lab.report.values import Values, told, triple, value_of
from lab.report.verdict import GRAVITY, Outcome


def grouped(documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The runs of each scenario, in their order."""
    found: dict[str, list[Document]] = {}
    for document in documents:
        found.setdefault(document["scenario"], []).append(document)
    return found


def gravest(outcomes: Sequence[str]) -> str:
    """What several runs come to; of none, nothing is known."""
    return min((Outcome(each) for each in outcomes), key=GRAVITY.index, default=Outcome.UNKNOWN).value


def spread(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """For each invariant over all runs: worst, median and spread of its values, and how often which verdict.

    Runs that prove nothing are left out.  Spread is the greatest value less the least, and nothing where
    there are not two.  What never came in a run has no number, and is worse than any.
    """
    every: dict[str, list[dict[str, Any]]] = {}
    for document in valid(documents):
        for finding in document["findings"]:
            every.setdefault(finding["invariant"], []).append(finding)
    return [_spread(name, findings) for name, findings in every.items()]


def valid(documents: Sequence[Document]) -> list[Document]:
    """The runs that prove something."""
    return [each for each in documents if not each["reasons"]]


def lines(documents: Sequence[Document]) -> Iterator[str]:
    """The same for a terminal, of every scenario that ran more than once; nothing of the others."""
    for name, runs in grouped(documents).items():
        if len(runs) < 2:
            continue
        left = len(runs) - len(valid(runs))
        yield f"{name}, {len(runs)} runs{f', {left} of them invalid and left out' if left else ''}:"
        yield from (f"  {row['invariant']}: {row['told']}; {row['wanted']} wanted" for row in spread(runs))


def _spread(name: str, findings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = findings[0]
    found = [value_of(each["value"], each["verdict"], each["bound"]) for each in findings]
    known = tuple(sorted(value for value in found if value is not None))
    values = Values(known, len(found) - len(known), first["bound"])
    unit, verdicts = Unit(first["unit"]), [each["verdict"] for each in findings]
    return {
        "invariant": name,
        "wanted": first["wanted"],
        "unit": first["unit"],
        "bound": first["bound"],
        "runs": len(findings),
        "measured": len(known) - values.never,
        "never": values.never,
        **_numbers(values, unit),
        "told": triple(values, unit),
        "verdicts": {word: verdicts.count(word) for word in dict.fromkeys(verdicts)},
    }


def _numbers(values: Values, unit: Unit) -> dict[str, float | str | None]:
    """Each of the three, None where there is no number, and as it is shown."""
    some, two = bool(values.values), len(values.values) > 1
    numbers = {
        "worst": values.worst if some else None,
        "median": values.median if some else None,
        "spread": values.spread if two else None,
    }
    return {
        **{name: value if value is not None and isfinite(value) else None for name, value in numbers.items()},
        **{
            f"{name}_shown": "nothing"
            if value is None
            else told(value, unit, "endless" if name == "spread" else "never")
            for name, value in numbers.items()
        },
    }
