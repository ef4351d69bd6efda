"""YAML as people mean it: no YAML 1.1 surprises, no duplicate keys, every mistake with its line.

`on`, `1:30`, `0644`, `1.20` and `2026-08-01` stay text as it was written, and a schema asks for what it
wants.  Anchors, aliases, merge keys and tags are refused by name.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError

from lab.errors import ConfigError
from lab.mistakes import described
from lab.yamlreader import MAX_BYTES, KeyPath, Reading, Unreadable, Value

M = TypeVar("M", bound=BaseModel)
MAX_PROBLEMS = 60

Whole = Annotated[int, Strict()]  # else pydantic takes "0644" for 644 and true for 1
Flag = Annotated[bool, Strict()]  # else pydantic takes "on" for true


class Schema(BaseModel):
    """The base of every file's model: kebab-case keys, none unknown, numbers where text is wanted kept."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands, what it is and what to do.  Line 0 is not in the file."""

    where: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read: plain data, and where each value of it stands.

    `broken` are the paths whose value cannot be trusted for what is in `problems`; `origins` names the
    option or variable that replaced a top-level value.
    """

    source: str
    data: dict[str, Value]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...] = ()
    broken: frozenset[KeyPath] = frozenset()
    origins: Mapping[KeyPath, str] = field(default_factory=dict)

    def known(self, path: KeyPath) -> KeyPath:
        """The path without the elements this document does not have."""
        found: KeyPath = ()
        for step in path:
            longer = (*found, step)
            found = longer if longer in self.lines or longer in self.origins else found
        return found

    def line(self, path: KeyPath) -> int:
        """The line of the value, or of the nearest thing around it; 0 if it is not from the file."""
        known = self.known(path)
        return 0 if known[:1] in self.origins else self.lines.get(known, 1)

    def where(self, path: KeyPath) -> str:
        """`FILE:LINE`, or the option or variable that gave the value."""
        return self.origins.get(self.known(path)[:1]) or f"{self.source}:{self.line(path)}"

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A mistake in the value at that path."""
        return Problem(self.where(path), self.line(path), text)

    def override(self, key: str, value: Value, origin: str) -> "Document":
        """The same document with one top-level value replaced by an option or a variable."""
        path: KeyPath = (key,)
        kept = {known: line for known, line in self.lines.items() if known[:1] != path}
        data, origins = {**self.data, key: value}, {**self.origins, path: origin}
        return replace(self, data=data, lines=kept, origins=origins)


def load(text: str | bytes, source: str) -> Document:
    """Read one YAML file whose top is a mapping; raises `ConfigError` with every problem in it."""
    document = read(text, source)
    refuse(source, document.problems)
    return document


def read(text: str | bytes, source: str) -> Document:
    """Like `load`, but what can be read past stays in `problems`, to be reported with the rest.

    Raises `ConfigError` only for what is no YAML mapping at all.
    """
    try:
        reading = Reading(text)
    except Unreadable as error:
        raise ConfigError(source, [f"{source}:{error.line}: {error.text}"]) from error
    problems = tuple(Problem(f"{source}:{line}", line, text) for line, text in reading.mistakes)
    return Document(source, reading.data, reading.lines, problems, frozenset(reading.broken))


def read_file(path: Path) -> Document:
    """`read` the file at that path; one that cannot be opened is a `ConfigError` too."""
    source = shown(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = f"name files, such as {source}/*.yaml" if path.is_dir() else "check the path"
        raise ConfigError(source, [f"{source}: cannot be read: {reason}; {hint}"]) from error
    return read(content, source)


def shown(path: Path) -> str:
    """The path as it can be printed anywhere, relative to the working folder where it lies below."""
    try:
        short = path.relative_to(Path.cwd())
    except (OSError, ValueError):  # the working folder is gone, or lies elsewhere
        short = path
    return str(short).encode(errors="replace").decode()


def refuse(source: str, problems: Iterable[Problem]) -> None:
    """Raise `ConfigError` with all the problems in the order of their lines; harmless without any."""
    texts = list(dict.fromkeys(str(p) for p in sorted(problems, key=lambda problem: problem.line)))
    more = len(texts) - MAX_PROBLEMS
    if texts:
        raise ConfigError(source, texts[:MAX_PROBLEMS] + ([f"… and {more} more"] if more > 0 else []))


def validate(document: Document, model: type[M], hints: Mapping[str, str] | None = None) -> M:
    """The document as its typed model; raises `ConfigError` with every problem, also those of reading.

    `hints` has, for words that people try, the name that was meant or why there is none.
    """
    _, problems, _ = examine(document, model, hints)
    refuse(document.source, problems)
    return model.model_validate(document.data)


def examine(
    document: Document, model: type[M], hints: Mapping[str, str] | None = None
) -> tuple[M | None, list[Problem], frozenset[KeyPath]]:
    """What can be used of a document, everything that is wrong with it, and the paths of what is.

    A value with a mistake is None in the model, so a caller whose fields may all be None can look for
    further mistakes; the model is None where it has no place for that.
    """
    try:
        return model.model_validate(document.data), list(document.problems), document.broken
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [document.problem(d["loc"], described(model, d, hints or {})) for d in details]
    problems += document.problems
    wrong = document.broken | {document.known(detail["loc"]) for detail in details}
    unknown = {document.known(d["loc"]) for d in details if d["type"] == "extra_forbidden"}
    try:
        return model.model_validate(_without(document.data, wrong, unknown)), problems, wrong
    except ValidationError:
        return None, problems, wrong


def _without(data: dict[str, Value], wrong: Iterable[KeyPath], unknown: set[KeyPath]) -> dict[str, Value]:
    """The data with None for every wrong value, or around it for an item, and no unknown key."""
    rest = copy.deepcopy(data)
    for path in sorted(wrong, key=len, reverse=True):
        keyed = path[
            : max((place + 1 for place, step in enumerate(path) if isinstance(step, str)), default=0)
        ]
        if keyed:
            _cut(rest, keyed, drop=path in unknown)
    return rest


def _cut(data: Any, path: KeyPath, *, drop: bool) -> None:
    *way, key = path
    for step in way:
        data = data[step]
    if drop:
        data.pop(key, None)
    elif key in data:
        data[key] = None
