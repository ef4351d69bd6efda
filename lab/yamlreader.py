"""YAML text to plain data with the line of each value; what `strictyaml` promises is done here.

Plain scalars are null (`~`, `null` or nothing), `true`, `false`, whole decimal numbers, or text as it
was written.  Composed with PyYAML, but nothing is resolved or constructed by its YAML 1.1 rules.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import yaml

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"
KeyPath: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 256 * 1024  # plans and scenarios are a few kilobytes; PyYAML needs seconds for a megabyte
MAX_DEPTH = 32

_WORDS: Mapping[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ALIAS = "alias"


class Unreadable(Exception):
    """What nothing can be read past: no YAML, or no mapping."""

    def __init__(self, line: int, text: str) -> None:
        self.line, self.text = line, text
        super().__init__(f"line {line}: {text}")


class Reading:
    """One text as read: its data, where each value stands, and the mistakes that were read past.

    `broken` are the paths whose value cannot be trusted because of such a mistake.
    """

    def __init__(self, text: str | bytes) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[tuple[int, str]] = []
        self.broken: set[KeyPath] = set()
        self.data = self._mapping(self._root(_decoded(text)), ())

    def _root(self, text: str) -> yaml.MappingNode:
        root = _composed(text, self.mistakes)
        if isinstance(root, yaml.MappingNode):
            return root
        found = "is empty" if root is None else "does not start with a key"
        raise Unreadable(1, f"the file {found}; it must hold keys and values such as `name: thw`")

    def _value(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, place)) for place, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Value:
        if node.tag == _ALIAS:
            self.broken.add(path)
        if bad := _CONTROL.search(node.value):
            self._note(node, f"character U+{ord(bad[0]):04X} may not stand in a value; remove it", path)
            return None
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _plain(node.value) if plain else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Value]:
        built: dict[str, Value] = {}
        for key, value in node.value:
            if reason := self._unusable(key, path):
                self._note(key, reason, (*path, str(key.value)))
                continue
            self.lines[(*path, key.value)] = _line(key)
            built[key.value] = self._value(value, (*path, key.value))
        return built

    def _item(self, node: yaml.Node, path: KeyPath) -> Value:
        self.lines[path] = _line(node)
        return self._value(node, path)

    def _unusable(self, key: yaml.Node, path: KeyPath) -> str:
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            return "a key must be a word"
        if _CONTROL.search(key.value):
            return f"key {key.value!r} holds a control character; remove it"
        if key.value == "<<" and key.style is None:
            return "merge key << is not supported; write the keys out"
        if first := self.lines.get((*path, key.value)):
            return f"key {key.value!r} was already given in line {first}; keep one of them"
        return ""

    def _note(self, node: yaml.Node, text: str, path: KeyPath) -> None:
        self.mistakes.append((_line(node), text))
        self.broken.add(path)


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes without aliases, anchors, tags or deep nesting; constructs nothing."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (PyYAML's own class attribute)

    def __init__(self, text: str, mistakes: list[tuple[int, str]]) -> None:
        self._mistakes, self._depth = mistakes, 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._depth >= MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self._mistakes += [(event.start_mark.line + 1, text) for text in _unwanted(event)]
        if isinstance(event, yaml.AliasEvent):
            return self._in_place_of_alias()
        event.anchor = event.tag = None
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _in_place_of_alias(self) -> yaml.Node:
        event = self.get_event()  # type: ignore[no-untyped-call]
        return yaml.ScalarNode(_ALIAS, f"*{event.anchor}", event.start_mark, event.end_mark)


def _unwanted(event: Any) -> Iterator[str]:
    if isinstance(event, yaml.AliasEvent):
        yield f"alias *{event.anchor} is not supported; write the value out"
    elif event.anchor is not None:
        yield f"anchor &{event.anchor} is not supported; remove it and write the value where it is needed"
    if tag := getattr(event, "tag", None):
        yield f"tag {tag} is not supported; remove it"


def _composed(text: str, mistakes: list[tuple[int, str]]) -> yaml.Node | None:
    loader = _StrictLoader(text, mistakes)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, _explained(error)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() fail on "\UFFFFFFFF" and int() on endless version numbers
        raise Unreadable(loader.line + 1, f"not readable as YAML: {error}") from error


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = (error.problem or str(error)).replace("\n", " ")
    if "'\\t'" in problem:
        return "a tab may not indent YAML; use blanks"
    if problem.startswith("but found another document"):
        return "a second document starts here (`---`); write one file for each"
    if problem.startswith("nested deeper"):
        return f"{problem}; is it the right file?"
    return f"not readable as YAML: {problem}; check indentation, colons and quotes around this line"


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        raise Unreadable(1, f"the file is larger than {MAX_BYTES // 1024} KiB; is it the right one?")
    if isinstance(text, bytes):
        text = _from_utf8(text)
    text = text.removeprefix("\ufeff")
    if bad := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Unreadable(line, f"character U+{ord(bad[0]):04X} may not stand in a YAML file; remove it")
    return text


def _from_utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise Unreadable(line, what) from error


def _plain(text: str) -> Value:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _WHOLE.fullmatch(text) else text


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1
