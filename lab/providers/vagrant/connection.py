"""One SSH connection to each machine, shared by all commands and by all processes of this user.

OpenSSH does it: a master in the background holds the connection, commands come through its socket.
"""

import hashlib
import os
import re
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from lab.errors import LabError
from lab.providers.vagrant.process import end_group
from lab.providers.vagrant.troubles import known

SOCKET_LIMIT = 104  # macOS' size of a socket's path; Linux has 108
SUFFIX = 18  # what ssh appends while it opens the socket, and the end mark
CONNECT = 10.0  # seconds for one try
CONTROL = 5.0  # seconds for a word with the master, which lives on this host
PERSIST = 600  # seconds that a master without clients lives on
ALIVE, MISSED = 15, 8  # a machine may be paused for two minutes before its connection is given up
OTHER_KEY = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed")
SILENT = ("timed out", "Timeout", "timeout")


@dataclass(frozen=True, slots=True)
class Access:
    """How a machine is reached by SSH."""

    host: str
    port: int
    user: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


class Unreachable(LabError):
    """A machine cannot be asked at all."""


class Silent(Unreachable):
    """A machine did not answer before a deadline: paused, cut off, or very slow."""


class OtherHostKey(Unreachable):
    """A machine shows another host key than when it was made: no waiting helps."""


def sockets_folder(base: Path = Path("/tmp")) -> Path:
    """A folder of this user's only, short enough for any socket below it."""
    folder = base / f"thwlab-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LabError(
            f"{folder} is not a folder of this user's alone, so no SSH socket may lie there",
            remedy=f"look who made it, then: sudo rm -r {folder}",
        )
    return folder


def configuration(name: str, access: Access, control: Path, known_hosts: Path) -> str:
    """The ssh_config of one machine.  Nothing of the user's or the system's is read beside it.  Pure."""
    for path in (*access.keys, str(known_hosts), str(control)):
        if '"' in path or "\n" in path or "${" in path:
            raise LabError(f"{path!r} cannot be written in an ssh_config", remedy="move the folder")
    lines = [
        f"HostName {access.host}",
        f"Port {access.port}",
        f"User {access.user}",
        *(f"IdentityFile {_quoted(key)}" for key in access.keys),
        *(["IdentitiesOnly yes"] if access.keys else []),
        "BatchMode yes",
        "StrictHostKeyChecking accept-new",
        f"UserKnownHostsFile {_quoted(str(known_hosts))}",
        "GlobalKnownHostsFile /dev/null",
        f"HostKeyAlias {name}",
        "CheckHostIP no",
        "UpdateHostKeys no",
        f"ControlPath {_quoted(str(control))}",
        f"ControlPersist {PERSIST}",
        f"ConnectTimeout {CONNECT:.0f}",
        f"ServerAliveInterval {ALIVE}",
        f"ServerAliveCountMax {MISSED}",
        "ForwardAgent no",
        "ForwardX11 no",
        "LogLevel ERROR",
    ]
    return "\n".join([f"Host {name}", *(f"  {line}" for line in lines), ""])


