"""The ways in which a question can fail, told from what its prober said."""

import re
from enum import StrEnum


class Kind(StrEnum):
    """A way to fail.  `RESET` is every connection that was closed or refused by somebody who answered."""

    TIMEOUT = "time-out"
    RESET = "reset"
    TLS = "TLS"
    STATUS = "status"
    OTHER = "other"


_KINDS = (
    # "No route" is our own kernel's word when nobody says for seconds that the address is his: silence, too.
    (Kind.TIMEOUT, r"timed out|time-?out|deadline|no route to host"),
    (Kind.RESET, r"reset|refused|broken ?pipe|remotedisconnected|connectionaborted|eof|closed"),
    (Kind.TLS, r"ssl|tls|certificate|handshake"),
    (Kind.STATUS, r"(wrong: )?(http \d|dns rcode)"),
)


def kind_of(said: str) -> Kind:
    """How a question failed, by what its prober said of it."""
    status = re.match(_KINDS[-1][1], said, re.IGNORECASE)  # what a body says of time-outs is not ours
    if status:
        return Kind.STATUS
    found = (kind for kind, words in _KINDS if re.search(words, said, re.IGNORECASE))
    return next(found, Kind.OTHER)
