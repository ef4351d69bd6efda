"""What faults may leave behind on machines, and must not."""

from lab.cluster import Cluster


def left_behind(cluster: Cluster) -> dict[str, str]:
    """What is named after us where faults leave things: tables, queues, drop-ins, notes, mounts, units."""
    said = {name: machine.check("sh", "-c", LEFT).strip() for name, machine in cluster.machines.items()}
    return {name: text for name, text in said.items() if text}


LEFT = """\
nft list tables 2>/dev/null | grep thwlab
tc qdisc show | grep -E ' 741[78]:'
find /run/thwlab /run/systemd/system /run/systemd/system.control -type f 2>/dev/null |
  grep -E 'thwlab|50-CPUQuota|50-IO'
grep -E '/run/thwlab|/thwlab/certificates' /proc/self/mountinfo
systemctl list-units --all --plain --no-legend 'thwlab-hold*' 'thwlab-strobe*' 'thwlab-heal*' |
  awk '{ print $1 }'
ls /var/lib/etcd/thwlab-* /var/lib/thwlab-boot 2>/dev/null
true
"""