class Connection:
    """The way to one machine.  Opened at the first command, and anew when it broke."""

    def __init__(
        self,
        name: str,
        folder: Path,
        inside: Callable[[Sequence[str]], Sequence[str]] = list,
        *,
        sockets: Path | None = None,
    ) -> None:
        """``folder`` is the lab's, for its files; ``inside`` begins command lines in the lab's network."""
        self.name = name
        self._config = folder / f"{name}.conf"
        self._known_hosts = folder / f"{name}.known"
        self._inside = inside
        mark = hashlib.sha256(f"{folder.absolute()}\0{name}".encode()).hexdigest()[:16]
        self._socket = (sockets or sockets_folder()) / mark
        self._opening = threading.Lock()
        self._running = 0
        self._suspect = False

    def learn(self, access: Access, *, new: bool = False) -> None:
        """Write down how the machine is reached; a ``new`` one has another host key than its predecessor."""
        if len(str(self._socket)) + SUFFIX > SOCKET_LIMIT:
            raise LabError(f"{self._socket} is too long a path for a socket")
        self._config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if new:
            self.close()
            self._known_hosts.unlink(missing_ok=True)
        text = configuration(self.name, access, self._socket, self._known_hosts)
        part = self._config.with_suffix(".part")
        part.write_text(text)
        part.replace(self._config)

    @property
    def is_known(self) -> bool:
        """Whether anybody wrote down how the machine is reached."""
        return self._config.exists()

    @property
    def where(self) -> str:
        """The machine and its address, for messages."""
        words = dict(line.split(None, 1) for line in self._text().splitlines() if " " in line.strip())
        return f"{self.name} ({words.get('User')}@{words.get('HostName')}:{words.get('Port')})"

    @property
    def is_root(self) -> bool:
        """Whether one comes in as root already."""
        return "\n  User root\n" in self._text()

    def argv(self, *command: str, options: Sequence[str] = ()) -> list[str]:
        """An ssh command line; without a command, a shell."""
        return [*self._inside(["ssh", "-F", str(self._config), *options, self.name, *command])]

    @contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """An open connection for as long as a command runs; `Silent` if there was none by the deadline."""
        with self._opening:
            if self._suspect and self._running == 0:
                self.close()
            self._suspect = False
            self._ensure_open(deadline)
            self._running += 1
        try:
            yield
        finally:
            with self._opening:
                self._running -= 1

    def suspect(self) -> None:
        """Nobody answered: the next command gets a new connection, once nobody else uses this one."""
        self._suspect = True

    def close(self) -> None:
        """End the master; harmless where there is none."""
        if self._socket.exists():
            with suppress(subprocess.TimeoutExpired):
                self._say("exit")
            self._socket.unlink(missing_ok=True)

    def _text(self) -> str:
        try:
            return self._config.read_text()
        except FileNotFoundError:
            raise Unreachable(f"nobody knows how {self.name} is reached", remedy="thwlab up") from None

    def _say(self, word: str) -> int:
        """The master's status: 0 if there is one that heard."""
        argv = ["ssh", "-F", str(self._config), "-O", word, self.name]
        return subprocess.run(argv, capture_output=True, timeout=CONTROL, check=False).returncode

    def _ensure_open(self, deadline: float) -> None:
        if self._is_open():
            return
        self._text()
        try:
            with filelock.FileLock(f"{self._config}.lock", timeout=max(0.0, deadline - time.monotonic())):
                if not self._is_open():
                    self._socket.unlink(missing_ok=True)
                    self._open(deadline)
        except filelock.Timeout as error:
            raise Silent(f"{self.where}: another process has been connecting until now") from error

    def _is_open(self) -> bool:
        """Whether a master listens; ssh would tell it too, at the price of a process for each command."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONTROL)
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _open(self, deadline: float) -> None:
        """Start a master; it goes into the background once the machine let it in."""
        said = "nothing"
        while (left := deadline - time.monotonic()) > 0:
            options = ["-o", f"ConnectTimeout={max(1, int(min(CONNECT, left)))}"]
            status, said = self._try_open(options, left)
            if status == 0:
                return
            if status is not None and not any(word in said for word in SILENT):
                raise self.trouble(said)
        raise Silent(f"{self.where} did not answer by SSH; last seen: {said}", remedy="thwlab status")

    def _try_open(self, options: Sequence[str], left: float) -> tuple[int | None, str]:
        argv = self.argv(options=["-M", "-N", "-f", "-o", "ControlMaster=yes", *options])
        # A file, not a pipe: the master keeps its standard error open for as long as it lives.
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,
            )
            try:
                status: int | None = process.wait(timeout=left)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                end_group(process, polite=0.0)
            words.seek(0)
            said = words.read().decode(errors="replace").strip()[-1000:]
        return status, said or ("no answer" if status is None else f"ssh exited {status}")

    def trouble(self, said: str) -> Unreachable:
        """What ssh said, with what it means where that is known."""
        trouble = known(said)
        meaning = f"\n  it means: {trouble.cause}" if trouble else ""
        remedy = (
            trouble.remedy if trouble else f"thwlab status; `ssh -vF {self._config} {self.name}` tells more"
        )
        kind = OtherHostKey if OTHER_KEY.search(said) else Unreachable
        return kind(f"{self.where} cannot be asked by SSH: {said}{meaning}", remedy=remedy)


def _quoted(path: str) -> str:
    return '"' + path.replace("%", "%%") + '"'
