"""Questions of several steps, against an API that is made up: real TLS and sockets on loopback."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lab.invariants.failures import Kind, kind_of
from lab.probes import dialogues, prober

Answer = Callable[[str, str, Any], tuple[int, Any]]


@pytest.fixture
def served() -> Iterator[Callable[[Answer], dict[str, Any]]]:
    """Starts an API that answers as told; the plan's part that leads to it."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> dict[str, Any]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                told = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, said = answer(self.command, self.path, json.loads(told) if told else None)
                self.send_response(status)
                if callable(said):
                    self.send_header("Connection", "close")
                    self.end_headers()
                    said(self.wfile)
                    return
                body = json.dumps(said).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = serve

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return {"address": "127.0.0.1", "port": server.server_address[1], "host": "127.0.0.1"}

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Plain:
    """In place of a TLS context: these tests are about what is said, not about certificates."""

    def wrap_socket(self, raw: Any, **_: Any) -> Any:
        return raw


PLAIN: Any = Plain()


def asked(plan: dict[str, Any], shared: dict[str, Any] | None = None, number: int = 1) -> prober.Question:
    prober.ASK.update(dialogues.ASK)
    question = prober.Question({"deadline": 2.0, "prefix": "k-", **plan}, number, time.monotonic())
    question.shared = {} if shared is None else shared
    prober.decide(question, PLAIN)
    question.afterwards()
    return question


POD = {"ask": "pod", "pods": "/pods", "pod": {"metadata": {"name": "%KEY%"}}, "pod-port": 8080}


def pods(*, bound: bool = True, started: bool = True, answers: bool = True) -> tuple[Answer, list[str]]:
    seen: list[str] = []

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        seen.append(f"{method} {path}")
        if path.endswith("healthz"):
            return (200, "ok") if answers else (503, "no endpoint")
        state = {"running": {}} if started else {"waiting": {}}
        return 200, {
            "spec": {"nodeName": "n"} if bound else {},
            "status": {"containerStatuses": [{"state": state}]},
        }

    return answer, seen


def test_a_new_pod_that_answers_has_three_phases_and_is_taken_away(served: Any) -> None:
    answer, seen = pods()
    question = asked({**served(answer), **POD})
    assert (question.outcome, len(question.phases)) == ("ok", 3), question.said
    assert seen[0] == "POST /pods"
    assert seen[-1] == "DELETE /pods/k-000001?gracePeriodSeconds=0"


@pytest.mark.parametrize(
    ("how", "phases", "said"),
    [({"bound": False}, 0, "create"), ({"started": False}, 1, "bind"), ({"answers": False}, 2, "start")],
)
def test_how_far_a_new_pod_came_is_told_and_it_is_taken_away_all_the_same(
    served: Any, how: dict[str, bool], phases: int, said: str
) -> None:
    answer, seen = pods(**how)
    question = asked({**served(answer), **POD, "deadline": 0.6})
    assert (question.outcome, len(question.phases)) == ("failed", phases)
    assert question.said == f"timed out in {said}"
    assert seen[-1].startswith("DELETE")


