"""The words of a fault or an invariant are the fields of its dataclass: no second description of either."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, TypeAlias, get_type_hints

from lab.faults.base import Fault
from lab.invariants import terms
from lab.invariants.base import Invariant
from lab.mistakes import nearest
from lab.planrules import Finding
from lab.scenario.forms import SECONDS, TEXT, TEXTS, Form, choice, form_of, several
from lab.scenario.known import Known
from lab.yamlreader import KeyPath

Values: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """One field of an entry: `key` as it is written, `name` as the dataclass has it."""

    key: str
    name: str
    form: Form
    needed: bool
    default: Any = None


def words_of_fault(kind: type[Fault], known: Known) -> tuple[Word, ...]:
    """What may be said of this fault: whom, when, for how long, and its own fields."""
    named = {"machines": _machines(known)}
    hints = get_type_hints(kind, include_extras=True)
    own = [each for each in fields(kind) if each.name != "machines"]
    return (
        Word("on", "on", _target(known), needed=True),
        Word("at", "at", SECONDS, needed=False, default=0.0),
        *((Word("for", "hold", SECONDS, needed=False),) if kind.lasts else ()),
        *(_word(each, _fault_form(each, hints[each.name], named, known)) for each in own),
    )


def words_of_invariant(kind: type[Invariant], known: Known) -> tuple[Word, ...]:
    """What may be said of this invariant."""
    named = {terms.Question: choice(known.asked, "probe")}
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_word(each, form_of(hints[each.name], named)) for each in fields(kind))


def read(
    entry: Mapping[str, Any], path: KeyPath, kind: str, words: tuple[Word, ...]
) -> tuple[Values, list[Finding]]:
    """The values of an entry by their names in the dataclass, and everything that is wrong with it.

    ``kind`` is the key that names what the entry is, such as `fault`.
    """
    known = {word.key: word for word in words}
    values: Values = {}
    wrong = [
        _unknown(entry[kind], key, (*path, key), [kind, *known])
        for key in entry
        if key not in known and key != kind
    ]
    for key, word in known.items():
        if key not in entry:
            wrong += [_missing(entry[kind], word, path)] if word.needed else []
            continue
        try:
            values[word.name] = word.form.read(entry[key])
        except ValueError as why:
            wrong.append(((*path, key), f"{key} of {entry[kind]}: {why}"))
    return values, wrong


def _fault_form(field: Field[Any], hint: Any, named: Mapping[Any, Form], known: Known) -> Form:
    if field.name == "unit" and hint is str and not known.anywhere:
        return choice(tuple(known.units), "program of this plan")
    return form_of(hint, named)


def _target(known: Known) -> Form:
    return TEXT if known.anywhere else choice(known.targets, "machine or role", unless=known.outside)


def _machines(known: Known) -> Form:
    return TEXTS if known.anywhere else several(known.machines, "machine", known.outside)


def _word(field: Field[Any], form: Form) -> Word:
    needed = field.default is MISSING and field.default_factory is MISSING
    return Word(field.name.replace("_", "-"), field.name, form, needed, None if needed else field.default)


def _unknown(word: str, key: str, path: KeyPath, valid: list[str]) -> Finding:
    close = nearest(key, valid)
    meant = f"; did you mean '{close}'?" if close else ""
    return path, f"unknown key '{key[:60]}' of {word}{meant} (valid: {', '.join(valid)})"


def _missing(kind: str, word: Word, path: KeyPath) -> Finding:
    return path, f"'{word.key}' of {kind} is missing; write for example `{word.key}: {word.form.example}`"
