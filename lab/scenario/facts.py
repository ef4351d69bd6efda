"""What a report says of the lab it was made on, and what its programs said around each fault."""

import os
import platform
import time
from collections.abc import Sequence
from functools import partial

from lab.cluster import Cluster
from lab.errors import LabError
from lab.history import Recorder
from lab.machine import Machine, on_each
from lab.topology import facts

BEFORE, AFTER = 5.0, 15.0  # seconds around a fault's beginning and its healing
LINES = 200  # of each machine and moment
ALIKE = 3  # of lines that say the same but for their numbers: some programs say it ten times a second


def record_lab(cluster: Cluster, recorder: Recorder) -> None:
    """The plan with all its values, what the machines are, and what they run on."""
    provider = cluster.lab.provider
    recorder.write("fact", name="plan", value={".".join(p): v for p, v in facts(cluster.topology).items()})
    recorder.write("fact", name="emulated", value=provider.is_slow)
    host = {
        "provider": provider.name,
        "machines": provider.platform.substrate.value,
        "cgroup": provider.platform.cgroup,
        "slowness": provider.slowness,
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    recorder.write("fact", name="host", value=host)


def record_logs(cluster: Cluster, recorder: Recorder, moments: Sequence[float]) -> None:
    """What the programs complained of around these moments of the recorder's clock, a line each."""
    if not moments:
        return
    zero = time.time() - recorder.now()
    found = on_each(list(cluster.machines.values()), partial(_excerpt, zero, moments))
    recorder.write("fact", name="logs", value={name: lines for name, lines in found.items() if lines})


def _excerpt(zero: float, moments: Sequence[float], machine: Machine) -> list[tuple[float, str]]:
    """Times are the recorder's; a machine that does not answer has nothing to tell."""
    spans = [(zero + moment - BEFORE, zero + moment + AFTER) for moment in moments]
    words = [f"@{instant:.0f}" for span in spans for instant in span]
    try:
        seen = machine.run("sh", "-c", _JOURNAL, str(LINES), str(ALIKE), *words, timeout=30)
    except LabError as error:
        return [(moments[0], str(error))]
    lines = (line.partition(" ") for line in dict.fromkeys(seen.stdout.splitlines()))
    told = [(round(float(at) - zero, 3), said) for at, _, said in lines if at.replace(".", "").isdigit()]
    return sorted(told)


# A line of klog begins with its level, whatever systemd makes of it; etcd and containerd have theirs inside.
_JOURNAL = r"""
bad='\]: ([EWF][0-9]{4} |.*"level":"(warn|error|fatal)"|.*level=(warn|error)|.*\[(warn|error|alert)\])'
alike='{
  key = $0; sub(/^[^ ]* /, "", key); gsub(/[0-9][0-9a-f]*/, "", key)
  if (++count[key] <= most) print; else last[key] = $0
}
END { for (key in last) print last[key] " (the last of " count[key] " alike)" }'
most=$1; shift
while [ $# -ge 2 ]; do
  journalctl -q -o short-unix --since "$1" --until "$2" | grep -E "$bad|systemd\[1\]" |
    grep -v 'ignoring common name in gRPC-gateway' | awk -v most="$most" "$alike" | sort -n | tail -n "$0"
  shift 2
done
"""
