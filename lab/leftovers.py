"""Labs of this host that nobody holds, and what is left of labs whose state folder is lost.

Whoever works with a lab holds a lock that the kernel ends with its process (`users`, `turns`, `state`), so
one that nobody holds was left by a killed run, or was brought up by hand and stays until somebody removes it.
These two look alike from outside; how long a lab was not touched tells them apart.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.locks import is_held, noted
from lab.opening import remove_lab, state_of
from lab.providers.enclosed import DEFAULT_ROOT
from lab.providers.enclosure import cgroup_mounts
from lab.providers.incus.daemon import PrivateDaemon
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd
from lab.state import StateFolder, labs, state_root
from lab.users import FOLDER, users

NETWORKS = Path("/run/netns")
PROCESSES = Path("/proc")
PREFIX = "thwlab-"
ENCLOSURE = "enclosure.py"
OF_OTHER_FOLDERS = re.compile(r"-[0-9a-f]{6}$")  # how `EnclosedDaemon.tag` ends there


@dataclass(frozen=True, slots=True)
class Leftover:
    """A lab, or what is left of one.  ``idle`` is in seconds since somebody began or ended work with it."""

    name: str
    what: str
    idle: float
    stays: str = ""  # why it is not to be removed; empty if it is


def find(older_than: float) -> list[Leftover]:
    """Every lab that left a trace on this host; those not touched for ``older_than`` seconds may go.

    Changes nothing.
    """
    known = labs()
    tags = {tag for state in known for tag in _tags(state)}
    lost = [tag for tag in enclosed() if tag not in tags]
    return [*(_look(state, older_than) for state in known), *(_trace(tag, older_than) for tag in lost)]


def remove(name: str, older_than: float) -> str:
    """Remove the lab unless it is held or young after all; why it stays, or nothing if it is gone.

    Looks again under the lab's lock, so whoever comes meanwhile either has the lab or finds none.
    """
    state = state_of(name)
    if is_held(state.lock):
        return _building(state)
    with state.locked(timeout=0):
        if why := _in_use(state) or _young(_idle(state), older_than):
            return why
        remove_lab(name)
    return ""


def enclosed() -> list[str]:
    """The tags of daemons of labs' own of which a network namespace or a cgroup is left on this host."""
    places = [NETWORKS, *map(Path, cgroup_mounts())]
    found = (path.name for place in places for path in _entries(place))
    return sorted({name.removeprefix(PREFIX) for name in found if name.startswith(PREFIX)} - {""})


def _look(state: StateFolder, older_than: float) -> Leftover:
    what, idle = _made_by(state), _idle(state)
    held = _building(state) if is_held(state.lock) else _in_use(state)
    return Leftover(state.name, what, idle, held or _young(idle, older_than))


def _trace(tag: str, older_than: float) -> Leftover:
    """What runs, or is left, of a lab that has no state folder here."""
    home = home_of(tag)
    name = _ours(tag, home)
    if name is None:
        return Leftover(tag, "of another state folder", _since(_traces([tag])), _elsewhere(home))
    return _look(state_of(name), older_than)


def _ours(tag: str, home: Path | None) -> str | None:
    """The name of the lab that would have this tag in this state folder; None if it is another folder's."""
    if home is not None:
        return home.name if home.parent == state_root() else None
    names = [tag] if state_root() == DEFAULT_ROOT and not OF_OTHER_FOLDERS.search(tag) else []
    names += [OF_OTHER_FOLDERS.sub("", tag)] if OF_OTHER_FOLDERS.search(tag) else []
    return next((name for name in names if name and tag in _tags(state_of(name))), None)


def _elsewhere(home: Path | None) -> str:
    if home is None:
        return "no process tells which state folder it is of; THWLAB_STATE names the folder to look in"
    return f"its folder is {home}: `THWLAB_STATE={home.parent} thwlab sweep`"


def home_of(tag: str) -> Path | None:
    """The folder of the lab with this tag, as the process that encloses its daemon says; else None."""
    for process in _entries(PROCESSES):
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # it has ended
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            if folder := _told(words, tag):
                return folder
    return None


def _told(words: Sequence[str], tag: str) -> Path | None:
    """See `EnclosedDaemon.enclose`: … enclosure.py TAG FOLDER/incus/daemon.log -- DAEMON…  Pure."""
    for place, word in enumerate(words[:-2]):
        if Path(word).name == ENCLOSURE and words[place + 1] == tag:
            return Path(words[place + 2]).parent.parent
    return None


def _tags(state: StateFolder) -> set[str]:
    daemons = (
        PrivateDaemon(state.name, state.path / "incus", ""),
        PrivateLibvirtd(state.name, state.path / "libvirt"),
    )
    return {daemon.tag for daemon in daemons}


def _building(state: StateFolder) -> str:
    return f"being built or removed by {noted(state.lock) or 'a process that is not known'}"


def _in_use(state: StateFolder) -> str:
    """Who works with the lab, or has a turn on it and will; the lab's own lock is not looked at."""
    if here := users(state.path):
        return f"in use: {'; '.join(map(str, here))}"
    for lock in (state.gate, state.turn):
        if is_held(lock):
            return f"a test has its turn on it{f': {noted(lock)}' if noted(lock) else ''}"
    return ""


def _young(idle: float, older_than: float) -> str:
    return "" if idle >= older_than else f"touched within the last {span(older_than)}"


def _made_by(state: StateFolder) -> str:
    if not state.path.exists():
        return "its state folder is lost"
    try:
        intent = state.intent()
    except LabError:
        return "its state is not this version's"
    who = _text(state.owner)
    by = f"made by run {who}" if who else "made by `thwlab up`"
    return f"{by}, provider {intent.provider}" if intent else "nothing says what it was to be"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _idle(state: StateFolder) -> float:
    """Since a command or a run last wrote in the folder; what a daemon writes in its own says nothing.

    The lab's lock is not looked at, for whoever is to remove the lab has just written there.
    """
    if not state.path.exists():
        return _since(_traces(_tags(state)))
    own = [path for path in _entries(state.path) if path.is_file() or path.name == FOLDER]
    return _since([state.path, *own, state.gate, state.turn])


def _traces(tags: Iterable[str]) -> list[Path]:
    places = [NETWORKS, *map(Path, cgroup_mounts())]
    return [place / f"{PREFIX}{tag}" for place in places for tag in tags]


def _since(paths: Sequence[Path]) -> float:
    """Seconds since the youngest was changed; none at all if the clock says that it is of tomorrow."""
    times = []
    for path in paths:
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(0.0, time.time() - max(times, default=time.time()))


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        yield from sorted(folder.iterdir())


def span(seconds: float) -> str:
    """For people: minutes below two hours, hours below two days.  Pure."""
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
