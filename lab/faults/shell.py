"""Faults that are shell commands on each victim, and so is their undoing."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.cluster import Cluster
from lab.faults.base import Fault, Script
from lab.machine import Machine, on_each

COMMAND = 20.0  # seconds for a script on a victim
LONG = 60.0  # seconds for one that waits for something
RUN = "/run/thwlab"  # what victims must know of a fault that is in force; gone with the next boot


def sh(machine: Machine, script: str, *args: str, timeout: float = COMMAND) -> str:
    """Run the script as root, with these as $1, $2, …; what it printed.  `LabError` if it fails."""
    return machine.check("sh", "-c", script, "sh", *args, timeout=timeout)


def age_of(machine: Machine, pid: str = "1", *, timeout: float = COMMAND) -> int:
    """For how many seconds a process has been there, the machine's first one unless told otherwise.

    `LabError` if the machine does not say, or has no such process.
    """
    return int(sh(machine, _AGE, pid, timeout=timeout))


@dataclass(frozen=True)
class ShellFault(Fault):
    """All victims at once, each by its script; what they can undo themselves is what `heal` does too."""

    def victims(self, cluster: Cluster) -> list[Machine]:
        """The machines it is done to."""
        return [cluster.machines[name] for name in self.machines]

    def mending(self) -> tuple[Script, ...]:
        """What undoes it on each victim, or clears away our notes of it.  Pure.

        systemd runs it too, and takes dollars for its own where two stand together or a brace follows.
        """
        return ()

    def undo(self) -> tuple[Script, ...]:
        """The same; but what does not last is over before a timer could be of use."""
        return self.mending() if self.lasts else ()

    def heal(self, cluster: Cluster) -> None:
        """What a victim's own timer would do."""
        texts = {script.machine: script.text for script in self.mending()}
        machines = [cluster.machines[name] for name in texts]
        on_each(machines, lambda machine: sh(machine, texts[machine.name], timeout=LONG))

    def on_victims(self, cluster: Cluster, act: Callable[[Machine], str]) -> str:
        """Act on all of them at once; what each had to say, in their order."""
        said = on_each(self.victims(cluster), act)
        return "; ".join(said.values())


# By when this very question began, on the same clock; in a container `ps` would mix two.
_AGE = """\
began() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20; }
then=$(began "$1") || exit
test -n "$then" && echo "$((($(began self) - then) / $(getconf CLK_TCK)))"
"""
