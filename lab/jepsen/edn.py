"""A strict reader of EDN, as far as histories need it: one form after another, each with its line.

nil is None; whole numbers are int, others float; text is str; keywords, symbols, true and false are `Word`;
vectors and lists are tuples, maps dict, sets frozenset; what has a tag is `Tagged`.  Comments and `#_` are
skipped.  There is a library for it, but none that is kept up, and none that knows lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from lab.errors import ConfigError
from lab.linearizability.operation import Word

DEEPEST = 64  # brackets within brackets
DIGITS = 1000  # of a number
_TOKEN = re.compile(
    r"""[\s,]*+(?:;[^\n]*+[\s,]*+)*+
    (?:(?P<open>\#?\{|[(\[])
      |(?P<close>[)\]}])
      |(?P<text>"(?:[^"\\]++|\\.)*+")
      |(?P<discard>\#_)
      |(?P<number>\#\#(?:Inf|-Inf|NaN))
      |(?P<tag>\#[A-Za-z][^\s,()\[\]{}";\\]*+)
      |(?P<character>\\(?:[A-Za-z][A-Za-z0-9]*+|.))
      |(?P<atom>[^\s,()\[\]{}";\\\#@^`~][^\s,()\[\]{}";\\@^`~]*+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"[\s,]*+(?:;[^\n]*+[\s,]*+)*+")
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*+)N?")
_BROKEN_DOWN = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?M?")
_OTHER_NUMBER = re.compile(r"[+-]?[0-9]+/[1-9][0-9]*|0[xX][0-9a-fA-F]+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "'": "'"}
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
TRUE, FALSE = Word("true"), Word("false")


@dataclass(frozen=True, slots=True)
class Tagged:
    """A form behind a tag such as `#inst`."""

    tag: str
    form: "Form"


Form = (
    int | float | str | Word | Tagged | tuple["Form", ...] | dict["Form", "Form"] | frozenset["Form"] | None
)


@dataclass(slots=True)
class _Open:
    """A bracket, tag or `#_` that waits for what belongs into it."""

    mark: str
    at: int
    forms: list[Form]


class _Wrong(Exception):
    """What is wrong, and where in the text."""

    def __init__(self, at: int, what: str) -> None:
        self.at, self.what = at, what


def records(text: str, source: str) -> Iterator[tuple[int, Form]]:
    """The forms of a text with the lines they begin on; of one big vector or list, those in it.

    Raises `ConfigError` at the first mistake, with its line.
    """
    line, counted = 1, 0
    try:
        for at, form in _Reader(text).forms():
            line += text.count("\n", counted, at)
            counted = at
            yield line, form
    except _Wrong as wrong:
        line = 1 + text.count("\n", 0, wrong.at)
        raise ConfigError(source, [f"line {line}: {wrong.what}"]) from None


def form_of(text: str) -> Form:
    """The one form that a text is; `ValueError` if it is none."""
    try:
        (form,) = (form for _, form in _Reader(text, whole=False).forms())
    except _Wrong as wrong:
        raise ValueError(wrong.what) from None
    return form


class _Reader:
    """Goes over a text once; `whole` looks into the one big vector that the text may be."""

    def __init__(self, text: str, *, whole: bool = True) -> None:
        self._text = text
        self._may_be_around = whole
        self._around: _Open | None = None
        self._is_over = False  # the vector around everything was closed
        self._stack: list[_Open] = []

    def forms(self) -> Iterator[tuple[int, Form]]:
        """Each finished form of the outermost kind and where it begins."""
        stack, match, position, began = self._stack, _TOKEN.match, 0, 0
        while found := match(self._text, position):
            position, kind = found.end(), found.lastgroup or ""
            token, at = found[kind], found.start(kind)
            if not stack:
                if self._is_around(kind, token, at):
                    continue
                began = at
            finished, form = self._next(kind, token, at)
            if finished:
                yield began, form
        self._insist_on_end(position)

    def _is_around(self, kind: str, token: str, at: int) -> bool:
        """Whether the token opens or closes the one big vector or list, if there is one."""
        if self._is_over:
            raise _Wrong(at, "something follows the end of the one big vector or list")
        if self._around is not None and kind == "close":
            if _CLOSES[self._around.mark] != token:
                raise _Wrong(at, f"{token} closes nothing: {self._around.mark} came before it")
            self._is_over = True
            return True
        may_be, self._may_be_around = self._may_be_around, False
        if may_be and token in ("[", "("):
            self._around = _Open(token, at, [])
            return True
        return False

    def _insist_on_end(self, position: int) -> None:
        space = _SPACE.match(self._text, position)
        end = space.end() if space else position
        if end < len(self._text):
            raise _Wrong(end, _unreadable(self._text, end))
        left_open = [*([self._around] if self._around and not self._is_over else []), *self._stack]
        if left_open:
            raise _Wrong(left_open[-1].at, f"{left_open[-1].mark} is not closed before the end of the file")

    def _next(self, kind: str, token: str, at: int) -> tuple[bool, Form]:
        """Take a token in; whether that finished an outermost form, and which."""
        stack = self._stack
        if kind == "atom":
            return self._put(_atom(token, at))
        if kind in ("open", "tag", "discard"):
            if len(stack) >= DEEPEST:
                raise _Wrong(at, f"more than {DEEPEST} brackets within each other")
            stack.append(_Open(token, at, []))
            return False, None
        if kind == "close":
            return self._put(self._closed(token, at))
        if kind == "text":
            return self._put(_unescaped(token, at))
        return self._put(float(token[2:]) if kind == "number" else Word(token))

    def _closed(self, token: str, at: int) -> Form:
        if not self._stack:
            raise _Wrong(at, f"{token} closes nothing")
        opened = self._stack.pop()
        if _CLOSES.get(opened.mark) != token:
            raise _Wrong(at, f"{token} closes nothing: {opened.mark} came before it")
        return _built(opened, at)

    def _put(self, form: Form) -> tuple[bool, Form]:
        stack = self._stack
        while stack:
            top = stack[-1]
            if top.mark == "#_":
                stack.pop()
                return False, None
            if top.mark[0] != "#" or top.mark == "#{":
                top.forms.append(form)
                return False, None
            stack.pop()
            form = Tagged(top.mark[1:], form)
        return True, form


def _built(opened: _Open, at: int) -> Form:
    forms = opened.forms
    if opened.mark in "([":
        return tuple(forms)
    if opened.mark == "#{":
        return frozenset(map(_frozen, forms))
    if len(forms) % 2:
        raise _Wrong(opened.at, "a map with a key and no value")
    keys = forms[::2]
    built = dict(zip(map(_frozen, keys), forms[1::2], strict=True))
    if len(built) != len(keys):
        raise _Wrong(opened.at, f"a map with the same key twice, up to {_excerpt(str(keys[-1]))}")
    return built


def _frozen(form: Form) -> Form:
    """What can be a key: a map cannot, but its entries can."""
    if isinstance(form, dict):
        return Tagged("map", frozenset((_frozen(key), _frozen(value)) for key, value in form.items()))
    if isinstance(form, tuple):
        return tuple(map(_frozen, form))
    return Tagged(form.tag, _frozen(form.form)) if isinstance(form, Tagged) else form


_WORDS: dict[str, Form] = {"nil": None, "true": TRUE, "false": FALSE}


def _atom(token: str, at: int) -> Form:
    first = token[1:2] if token[0] in "+-" else token[0]
    return _number(token, at) if "0" <= first <= "9" else _word(token)


@lru_cache(maxsize=4096)
def _word(token: str) -> Form:
    return _WORDS[token] if token in _WORDS else Word(token)


def _number(token: str, at: int) -> Form:
    if len(token) > DIGITS:
        raise _Wrong(at, f"a number of {len(token)} characters")
    if _WHOLE.fullmatch(token):
        return int(token.rstrip("N"))
    if _BROKEN_DOWN.fullmatch(token):
        return float(token.rstrip("M"))
    if _OTHER_NUMBER.fullmatch(token):
        return Word(token)
    raise _Wrong(at, f"{_excerpt(token)} is no number")


def _unescaped(token: str, at: int) -> str:
    inner = token[1:-1]
    if "\\" not in inner:
        return inner

    def plain(found: re.Match[str]) -> str:
        what = found[1]
        if len(what) == 5:
            return chr(int(what[1:], 16))
        if what not in _ESCAPES:
            raise _Wrong(at, f"text with the unknown escape \\{what}")
        return _ESCAPES[what]

    text = _ESCAPE.sub(plain, inner)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unreadable(text: str, at: int) -> str:
    if text[at] == '"':
        return "text is not closed before the end of the file"
    return f"{_excerpt(text[at : at + 40].split(chr(10))[0])} is not EDN"


def _excerpt(text: str) -> str:
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:40])
    return f"'{shown}'" + ("…" if len(text) > 40 else "")
