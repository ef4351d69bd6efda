"""What the etcd tests ask of members, and the words for what they find."""

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from support_visits import Visit

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, client_url
from lab.machine import Machine, Result, on_each
from lab.pki import Pair, Usage, foreign_ca, issue
from lab.signatures import recognised
from lab.topology import Role

CLIENT = {Usage.CLIENT}
ALERTS = {
    "none": "CERTIFICATE_REQUIRED",
    "foreign": "UNKNOWN_CA",
    "expired": "CERTIFICATE_EXPIRED",
    "server-only": "BAD_CERTIFICATE",
}
LEFT = "read: connection reset by peer"
# What a member says that finds less on its disk, or something else, than it had written there: of its log, of
# a snapshot, of its database, or of what it had promised to the others.
TORN = re.compile(
    r"wal(pb)?: (crc mismatch|file not found|snapshot (mismatch|not found)|slice bounds out of range)"
    r"|failed to (read|repair|open) WAL"
    r"|snap: (crc mismatch|empty snapshot|no available snapshot|snapshot file)"
    r"|failed to (recover v3 backend from|find database) snapshot|was the raft log corrupted"
    r"|file size too small|invalid database|checksum error|page \d+ already freed|unexpected EOF",
    re.IGNORECASE,
)


def strangers(cluster: Cluster) -> dict[str, Pair | None]:
    """Client certificates no member may accept, and `right`, which proves that the port serves at all."""
    ca, now = cluster.credentials.authorities["etcd"], datetime.now(UTC)
    begun, ended = now - timedelta(days=2), now - timedelta(days=1)
    return {
        "none": None,
        "foreign": issue(foreign_ca("etcd"), cn="etcd-stranger", usages=CLIENT),
        "expired": issue(ca, cn="etcd-expired", usages=CLIENT, not_before=begun, not_after=ended),
        "server-only": issue(ca, cn="etcd-server-only", usages={Usage.SERVER}),
        "right": issue(ca, cn="etcd-right", usages=CLIENT),
    }


def call(cluster: Cluster, address: str, port: int, pair: Pair | None, path: str, body: str = "") -> Visit:
    """A request to a member with this certificate; a POST if it has a body."""
    cert, key = (pair.cert.decode(), pair.key.decode()) if pair else ("", "")
    ca = cluster.credentials.ca("etcd").decode()
    return Visit(address, port, ca, path, cert, key, "POST" if body else "GET", body)


def gateway_call(cluster: Cluster, machine: Machine, pair: Pair) -> Visit:
    """A read through the member's JSON gateway, which is a client of the member itself."""
    body = json.dumps({"key": base64.b64encode(b"/registry").decode(), "count_only": True})
    return call(cluster, str(machine.node.address), CLIENT_PORT, pair, "/v3/kv/range", body)


def member(cluster: Cluster, machine: Machine) -> str:
    """As reports name it."""
    return f"{cluster.topology.etcd_name(machine.node)} on {machine.name}"


def healths(cluster: Cluster) -> dict[str, Result]:
    """The guide's `endpoint health`, asked on each member about itself."""
    return on_each(cluster.of(Role.ETCD), lambda m: _own_health(cluster, m))


def absent(cluster: Cluster) -> list[str]:
    """A report for each member that does not serve: etcd's own last line, who still serves, the remedy."""
    seen = healths(cluster)
    serving = sum(each.ok for each in seen.values())
    ill = [machine for machine in cluster.of(Role.ETCD) if not seen[machine.name].ok]
    return [
        f"{member(cluster, machine)} did not come back; {serving} of {len(seen)} members serve. "
        f"{words}\n  remedy: {_remedy(words)}"
        for machine in ill
        for words in (_last_words(machine),)
    ]


LOST = "data dir used by this member must be removed"  # as etcd says it where it says it


def _remedy(words: str) -> str:
    """What its words call for; where they say nothing, its data may be gone."""
    found = recognised(words) or recognised(LOST)
    assert found is not None
    return found.remedy


def torn(cluster: Cluster) -> list[str]:
    """By member, what its etcd said since its machine's last boot of what a power cut tore."""
    said = on_each(cluster.of(Role.ETCD), lambda m: m.run("sh", "-c", _SINCE_BOOT, timeout=20).stdout)
    lines = {name: told for name, text in said.items() if (told := torn_words(text))}
    return [f"{name}: {told}" for name, told in lines.items()]


