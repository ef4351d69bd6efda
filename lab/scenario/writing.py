"""A scenario as a file: for one that a seed made up, so that it can be read, judged again and kept.  Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from lab.invariants.base import Invariant
from lab.scenario.course import Doing
from lab.scenario.forms import BANDWIDTH, PERCENT, RATE, SECONDS, SHARE, SIGNED, SIZE, Form
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.words import Word, words_of_fault, words_of_invariant

_SUFFIX: Mapping[str, str] = {
    SECONDS.means: "s",
    SIGNED.means: "s",
    PERCENT.means: "%",
    SIZE.means: "B",
    BANDWIDTH.means: "B/s",
    RATE.means: "/s",
}
PLACES = 4  # of a share in percent, as a file may have them


def text_of(scenario: Scenario, known: Known) -> str:
    """The file that means this scenario; reading it gives the same again, but for its origin."""
    return "\n".join([*_head(scenario), *_entries(scenario, known), *_tail(scenario), ""])


def _head(scenario: Scenario) -> Iterator[str]:
    yield f"name: {scenario.name}"
    yield f"about: {json.dumps(scenario.about, ensure_ascii=False)}"
    phases = ", ".join(f"{name}: {_number(seconds)}s" for name, seconds in scenario.phases.items())
    yield f"phases: {{{phases}}}"


def _entries(scenario: Scenario, known: Known) -> Iterator[str]:
    yield "faults:" if scenario.faults else "faults: []"
    yield from (f"  - {{{_fault(doing, known)}}}" for doing in scenario.faults)
    yield f"probes: [{', '.join(scenario.probes)}]"
    yield "invariants:" if scenario.invariants else "invariants: []"
    yield from (f"  - {{{_invariant(each, known)}}}" for each in scenario.invariants)


def _tail(scenario: Scenario) -> Iterator[str]:
    if scenario.expect:
        names = (f"{profile}: [{', '.join(titles)}]" for profile, titles in scenario.expect.items())
        yield f"expect: {{{', '.join(names)}}}"
    if scenario.sets:
        yield f"sets: [{', '.join(scenario.sets)}]"
    if scenario.destroys_data:
        yield "destroys-data: true"


def _fault(doing: Doing, known: Known) -> str:
    words = words_of_fault(known.faults[doing.fault], known)
    values = {**doing.values, "on": doing.on, "at": doing.at, "hold": doing.hold}
    given = (word for word in words if word.name != "at" or doing.at)
    return ", ".join([f"fault: {doing.fault}", *_given(given, values)])


def _invariant(invariant: Invariant, known: Known) -> str:
    words = words_of_invariant(type(invariant), known)
    values = {word.name: getattr(invariant, word.name) for word in words}
    words = tuple(word for word in words if word.needed or values[word.name] != word.default)
    return ", ".join([f"invariant: {invariant.word}", *_given(words, values)])


def _given(words: Iterable[Word], values: Mapping[str, Any]) -> Iterator[str]:
    for word in words:
        if word.name in values:
            yield f"{word.key}: {_written(word.form, values[word.name])}"


def _written(form: Form, value: Any) -> str:
    if form is SHARE:
        return f"{_number(round(value * 100, PLACES))}%"
    if isinstance(value, tuple):
        return f"[{', '.join(str(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    return f"{_number(value)}{_SUFFIX.get(form.means, '')}" if isinstance(value, int | float) else str(value)


def _number(value: float) -> str:
    """Without an exponent, and without zeros that say nothing."""
    return f"{value:.4f}".rstrip("0").rstrip(".")
