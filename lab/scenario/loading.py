"""Reads scenario files: every mistake at once with its line, and what must always hold added."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import strictyaml
from lab.errors import ConfigError
from lab.invariants.base import Invariant
from lab.invariants.catalogue import ALWAYS
from lab.invariants.streams import IdleCut
from lab.scenario import rules, timing
from lab.scenario.course import PHASES, Course, Doing
from lab.scenario.file import KEY_HINTS, ScenarioFile
from lab.scenario.known import ALWAYS_ASKED, Known
from lab.scenario.rules import Draft, matching
from lab.strictyaml import Document, Problem
from lab.topology import Profile


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario, read and found usable in one plan.

    `invariants` are the file's own; `judged` are those with what must hold in every run.  `expect` has, by
    profile, the titles of invariants that must break there.
    """

    name: str
    about: str
    phases: Mapping[str, float]
    faults: tuple[Doing, ...]
    probes: tuple[str, ...]
    invariants: tuple[Invariant, ...]
    expect: Mapping[Profile, tuple[str, ...]] = field(default_factory=dict)
    sets: tuple[str, ...] = ()
    destroys_data: bool = False
    origin: str = ""

    @property
    def judged(self) -> tuple[Invariant, ...]:
        """Its own invariants, and those that must always hold."""
        own = {each.title for each in self.invariants}
        return (*self.invariants, *(each for each in ALWAYS if each.title not in own))

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of its questions without which it could not be judged."""
        named = {ALWAYS_ASKED, *(getattr(each, "of", "") for each in self.judged)}
        return tuple(each for each in self.probes if each in named)

    def course(self, seed: str = "") -> Course:
        """What a run of it does."""
        return Course(self.name, self.phases, self.faults, self.probes, seed, self.keeps)

    @property
    def keeps(self) -> tuple[str, ...]:
        """The connections whose life without a word is judged, each once."""
        return tuple(dict.fromkeys(each.kept.value for each in self.judged if isinstance(each, IdleCut)))


def load(path: Path, known: Known) -> Scenario:
    """The scenario of that file; `ConfigError` with every mistake in it."""
    return read(strictyaml.read_file(path), known, path.stem)


def read(document: Document, known: Known, stem: str = "") -> Scenario:
    """The scenario of a document; ``stem`` is the name that its file has, if it is one."""
    file, problems, wrong = strictyaml.examine(document, ScenarioFile, KEY_HINTS)
    if file is None:
        strictyaml.refuse(document.source, problems)
    assert file is not None
    draft = rules.drafted(file, known, wrong)
    problems += [document.problem(path, text) for path, text in rules.findings(draft)]
    problems += [document.problem(path, text) for path, text in timing.findings(draft)]
    problems += _misnamed(document, file, stem)
    strictyaml.refuse(document.source, problems)
    return _scenario(draft, document.source)


def remembered(text: str, source: str, known: Known) -> Scenario:
    """A scenario that was found usable once, in the plan of then; whether it is in this one, nobody asks.

    Raises `ConfigError` if this version cannot read it any more.
    """
    document = strictyaml.read(text, source)
    file, problems, wrong = strictyaml.examine(document, ScenarioFile, KEY_HINTS)
    if file is None:
        strictyaml.refuse(source, problems)
    assert file is not None
    draft = rules.drafted(file, replace(known, anywhere=True), wrong)
    problems += [document.problem(path, text) for path, text in (*draft.mistakes, *rules.missing(draft))]
    strictyaml.refuse(source, problems)
    return _scenario(draft, source)


def load_all(folder: Path, known: Known) -> tuple[Scenario, ...]:
    """Every scenario of a folder, by name; `ConfigError` with every mistake of every file."""
    found, mistakes = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found.append(load(path, known))
        except ConfigError as error:
            mistakes += error.problems
    if not found and not mistakes:
        mistakes.append(f"{strictyaml.shown(folder)} holds no scenario: no file there ends in .yaml")
    mistakes += _same_names(found)
    if mistakes:
        raise ConfigError(strictyaml.shown(folder), mistakes)
    return tuple(found)


def _misnamed(document: Document, file: ScenarioFile, stem: str) -> Iterator[Problem]:
    if stem and file.name is not None and file.name != stem:
        text = (
            f"the name '{file.name[:60]}' is not that of its file; write `name: {stem}`, or rename the file"
        )
        yield document.problem(("name",), text)


def _same_names(found: Sequence[Scenario]) -> Iterator[str]:
    first: dict[str, Scenario] = {}
    for each in found:
        if each.name in first:
            yield f"{each.origin}: the name '{each.name}' is that of {first[each.name].origin} already"
        first.setdefault(each.name, each)


def _scenario(draft: Draft, origin: str) -> Scenario:
    file = draft.file
    titles = [each.title for each in draft.invariants if each]
    expect = {
        Profile(profile): tuple(matching(given, titles)[0] for given in several or ())
        for profile, several in (file.expect or {}).items()
    }
    return Scenario(
        name=file.name or "",
        about=file.about or "",
        phases={name: draft.phases[name] for name in PHASES},
        faults=tuple(sorted((each for each in draft.faults if each), key=lambda each: each.at)),
        probes=draft.probes,
        invariants=tuple(each for each in draft.invariants if each),
        expect=expect,
        sets=file.sets or (),
        destroys_data=bool(file.destroys_data),
        origin=origin,
    )