def torn_words(journal: str) -> str:
    """The last line of etcd's that speaks of torn data, cut; empty if none does.  Pure."""
    found = [" ".join(line.split()) for line in journal.splitlines() if TORN.search(line)]
    return found[-1][:400] if found else ""


def alarms(cluster: Cluster, said: str) -> list[str]:
    """Each alarm in what `etcdctl alarm list` said, with the member's name for its number."""
    done = cluster.etcdctl("member", "list", "-w", "json")
    listed = json.loads(done.stdout)["members"] if done.ok else []
    names = {str(each["ID"]): each.get("name", "a member that never started") for each in listed}
    on = {cluster.topology.etcd_name(m.node): m.name for m in cluster.of(Role.ETCD)}
    found = re.findall(r"memberID:(\d+)\s+alarm:(\w+)", said)
    return [f"{alarm} of {names.get(id_, id_)} on {on.get(names.get(id_, ''), '?')}" for id_, alarm in found]


def unlike(hashes: Mapping[str, int]) -> list[str]:
    """The members whose data is not that of most, by client URL; all of them where none are most."""
    (common, count), *_ = Counter(hashes.values()).most_common(1)
    lonely = 2 * count > len(hashes)
    return sorted(url for url, each in hashes.items() if not lonely or each != common)


def shown_to_itself(machine: Machine) -> str:
    """The certificate that the running etcd shows when it calls itself, and what that may be used for."""
    return " ".join(machine.run("sh", "-c", _SHOWN, timeout=10).stdout.split())


def refused_handshakes(machine: Machine) -> list[str]:
    """Handshakes that the running etcd refused to callers on its own machine, by loopback or its address.

    Its gateway calls it by whichever of its addresses it was itself called by.
    """
    log = machine.check("sh", "-c", _JOURNAL, timeout=20)
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    own = ("127.", "[::1]", "@", f"{machine.node.address}:")
    return [_refusal(each) for each in entries if is_refusal(each, own)]


def is_refusal(entry: dict[str, Any], own: tuple[str, ...]) -> bool:
    """Whether a line of etcd's is about a caller of its own machine that it turned away.

    One that cut the connection itself, as an apiserver that gives up an attempt, was not turned away.
    """
    if "rejected connection" not in entry.get("msg", "") or LEFT in str(entry.get("error", "")):
        return False
    return str(entry.get("remote-addr", "")).startswith(own)


def _refusal(entry: dict[str, Any]) -> str:
    return f"{entry.get('ts')} {entry.get('remote-addr')}: {entry.get('error')}"


def _own_health(cluster: Cluster, machine: Machine) -> Result:
    own = f"--endpoints={client_url(machine.node)}"
    return cluster.etcdctl(own, "endpoint", "health", member=machine)


def _last_words(machine: Machine) -> str:
    said = machine.run("sh", "-c", _LAST, timeout=10).stdout
    return f"etcd's last line: {' '.join(said.split())[:600] or '(none)'}"


_SHOWN = """\
words=$(tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value etcd.service)/cmdline)
file=$(printf '%s\\n' "$words" | sed -n 's/^--client-cert-file=//p')
[ -n "$file" ] || file=$(printf '%s\\n' "$words" | sed -n 's/^--cert-file=//p')
echo "$file" and it may be used for $(openssl x509 -in "$file" -noout -ext extendedKeyUsage | tail -n 1)
"""
_JOURNAL = """\
journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value etcd.service) \
| grep -F 'rejected connection' || true
"""
_SINCE_BOOT = "journalctl -b -u etcd.service -n 2000 -o cat --no-pager"
# Of what etcd says when it gives up, the line at level fatal or panic; else the last line of all.
_LAST = """\
said=$(journalctl -u etcd.service -n 200 -o cat --no-pager | grep '^{')
printf '%s\\n' "$said" | grep -F 'permanently removed from the cluster' | tail -n 1 | grep . ||
    printf '%s\\n' "$said" | grep -E '"level":"(fatal|panic)"' | tail -n 1 | grep . ||
    printf '%s\\n' "$said" | tail -n 1
"""
