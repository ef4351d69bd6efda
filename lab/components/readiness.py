"""Asking a component on its machine, in one round trip, with its unit's last words if it is not ready."""

from lab.machine import Machine
from lab.wait import NotYet

SECONDS = (
    30  # for a probe in a guest that computes twenty times slower; probes have shorter limits of their own
)
CURL = "curl --noproxy '*' -sS -m 10"


def ask(machine: Machine, unit: str | None, probe: str, *, linger: float = 0, briefly: bool = False) -> None:
    """Run the shell command ``probe`` on the machine; `NotYet` unless it ends with status 0.

    It is tried again and again on the machine for ``linger`` seconds.  `NotYet` carries what the probe
    printed last, and of a unit its state, the last errors in its journal, and the journal's end; but not
    ``briefly``, for to read a journal takes the machine more than the probe does.
    """
    named = "" if briefly else unit or ""
    result = machine.run("sh", "-c", _ASK, named, probe, str(round(linger)), timeout=SECONDS + linger)
    if result.timed_out:
        raise NotYet(f"{unit or machine.name}: no answer within {SECONDS + linger:.0f} s to `{probe}`")
    if not result.ok:
        raise NotYet(_one_line(result.stdout + result.stderr))


def _one_line(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "(no output)"


_ASK = """\
until=$(($(date +%s) + $2))
while :; do
  seen=$(eval "$1" 2>&1) && exit 0
  [ "$(date +%s)" -lt "$until" ] || break
  sleep 0.1
done
printf '%s\\n' "$seen" | tail -n 5
[ -n "$0" ] || exit 1
printf '%s ' "$0" $(systemctl show -p ActiveState -p SubState -p NRestarts "$0"); echo
said=$(journalctl -u "$0" -n 60 -o cat --no-pager)
# What etcd says as a warning, long before it ends, and means as the last word.
journalctl -u "$0" -n 400 -o cat --no-pager | grep -F 'permanently removed' | tail -n 1
printf '%s\\n' "$said" | grep -E '"level":"(error|panic|fatal)"|^[EF][0-9]{4} |[Ee]rror: |panic: ' | tail -n 2
printf '%s\\n' "$said" | tail -n 2
exit 1
"""
