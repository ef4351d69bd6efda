"""Texts that can do no harm where they are shown: nothing secret, nothing that turns or hides other text.

Everything that goes into a report comes through here once, so that JSON, HTML and JUnit have the same texts.
Secrets are what `lab.secrecy` takes for such, as it does before anything is recorded.  Markup is left as it
is; who writes HTML or XML escapes it.
"""

import re
from collections.abc import Mapping
from typing import Any

from lab.secrecy import HIDDEN, hidden, names_secret

# Controls, what changes the direction of writing, what has no width, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
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
    return _UNSEEN.sub(lambda found: f"\u2039U+{ord(found[0]):04X}\u203a", hidden(said))


def unless_secret(name: str, value: Any) -> Any:
    """The value made harmless; of what is named like a secret, that there is one."""
    hides = names_secret(name) and isinstance(value, str) and value
    return HIDDEN if hides else plain(value)
