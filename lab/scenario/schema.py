"""The JSON schema of scenario files, for editors: the same words that `rules` reads.  Pure.

It knows forms, not sense: what is too short, outside the lab or named twice only `rules` finds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lab.scenario.course import PHASES
from lab.scenario.file import NAME
from lab.scenario.forms import SECONDS, Json
from lab.scenario.known import USUAL, Known
from lab.scenario.words import Word, words_of_fault, words_of_invariant
from lab.topology import Profile

DRAFT = "http://json-schema.org/draft-07/schema#"
_NAME: Json = {"type": "string", "pattern": f"^{NAME.pattern}$"}


def schema(known: Known) -> Json:
    """The schema of a file in this plan; machines may be others there, so targets are examples only."""
    return {
        "$schema": DRAFT,
        "title": "A scenario: what is broken, when, and by which numbers it is judged",
        **_mapping(
            {
                "name": _NAME,
                "about": {"type": "string"},
                "phases": _mapping(dict.fromkeys(PHASES, SECONDS.schema), needed=PHASES),
                "faults": {"type": "array", "items": {"anyOf": list(_faults(known))}},
                "probes": _list({"enum": [USUAL, *known.asked]}),
                "invariants": {"type": "array", "items": {"anyOf": list(_invariants(known))}},
                "expect": _mapping({profile.value: _list({"type": "string"}) for profile in Profile}),
                "sets": _list(_NAME),
                "destroys-data": {"type": "boolean"},
            },
            needed=("name", "about", "phases", "faults", "invariants"),
        ),
    }


def _faults(known: Known) -> Iterable[Json]:
    for word, kind in known.faults.items():
        words = words_of_fault(kind, known)
        entry = _entry("fault", word, words, about=kind.__doc__)
        entry["properties"]["on"] = {"type": "string", "minLength": 1, "examples": list(known.targets)}
        yield entry


def _invariants(known: Known) -> Iterable[Json]:
    for word, kind in known.invariants.items():
        yield _entry("invariant", word, words_of_invariant(kind, known), about=kind.__doc__)


def _entry(kind: str, word: str, words: tuple[Word, ...], about: str | None) -> Json:
    properties = {kind: {"const": word}, **{each.key: dict(each.form.schema) for each in words}}
    needed = (kind, *(each.key for each in words if each.needed))
    return {"description": first_line(about), **_mapping(properties, needed=needed)}


def first_line(text: str | None) -> str:
    """What a docstring says first."""
    return (text or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _mapping(properties: Mapping[str, Any], needed: tuple[str, ...] = ()) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
        **({"required": list(needed)} if needed else {}),
    }


def _list(items: Mapping[str, Any]) -> Json:
    return {"type": "array", "items": dict(items), "minItems": 1, "uniqueItems": True}
