"""Where verified programs are kept: once per user, by version and architecture, under a lock per entry."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock
import platformdirs

from lab.disks import CACHE, Place
from lab.errors import LabError


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What an entry is found by."""

    program: str
    version: str
    arch: str

    def __str__(self) -> str:
        return f"{self.program} {self.version} ({self.arch})"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it was when it was verified."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Verified programs in the cache, where they came from and when."""

    key: Key
    folder: Path
    source: str
    when: str
    files: Mapping[str, Stored]

    def path(self, program: str) -> Path:
        """Where the executable is."""
        return self.folder / "files" / program


class Corrupt(LabError):
    """Something in the cache is not what was verified; never used, and replaced where there is a source."""


class Cache:
    """A folder of entries.  Nothing half-written is ever found under an entry's name."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    @property
    def place(self) -> Place:
        """Its folder, for what is said of it."""
        return Place(self.root, CACHE)

    def folder(self, key: Key) -> Path:
        """Where the entry is, or would be."""
        return self.root / "programs" / key.program / key.version / f"linux-{key.arch}"

    def get(self, key: Key) -> Entry | None:
        """The entry, or None if there is none.  Raises `Corrupt` if it changed since it was verified.

        Files that look untouched (size, time) are not read again; `verify` reads them all.
        """
        entry = self._read(key)
        if entry is not None:
            _refuse(entry, [name for name in entry.files if not _untouched(entry, name)])
        return entry

    def put(self, key: Key, fill: Callable[[Path], str]) -> Entry:
        """Let `fill` write programs into an empty folder, and keep them.  It returns where they came from.

        The caller holds the entry's lock.  Whatever ends `fill` early, the cache is as it was before.
        """
        folder = self.folder(key)
        with self.place.naming_trouble():
            self.place.insist_space()
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder.parent, folder.name)
            fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                (fresh / "files").mkdir()
                source = fill(fresh / "files")
                _write_manifest(fresh, source)
                _replace(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        entry = self._read(key)
        assert entry
        return entry

    @contextmanager
    def lock(self, key: Key, *, timeout: float) -> Iterator[None]:
        """Hold the entry alone, among all processes of this user; `LabError` if another holds it too long."""
        path = self.root / "locks" / f"{key.program}-{key.version}-{key.arch}.lock"
        with self.place.naming_trouble():
            path.parent.mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(path)
            try:
                held.acquire(timeout=timeout)
            except filelock.Timeout as error:
                raise LabError(
                    f"{key} has been locked by another process for {timeout:.0f}s ({path})",
                    remedy=f"see who it is with `fuser {path}`, wait for it or end it",
                ) from error
        try:
            yield
        finally:
            held.release()

    def keys(self) -> list[Key]:
        """Every entry there is, sorted."""
        with self.place.naming_trouble(), suppress(FileNotFoundError):
            any((self.root / "programs").iterdir())  # else one that may not be read would look empty
        found = self.root.glob("programs/*/*/linux-*/manifest.json")
        folders = [path.parent for path in found if not path.parent.name.startswith(".")]
        return sorted(
            Key(folder.parts[-3], folder.parts[-2], folder.name.removeprefix("linux-")) for folder in folders
        )

    def entries(self) -> list[Entry]:
        """Every entry that can be read, sorted; nothing is verified."""
        return [entry for key in self.keys() if (entry := self._read(key))]

    def verify(self, key: Key) -> Entry:
        """Read every file of the entry again; raises `Corrupt` naming those that changed."""
        entry = self._read(key)
        if entry is None:
            raise LabError(f"{key} is not in {self.root}", remedy="thwlab artifacts fetch")
        _refuse(entry, [name for name in entry.files if not _intact(entry, name)])
        return entry

    def gc(self, keep: Collection[Key]) -> list[Key]:
        """Remove every entry not in `keep`, and what dead processes left; entries in use are passed over."""
        return [key for key in self.keys() if key not in keep and self._remove(key)]

    def _remove(self, key: Key) -> bool:
        try:
            with self.lock(key, timeout=0):
                folder = self.folder(key)
                shutil.rmtree(folder)
                _sweep(folder.parent, folder.name)
        except LabError:
            return False
        return True

    def _read(self, key: Key) -> Entry | None:
        folder = self.folder(key)
        try:
            with self.place.naming_trouble():
                manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
            files = {name: Stored(**stored) for name, stored in manifest["files"].items()}
            return Entry(key, folder, manifest["source"], manifest["when"], files)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(
                f"{folder}/manifest.json cannot be read: {error}", remedy=f"rm -r {folder}"
            ) from error


def default_root() -> Path:
    """`$THWLAB_CACHE`, else the user's cache folder."""
    chosen = os.environ.get(CACHE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("thwlab")


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse(entry: Entry, wrong: list[str]) -> None:
    if wrong:
        raise Corrupt(
            f"{entry.key} in the cache is not what was verified: "
            + ", ".join(str(entry.path(name)) for name in wrong),
            remedy=f"rm -r {entry.folder}; thwlab artifacts fetch",
        )


def _untouched(entry: Entry, name: str) -> bool:
    try:
        status = entry.path(name).stat()
    except OSError:
        return False
    stored = entry.files[name]
    return (status.st_size, status.st_mtime_ns) == (stored.size, stored.mtime_ns) or _intact(entry, name)


def _intact(entry: Entry, name: str) -> bool:
    try:
        return sha256_of(entry.path(name)) == entry.files[name].sha256
    except OSError:
        return False


def _write_manifest(fresh: Path, source: str) -> None:
    files = {path.name: asdict(_stored(path)) for path in sorted((fresh / "files").iterdir())}
    manifest = {"schema": 1, "source": source, "when": datetime.now(UTC).isoformat(), "files": files}
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    fresh.chmod(0o755)


def _stored(path: Path) -> Stored:
    path.chmod(0o755)
    status = path.stat()
    return Stored(sha256_of(path), status.st_size, status.st_mtime_ns)


def _replace(fresh: Path, folder: Path) -> None:
    if folder.exists():
        folder.rename(fresh / "replaced")
    fresh.rename(folder)
    shutil.rmtree(folder / "replaced", ignore_errors=True)


def _sweep(parent: Path, name: str) -> None:
    for leftover in parent.glob(f".{name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
