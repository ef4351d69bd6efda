"""Packets that are dropped or refused, as rules of nftables: text from plain values, and counters read back.

A table of its own for each fault, named after it; what others own is never touched.  Rules look at packets
as they are on the wire: coming in before, going out after any address is translated, so that what pods send
through the machine is met as well.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from lab.faults.base import Fault

Direction = Literal["in", "out", "both"]
SSH = 22


@dataclass(frozen=True, slots=True)
class Peer:
    """Another machine; in a table it stands for its address and those of its pods."""

    name: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Cut:
    """What to do with which packets.

    `peers` are the other ends, empty for anybody.  `ports` are those of servers: `served` for this machine's
    own alone, else on either side; of what is refused, those that it is sent to.  `inside` is for what never
    leaves the machine too.  Only packets of more than `bigger_than` bytes, headers included, are met.
    `spared` is an address whose SSH is let through.
    """

    rejects: bool = False
    direction: Direction = "both"
    peers: tuple[Peer, ...] = ()
    ports: tuple[int, ...] = ()
    served: bool = False
    inside: bool = False
    bigger_than: int = 0
    spared: IPv4Address | None = None


def table_of(fault: Fault) -> str:
    """The name of its table: the same for the same words, whatever its victims are."""
    words = {name: value for name, value in fault.record().items() if name != "machines"}
    return f"thwlab-{fault.word}-{zlib.crc32(json.dumps(words, sort_keys=True).encode()):08x}"


def install(table: str, cut: Cut) -> str:
    """The script that puts the table in force; $1 is the machine's own name.  Pure."""
    return _loading(table, cut.peers, render(table, cut))


def remove(table: str) -> str:
    """The script that removes it; harmless when it is not there.  Pure."""
    return f"nft delete table inet {table} 2>/dev/null\n"


def render(table: str, cut: Cut) -> str:
    """The rules; `$dev` is the machine's interface in the lab, `$peer0`, `$peer1`, … its peers.  Pure."""
    chains = [*_incoming(cut), *_outgoing(cut)]
    return f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n" + "".join(chains) + "}\n"


def marking(table: str, cut: Cut, priority: str) -> str:
    """The script for a table that gives outgoing packets this priority, by which they are shaped.  Pure."""
    rules = [*_spared(cut, "out"), *_each(cut, "out", "$dev", f"meta priority set {priority}")]
    chain = _chain("outgoing", "postrouting", -300, ["oifname != $dev accept", *rules])
    text = f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{chain}}}\n"
    return _loading(table, cut.peers, text)


def counted(listing: str) -> dict[str, int]:
    """How many packets each rule met, by its comment, from `nft -j list table`."""
    found: dict[str, int] = {}
    for each in json.loads(listing)["nftables"]:
        rule = each.get("rule", {})
        for expression in rule.get("expr", ()):
            if "counter" in expression:
                name = rule.get("comment", "")
                found[name] = found.get(name, 0) + expression["counter"]["packets"]
    return found


def _incoming(cut: Cut) -> Iterator[str]:
    if cut.direction == "out":
        return
    head = [] if cut.inside else ["iifname != $dev accept"]
    # Whoever was refused may say so: else the server keeps what its client has closed.
    resets = ["tcp flags & rst != 0 accept"] if cut.rejects else []
    rules = _each(cut, "in", "", *_verdicts(cut))
    yield _chain("incoming", "prerouting", -300, [*head, *_spared(cut, "in"), *resets, *rules])


def _outgoing(cut: Cut) -> Iterator[str]:
    if cut.rejects:
        yield from _refused_outgoing(cut)
    elif cut.direction != "in":
        rules = [*_spared(cut, "out"), *_each(cut, "out", "$dev", "drop")]
        yield _chain("outgoing", "postrouting", -300, [*rules, *_within(cut)])
    elif cut.inside:
        yield _chain("outgoing", "postrouting", -300, _within(cut))


