"""Asking a component on its machine, in one round trip, with its unit's last words if it is not ready."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lab.machine import Machine
from lab.wait import NotYet, stretched

SECONDS = (
    30  # for a probe in a guest that computes twenty times slower; probes have shorter limits of their own
)
CURL = "curl --noproxy '*' -sS -m 10"
# Both are stretched with the waits: in emulation a look takes seconds of the processor that is waited for.
LOOK = 3.0  # seconds between two looks at a unit whose component does not answer yet
THERE = 30.0  # seconds between two questions to a component by a command on its machine


class UnitFailed(Exception):
    """Waiting is useless: the unit has failed, and systemd does not start it again."""


def ask(
    machine: Machine,
    unit: str | None,
    probe: str,
    *,
    linger: float = 0,
    briefly: bool = False,
    ends_for_good: Sequence[str] = (),
) -> None:
    """Run the shell command ``probe`` on the machine; `NotYet` unless it ends with status 0.

    It is tried again and again on the machine for ``linger`` seconds.  `NotYet` carries what the probe
    printed last, and of a unit its state, the last line in its journal with words of ``ends_for_good``, the
    last errors, and the journal's end; but not ``briefly``, for to read a journal takes the machine more than
    the probe does.
    """
    named = "" if briefly else unit or ""
    arguments = (named, probe, str(round(linger)), "\n".join(ends_for_good))
    result = machine.run("sh", "-c", _ASK, *arguments, timeout=SECONDS + linger)
    if result.timed_out:
        raise NotYet(f"{unit or machine.name}: no answer within {SECONDS + linger:.0f} s to `{probe}`")
    if not result.ok:
        raise NotYet(_one_line(result.stdout + result.stderr))


@dataclass
class Watch:
    """A question that is put again and again; `UnitFailed` once nobody is left who could answer it.

    The unit's state is asked for on the machine, so only now and then; and more rarely ``here``, the same
    question put there, for between this host and what serves there may be a firewall.  ``ends_for_good`` is
    what the unit's program says where each further start of it ends as the last one did.
    """

    machine: Machine
    unit: str | None
    question: Callable[[], None]
    here: Callable[[], None]
    ends_for_good: Sequence[str] = ()
    _next: float = field(default_factory=lambda: _in(LOOK))
    _there: float = field(default_factory=lambda: _in(THERE))

    def check(self) -> None:
        """Return if the answer is good; `NotYet` if it may still be."""
        try:
            self.question()
        except NotYet as seen:
            if self.unit and time.monotonic() >= self._next:
                self._look(self.unit, seen)
                self._next = _in(LOOK)
            if time.monotonic() < self._there:
                raise
            self._there = _in(THERE)
            self.here()

    def _look(self, unit: str, answer: NotYet) -> None:
        """One with a job is about to be started, whatever it was before."""
        seen = self.machine.run("sh", "-c", _LOOK, unit, "\n".join(self.ends_for_good), timeout=SECONDS)
        if said := [words for words in self.ends_for_good if words in seen.stdout]:
            raise UnitFailed(
                f"{unit} ends at each start, and no further one helps: it says {said[0]!r}; {answer}"
            )
        told = dict(line.partition("=")[::2] for line in seen.stdout.splitlines())
        if told.get("ActiveState") == "failed" and told.get("Job", "0") in ("", "0"):
            raise UnitFailed(f"{unit} has failed, and nothing starts it again; {answer}")


def _in(seconds: float) -> float:
    return time.monotonic() + stretched(seconds)


def _one_line(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "(no output)"


# $0: the unit; $1: a line for each word of its end, of which only one said since its last start counts.
_LOOK = """\
systemctl show -p ActiveState -p Job "$0"
[ -n "$1" ] || exit 0
journalctl -n 200 -o cat --no-pager "_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID "$0")" |
grep -oF "$1" | tail -n 1
"""
# $0: the unit, or nothing; $1: the probe; $2: seconds; $3: a line for each word of its end.
_ASK = """\
until=$(($(date +%s) + $2))
while :; do
  seen=$(eval "$1" 2>&1) && exit 0
  [ "$(date +%s)" -lt "$until" ] || break
  sleep 0.1
done
printf '%s\\n' "$seen" | tail -n 5
[ -n "$0" ] || exit 1
trace='s/,"stacktrace":"[^"]*"//'
printf '%s ' "$0" $(systemctl show -p ActiveState -p SubState -p NRestarts "$0"); echo
said=$(journalctl -u "$0" -n 60 -o cat --no-pager | sed "$trace")
# It may be said as a warning, long before the end.
[ -z "$3" ] || journalctl -u "$0" -n 400 -o cat --no-pager | grep -F "$3" | tail -n 1 | sed "$trace"
printf '%s\\n' "$said" | grep -E '"level":"(error|panic|fatal)"|^[EF][0-9]{4} |[Ee]rror: |panic: ' | tail -n 2
printf '%s\\n' "$said" | tail -n 2
exit 1
"""
