"""Texts that can do no harm where they are shown: nothing secret, nothing that turns or hides other text.

Everything that goes into a report comes through here once, so that JSON, HTML and JUnit have the same texts.
Markup is left as it is; who writes HTML or XML escapes it.
"""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(secret, not shown)"

# Controls, what changes the direction of writing, what has no width, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_SECRET_NAME = (
    r"(?:[\w.-]*[_.-])?(?:token|passw(?:or)?d|passphrase|secret|client-key-data"
    r"|(?:api|encryption|private)[_-]?key)"
)
_NAMED = re.compile(rf"(?i)\b({_SECRET_NAME})(\"?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)")
_IS_SECRET = re.compile(rf"(?i)^{_SECRET_NAME}s?$")
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"),  # a JSON web token, also one that was cut off
    re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),  # a bootstrap token
    re.compile(r"(?i)(?<=\bbearer )[\w.~+/=-]+"),
    re.compile(r"(?i)(?<=\bbasic )[\w+/]{8,}=*"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),  # who logs in by an address
)


def plain(value: Any) -> Any:
    """The value as JSON can hold it, all its texts harmless; of what is named like a secret only the name."""
    if value is None or isinstance(value, bool | int | float):
        return value if value == value and value not in (float("inf"), float("-inf")) else None
    if isinstance(value, Mapping):
        return {text(str(name)): unless_secret(str(name), each) for name, each in value.items()}
    if isinstance(value, list) and all(type(each) is int for each in value):
        return value  # long ones are
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return text(str(value))


def text(said: str) -> str:
    """The text without secrets, and with a name for each character that one does not see."""
    for secret in _SECRETS:
        said = secret.sub(HIDDEN, said)
    said = _NAMED.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", said)
    return _UNSEEN.sub(lambda found: f"\u2039U+{ord(found[0]):04X}\u203a", said)


def unless_secret(name: str, value: Any) -> Any:
    """The value made harmless; of what is named like a secret, that there is one."""
    hides = _IS_SECRET.match(name) and isinstance(value, str) and value
    return HIDDEN if hides else plain(value)
