"""A real sshd on loopback as the current user, for tests of what goes over SSH."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.providers.vagrant.connection import Access
from lab.wait import NotYet, wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
needs_sshd = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh")), reason="openssh-server or openssh-client is not installed"
)
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups 100
MaxSessions 100
SetEnv HOME={folder} PATH={folder}/bin:/usr/bin:/bin
{more}
"""


@dataclass
class Server:
    """It listens until `stop`; paused it holds connections and says nothing."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    kind: str = "ed25519"

    @property
    def access(self) -> Access:
        user = os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip()
        return Access("127.0.0.1", self.port, user, (str(self.folder / "user"),))

    def start(self) -> None:
        assert SSHD is not None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        argv = [SSHD, "-D", "-e", "-f", str(self.folder / "config")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        wait_until("sshd to listen", self._check_listens, timeout=10, every=0.02)

    def new_host_key(self) -> None:
        (self.folder / "host").unlink(missing_ok=True)
        make_key(self.folder / "host", self.kind)

    def processes(self) -> list[int]:
        """The server and all below it, newest last."""
        found = [self.process.pid] if self.process else []
        for pid in found:
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def signal(self, number: int) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.process = None

    def _check_listens(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError as error:
            raise NotYet(str(error)) from error


def make_key(path: Path, kind: str = "ed25519") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True, timeout=20)


@contextmanager
def serving(folder: Path, *, kind: str = "ed25519", more: str = "") -> Iterator[Server]:
    """``kind`` is that of its host key, ``more`` lines of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = Server(folder, port, kind=kind)
    for name in ("host", "user"):
        make_key(folder / name, kind)
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder, more=more))
    server.start()
    try:
        yield server
    finally:
        server.stop()
