"""One probe: a question asked on a fixed beat from where this program runs; standard library only.

``python3 -I prober.py PLAN``, PLAN a JSON file; several plans at once by `several.py`.  Open loop: each beat
of the grid has a thread of its own, so an answer that hangs delays no other question.  A JSON line per
question goes to the output file or standard output as soon as it is decided.  Times are seconds of this
machine's monotonic clock.  It ends on SIGTERM or, where PLAN says so, at the end of standard input, after
the last questions were decided.

PLAN: `output` (a path, or "" for standard output), `until-input-ends`, `begin` (monotonic seconds of the
first beat; 0 for `rest` seconds from now), `interval`, `deadline`, `ask` (http, dns, tcp, or what the file
`module` has more) and what that needs:
http: `address`, `port`, `host`, `tls` ({ca, cert, key} paths, or null), `requests` [{method, path, body,
      accept, write, holds, type}], in which %KEY% stands for a key that is new for each beat, and %BASE64KEY%
      for its base64; `take` (what of the last answer is kept as value), `prefix` of keys, `writes` (whether
      keys are of interest).
dns:  `address`, `port`, `name`, `source` (the port from which all questions are asked, or 0 for a fresh
      one each time).
tcp:  `address`, `port`: whether a connection is accepted.
"""

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import queue
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
FROZEN = 2.0  # seconds behind its beats after which a prober was not slow but stood still
SAID = 200  # characters kept of an error
# For want of room: definite for a user, who was told no.  What crosses the quota may be carried out and then
# refused, so the clients of registers, whose history must be exact, take the same words for unknown.
REFUSED = "database space exceeded"


class Question:
    """One beat: what it did, when, and how far it came."""

    def __init__(self, plan: dict[str, Any], number: int, scheduled: float) -> None:
        self.plan = plan
        self.number = number
        self.scheduled = scheduled
        self.shared: dict[str, Any] = {}
        self.key = f"{plan.get('prefix', '')}{number:06}"
        self.sent = time.monotonic()
        self.deadline = self.sent + plan["deadline"]
        self.phases: list[float] = []
        self.outcome = FAILED
        self.said = ""
        self.acked = False
        self.acknowledged: float | None = None
        self.in_flight = False
        self.value: Any = None
        self.afterwards: Callable[[], Any] = lambda: None  # once it is decided and written down

    def left(self) -> float:
        """Seconds until the deadline; `TimeoutError` when there are none."""
        left: float = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def reached(self) -> None:
        """One phase more is behind it."""
        self.phases.append(round(time.monotonic() - self.sent, 6))

    def acknowledge(self) -> None:
        """What it wrote is promised to stay, from this moment on."""
        self.acked, self.acknowledged = True, round(time.monotonic() - self.sent, 6)

    def record(self, answered: float) -> dict[str, Any]:
        """What is written down of it."""
        return {
            "scheduled": self.scheduled,
            "sent": self.sent,
            "answered": answered,
            "outcome": self.outcome,
            "said": self.said[:SAID],
            "phases": self.phases,
            "key": self.key if self.plan.get("writes") else "",
            "acked": self.acked,
            "acknowledged": self.acknowledged,
            "value": self.value,
        }


class Wrong(Exception):
    """An answer that is not the one that was wanted."""


# -- http --------------------------------------------------------------------------------------------------


def ask_http(question: Question, context: ssl.SSLContext | None) -> None:
    """All requests on one fresh connection; the answer is ok if every one is."""
    plan = question.plan
    raw = connected(question)
    try:
        stream: socket.socket = raw
        if context is not None:
            stream = context.wrap_socket(raw, server_hostname=plan["host"])
        question.reached()
        exchange(question, stream)
    finally:
        stream.close()
        raw.close()


def connected(question: Question) -> socket.socket:
    """A connected socket without delays of its own."""
    plan = question.plan
    raw = socket.create_connection((plan["address"], plan["port"]), timeout=question.left())
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    question.reached()
    raw.settimeout(question.left())
    return raw


