"""testinfra over `Machine`: its vocabulary, our deadlines.

testinfra's own backends have no time limit (pytest-dev/pytest-testinfra#716) and cache facts on the
host, so a host of ours is made anew for each question that follows a fault.
"""

from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from lab.machine import Machine

COMMAND_TIMEOUT = 30.0


class MachineBackend(BaseBackend):  # type: ignore[misc]
    """A testinfra backend over `Machine.run`, the same for every provider."""

    NAME = "lab"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.name)
        self.machine = machine

    @property
    def encoding(self) -> str:
        """Machines speak UTF-8; testinfra would ask each one."""
        return "utf-8"

    def decode(self, data: bytes) -> str:
        """Text with replacement marks: a byte that is none must not hide what else was said."""
        return data.decode(self.encoding, errors="replace")

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a shell command; a deadline shows as status 124, as timeout(1) has it."""
        line = self.get_command(command, *args)
        done = self.machine.run("/bin/sh", "-c", line, timeout=COMMAND_TIMEOUT)
        status = 124 if done.timed_out else done.status
        return self.result(status, self.encode(line), done.out, done.err)


def host_of(machine: Machine) -> Host:
    """A fresh testinfra host."""
    backend = MachineBackend(machine)
    host = Host(backend)
    backend.set_host(host)
    return host
