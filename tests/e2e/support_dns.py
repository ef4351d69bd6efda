"""Questions to name servers from inside a pod's network: many at once by dig, or on a beat for a while."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from support_deadlines import whole
from support_pods import Pod, PodSet

from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.machine import Result
from lab.wait import stretched

WAYS = {"udp": "+notcp", "tcp": "+tcp"}
# Slow machines get longer for all of them, but no fewer questions than one in `SLOWEST_BEAT`.
BEAT, SLOWEST_BEAT, PATIENCE, LONGEST = 0.2, 1.0, 2.0, 150


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what must be said; ``data`` without the priority and weight of an SRV."""

    name: str
    type: str
    data: frozenset[str] = frozenset()
    status: frozenset[str] = frozenset({"NOERROR"})
    more_allowed: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """How dig names it."""
        return f"{self.name.rstrip('.')}.", self.type

    def wrong(self, answer: "Answer") -> str | None:
        """What is wrong with the answer, or None."""
        lacking, strange = self.data - answer.data, answer.data - self.data
        if answer.status in self.status and not lacking and (self.more_allowed or not strange):
            return None
        wanted = f"{'/'.join(sorted(self.status))} {' '.join(sorted(self.data))}".strip()
        return f"{answer}, not {wanted}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: str
    data: frozenset[str] = frozenset()
    flags: frozenset[str] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        return f"{self.status} {' '.join(sorted(self.data)[:10])}".strip()


def in_services(cluster: Cluster, pods: PodSet, name: str) -> str:
    """The full name of something in the namespace of the test pods."""
    return f"{name}.{pods.namespace}.svc.{cluster.topology.networks.domain}"


def dig(pod: Pod, server: str, way: str, questions: Iterable[Question], *options: str) -> list[Answer]:
    """The answers of one server to all questions, asked one after the other, each once."""
    asked = list(questions)
    words = " ".join(f"{q.name} {q.type}" for q in asked)
    form = f"+noall +comments +question +answer +time={whole(2)} +tries=1"
    done = pod.net(
        f"dig @{server} {WAYS[way]} {form} {' '.join(options)} {words}", timeout=5 + 3 * len(asked)
    )
    heard = dict(_parse(done.stdout))
    return [heard.get(q.key) or Answer(_complaint(done)) for q in asked]


def _parse(text: str) -> Iterable[tuple[tuple[str, str], Answer]]:
    for block in text.split(";; Got answer:")[1:]:
        asked = re.search(r"^;(\S+)\s+IN\s+(\S+)$", block, re.M)
        status, flags = re.search(r"status: (\w+)", block), re.search(r"^;; flags: ([a-z ]*);", block, re.M)
        if not (asked and status and flags):
            continue
        lines = [line.split(None, 4) for line in block.splitlines() if line and not line.startswith(";")]
        data = frozenset(_plain(kind, value) for _, _, _, kind, value in lines)
        yield (asked[1], asked[2]), Answer(status[1], data, frozenset(flags[1].split()))


def _plain(kind: str, value: str) -> str:
    return value.split(None, 2)[2] if kind == "SRV" else value


def _complaint(done: Result) -> str:
    said = [line.strip("; ") for line in done.stdout.splitlines() if "error" in line or "refused" in line]
    return f"no answer ({said[0] if said else done.stderr.strip()[-200:] or 'dig said nothing'})"


def reverse(address: str) -> str:
    """The name under which an address is looked up."""
    return ".".join([*reversed(address.split(".")), "in-addr.arpa"])


# -- on a beat -------------------------------------------------------------------------------------

# Runs on the worker in the pod's network: a question every BEAT seconds whatever became of the last,
# each from a socket of its own, and the same from one socket that keeps its port; until STOP is there.
PROBER = r"""
import os, socket, struct, sys, threading, time
server, name, right, stop = sys.argv[1:5]
beat, patience, longest = map(float, sys.argv[5:8])
question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0\0\1\0\1"
start, lock = time.monotonic(), threading.Lock()

def ask(number, kind, sock):
    due, said = time.monotonic() - start, "lost"
    packet = struct.pack(">6H", number & 65535, 256, 1, 0, 0, 0) + question
    end = time.monotonic() + patience
    try:
        sock.settimeout(patience)
        sock.sendto(packet, (server, 53))
        while said == "lost" and time.monotonic() < end:
            got = sock.recv(4096)
            if got[:2] == packet[:2]:
                said = "ok" if got.endswith(socket.inet_aton(right)) else "wrong"
    except OSError:
        said = "lost"
    with lock:
        print(kind, "%.3f" % due, "%.3f" % (time.monotonic() - start), said, flush=True)

def fresh(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ask(number, "fresh", sock)

def kept():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        number = 0
        while time.monotonic() - start < longest and not os.path.exists(stop):
            ask(number, "kept", sock)
            number += 1
            time.sleep(beat)

threading.Thread(target=kept).start()
number = 0
while time.monotonic() - start < longest and not os.path.exists(stop):
    threading.Thread(target=fresh, args=(number,)).start()
    number += 1
    time.sleep(max(0, start + number * beat - time.monotonic()))
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a prober heard: when it was asked, when it was answered, and how."""

    samples: Sequence[tuple[float, float, str]]

    @property
    def longest_silence(self) -> float:
        """Seconds of the longest stretch without a right answer, first and last included."""
        ends = [answered for _, answered, how in self.samples if how == "ok"]
        edges = [0.0, *sorted(ends), max((due for due, _, _ in self.samples), default=0.0)]
        return max(later - earlier for earlier, later in pairwise(edges))

    @property
    def share(self) -> str:
        """How many of all questions were answered right."""
        return f"{sum(how == 'ok' for _, _, how in self.samples)} of {len(self.samples)}"


def listen(pod: Pod, server: str, name: str, right: str, stop: str) -> dict[str, Heard]:
    """Ask on the beat until the file ``stop`` is on the pod's worker; by fresh sockets and by a kept one."""
    longest = stretched(LONGEST)
    numbers = (str(min(SLOWEST_BEAT, stretched(BEAT))), str(stretched(PATIENCE)), str(longest))
    argv = ("nsenter", f"--target={pod.pid}", "--net", "python3", "-c", PROBER)
    done = pod.machine.run(*argv, server, name, right, stop, *numbers, timeout=longest + 15)
    rows = [line.split() for line in done.stdout.splitlines()]
    if not done.ok or not rows:
        raise ClusterError(f"{pod.machine.name}: the prober ended with {done.status}: {done.stderr[-500:]}")
    kinds = {row[0] for row in rows}
    return {k: Heard([(float(a), float(b), how) for kind, a, b, how in rows if kind == k]) for k in kinds}
