"""The daemon behind a lab: one that runs already, or a private one that lives and dies with the lab."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.providers.base import Gone
from lab.providers.enclosed import EnclosedDaemon
from lab.providers.incus.api import Api, NoAnswer
from lab.rights import as_root
from lab.wait import NotYet

PROGRAMS = ("incusd", "lxd")
RUNNING_SOCKETS = (
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
)
START_TIMEOUT = 30.0


def running_socket() -> Path | None:
    """The socket of a daemon that runs already and may be used by this user, if there is one."""
    for variable, suffix in (("INCUS_SOCKET", ""), ("INCUS_DIR", "unix.socket"), ("LXD_DIR", "unix.socket")):
        if value := os.environ.get(variable):
            return Path(value) / suffix if suffix else Path(value)
    return next((path for path in _running() if os.access(path, os.R_OK | os.W_OK)), None)


def closed_socket() -> Path | None:
    """The socket of a daemon that runs already and may not be used by this user, if there is one."""
    return next((path for path in _running() if not os.access(path, os.R_OK | os.W_OK)), None)


def unit_of(path: Path) -> str:
    """The unit of the daemon with this socket, for systemctl.  Pure."""
    if "snap" in path.parts:
        return "snap.lxd.daemon"
    return "incus" if "incus" in str(path) else "lxd"


def _running() -> Iterator[Path]:
    for path in map(Path, RUNNING_SOCKETS):
        with suppress(PermissionError):
            if path.is_socket():
                yield path


@dataclass(frozen=True, slots=True)
class PrivateDaemon(EnclosedDaemon):
    """An Incus or LXD daemon of this lab's own."""

    @property
    def socket(self) -> Path:
        """See `EnclosedDaemon.socket`."""
        return self.directory / "unix.socket"

    def start(self) -> None:
        """Have it running and answering; harmless when it is."""
        if self.is_running():
            return
        self.end()
        if not _is_installed(self.program):
            raise LabError(f"{self.program} is not installed", remedy=as_root("thwlab doctor --fix"))
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = [self.program, "--group", _group(), "--logfile", str(self.log)]
        self.enclose(argv, {**_clean_environment(), **_directories(self.directory)}, timeout=START_TIMEOUT)

    def insist_answers(self) -> None:
        """See `EnclosedDaemon.insist_answers`."""
        try:
            self.check_answers()
        except NotYet as error:
            hangs = isinstance(error.__cause__, NoAnswer)
            what = "hangs: it takes connections and says nothing" if hangs else "is dead: nobody listens"
            raise Gone(f"its daemon {what} at {self.socket} (its log: {self.log})") from error

    def check_answers(self) -> None:
        """See `EnclosedDaemon.check_answers`."""
        if not self.socket.is_socket():
            raise NotYet(self.last_words())
        api = Api(self.socket, "default")
        try:
            api.get("/1.0", timeout=5)
        except LabError as error:
            raise NotYet(f"{error}\n{self.last_words()}") from error
        finally:
            api.close()


def _directories(directory: Path) -> dict[str, str]:
    return {"LXD_DIR": str(directory), "INCUS_DIR": str(directory)}


def _clean_environment() -> dict[str, str]:
    """This environment less proxies and other daemons' settings: lab traffic knows neither."""
    foreign = ("INCUS_SOCKET", "LXD_SOCKET")
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in foreign}
    extra = ":/usr/sbin:/sbin:/usr/libexec/incus:/opt/incus/bin"
    return {**kept, "PATH": kept.get("PATH", "/usr/bin:/bin") + extra}


def _group() -> str:
    return "root"


def installed_program() -> str | None:
    """The daemon program of this host, Incus before LXD."""
    return next((program for program in PROGRAMS if _is_installed(program)), None)


def _is_installed(program: str) -> bool:
    return shutil.which(program, path=_clean_environment()["PATH"]) is not None
