"""A file of text, whatever it really is: read in pieces, so that one that is no text is refused at once."""

import codecs
from pathlib import Path

from lab.errors import ConfigError

LARGEST = 1 << 30  # bytes; every operation of a history is in memory at once
_PIECE = 1 << 20


def text_of(path: Path) -> str:
    """The text of a file.  Raises `ConfigError` if it cannot be read, is no UTF-8, or is too large."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces: list[str] = []
    read = 0
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                read += len(piece)
                if b"\0" in piece:
                    raise ConfigError(str(path), ["this is no text: it has NUL bytes"])
                if read > LARGEST:
                    raise ConfigError(str(path), [f"larger than {LARGEST >> 20} MiB"])
                pieces.append(decoder.decode(piece))
        pieces.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        line = 1 + sum(piece.count("\n") for piece in pieces) + error.object.count(b"\n", 0, error.start)
        wrong = error.object[error.start]
        raise ConfigError(str(path), [f"line {line}: byte 0x{wrong:02x} is no UTF-8 text"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"it cannot be read: {error.strerror or error}"]) from error
    text = "".join(pieces)
    return text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
