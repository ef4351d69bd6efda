"""What a dynamic program needs to run elsewhere: its loader and libraries, found below a root directory."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
NEEDED, STRINGS = 1, 5
FOLDERS = ("lib", "usr/lib", "lib64", "usr/lib64")
MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header of an ELF file: what it is, where in the file, where in memory."""

    kind: int
    offset: int
    address: int
    size: int


def closure(root: Path, programs: Iterable[str]) -> dict[str, Path]:
    """By path in an image: the programs (paths below `root`), their loaders, and every library, in /lib."""
    found = {f"/{name.lstrip('/')}": inside(root, name) for name in programs}
    waiting = list(found.values())
    while waiting:
        for name, path in _needs(root, waiting.pop().read_bytes()):
            if name not in found:
                found[name] = path
                waiting.append(path)
    return found


def inside(root: Path, path: str) -> Path:
    """The file that `path` means to a process whose root is `root`; no link leads out of it."""
    parts, here = list(reversed(Path(path.lstrip("/")).parts)), root
    links = 0
    while parts:
        part = parts.pop()
        here = here if part == "/" else here.parent if part == ".." and here != root else here / part
        if here.is_symlink() and (links := links + 1) <= MOST_LINKS:
            target = here.readlink()
            here = root if target.is_absolute() else here.parent
            parts += reversed([part for part in target.parts if part != "/"])
    if not here.is_file():
        raise FileNotFoundError(f"{path} is not below {root}")
    return here


def _needs(root: Path, content: bytes) -> Iterator[tuple[str, Path]]:
    segments = list(_segments(content))
    for segment in segments:
        if segment.kind == INTERPRETER:
            loader = _string(content, segment.offset)
            yield loader, inside(root, loader)
        elif segment.kind == DYNAMIC:
            for library in _libraries(content, segment, segments):
                yield f"/lib/{library}", _library(root, library)


def _segments(content: bytes) -> Iterator[Segment]:
    """The program headers of a 64-bit little-endian ELF file; none of anything else, such as a script."""
    if content[:6] != b"\x7fELF\x02\x01":
        return
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, start + number * size)
        yield Segment(kind, offset, address, length)


def _libraries(content: bytes, dynamic: Segment, segments: list[Segment]) -> list[str]:
    entries = list(struct.iter_unpack("<QQ", content[dynamic.offset : dynamic.offset + dynamic.size]))
    strings = next((value for tag, value in entries if tag == STRINGS), 0)
    loaded = (s for s in segments if s.kind == LOAD and s.address <= strings < s.address + s.size)
    start = next((strings - segment.address + segment.offset for segment in loaded), 0)
    return [_string(content, start + value) for tag, value in entries if tag == NEEDED]


def _string(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode()


def _library(root: Path, name: str) -> Path:
    for folder in FOLDERS:
        for candidate in (root / folder / name, *sorted((root / folder).glob(f"*-linux-gnu/{name}"))):
            if candidate.is_symlink() or candidate.exists():
                return inside(root, str(candidate.relative_to(root)))
    raise FileNotFoundError(f"the library {name} is not below {root}")