def _refused_outgoing(cut: Cut) -> Iterator[str]:
    """The kernel refuses only where a packet begins or is passed on, not where it leaves."""
    if cut.direction == "in":
        if within := _within(cut):
            yield _chain("own", "output", -50, within)
        return
    rules = [*_spared(cut, "out"), *_each(cut, "out", "$dev", *_verdicts(cut))]
    for name, hook in (("own", "output"), ("passed", "forward")):
        # After the translation of addresses.
        yield _chain(name, hook, -50, ["tcp flags & rst != 0 accept", *rules])


def _within(cut: Cut) -> list[str]:
    """Requests that never leave the machine: to a pod of its own, for what goes to itself comes in again."""
    if not (cut.inside and cut.ports):
        return []
    what = _matched(cut, f"th dport {_set(cut.ports)}")
    side = 'oifname != { $dev, "lo" }'
    return [f'{side} {what}{_counted(verdict)} comment "inside"' for verdict in _verdicts(cut)]


def _each(cut: Cut, direction: str, device: str, *verdicts: str) -> list[str]:
    side = f"oifname {device} " if device else ""
    word, end = ("from", "saddr") if direction == "in" else ("to", "daddr")
    whom = [(f"ip {end} $peer{n} ", peer.name) for n, peer in enumerate(cut.peers)] or [("", "anybody")]
    return [
        f'{side}{address}{_matched(cut, what)}{_counted(verdict)} comment "{direction} {word} {name}"'
        for address, name in whom
        for what in _port_matches(cut, direction)
        for verdict in verdicts
    ]


def _counted(verdict: str) -> str:
    """Which packets a verdict is for stands before its counter."""
    only, _, rest = verdict.partition("|")
    return f"{only}counter {rest}" if rest else f"counter {verdict}"


def _verdicts(cut: Cut) -> tuple[str, ...]:
    if not cut.rejects:
        return ("drop",)
    return (
        "meta l4proto tcp |reject with tcp reset",
        "meta l4proto != tcp |reject with icmpx port-unreachable",
    )


def _port_matches(cut: Cut, direction: str) -> tuple[str, ...]:
    if not cut.ports:
        return ("",)
    requests = "dport" if direction == "in" else "sport"
    answers = "sport" if direction == "in" else "dport"
    if cut.rejects:  # a refused answer would only be silence to whoever asked
        return (f"th dport {_set(cut.ports)}",)
    ends = (requests,) if cut.served else (requests, answers)
    return tuple(f"th {end} {_set(cut.ports)}" for end in ends)


def _matched(cut: Cut, ports: str) -> str:
    transport = f"meta l4proto {{ tcp, udp }} {ports} " if ports else ""
    size = f"meta length > {cut.bigger_than} " if cut.bigger_than else ""
    return transport + size


def _spared(cut: Cut, direction: str) -> list[str]:
    if cut.spared is None:
        return []
    ends = "ip saddr {} tcp dport {}" if direction == "in" else "ip daddr {} tcp sport {}"
    return [f'{ends.format(cut.spared, SSH)} accept comment "the harness"']


def _set(ports: tuple[int, ...]) -> str:
    return "{ " + ", ".join(str(port) for port in ports) + " }"


def _chain(name: str, hook: str, priority: int, rules: list[str]) -> str:
    head = f"type filter hook {hook} priority {priority}; policy accept;"
    return f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in (head, *rules)) + "\t}\n"


def _loading(table: str, peers: tuple[Peer, ...], text: str) -> str:
    defined = "".join(f"peer {n} {peer.address}\n" for n, peer in enumerate(peers))
    return f"{DEVICE}{_PEER}{{\n{_DEFINE_DEVICE}{defined}cat <<'END'\n{text}END\n}} | nft -f -\n"


# By the name that every machine knows itself by.
DEVICE = """\
dev=$(ip -o -4 addr show to "$(getent ahostsv4 "$1" | awk '{print $1; exit}')" | awk '{print $2; exit}')
test -n "$dev" || { echo "no interface has the address of $1" >&2; exit 1; }
"""
# Where pods are routed to a machine, their addresses are its own.
_PEER = """\
peer() {
  printf 'define peer%s = { %s' "$1" "$2"
  ip route show via "$2" | awk '$1 != "default" { printf ", %s", $1 }'
  echo ' }'
}
"""
_DEFINE_DEVICE = """\
printf 'define dev = "%s"\\n' "$dev"
"""
