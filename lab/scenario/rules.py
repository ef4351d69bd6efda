"""What makes a well-formed file a scenario that can be run and judged.

Pure: each rule yields (path, what to do).

A value that is None is missing or was refused already; rules that would need it stay silent, so that one
mistake is reported once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lab.invariants.base import Invariant
from lab.mistakes import nearest
from lab.planrules import Finding
from lab.scenario.course import PHASES, Doing
from lab.scenario.file import HINTS, NAME, PhasesFile, ScenarioFile
from lab.scenario.forms import word
from lab.scenario.known import ALWAYS_ASKED, USUAL, Known
from lab.scenario.words import Values, read, words_of_fault, words_of_invariant
from lab.topology import Profile
from lab.yamlreader import KeyPath

Broken: TypeAlias = frozenset[KeyPath]


@dataclass(frozen=True)
class Draft:
    """A scenario on its way: what could be read, and what it means as far as it does.

    `faults` and `invariants` have None where an entry was refused; `mistakes` has why.
    """

    file: ScenarioFile
    known: Known
    wrong: Broken = frozenset()
    faults: tuple[Doing | None, ...] = ()
    invariants: tuple[Invariant | None, ...] = ()
    mistakes: tuple[Finding, ...] = ()

    def is_wrong(self, *path: str | int) -> bool:
        """Whether the value, something around it or something in it was refused."""
        return any(bad[: len(path)] == path or path[: len(bad)] == bad for bad in self.wrong)

    @property
    def phases(self) -> Mapping[str, float]:
        """Seconds of each phase that is known."""
        given = self.file.phases or PhasesFile()
        return {name: found for name in PHASES if (found := getattr(given, name)) is not None}

    @property
    def probes(self) -> tuple[str, ...]:
        """The questions asked: unless the file says which, all but rare ones that no invariant names.

        `usual` in the file's list stands for the same, beside what else is in it.
        """
        given = (USUAL,) if self.file.probes is None else self.file.probes
        named = [getattr(each, "of", "") for each in self.invariants]
        asked = (*given, ALWAYS_ASKED, *((*self.known.usual, *named) if USUAL in given else ()))
        return tuple(each for each in self.known.asked if each in asked)


def drafted(file: ScenarioFile, known: Known, wrong: Broken) -> Draft:
    """The file with its faults and invariants read, each by the fields of its dataclass."""
    bare = Draft(file, known, wrong)
    faults = [_fault(bare, entry, ("faults", place)) for place, entry in enumerate(file.faults or ())]
    judged = [_invariant(bare, each, ("invariants", n)) for n, each in enumerate(file.invariants or ())]
    mistakes = [text for _, wrong_here in [*faults, *judged] for text in wrong_here]
    return replace(
        bare,
        faults=tuple(each for each, _ in faults),
        invariants=tuple(each for each, _ in judged),
        mistakes=tuple(mistakes),
    )


def findings(draft: Draft) -> Iterator[Finding]:
    """Everything that keeps this scenario from being run and judged."""
    yield from draft.mistakes
    for rule in RULES:
        yield from rule(draft)


def missing(draft: Draft) -> Iterator[Finding]:
    """Keys without which there is no scenario, each with an example."""
    for key in ("name", "about", "phases", "faults", "invariants"):
        if getattr(draft.file, key) is None and not draft.is_wrong(key):
            example = (ScenarioFile.model_fields[key].examples or [""])[0]
            yield (key,), f"'{key}' is missing; write for example `{key}: {example}`"
    given = draft.file.phases
    for name in PHASES if given else ():
        if getattr(given, name) is None and not draft.is_wrong("phases", name):
            example = (PhasesFile.model_fields[name].examples or [""])[0]
            yield ("phases", name), f"'{name}' of phases is missing; write for example `{name}: {example}`"


def names(draft: Draft) -> Iterator[Finding]:
    """The scenario's own name, and those of the sets it is in."""
    given = {("name",): draft.file.name or "x"}
    given |= {("sets", place): each for place, each in enumerate(draft.file.sets or ())}  # type: ignore[misc]
    for path, name in given.items():
        if not NAME.fullmatch(name):
            what = "no name: 1 to 60 of a-z, 0-9 and '-'; write for example apiserver-crash"
            yield path, f"{path[0]}: '{name[:60]}' is {what}"
    if draft.file.about is not None and not draft.file.about.strip():
        yield ("about",), "'about' is empty; say in a sentence what is broken and what should come of it"


def _fault(draft: Draft, entry: Any, path: KeyPath) -> tuple[Doing | None, list[Finding]]:
    values, wrong = _entry(draft, entry, path, "fault")
    return (None if wrong else _doing(draft, entry, values)), wrong


def _invariant(draft: Draft, entry: Any, path: KeyPath) -> tuple[Invariant | None, list[Finding]]:
    values, wrong = _entry(draft, entry, path, "invariant")
    return (None if wrong else draft.known.invariants[entry["invariant"]](**values)), wrong


def _entry(draft: Draft, entry: Any, path: KeyPath, kind: str) -> tuple[Values, list[Finding]]:
    valid = tuple(draft.known.faults if kind == "fault" else draft.known.invariants)
    if not isinstance(entry, Mapping):
        what = f"'{str(entry)[:60]}' must hold keys and values" if entry else "is empty"
        return {}, [(path, f"an entry of {path[0]} {what}; write for example `{{{kind}: {valid[0]}, …}}`")]
    if kind not in entry:
        return {}, [(path, f"'{kind}' is missing; write for example `{kind}: {valid[0]}`")]
    try:
        found = word(entry[kind], valid, kind, HINTS if kind == "fault" else {})
    except ValueError as why:
        return {}, [((*path, kind), str(why))]
    known = draft.known
    if kind == "fault":
        return _read_fault(known, entry, path, found)
    return read(entry, path, kind, words_of_invariant(known.invariants[found], known))


