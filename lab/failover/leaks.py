"""Whether what a run leaves for others to read holds a secret of its lab, by the very secrets.

The filter before the records (`lab.secrecy`) knows secrets by their looks; here they are known by heart.
What is found is made unreadable, so that nobody passes it on, and said: for it shows where the filter is too
coarse.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.pki import Credentials
from lab.report.stored import HTML, JSON
from lab.secrecy import HIDDEN

RECORDS = "records.jsonl"
FILES = (RECORDS, HTML, JSON)
LINE = 24  # characters of a key's line, at least, that nothing else has


def secrets_of(known: Credentials) -> dict[str, tuple[bytes, ...]]:
    """By what it is the texts by which each secret of a lab would be known.  Pure."""
    keys = {f"the key of the {name} CA": pair.key for name, pair in known.authorities.items()}
    keys |= {f"the key of {_owned(*use)}": pair.key for use, pair in known.pairs.items()}
    keys["the key of service accounts"] = known.service_account.private
    found = {name: tuple(_lines(key)) for name, key in keys.items()}
    found["the bootstrap token"] = (known.bootstrap_token.secret.encode(),)
    found["the key for secrets at rest"] = (known.encryption_key.encode(),)
    return found


def _owned(use: str, node: str | None) -> str:
    return f"{use} of {node}" if node else use


def _lines(key: bytes) -> Iterator[bytes]:
    """A key is betrayed by any of its lines."""
    yield from (line for line in key.split() if len(line) >= LINE and b"-----" not in line)


def blotted(folder: Path, secrets: Mapping[str, tuple[bytes, ...]]) -> list[str]:
    """Make every secret in a run's results unreadable; a line for each that was there, and its file."""
    return [text for name in FILES if (folder / name).exists() for text in _blotted(folder / name, secrets)]


def _blotted(path: Path, secrets: Mapping[str, tuple[bytes, ...]]) -> Iterator[str]:
    content = path.read_bytes()
    held = {name: [sign for sign in signs if sign in content] for name, signs in secrets.items()}
    for signs in held.values():
        for sign in signs:
            content = content.replace(sign, HIDDEN.encode())
    if any(held.values()):
        path.write_bytes(content)
    yield from (f"{path.name} held {name}; it was made unreadable" for name, signs in held.items() if signs)
