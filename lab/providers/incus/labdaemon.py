"""Which daemon a lab stands on: the one it was made with, else one that runs already, else its own."""

import os
from functools import cached_property
from pathlib import Path
from shlex import quote

from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.incus.api import Api
from lab.providers.incus.daemon import (
    PROGRAMS,
    PrivateDaemon,
    closed_socket,
    installed_program,
    running_socket,
    unit_of,
)
from lab.providers.incus.description import project_name
from lab.providers.sockets import listens
from lab.rights import again_as_root, group_of, joining, sudo


class LabDaemon:
    """A lab's daemon, looked for once.  One that runs already is noted, and the lab is held to it.

    `wanted`: auto (the running one, else private), running, private, or a program's name.
    `word` is the provider's, for remedies.
    """

    def __init__(self, lab: str, state: Path, *, wanted: str, word: str) -> None:
        self.lab = lab
        self.state = state
        self._wanted = wanted
        self._word = word

    @cached_property
    def private(self) -> PrivateDaemon | None:
        """The lab's own daemon, or None where the running one is used."""
        if self._note.exists():
            return None
        directory = self.state / "incus"
        ours = directory.exists() or PrivateDaemon(self.lab, directory, "").is_there()
        if self._wanted in ("auto", "running") and not ours and running_socket():
            return None
        if self._wanted == "running":
            raise LabError(
                "no running Incus or LXD daemon answers to this user",
                remedy=f"{sudo('systemctl start incus')}; "
                f"or a private one, as root: --lab-provider={self._word}:private",
            )
        program = self._wanted if self._wanted in PROGRAMS else installed_program()
        return PrivateDaemon(self.lab, directory, program or PROGRAMS[0])

    @cached_property
    def api(self) -> Api:
        """The daemon's API in the lab's project; starts nothing.

        A lab that was made with a running daemon is that one's, whichever else runs by now.
        """
        noted = self._noted
        if noted and not listens(noted):
            raise self._off(noted)
        socket = noted or (self.private.socket if self.private else running_socket())
        if socket is None:
            raise LabError("no Incus or LXD daemon answers", remedy="thwlab doctor")
        return Api(socket, project_name(self.lab))

    @property
    def is_known(self) -> bool:
        """Whether there is one to ask beside a private one: it runs, or the lab was made with it."""
        return running_socket() is not None or self._noted is not None

    @property
    def ends_with_boot(self) -> bool:
        """Whether this host's next boot ends it for good: nobody mounts a private one's pool afterwards."""
        if self._note.exists():
            return False
        ours = (self.state / "incus").exists() or self._wanted not in ("auto", "running")
        return ours or running_socket() is None

    def begin(self) -> None:
        """Have the lab's own running, or note the one that runs; harmless when that is done."""
        if self.private:
            self.private.start()
        elif self._noted is None:
            self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._note.write_text(f"{self.api.socket}\n")

    def lacking(self) -> list[Missing]:
        """Why there will be none; a lab that was made with a running one needs that one."""
        if noted := self._noted:
            if listens(noted):
                return []
            off = self._off(noted)
            return [Missing(str(off).splitlines()[0], off.remedy)]
        if installed_program() is None and running_socket() is None:
            return [Missing("no Incus or LXD", sudo("apt-get install lxd"), ("lxd", "lxd-client"))]
        if running_socket() is None and os.geteuid() != 0:
            return [_no_rights()]
        return []

    @property
    def _note(self) -> Path:
        """Has the socket of the running daemon that the lab was made with; there is none for its own."""
        return self.state / "daemon"

    @property
    def _noted(self) -> Path | None:
        """What `_note` says; None where it says nothing, as after a full disk."""
        try:
            said = self._note.read_text().strip()
        except FileNotFoundError:
            return None
        return Path(said) if said else None

    def _off(self, noted: Path) -> LabError:
        said = f"lab {self.lab} was made with the daemon at {noted}, which does not answer to this user"
        cures = [f"{sudo(f'systemctl start {unit_of(noted)}')}, and once more"]
        if (other := running_socket()) and listens(other):
            said += f"; the one at {other} does, and is not asked in its place"
            cures.append(f"if the lab was moved there: echo {quote(str(other))} >{quote(str(self._note))}")
        cures.append(f"if that daemon was removed, the machines with it: rm -r {quote(str(self.state))}")
        return LabError(said, remedy="; ".join(cures))


def _no_rights() -> Missing:
    if closed := closed_socket():
        return Missing(f"no right to use the daemon at {closed}", joining(group_of(closed)))
    return Missing("no running daemon, and a private one needs root", again_as_root())