def _read_fault(
    known: Known, entry: Mapping[str, Any], path: KeyPath, found: str
) -> tuple[Values, list[Finding]]:
    kind = known.faults[found]
    values, wrong = read(entry, path, "fault", words_of_fault(kind, known))
    if "for" in entry and not kind.lasts:
        wrong = [each for each in wrong if each[0] != (*path, "for")]
        wrong.append(((*path, "for"), f"{found} is done once and does not last; remove 'for'"))
    return values, wrong


def _doing(draft: Draft, entry: Mapping[str, Any], values: Values) -> Doing:
    """The fault as it is to be done; without `for` it lasts until the phase ends."""
    own = {name: value for name, value in values.items() if name not in ("on", "at", "hold")}
    lasts = draft.known.faults[entry["fault"]].lasts
    at = values.get("at", 0.0)
    rest = max(0.0, draft.phases.get("fault", 0.0) - at) if lasts else 0.0
    return Doing(entry["fault"], values["on"], at, values.get("hold", rest), own)


def programs(draft: Draft) -> Iterator[Finding]:
    """A program is broken where it runs."""
    for place, doing in enumerate(draft.faults):
        unit = doing.values.get("unit") if doing else None
        if doing is None or unit is None:
            continue
        there = draft.known.units[unit]
        if lacking := sorted(draft.known.possible(doing.on) - there):
            runs = ", ".join(sorted(there))
            yield ("faults", place, "unit"), f"{', '.join(lacking)} runs no {unit}; it runs on {runs}"


def destroying(draft: Draft) -> Iterator[Finding]:
    """Where data is destroyed the lab is restored afterwards, so the file must say so."""
    for place, doing in enumerate(draft.faults):
        kind = draft.known.faults[doing.fault] if doing else None
        if doing and getattr(kind, "destroys_data", False) and not draft.file.destroys_data:
            yield ("faults", place, "fault"), f"{doing.fault} destroys data; write `destroys-data: true`"


def questions(draft: Draft) -> Iterator[Finding]:
    """Probes by their words, each once; observers are always at work and are not asked for."""
    seen: dict[str, int] = {}
    for place, given in enumerate(draft.file.probes or ()):
        path = ("probes", place)
        if given in draft.known.questions and given not in draft.known.asked:
            yield path, f"{given} is an observer and always at work; remove it from probes"
            continue
        try:
            word(given, (USUAL, *draft.known.asked), "probe")
        except ValueError as why:
            yield path, str(why)
        if given in seen:
            yield path, f"{given} is asked already, by probe number {seen[given] + 1}; remove it"
        seen.setdefault(given, place)


def judged_once(draft: Draft) -> Iterator[Finding]:
    """No two invariants with one title, and none that asks what nobody does."""
    seen: dict[str, int] = {}
    for place, each in enumerate(draft.invariants):
        if each is None:
            continue
        if each.title in seen:
            yield (
                ("invariants", place),
                f"{each.title} is invariant number {seen[each.title] + 1} already; keep one of them",
            )
        seen.setdefault(each.title, place)
        yield from _asked(draft, each, place)


def _asked(draft: Draft, invariant: Invariant, place: int) -> Iterator[Finding]:
    of = getattr(invariant, "of", None)
    if of is not None and of not in draft.known.asked:
        path = ("invariants", place)
        yield path, f"{invariant.word} needs the probe {of}, which this version does not have"
    elif of is not None and of not in draft.probes:
        yield (
            ("invariants", place, "of"),
            f"{invariant.word} is of {of}, which is not among the probes; add it, or leave `probes` out",
        )
    fault = getattr(invariant, "fault", None)
    count = len(draft.file.faults or ())
    if isinstance(fault, int) and not 1 <= fault <= count and not draft.is_wrong("faults"):
        what = f"there {'is' if count == 1 else 'are'} {count or 'no'} fault{'' if count == 1 else 's'}"
        yield ("invariants", place, "fault"), f"{invariant.word} is about fault {fault}, and {what}"


def expected(draft: Draft) -> Iterator[Finding]:
    """What must break is one of the invariants, by the beginning of its title."""
    titles = [each.title for each in draft.invariants if each]
    complete = None not in draft.invariants and not draft.is_wrong("invariants")
    for profile, several in (draft.file.expect or {}).items():
        try:
            word(profile, [each.value for each in Profile], "profile")
        except ValueError as why:
            yield ("expect", profile), f"expect: {why}"
        if not several and not draft.is_wrong("expect", profile):
            yield ("expect", profile), f"expect: {profile} names no invariant that must break; remove it"
        for place, given in enumerate(several or ()):
            found = matching(given, titles)
            path = ("expect", profile, place)
            if len(found) > 1:
                yield path, f"expect: '{given[:80]}' may be {' or '.join(found)}; write one of them out"
            elif not found and complete:
                close = nearest(given, titles)
                meant = f"; did you mean '{close}'?" if close else ""
                valid = ", ".join(titles) or "none"
                yield path, f"expect: '{given[:80]}' is no invariant of this file{meant} (valid: {valid})"


def matching(given: str, titles: list[str]) -> list[str]:
    """The titles that begin with these words, or the one that is these words.  Pure."""
    if given in titles:
        return [given]
    return [title for title in titles if title.startswith(f"{given} ")]


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    missing,
    names,
    programs,
    destroying,
    questions,
    judged_once,
    expected,
)