def exchange(question: Question, stream: socket.socket) -> None:
    """Request by request; the first byte of the first answer is a phase."""
    connection = http.client.HTTPConnection(question.plan["host"])
    connection.sock = stream
    body = b""
    for request in question.plan["requests"]:
        stream.settimeout(question.left())
        question.in_flight = bool(request.get("write"))
        send(connection, question, request)
        answer = connection.getresponse()
        if len(question.phases) == 2:
            question.reached()
        body = answer.read()
        judge(question, request, answer.status, body)
        question.in_flight = False
        if request.get("write"):
            question.acknowledge()
    if take := question.plan.get("take"):
        question.value = TAKE[take](body.decode() if take in OF_TEXT else json.loads(body))


def send(connection: http.client.HTTPConnection, question: Question, request: dict[str, Any]) -> None:
    """One request, with the beat's own key in it."""
    path, body = filled(request["path"], question.key), filled(request.get("body") or "", question.key)
    headers = {"Content-Type": request.get("type", "application/json"), "Accept": "application/json"}
    connection.request(request["method"], path, body.encode() if body else None, headers)


def filled(text: str, key: str) -> str:
    """The text with the key of a beat in it."""
    return text.replace("%KEY%", key).replace("%BASE64KEY%", base64.b64encode(key.encode()).decode())


def judge(question: Question, request: dict[str, Any], status: int, body: bytes) -> None:
    """Raise `Wrong` unless the answer is one that the request accepts; a 5xx may have been carried out.

    Not so where etcd refuses for want of room, which an apiserver passes on as its own 500.
    """
    said = body[:4000].decode(errors="replace")
    if status in request.get("accept", (200, 201)) and filled(request.get("holds", ""), question.key) in said:
        return
    if status < 500 or REFUSED in said:
        question.in_flight = False
    raise Wrong(f"HTTP {status}: {' '.join(said.split())}")


# -- what is kept of an answer -----------------------------------------------------------------------------


def raft(told: Any) -> dict[str, Any]:
    """A member's term and leader; 0 if it knows none."""
    return {
        "term": int(told.get("raftTerm", 0)),
        "leader": told.get("leader", "0"),
        "index": int(told.get("raftIndex", 0)),
        "member": told["header"]["member_id"],
        "revision": int(told["header"].get("revision", 0)),
    }


def leases(told: Any) -> dict[str, Any]:
    """Of each lease in the list: holder, last renewal, how often it changed hands."""
    specs = ((item["metadata"]["name"], item.get("spec") or {}) for item in told["items"])
    return {
        name: {
            "holder": spec.get("holderIdentity", ""),
            "renewed": spec.get("renewTime", ""),
            "transitions": spec.get("leaseTransitions", 0),
        }
        for name, spec in specs
    }


def nodes(told: Any) -> dict[str, str]:
    """The Ready condition of each node."""
    return {
        item["metadata"]["name"]: next(
            (each["status"] for each in item["status"].get("conditions", ()) if each["type"] == "Ready"), ""
        )
        for item in told["items"]
    }


def pods(told: Any) -> dict[str, list[Any]]:
    """Where each pod is, its phase, whether it is ready, and when it was told to go."""
    found = {}
    for item in told["items"]:
        ready = [c["status"] for c in item["status"].get("conditions", ()) if c["type"] == "Ready"]
        meta = item["metadata"]
        found[f"{meta['namespace']}/{meta['name']}"] = [
            item["spec"].get("nodeName", ""),
            item["status"].get("phase", ""),
            ready == ["True"],
            meta.get("deletionTimestamp", ""),
        ]
    return found


def endpoints(told: Any) -> list[str]:
    """Every ready address of the EndpointSlices in the list."""
    ends = (end for item in told["items"] for end in item.get("endpoints") or ())
    serving = (end for end in ends if (end.get("conditions") or {}).get("ready", True))
    return sorted({address for end in serving for address in end["addresses"]})


def heartbeats(told: str) -> dict[str, int]:
    """How many heartbeats a member of etcd sent late while it led, since it was started."""
    lines = (line.split() for line in told.splitlines() if line.startswith(LATE_HEARTBEATS))
    return {"late": int(sum(float(words[-1]) for words in lines))}


