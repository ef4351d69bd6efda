"""Whether VMs are each themselves, and in this host's time: asked once, before anything rests on it.

What a box was copied with shows late and far away: two machines of one machine-id get one address, and a
certificate of today is not yet valid on a machine that is hours behind.  Containers share their host's clock,
and their image holds nothing that must be unique; they are not asked.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lab.errors import LabError
from lab.machine import Machine, on_each

AWAY = 60.0  # seconds; certificates are valid from five minutes before they were made
ASK_TIMEOUT = 60.0
CLOCK = "clock"
UNIQUE = ("machine-id", "product-uuid", "address", "mac")  # and each host key that there is
HOST_KEY = "ssh_host_"
REMEDY = (
    "another box, or the same with an empty /etc/machine-id and without /etc/ssh/ssh_host_*: "
    "THWLAB_BOX names it; then thwlab down, thwlab up"
)
# Lines of WORD=VALUE; the clock last, for that it is compared with this host's is about its moment.
QUESTIONS = r"""
grep -qxE '[0-9a-f]{32}' /etc/machine-id && echo "machine-id=$(cat /etc/machine-id)"
uuid=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null) && echo "product-uuid=$uuid"
for key in /etc/ssh/ssh_host_*_key.pub; do
    [ ! -f "$key" ] || echo "$(basename "$key" .pub)=$(cut -d ' ' -f 2 "$key")"
done
link=$(ip -o -4 address | awk -v own="$0" '{split($4, a, "/"); if (a[1] == own) print $2}')
[ -z "$link" ] || { echo "address=$0"; echo "mac=$(cat "/sys/class/net/$link/address")"; }
echo "clock=$(date +%s.%N)"
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a machine says that no other may say, by its kind; and its clock.

    It is `ahead` of this host's by so many seconds, measured to `blur`.
    """

    marks: Mapping[str, str]
    ahead: float
    blur: float


def ask(machine: Machine) -> Identity:
    """Ask the machine, by one command.  Raises `LabError` if it cannot be asked."""
    before = time.time()
    said = machine.check("sh", "-c", QUESTIONS, str(machine.node.address), timeout=ASK_TIMEOUT)
    after = time.time()
    marks = dict(line.split("=", 1) for line in said.splitlines())
    clock = float(marks.pop(CLOCK))
    return Identity(marks, clock - (before + after) / 2, (after - before) / 2)


def twins(seen: Mapping[str, Identity], shared: Collection[str] = ()) -> list[str]:
    """Machines that share what each must have alone, but for ``shared`` kinds.  Pure."""
    holders: dict[str, list[str]] = {}
    for name, each in seen.items():
        for kind, mark in each.marks.items():
            if kind in shared:
                continue
            holders.setdefault(f"{kind} {mark}", []).append(name)
    return [f"{' and '.join(names)} share {mark}" for mark, names in holders.items() if len(names) > 1]


def skewed(seen: Mapping[str, Identity], most: float = AWAY) -> dict[str, str]:
    """By machine, how far its clock is from this host's, if further than ``most`` seconds.  Pure."""
    return {
        name: f"{name} is {abs(each.ahead):.1f} s {'ahead of' if each.ahead > 0 else 'behind'} "
        f"this host's clock (measured to {each.blur:.1f} s)"
        for name, each in seen.items()
        if abs(each.ahead) > most + each.blur
    }


def insist_sound(machines: Sequence[Machine]) -> None:
    """Raise `LabError` that names every twin, or every machine far from this time, with what mends it."""
    seen = on_each(machines, ask)
    if found := twins(seen):
        raise LabError("; ".join(found), remedy=REMEDY)
    if away := skewed(seen):
        commands = [f"thwlab exec {name} -- date -u -s @$(date +%s)" for name in away]
        raise LabError("; ".join(away.values()), remedy="; ".join([*commands, "thwlab up"]))
