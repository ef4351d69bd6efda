"""How a value is written in a scenario file, by what it means: read, refused with what to write, described.

Each form has an example, the JSON schema of an editor, and a reader that raises `ValueError` with a sentence.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import durationpy

from lab.invariants import terms
from lab.mistakes import nearest

Json = dict[str, Any]
Reason = Callable[[Any], str]
LONGEST = 24 * 3600.0  # seconds
PORTS = range(1, 65536)
# steady, steady+fault, steady+fault+recovery, fault, …
PHASES = tuple("+".join(terms.PHASES[a:b]) for a in range(3) for b in range(a + 1, 4))
_DURATION = re.compile(r"([0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h))+")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_SIZE = re.compile(r"([0-9]{1,9})(B|KiB|MiB|GiB)")
_RATE = re.compile(r"([0-9]{1,9})/s")
_SCALE = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of value is written.  `means` is what a reader of the documentation is told."""

    means: str
    example: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]


# -- numbers with units ----------------------------------------------------------------------------------


def seconds(value: Any) -> float:
    """`500ms`, `5s`, `1m30s`, `2h` as seconds."""
    text = _scalar(value, "5s")
    if not _DURATION.fullmatch(text):
        raise ValueError(_no_time(text))
    found: float = durationpy.from_str(text).total_seconds()
    if found > LONGEST:
        raise ValueError(f"'{text}' is longer than a day")
    return found


def signed_seconds(value: Any) -> float:
    """`5m`, or `-5m` for the other way."""
    text = str(value)
    return -seconds(text[1:]) if text.startswith("-") else seconds(value)


def share(value: Any) -> float:
    """`99.5%` as 0.995."""
    return percent(value) / 100


def percent(value: Any) -> float:
    """`25%` as 25."""
    text = _scalar(value, "99.5%")
    found = _SHARE.fullmatch(text)
    if found is None:
        number = re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", text)
        what = "has no unit" if number else f"is {_kind(text)}, and a share is wanted"
        raise ValueError(f"'{text[:60]}' {what}; write {f'{text}%' if number else '99.5%'}")
    if float(found[1]) > 100:
        raise ValueError(f"'{text}' is more than everything; write at most 100%")
    return float(found[1])


def count(value: Any) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = str(value)
    what = f"is {_kind(text)}, and a number is wanted" if _kind(text) else "is no whole number of 0 or more"
    raise ValueError(f"'{text[:60]}' {what}; write 0")


def size(value: Any) -> int:
    """`1400B`, `64KiB` as bytes."""
    return _scaled(_scalar(value, "1400B"), _SIZE, "", "1400B")


def per_second(value: Any) -> int:
    """`100/s` as 100."""
    text = _scalar(value, "100/s")
    if found := _RATE.fullmatch(text):
        return int(found[1])
    raise ValueError(f"'{text[:60]}' is no rate; write {f'{text}/s' if text.isdigit() else '100/s'}")


def bandwidth(value: Any) -> int:
    """`1MiB/s` as bytes per second."""
    return _scaled(_scalar(value, "1MiB/s"), _SIZE, "/s", "1MiB/s")


def _scaled(text: str, pattern: re.Pattern[str], suffix: str, example: str) -> int:
    found = pattern.fullmatch(text.removesuffix(suffix)) if text.endswith(suffix) else None
    if found is None:
        what = "has no unit" if text.isdigit() else f"is not written as {example} is"
        raise ValueError(f"'{text[:60]}' {what}; write {f'{text}B{suffix}' if text.isdigit() else example}")
    return int(found[1]) * _SCALE[found[2]]


def ports(value: Any) -> tuple[int, ...]:
    """`[2379, 2380]`, or one port alone."""
    each = _listed(value)
    if not each:
        raise ValueError("is empty; leave it out for all ports, or write for example [2379]")
    for port in each:
        if isinstance(port, bool) or not isinstance(port, int) or port not in PORTS:
            raise ValueError(f"'{str(port)[:60]}' is no port; write numbers from 1 to 65535")
    return tuple(each)


def flag(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"'{str(value)[:60]}' must be true or false")


def text(value: Any) -> str:
    """Any text."""
    return _scalar(value, "text")


# -- one of several words --------------------------------------------------------------------------------


def word(value: Any, valid: Sequence[str], what: str, hints: Mapping[str, str] | None = None) -> str:
    """One of the valid words; the message has the nearest, or what the hints say of it."""
    found = _scalar(value, next(iter(valid), ""))
    if found in valid:
        return found
    hint = (hints or {}).get(found.lower(), "")
    if " " in hint:
        raise ValueError(f"'{found[:60]}' is no {what}: {hint}")
    close = hint if hint in valid else nearest(found, valid)
    meant = f"; did you mean '{close}'?" if close else ""
    raise ValueError(f"'{found[:60]}' is no {what}{meant} (valid: {', '.join(valid)})")


