"""Secrets kept out of texts: the one filter for all that is recorded and all that is shown.  Pure.

It knows secrets by their looks and by the names before them.  That is a net and no proof: who knows the very
secrets of a lab looks for those too, once a run is over.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "(secret, not shown)"
LONGEST_KEY = 60  # lines of a private key, at most
_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
_BODY = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")  # a line of a key, or the most of it
_BEFORE_END = re.compile(r"(?:[A-Za-z0-9+/]{30,}(?:\\n|\s)+)*[A-Za-z0-9+/]*={0,2}(?:\\n|\s)*\Z")
_SECRET_NAME = (
    r"(?:[\w.-]{0,40}[_.-])?(?:token|passw(?:or)?d|passphrase|secret"
    r"|(?:certificate-authority|client-certificate|client-key)-data"
    r"|(?:api|encryption|private)[_-]?key)"
)
_NAMED = re.compile(rf"(?i)\b({_SECRET_NAME})(\\?\"?\s*[=:]\s*\\?)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)")
_IS_SECRET = re.compile(rf"(?i)^{_SECRET_NAME}s?$")
_SECRETS = (
    re.compile(rf"{_BEGIN.pattern}.*?(?:{_END.pattern}|\Z)", re.DOTALL),
    re.compile(r"LS0tLS1CRUdJTi[\w+/=]*"),  # the same, or a certificate, in base64: as a kubeconfig has it
    re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"),  # a JSON web token, also one that was cut off
    re.compile(r"(?<![\w-])[a-z0-9]{6}\.[a-z0-9]{16}\b"),  # a bootstrap token, and no event's name
    re.compile(r"(?i)(?<=\bbearer )(?!tokens?\b)[\w.~+/=-]+"),  # "invalid bearer token" shows none
    re.compile(r"(?i)(?<=\bbasic )[\w+/]{8,}=*"),
    re.compile(r"(?i)(?<=--token )\S+"),
    re.compile(r"(?i)(?<=--password )\S+"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),  # who logs in by an address
)
# What is in every text that one of them changes; most texts have nothing of it.
_HINT = re.compile(
    r"(?i)key|eyj|ls0tls1|token|passw|passphrase|secret|bearer|basic|://|-data|[a-z0-9]{6}\.[a-z0-9]{16}"
)


@lru_cache(maxsize=8192)
def hidden(said: str) -> str:
    """The text without secrets."""
    if not _HINT.search(said):
        return str(said)
    for secret in _SECRETS:
        said = secret.sub(HIDDEN, said)
    return _NAMED.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", _without_tail(said))


@lru_cache(maxsize=8192)
def names_secret(name: str) -> bool:
    """Whether what has this name is a secret, whatever it looks like."""
    return bool(_IS_SECRET.match(name))


def harmless(value: Any) -> Any:
    """The value as JSON can hold it, without secrets; of what is named like one, that there is one.

    A private key is also seen where its lines are texts of their own in one list, as a journal's are.
    """
    return _Reader().harmless(value)  # a new one for each, so that no list is inside another's key


class _Reader:
    """Goes through one value; `left` is for how many more texts it may be inside a private key."""

    def __init__(self) -> None:
        self.left = 0

    def harmless(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return self._text(value) if value else value
        if isinstance(value, Mapping):
            return {_key(name): _entry(name, each) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.harmless(each) for each in value]
        return self._text(str(value))

    def _text(self, said: str) -> str:
        found = hidden(said)
        if self.left:
            self.left = 0 if _END.search(said) else self.left - 1
            found = _BODY.sub(HIDDEN, found)
        if "PRIVATE KEY" in said and _is_open(said):
            self.left = LONGEST_KEY
        return found


def _is_open(said: str) -> bool:
    """Whether a private key begins in the text and does not end there."""
    begins = [begin.end() for begin in _BEGIN.finditer(said)]
    return bool(begins) and not _END.search(said, begins[-1])


def _key(name: Any) -> Any:
    return hidden(name) if isinstance(name, str) else name


def _entry(name: Any, value: Any) -> Any:
    if isinstance(value, str) and value and names_secret(str(name)):
        return HIDDEN
    return harmless(value)


def _without_tail(said: str) -> str:
    """Without the end of a private key whose beginning was cut off."""
    while found := _END.search(said):
        before = _BEFORE_END.sub("", said[: found.start()], count=1)
        said = f"{before} {HIDDEN}{said[found.end() :]}"
    return said