LATE_HEARTBEATS = "etcd_server_heartbeat_send_failures_total"
OF_TEXT = ("heartbeats",)  # what is taken from a page that is no JSON
TAKE: dict[str, Callable[[Any], Any]] = {
    "heartbeats": heartbeats,
    "raft": raft,
    "leases": leases,
    "nodes": nodes,
    "pods": pods,
    "endpoints": endpoints,
}


# -- dns and tcp -------------------------------------------------------------------------------------------


def ask_dns(question: Question, _: ssl.SSLContext | None) -> None:
    """One A question by UDP; ok if it is answered with an address."""
    plan = question.plan
    number = int.from_bytes(os.urandom(2), "big")
    labels = b"".join(bytes([len(label)]) + label.encode() for label in plan["name"].rstrip(".").split("."))
    packet = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    told = kept(question).asked(question, packet) if plan.get("source") else asked(question, packet)
    question.reached()
    code, answers = told[3] & 15, int.from_bytes(told[6:8], "big")
    if code or not answers:
        raise Wrong(f"DNS rcode {code}, {answers} answers")


def asked(question: Question, packet: bytes) -> bytes:
    """The answer to a packet from a fresh port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.connect((question.plan["address"], question.plan["port"]))
        question.reached()
        raw.send(packet)
        told = b""
        while told[:2] != packet[:2]:
            raw.settimeout(question.left())
            told = raw.recv(4096)
    return told


class Kept:
    """A socket that all questions of a prober share, so that they all come from one port.

    An answer goes to whoever has its number; a refusal, which has none, to all who wait.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.raw.bind(("", plan["source"]))
            self.raw.connect((plan["address"], plan["port"]))
        except OSError:
            self.raw.close()
            raise
        self.waiting: dict[bytes, queue.SimpleQueue[bytes | OSError]] = {}
        threading.Thread(target=self.hear, daemon=True).start()

    def asked(self, question: Question, packet: bytes) -> bytes:
        """The answer to a packet."""
        box: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
        self.waiting[packet[:2]] = box
        question.reached()
        try:
            self.raw.send(packet)
            told = box.get(timeout=question.left())
        except queue.Empty:
            raise TimeoutError from None
        finally:
            self.waiting.pop(packet[:2], None)
        if isinstance(told, OSError):
            raise told
        return told

    def hear(self) -> None:
        """Hand out what comes, as long as the prober lives."""
        while True:
            try:
                told = self.raw.recv(4096)
            except OSError as error:
                for box in list(self.waiting.values()):
                    box.put(error)
                continue
            asking = self.waiting.get(told[:2])
            if asking:
                asking.put(told)


OPENING = threading.Lock()


def kept(question: Question) -> Kept:
    """The prober's one socket; opened by the first question that can."""
    with OPENING:
        if "kept" not in question.shared:
            question.shared["kept"] = Kept(question.plan)
        found: Kept = question.shared["kept"]
        return found


def ask_tcp(question: Question, _: ssl.SSLContext | None) -> None:
    """Whether a connection is accepted."""
    connected(question).close()


ASK: dict[str, Callable[..., None]] = {"http": ask_http, "dns": ask_dns, "tcp": ask_tcp}