def words(value: Any, valid: Sequence[str], what: str) -> tuple[str, ...]:
    """A list of valid words, or one alone."""
    each = _listed(value)
    if not each:
        raise ValueError(f"is empty; leave it out, or write for example [{next(iter(valid), '')}]")
    return tuple(word(one, valid, what) for one in each)


def choice(
    valid: Sequence[str], what: str, read: Callable[[str], Any] = str, unless: Reason | None = None
) -> Form:
    """The form of one of these words; ``unless`` gives a better reason than that it is none of them."""
    return Form(
        means=f"one of {', '.join(valid)}",
        example=next(iter(valid), ""),
        read=lambda value: read(word(_unless(value, unless), valid, what)),
        schema={"enum": list(valid)},
    )


def several(valid: Sequence[str], what: str, unless: Reason | None = None) -> Form:
    """The form of a list of these words."""
    one = {"enum": list(valid)}
    return Form(
        means=f"a list of {what}s",
        example=f"[{next(iter(valid), '')}]",
        read=lambda value: words([_unless(each, unless) for each in _listed(value)], valid, what),
        schema={"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]},
    )


# -- by type ---------------------------------------------------------------------------------------------

_TEXT = {"type": "string"}
_TIME = {"type": "string", "pattern": f"^{_DURATION.pattern}$"}
SECONDS = Form("a time with its unit", "5s", seconds, _TIME)
SIGNED = Form("a time with its unit, either way", "-5m", signed_seconds, {"type": "string"})
SHARE = Form("a share in percent", "99.5%", share, {"type": "string", "pattern": f"^{_SHARE.pattern}$"})
PERCENT = Form("percent", "25%", percent, {"type": "string", "pattern": f"^{_SHARE.pattern}$"})
COUNT = Form("a whole number", "0", count, {"type": "integer", "minimum": 0})
SIZE = Form("a size with its unit", "1400B", size, {"type": "string", "pattern": f"^{_SIZE.pattern}$"})
RATE = Form("so many a second", "100/s", per_second, {"type": "string", "pattern": f"^{_RATE.pattern}$"})
BANDWIDTH = Form(
    "a size a second", "1MiB/s", bandwidth, {"type": "string", "pattern": f"^{_SIZE.pattern}/s$"}
)
FLAG = Form("true or false", "true", flag, {"type": "boolean"})
TEXT = Form("text", "text", text, _TEXT)
TEXTS = Form(
    "a list", "[text]", lambda value: tuple(text(each) for each in _listed(value)), {"type": "array"}
)
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PORT_LIST = Form(
    "a list of ports", "[2379]", ports, {"anyOf": [_PORT, {"type": "array", "items": _PORT, "minItems": 1}]}
)
_BY_TERM: Mapping[Any, Form] = {
    terms.Seconds: SECONDS,
    terms.Share: SHARE,
    terms.Count: COUNT,
    terms.Phases: choice(PHASES, "phase, or from one to a later one"),
    terms.Lease: choice(terms.LEASES, "lease"),
    int: COUNT,
    bool: FLAG,
    str: TEXT,
}
_BY_NOTE: Mapping[str, Form] = {
    "seconds": SECONDS,
    "signed seconds": SIGNED,
    "percent": PERCENT,
    "bytes": SIZE,
    "bytes per second": BANDWIDTH,
    "per second": RATE,
    "ports": PORT_LIST,
}


def form_of(hint: Any, named: Mapping[Any, Form]) -> Form:
    """The form of a field with this type; ``named`` has those that depend on the plan, by type or note.

    `TypeError` for a type that has no form: a new kind of field needs one here.
    """
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    for key in (hint, *notes):
        if found := named.get(key) or _BY_TERM.get(key) or _BY_NOTE.get(key):
            return found
    if get_origin(hint) is Annotated:
        return form_of(get_args(hint)[0], named)
    if get_origin(hint) in (Union, UnionType):
        return form_of(next(each for each in get_args(hint) if each is not NoneType), named)
    if get_origin(hint) is Literal:
        return choice(get_args(hint), "choice")
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return choice([each.value for each in hint], hint.__name__.lower(), hint)
    raise TypeError(f"no form for values of {hint}")


def _unless(value: Any, reason: Reason | None) -> Any:
    if reason is not None and (why := reason(value)):
        raise ValueError(why)
    return value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _scalar(value: Any, example: str) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value)
    if value is None or value == "":
        raise ValueError(f"is empty; write for example {example}")
    raise ValueError(f"'{str(value)[:60]}' must be a single value such as {example}")


def _no_time(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text):
        return f"'{text}' has no unit; write {text}s"
    kind = _kind(text)
    what = f"{kind}, and a time is wanted" if kind else "no time"
    return f"'{text[:60]}' is {what}; write for example 5s"


def _kind(text: str) -> str:
    """What a value of another unit is."""
    forms = ((_DURATION, "a time"), (_SHARE, "a share"), (_SIZE, "a size"), (_RATE, "a rate"))
    return next((name for pattern, name in forms if pattern.fullmatch(text)), "")
