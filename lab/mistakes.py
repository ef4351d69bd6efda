"""What pydantic found, in words that help: the value, what was expected, the nearest valid name.  Pure."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_WANTED = {
    "bool_type": "must be true or false",
    "dict_type": "must hold keys and values",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list such as [a, b]",
    "model_type": "must hold keys and values",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list such as [a, b]",
}
_CHOICES = {"enum": "expected", "literal_error": "expected", "union_tag_invalid": "expected_tags"}


def described(model: type[BaseModel], error: ErrorDetails, hints: Mapping[str, str]) -> str:
    """One mistake as a sentence without its place.

    `hints` has, for a word that people try,
    the name that was meant or why it is not supported.
    """
    kind, path = error["type"], error["loc"]
    if kind == "extra_forbidden":
        what = f"unknown key {_quoted(path[-1])}{_inside(path[:-1])}"
        return _not_known(what, str(path[-1]), keys_at(model, path[:-1]), hints)
    if kind == "missing":
        return f"{_quoted(path[-1])} is missing{_inside(path[:-1])}{_example(model, path)}"
    where, value = _named(path), error["input"]
    if kind in _CHOICES:
        choices = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get(_CHOICES[kind], "")))
        return _not_known(f"{where}: {_quoted(value)} is not known", str(value), choices, hints)
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    return f"{where}: {_quoted(value)} {_WANTED.get(kind, 'is refused: ' + error['msg'])}"


def nearest(word: str, valid: Sequence[str], *, likeness: float = 0.5) -> str:
    """The valid name that was probably meant, or nothing if none is like it (0..1) as far as asked."""
    plain = {_plain(name): name for name in reversed(valid)}
    close = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=likeness)
    return plain[close[0]] if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def keys_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys a file may have at that path."""
    return [name for name, _ in _fields_at(model, path)]


def _not_known(what: str, word: str, valid: Sequence[str], hints: Mapping[str, str]) -> str:
    hint = hints.get(word.lower(), "")
    if " " in hint:
        return f"{what}: {hint}"
    close = hint if hint in valid else nearest(word, valid)
    meant = f"; did you mean {_quoted(close)}?" if close else ""
    return f"{what}{meant} (valid: {', '.join(valid) or 'none'})"


def _example(model: type[BaseModel], path: Sequence[str | int]) -> str:
    examples = dict(_fields_at(model, path[:-1])).get(str(path[-1]))
    return f"; write for example `{path[-1]}: {examples[0]}`" if examples else ""


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[tuple[str, list[Any] | None]]:
    kinds: list[Any] = [model]
    for step in path:
        kinds = [inner for kind in kinds for inner in _below(kind, step)] or kinds
    models = [kind for kind in kinds if _is_model(kind)]
    return [(info.alias or name, info.examples) for m in models for name, info in m.model_fields.items()]


def _below(kind: Any, step: str | int) -> Iterator[Any]:
    if _is_model(kind):
        fields = kind.model_fields.values()
        yield from (part for f in fields if f.alias == step for part in _parts(f.annotation))
    elif get_origin(kind) is dict:
        yield from _parts(get_args(kind)[1])
    elif get_origin(kind) in (list, tuple):
        yield from _parts(get_args(kind)[0])


def _parts(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    elif annotation is not NoneType:
        yield annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _named(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path if isinstance(step, str)) or "the file"


def _inside(path: Sequence[str | int]) -> str:
    return f" in {_named(path)}" if path else ""


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return f"'{text[:60]}…'" if len(text) > 60 else f"'{text}'"