def also_from(path: str) -> Any:
    """What another file can ask; by its path, for this program sees no packages."""
    spec = importlib.util.spec_from_file_location("more", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ASK.update(module.ASK)
    return module


# -- one question, and the beat ----------------------------------------------------------------------------


def decide(question: Question, context: ssl.SSLContext | None) -> None:
    """Ask, and say how it ended; nothing that can go wrong with an answer gets past here."""
    try:
        ASK[question.plan["ask"]](question, context)
        question.left()
        question.outcome = OK
    except (TimeoutError, OSError, Wrong, ValueError, KeyError, http.client.HTTPException) as error:
        question.outcome = UNKNOWN if question.in_flight else FAILED
        late = isinstance(error, TimeoutError)
        question.said = f"timed out in {stage(question)}" if late else f"{type(error).__name__}: {error}"


def stage(question: Question) -> str:
    """How far it came, in a word."""
    steps = question.plan.get("steps", ("connect", "handshake", "answer", "rest of the answer"))
    return str(steps[min(len(question.phases), len(steps) - 1)])


def trusting(tls: dict[str, str]) -> ssl.SSLContext:
    """The context of every question; resumption would hide what a new client goes through."""
    context = ssl.create_default_context(cafile=tls["ca"])
    if tls.get("cert"):
        context.load_cert_chain(tls["cert"], tls["key"])
    context.options |= ssl.OP_NO_TICKET
    return context


class Prober:
    """The beat, and where its answers go."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.context = trusting(plan["tls"]) if plan.get("tls") else None
        more = also_from(plan["module"]) if plan.get("module") else None
        self.shared = more.begin(plan, self.context) if more else {}
        self.stop = threading.Event()
        self.lock = threading.Lock()
        output = plan.get("output")
        self.out = Path(output).open("a") if output else sys.stdout  # noqa: SIM115 - as long as we live

    def run(self) -> None:
        """Until stopped; then until every question is decided.

        Beats from a time in which its machine stood still are left out, not made up for: they would all be
        asked at once when it goes on, and answered, and the outage be none.
        """
        begin = self.plan.get("begin") or time.monotonic() + self.plan.get("rest", 0.0)
        threads: list[threading.Thread] = []
        number = 0
        self.stop.wait(max(0.0, begin - time.monotonic()))
        self.say({"ready": time.monotonic(), "priority": hurried()})
        started = spent()
        while True:
            scheduled = begin + number * self.plan["interval"]
            if time.monotonic() - scheduled > FROZEN:
                number = int((time.monotonic() - begin) / self.plan["interval"]) + 1
                continue
            if self.stop.wait(max(0.0, scheduled - time.monotonic())):
                break
            thread = threading.Thread(target=self.ask, args=(number, scheduled), daemon=True)
            thread.start()
            threads = [each for each in threads if each.is_alive()] + [thread]
            number += 1
        for thread in threads:
            thread.join(self.plan["deadline"] + 1)
        self.say({"ended": time.monotonic(), "beats": number, "cpu": spent() - started})

    def ask(self, number: int, scheduled: float) -> None:
        """One question, from its beat to its line."""
        question = Question(self.plan, number, scheduled)
        question.shared = self.shared
        decide(question, self.context)
        self.say(question.record(time.monotonic()))
        question.afterwards()

    def say(self, record: dict[str, Any]) -> None:
        """One line, whole."""
        line = json.dumps(record) + "\n"
        with self.lock:
            self.out.write(line)
            self.out.flush()


def spent() -> float:
    """Seconds of processor time so far; what starting took is not counted, for nothing was asked then."""
    return sum(os.times()[:4])


def hurried() -> str:
    """Ask the scheduler to let us go first; whether it does."""
    ways: dict[str, Callable[[], Any]] = {
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
        "nice": lambda: os.nice(-15),
    }
    for name, way in ways.items():
        with contextlib.suppress(OSError, AttributeError):
            way()
            return name
    return "none"


def work(plan: dict[str, Any]) -> None:
    """Ask until told to stop.

    The signal is waited for by a thread of its own.  A handler runs in the thread that waits for the beat,
    and would wait for ever for the lock of `stop` where that thread has it just then; it has it most likely
    in the moment in which the end of input has set `stop` as well.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    prober = Prober(plan)
    ends = [until_told, *([until_input_ends] if plan.get("until-input-ends") else [])]
    for end in ends:
        threading.Thread(target=end, args=(prober.stop,), daemon=True).start()
    prober.run()


def until_told(stop: threading.Event) -> None:
    """Whoever started us, or systemd, asks us to end."""
    signal.sigwait({signal.SIGTERM})
    stop.set()


def until_input_ends(stop: threading.Event) -> None:
    """Whoever started us has closed its end, or is no more."""
    sys.stdin.read()
    stop.set()


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()))
