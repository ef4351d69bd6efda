"""Vagrant behind python-vagrant: every call has a deadline, a log and an error that says what helps.

python-vagrant alone gives none of these: it waits for ever, drops the output and raises its own.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vagrant

from lab.errors import LabError
from lab.providers.vagrant.connection import Access
from lab.providers.vagrant.plan import Box, Project
from lab.providers.vagrant.process import Call, Ended, carry_out
from lab.providers.vagrant.troubles import ProgramFailed

OLDEST = (2, 3)
ASK, UP, HALT, DESTROY, BOX = 60.0, 900.0, 180.0, 300.0, 1800.0  # seconds, where nobody says otherwise


@dataclass(frozen=True, slots=True)
class State:
    """A machine as Vagrant sees it this moment, in its provider's own word (`running`, `not_created`, …)."""

    name: str
    provider: str
    word: str


class _Timed(vagrant.Vagrant):  # type: ignore[misc]
    """python-vagrant, its three ways to start a program replaced by one that has an end."""

    def __init__(self, root: str, run: Callable[[Sequence[str]], Ended]) -> None:
        super().__init__(root=root)
        self._run = run

    def _call_vagrant_command(self, args: Sequence[Any]) -> None:
        self._run(self._make_vagrant_command(args))

    def _run_vagrant_command(self, args: Sequence[Any]) -> str:
        return self._run(self._make_vagrant_command(args)).out

    def call(self, *args: str) -> str:
        """Any command, also those python-vagrant knows for one machine only."""
        return self._run_vagrant_command(args)


class Adapter:
    """Vagrant for one lab.  `inside` is what its command lines begin with (a network namespace)."""

    def __init__(
        self, project: Project, inside: Callable[[Sequence[str]], Sequence[str]] = lambda argv: argv
    ) -> None:
        self.project = project
        self._inside = inside

    def version(self) -> tuple[int, ...]:
        """Vagrant's version; `LabError` if there is none, or one that is too old."""
        said = self._for(ASK).call("--version")
        match = re.search(r"Vagrant (\S+)", said)
        text = match[1] if match else said.strip()
        found = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
        if found < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise LabError(f"Vagrant {text} is too old, {wanted} or later is needed", remedy="update Vagrant")
        return found

    def plugins(self) -> dict[str, str]:
        """Installed plugins and their versions."""
        return {each.name: str(each.version) for each in self._for(ASK).plugin_list()}

    def has_box(self, box: Box) -> bool:
        """Whether the box is installed for this project's provider, in its version where one is named.

        Not every version is one: of `>= 12` Vagrant itself knows whether it has it.
        """
        return any(
            (each.name, each.provider) == (box.name, self.project.provider) and _fits(str(each.version), box)
            for each in self._for(ASK).box_list()
        )

    def add_box(self, box: Box) -> None:
        """Fetch a box, if need be, and install it for this project's provider."""
        chosen = ["--name", box.name, box.url] if box.url else [box.name]
        flags = ["--box-version", box.version] if box.version and not box.url else []
        flags += ["--checksum", box.sha256, "--checksum-type", "sha256"] if box.sha256 else []
        self._for(BOX).call("box", "add", *chosen, "--provider", self.project.provider, *flags)

    def status(self, names: Sequence[str] = ()) -> dict[str, State]:
        """Every planned machine, read anew."""
        return parse_status(self._for(ASK).call("status", "--machine-readable", *names))

    def up(self, names: Sequence[str], *, parallel: bool, timeout: float = UP) -> None:
        """Have these machines created and running; nothing is installed on them."""
        order = () if parallel else ("--no-parallel",)
        self._for(timeout, changes=True).call(
            "up", *names, f"--provider={self.project.provider}", "--no-provision", *order
        )

    def halt(self, name: str, *, timeout: float = HALT) -> None:
        """Shut a machine down in order."""
        self._for(timeout).halt(vm_name=name)

    def destroy(self, names: Sequence[str] = (), *, timeout: float = DESTROY) -> None:
        """Remove these machines, or all."""
        self._for(timeout, changes=True).call("destroy", *names, "--force")

    def access(self, names: Sequence[str]) -> dict[str, Access]:
        """How to reach each of these machines; they must be running."""
        return parse_access(self._for(ASK).call("ssh-config", *names))

    def _for(self, timeout: float, *, changes: bool = False) -> _Timed:
        if shutil.which("vagrant") is None:
            raise LabError("vagrant is not installed, or not on PATH", remedy="thwlab doctor")
        root = self.project.environment()["VAGRANT_CWD"]
        return _Timed(root, lambda argv: self._carried_out(argv, timeout, changes))

    def _carried_out(self, argv: Sequence[str], timeout: float, changes: bool) -> Ended:
        call = Call(
            tuple(self._inside(argv)),
            timeout,
            log=self.project.log,
            env=self.project.environment(),
            noted=self.project.at_work if changes else None,
        )
        ended = carry_out(call)
        if ended.status != 0:
            otherwise = f"read {self.project.log}" if self.project.log.exists() else "thwlab doctor"
            raise ProgramFailed(call, ended, otherwise=otherwise, network=self.project.network())
        return ended


def _fits(version: str, box: Box) -> bool:
    """A box of an address of its own has version 0, whatever else is asked for."""
    if box.url or not re.fullmatch(r"\d+(\.\d+)*", box.version):
        return True
    return re.sub(r"(\.0)+$", "", version) == re.sub(r"(\.0)+$", "", box.version)


def parse_status(text: str) -> dict[str, State]:
    """`vagrant status --machine-readable` (time, machine, kind, data) as data.  Pure.

    python-vagrant's own parser fails on lines with more fields, and calls a paused VM `saved`.
    """
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 3 and fields[1] and fields[2] in ("provider-name", "state"):
            found.setdefault(fields[1], {})[fields[2]] = fields[3]
    return {
        name: State(name, each.get("provider-name", ""), each.get("state", "unknown"))
        for name, each in found.items()
    }


def parse_access(text: str) -> dict[str, Access]:
    """`vagrant ssh-config` as data; paths may have blanks.  Pure."""
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        value = value.strip().strip('"')
        if key == "Host":
            current = sections.setdefault(value, [])
        elif key:
            current.append((key.lower(), value))
    return {name: _access(name, lines) for name, lines in sections.items()}


def _access(name: str, lines: Sequence[tuple[str, str]]) -> Access:
    settings: Mapping[str, str] = dict(lines)
    try:
        keys = tuple(value for key, value in lines if key == "identityfile")
        return Access(settings["hostname"], int(settings["port"]), settings["user"], keys)
    except (KeyError, ValueError) as error:
        raise LabError(f"`vagrant ssh-config` says nothing usable of {name}: {settings}") from error
