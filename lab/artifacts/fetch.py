"""Have every program a cluster needs: from the cache, else from the first source that can deliver."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lab.artifacts.cache import Cache, Corrupt, Entry, Key
from lab.artifacts.catalogue import Item, items, optional_entries
from lab.artifacts.gomodules import GoModules
from lab.artifacts.release import Releases
from lab.artifacts.source import Beat, Source, SourceFailed
from lab.errors import LabError
from lab.topology import Versions

LOCK_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fetch stands: entry `number` of `total`, what is done to it, and what is left (estimated)."""

    item: str
    number: int
    total: int
    phase: str
    done: float | None = None
    seconds_left: float | None = None


Report = Callable[[Progress], None]


class Programs(Mapping[str, Path]):
    """The verified executables, by name: `programs["kubelet"]` is a path."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._entry_of = {name: entry for entry in entries for name in entry.files}

    def replaced(self, program: str, entry: Entry) -> "Programs":
        """The same programs, but this one from another entry."""
        other = Programs(self.entries)
        other._entry_of = {**self._entry_of, program: entry}
        return other

    def __getitem__(self, name: str) -> Path:
        return self._entry_of[name].path(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry_of)

    def __len__(self) -> int:
        return len(self._entry_of)

    def sha256(self, name: str) -> str:
        """The program's hash, as it was verified."""
        return self._entry_of[name].files[name].sha256

    def digest(self, names: Collection[str] | None = None) -> str:
        """One hash over these programs (all of them by default), to key by what is built from them."""
        lines = [f"{name} {self.sha256(name)}\n" for name in sorted(self if names is None else names)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def ignore(_: Progress) -> None:
    """A report that nobody reads."""


def default_sources(cache: Cache) -> tuple[Source, ...]:
    """Official releases, then Go modules.  One set for each run: they remember what cannot be reached."""
    return Releases(cache.root), GoModules(cache.root)


def fetch(
    versions: Versions,
    cache: Cache,
    *,
    report: Report = ignore,
    offline: bool = False,
    also: Collection[str] = (),
    sources: Sequence[Source] | None = None,
) -> Programs:
    """Every program for these versions, verified, in the cache.

    `also` names optional entries, such as flannel.  Offline, only the cache is asked.  Raises one `LabError`
    with the reason of every source as soon as an entry cannot be had from any.
    """
    with cache.place.naming_trouble():
        return _fetched(versions, cache, report, offline, also, sources)


def _fetched(
    versions: Versions,
    cache: Cache,
    report: Report,
    offline: bool,
    also: Collection[str],
    sources: Sequence[Source] | None,
) -> Programs:
    wanted = [*items(versions, also=also), *_skewed_items(versions)]
    chosen = () if offline else default_sources(cache) if sources is None else sources
    if offline:
        _insist_all_cached(wanted, cache)
    missing = frozenset(item.name for item in wanted if _cached(cache, item)[0] is None)
    run = _Run(cache, wanted, missing, chosen, report)
    entries = [run.have(number) for number in range(len(wanted))]
    programs = Programs(entries[: len(entries) - len(versions.skewed)])
    for (program, _), entry in zip(versions.skewed, entries[len(programs.entries) :], strict=True):
        programs = programs.replaced(program, entry)
    return programs


def _skewed_items(versions: Versions) -> list[Item]:
    """For each program whose version the plan sets apart, the entry of Kubernetes it comes from."""
    apart = (replace(versions, kubernetes=version, skewed=()) for _, version in versions.skewed)
    return [item for other in apart for item in items(other) if item.name == "kubernetes"]


def key_of(item: Item) -> Key:
    """Where the item is in the cache."""
    return Key(item.name, item.version, item.arch)


def _cached(cache: Cache, item: Item) -> tuple[Entry | None, str]:
    """The entry if it can be used, else why not."""
    try:
        entry = cache.get(key_of(item))
    except Corrupt as error:
        return None, str(error)
    if entry is None:
        return None, "not in the cache"
    lacking = set(item.programs) - set(entry.files)
    return (None, f"the cached entry lacks {', '.join(sorted(lacking))}") if lacking else (entry, "")


def _insist_all_cached(wanted: Sequence[Item], cache: Cache) -> None:
    looked = {str(item): _cached(cache, item) for item in wanted}
    problems = [f"{name}: {why}" for name, (entry, why) in looked.items() if entry is None]
    if problems:
        raise LabError(
            "\n  - ".join([f"offline and not in the cache {cache.root}:", *problems]),
            remedy="`thwlab artifacts fetch` with a network, or copy a filled cache and set THWLAB_CACHE",
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of `fetch`."""

    cache: Cache
    wanted: Sequence[Item]
    missing: frozenset[str]
    sources: Sequence[Source]
    report: Report

    def have(self, number: int) -> Entry:
        """The entry, fetched if it must be."""
        item = self.wanted[number]
        entry, _ = _cached(self.cache, item)
        if entry is None:
            self._tell(number, "waiting for the lock")
            with self.cache.lock(key_of(item), timeout=LOCK_TIMEOUT):
                entry, why = _cached(self.cache, item)
                entry = entry or self._fetch(number, why)
        self._tell(number, "ready", done=1.0)
        return entry

    def _fetch(self, number: int, why: str) -> Entry:
        item = self.wanted[number]
        reasons = [why]
        for source in (source for source in self.sources if source.offers(item)):
            try:
                return self.cache.put(key_of(item), partial(self._deliver, number, source))
            except SourceFailed as error:
                reasons.append(f"{source.name}: {error}".replace("\n", "\n    "))
                self._tell(number, f"{source.name} failed: {error}")
        raise LabError(
            "\n  - ".join([f"{item} ({item.arch}) cannot be had:", *reasons]),
            remedy="see each reason above; a cache filled elsewhere can be copied and named in THWLAB_CACHE",
        )

    def _deliver(self, number: int, source: Source, into: Path) -> str:
        item, began = self.wanted[number], time.monotonic()

        def beat(seen: Beat) -> None:
            spent = time.monotonic() - began
            self._tell(number, f"{source.name}: {seen.phase}", done=seen.done, spent=spent)

        origin = source.deliver(item, into, beat)
        if lacking := [name for name in item.programs if not (into / name).is_file()]:
            raise SourceFailed(f"{origin} has no {', '.join(lacking)}")
        return origin

    def _tell(self, number: int, phase: str, *, done: float | None = None, spent: float = 0.0) -> None:
        item, total = self.wanted[number], len(self.wanted)
        rest = sum(later.build_seconds for later in self.wanted[number + 1 :] if later.name in self.missing)
        left = rest + time_left(item.build_seconds, spent, done)
        self.report(Progress(str(item), number + 1, total, phase, done, left))


def time_left(typical: float, spent: float, done: float | None) -> float:
    """Seconds left of one entry: by the part that is done where that is known, else by what is typical."""
    if done:
        return spent * (1 - done) / done
    return max(0.0, typical - spent)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `thwlab artifacts list`: what is wanted or there, and what can be said about it."""

    key: Key
    programs: tuple[str, ...]
    wanted: bool
    source: str
    problem: str


def list_(versions: Versions, cache: Cache, *, also: Collection[str] = ()) -> list[Listed]:
    """What these versions need, and whatever else is in the cache."""
    wanted = items(versions, also=also)
    needed = [_listed(item, *_cached(cache, item)) for item in wanted]
    keys = {listed.key for listed in needed}
    others = [entry for entry in cache.entries() if entry.key not in keys]
    return needed + [Listed(entry.key, tuple(entry.files), False, entry.source, "") for entry in others]


def _listed(item: Item, entry: Entry | None, why: str) -> Listed:
    return Listed(key_of(item), item.programs, True, entry.source if entry else "", why)


def verify(cache: Cache) -> dict[Key, str]:
    """Read everything in the cache again: by entry what is wrong with it, empty if nothing is."""
    return {key: _problem(cache, key) for key in cache.keys()}  # noqa: SIM118


def _problem(cache: Cache, key: Key) -> str:
    try:
        cache.verify(key)
    except LabError as error:
        return str(error)
    return ""


def gc(cache: Cache, keep: Collection[Versions]) -> list[Key]:
    """Remove what none of these versions can need, optional entries counted as needed; returns what went."""
    also = optional_entries()
    return cache.gc({key_of(item) for versions in keep for item in items(versions, also=also)})