def test_a_pod_that_answered_did_so_however_long_its_removal_takes(served: Any) -> None:
    """An API that hung over it once made every new pod one that did not answer in time."""
    answer, _ = pods()
    hangs = threading.Event()

    def slow(method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "DELETE":
            hangs.wait(1.5)
        return answer(method, path, body)

    written: list[dict[str, Any]] = []
    plan = {**served(slow), **POD, "prefix": "k-", "deadline": 1.0, "interval": 1.0}
    asking = prober.Prober({**plan, "module": dialogues.__file__})
    asking.context, asking.say = PLAIN, written.append  # type: ignore[method-assign]
    asking.ask(1, time.monotonic())
    hangs.set()
    assert written[0]["outcome"] == "ok", written[0]["said"]
    assert written[0]["answered"] - written[0]["sent"] < 1.0


@pytest.mark.parametrize("begin", [1, 2])
@pytest.mark.parametrize(("acts", "outcome"), [(True, "ok"), (False, "failed")])
def test_a_deployment_is_scaled_only_if_its_controller_acts(
    served: Any, acts: bool, outcome: str, begin: int
) -> None:
    """Without one the status stays, and must not fit what is asked for next by chance."""
    spec, generation, status = {"replicas": begin}, [3], {"replicas": 2, "observedGeneration": 3}

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            generation[0] += body["spec"] != spec
            spec.update(body["spec"])
            if acts:
                status.update(spec, observedGeneration=generation[0])
        return 200, {"metadata": {"generation": generation[0]}, "spec": dict(spec), "status": dict(status)}

    plan = {**served(answer), "ask": "scale", "deployment": "/d", "steps": ("act",), "deadline": 0.6}
    assert [asked(plan, number=number).outcome for number in (1, 2)] == [outcome] * 2
    assert generation == [5], "each asks for another number"


def test_a_lease_is_asked_for_once_renewed_and_asked_for_anew_when_it_is_gone(served: Any) -> None:
    ttls, seen = iter([10, 10, 0, 10]), []

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        seen.append(path.rsplit("/", 1)[1])
        return 200, {"ID": "7"} if path.endswith("grant") else {"result": {"TTL": str(next(ttls))}}

    plan, shared = {**served(answer), "ask": "lease", "ttl": 10}, {}
    values = [(q.outcome, q.acked, q.value) for q in (asked(plan, shared) for _ in range(4))]
    kept = ("ok", True, {"found": True, "ttl": 10})
    assert values == [kept, kept, ("failed", False, {"found": False, "ttl": 0}), kept]
    assert seen == ["grant", "keepalive", "keepalive", "keepalive", "grant", "keepalive"]


WATCH = {"ask": "watch", "watched": "/objects", "object": {"metadata": {"name": "%KEY%"}}, "silence": 5.0}


def watched(how: str) -> Answer:
    """An API whose watch shows what is written: once, twice, never, or with a revision that falls."""
    written: list[str] = []
    changed = threading.Condition()

    def stream(out: Any) -> None:
        shown = 0
        while True:
            with changed:
                changed.wait(timeout=0.1)
                new, shown = written[shown:], len(written)
            for place, name in enumerate(new, shown):
                revision = 3 if how == "falls" and place > 1 else 10 + place
                event = {
                    "type": "ADDED",
                    "object": {"metadata": {"name": name, "resourceVersion": str(revision)}},
                }
                for _ in range({"never": 0, "twice": 2}.get(how, 1)):
                    out.write(json.dumps(event).encode() + b"\n")
                    out.flush()

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        if "watch=1" in path:
            return 200, stream
        if method == "POST":
            with changed:
                written.append(body["metadata"]["name"])
                changed.notify_all()
        return 200, {"metadata": {"resourceVersion": "5"}}

    return answer


@pytest.mark.parametrize(
    ("how", "outcome", "seen", "ordered"),
    [
        ("once", "ok", 1, True),
        ("twice", "ok", 2, False),
        ("never", "failed", 0, True),
        ("falls", "ok", 1, False),
    ],
)
def test_what_a_watch_shows_of_a_write(served: Any, how: str, outcome: str, seen: int, ordered: bool) -> None:
    plan = {**served(watched(how)), **WATCH, "deadline": 1.5}
    shared = dialogues.begin(plan, PLAIN)
    first = asked(plan, shared, 1)
    question = asked(plan, shared, 2) if how == "falls" else first
    assert question.acked
    assert (question.outcome, question.value["seen"], question.value["ordered"]) == (outcome, seen, ordered)
    if seen:
        assert 0 <= question.value["delay"] < 1


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (403, "forbidden", "failed"),
        (500, "etcdserver: mvcc: database space exceeded", "failed"),
        (500, "etcdserver: request timed out", "unknown"),
    ],
)
def test_a_write_that_was_refused_is_known_not_to_be_there(
    served: Any, status: int, said: str, outcome: str
) -> None:
    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        return (
            (status, {"message": said}) if method == "POST" else (200, {"metadata": {"resourceVersion": "5"}})
        )

    plan = {**served(answer), **WATCH, "deadline": 1.5}
    question = asked(plan, dialogues.begin(plan, PLAIN))
    assert (question.outcome, question.acked) == (outcome, False), question.said


# -- a connection that is kept -------------------------------------------------------------------------------


def kept(*, closes: bool) -> tuple[list[tuple[str, int]], Callable[[socket.socket], None]]:
    """A server's end of connections that stand: who asked, and whether it goes after an answer."""
    heard: list[tuple[str, int]] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            while asked_for := connection.recv(4096):
                heard.append((asked_for.split()[1].decode(), connection.getpeername()[1]))
                connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}")
                if closes:
                    return

    return heard, serve


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[dict[str, Any]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port = listener.getsockname()[1]
        try:
            yield {"ask": "kept", "path": "/x", "address": "127.0.0.1", "port": port, "host": "127.0.0.1"}
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_one_connection_is_kept_for_all_beats() -> None:
    heard, serve = kept(closes=False)
    with listening(serve) as plan:
        shared = dialogues.begin(plan, PLAIN)
        outcomes = [asked(plan, shared, number).outcome for number in range(3)]
    assert outcomes == ["ok", "ok", "ok"]
    assert len(set(heard)) == 1


def test_the_end_of_a_kept_connection_is_told_and_the_next_beat_begins_anew() -> None:
    """Who only opens fresh ones would never hear it."""
    heard, serve = kept(closes=True)
    with listening(serve) as plan:
        shared = dialogues.begin(plan, PLAIN)
        first, second, third = (asked(plan, shared, number) for number in range(3))
    assert [each.outcome for each in (first, second, third)] == ["ok", "failed", "ok"]
    assert kind_of(second.said) is Kind.RESET, second.said
    assert len(set(heard)) == 2
