"""Questions of several steps, for the prober: standard library only, loaded by it where a plan says so.

Each takes the beat's question and a TLS context, and returns or raises as the prober's own do.  `pod`: a new
pod is asked for; phases are bound, started, answering.  `scale`: a Deployment gets another number of replicas
and its controller acts.  `lease`: a lease of etcd is kept alive.  `watch`: an object is written through a
pool of connections and its event is waited for.  `kept`: one request on a connection that stands already.
"""

import http.client
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

POLL = 0.2  # seconds between looks at an object
MOST_REPLICAS = 2  # a Deployment has this or one
REFUSED = "database space exceeded"  # for want of room, which an apiserver passes on as its own 500
SETTLE = 1.0  # seconds in which an event may come once more
Context = ssl.SSLContext


class Wrong(ValueError):
    """An answer that is not the one that was wanted; `definite` if what was asked for was not done."""

    definite = False


# -- one call ------------------------------------------------------------------------------------------------


def opened(plan: dict[str, Any], context: Context, timeout: float) -> http.client.HTTPConnection:
    """A connection over TLS, ready for requests."""
    raw = socket.create_connection((plan["address"], plan["port"]), timeout=timeout)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = http.client.HTTPConnection(plan["host"])
    connection.sock = context.wrap_socket(raw, server_hostname=plan["host"])
    return connection


def exchanged(
    connection: http.client.HTTPConnection, timeout: float, method: str, path: str, body: Any = None
) -> Any:
    """The answer's JSON, or its text; `Wrong` for any status but those of success."""
    connection.sock.settimeout(timeout)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    told = answer.read()
    if answer.status >= 300:
        said = " ".join(told[:400].decode(errors="replace").split())
        wrong = Wrong(f"HTTP {answer.status}: {said}")
        wrong.definite = answer.status < 500 or REFUSED in said  # as the prober itself judges
        raise wrong
    try:
        return json.loads(told)
    except ValueError:
        return told.decode(errors="replace")


def call(question: Any, context: Context, method: str, path: str, body: Any = None) -> Any:
    """One request on a fresh connection."""
    connection = opened(question.plan, context, question.left())
    try:
        return exchanged(connection, question.left(), method, path, body)
    finally:
        connection.close()


def looked(question: Any, context: Context, path: str, is_so: Callable[[Any], bool]) -> Any:
    """The object once it is so; an API that does not answer meanwhile is asked again until the deadline."""
    seen = "nothing"
    while True:
        try:
            told = call(question, context, "GET", path)
            if is_so(told):
                return told
            seen = "not yet"
        except TimeoutError:
            raise
        except (OSError, Wrong, http.client.HTTPException) as error:
            seen = f"{type(error).__name__}: {error}"
        if question.deadline - time.monotonic() < POLL:
            question.said = seen
            raise TimeoutError(seen)
        threading.Event().wait(POLL)


# -- a new pod -----------------------------------------------------------------------------------------------


def ask_pod(question: Any, context: Context) -> None:
    """Ask for a pod and see it bound, started and answering; it is taken away when that is decided.

    An API that hangs over the removal makes no pod that answered one that did not.
    """
    root, name = question.plan["pods"], question.key
    pod = json.loads(json.dumps(question.plan["pod"]).replace("%KEY%", name))
    question.plan = {**question.plan, "steps": ("create", "bind", "start", "answer", "rest")}
    call(question, context, "POST", root, pod)
    plan = question.plan
    question.afterwards = lambda: _removed(plan, context, f"{root}/{name}?gracePeriodSeconds=0")
    looked(question, context, f"{root}/{name}", lambda told: bool(told["spec"].get("nodeName")))
    question.reached()
    looked(question, context, f"{root}/{name}", _started)
    question.reached()
    looked(question, context, f"{root}/{name}:{plan['pod-port']}/proxy/healthz", lambda _: True)
    question.reached()


def _started(pod: dict[str, Any]) -> bool:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return all("running" in (each.get("state") or {}) for each in statuses)


def _removed(plan: dict[str, Any], context: Context, path: str) -> None:
    """Once, and no matter what comes of it: what is left goes with the namespace."""
    try:
        connection = opened(plan, context, plan["deadline"])
        exchanged(connection, plan["deadline"], "DELETE", path)
        connection.close()
    except (OSError, Wrong, http.client.HTTPException):
        return


# -- a Deployment --------------------------------------------------------------------------------------------


def ask_scale(question: Any, context: Context) -> None:
    """Another number of replicas, and the controller has made as many pods; nobody binds them.

    Other than what is asked for now, and seen by a controller that knows of it: else a status from before,
    with as many pods by chance, would be taken for an answer while nobody acts.
    """
    path = question.plan["deployment"]
    told = call(question, context, "GET", f"{path}/scale")
    wanted = 1 if told["spec"].get("replicas") == MOST_REPLICAS else MOST_REPLICAS
    told["spec"]["replicas"] = wanted
    call(question, context, "PUT", f"{path}/scale", told)
    looked(question, context, path, lambda seen: _acted(seen, wanted))
    question.reached()


def _acted(seen: dict[str, Any], wanted: int) -> bool:
    status = seen["status"]
    known: bool = status.get("observedGeneration", 0) >= seen["metadata"]["generation"]
    return known and status.get("replicas", 0) == wanted


# -- a lease of etcd -----------------------------------------------------------------------------------------


class Lease:
    """One that is renewed by every beat; a new one when the old is gone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.id = ""

    def known(self, question: Any, context: Context) -> str:
        """Its number; the first beat asks for it."""
        with self.lock:
            if not self.id:
                told = call(question, context, "POST", "/v3/lease/grant", {"TTL": question.plan["ttl"]})
                self.id = str(told["ID"])
            return self.id


def ask_lease(question: Any, context: Context) -> None:
    """Renew it; what was promised is in the value, and that it is gone, too."""
    lease = question.shared.setdefault("lease", Lease())
    number = lease.known(question, context)
    told = call(question, context, "POST", "/v3/lease/keepalive", {"ID": number})
    ttl = int((told.get("result") or {}).get("TTL", 0))
    question.value = {"found": ttl > 0, "ttl": ttl}
    if ttl > 0:
        question.acknowledge()
    else:
        with lease.lock:
            lease.id = ""
        raise Wrong(f"lease {number} is gone")


# -- a connection that is kept ------------------------------------------------------------------------------


def ask_kept(question: Any, context: Context) -> None:
    """A request on the connection that the beat before has left; without one, on a fresh one.

    What a machine's end says to connections that stand, or that it says nothing, is what fresh ones are
    rarely there to hear.  One on which something went wrong is not used again.
    """
    idle: queue.SimpleQueue[http.client.HTTPConnection] = question.shared["idle"]
    try:
        connection = idle.get_nowait()
    except queue.Empty:
        connection = opened(question.plan, context, question.left())
    question.reached()
    exchanged(connection, question.left(), "GET", question.plan["path"])
    question.reached()
    idle.put(connection)


# -- a watch -------------------------------------------------------------------------------------------------


class Watcher:
    """A watch that is taken up again where it broke, and a pool of connections for writes."""

    def __init__(self, plan: dict[str, Any], context: Context) -> None:
        self.plan, self.context = plan, context
        self.changed = threading.Condition()
        self.events: dict[str, list[tuple[float, bool]]] = {}
        self.revision = ""
        self.highest = 0
        self.pool: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        threading.Thread(target=self._follow, daemon=True).start()

    def write(self, question: Any, path: str, body: Any) -> None:
        """Through a connection of the pool; one on which something went wrong does not go back."""
        try:
            connection = self.pool.get_nowait()
        except queue.Empty:
            connection = opened(self.plan, self.context, question.left())
        exchanged(connection, question.left(), "POST", path, body)
        self.pool.put(connection)

    def seen(self, key: str, seconds: float) -> list[tuple[float, bool]]:
        """The events of the key, once there is one or the time is up."""
        with self.changed:
            self.changed.wait_for(lambda: key in self.events, timeout=max(0.0, seconds))
            return list(self.events.get(key, ()))

    def _follow(self) -> None:
        while True:
            try:
                self._once()
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                threading.Event().wait(POLL)

    def _once(self) -> None:
        path = self.plan["watched"]
        connection = opened(self.plan, self.context, self.plan["deadline"])
        try:
            if not self.revision:
                self.revision = exchanged(connection, 10, "GET", f"{path}?limit=1")["metadata"][
                    "resourceVersion"
                ]
            # Kubernetes' own clients find out by pings of HTTP/2; here silence ends the connection.
            connection.sock.settimeout(self.plan["silence"])
            connection.request(
                "GET", f"{path}?watch=1&allowWatchBookmarks=true&resourceVersion={self.revision}"
            )
            answer = connection.getresponse()
            if answer.status != 200:
                self.revision = "" if answer.status == 410 else self.revision
                raise Wrong(f"HTTP {answer.status}")
            while line := answer.readline():
                self._hear(json.loads(line))
        finally:
            connection.close()

    def _hear(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            self.revision = ""
            raise Wrong(str(event["object"].get("message")))
        metadata = event["object"]["metadata"]
        self.revision = metadata["resourceVersion"]
        if event["type"] != "ADDED":
            return
        with self.changed:
            ordered = int(self.revision) > self.highest
            self.highest = max(self.highest, int(self.revision))
            self.events.setdefault(metadata["name"], []).append((time.monotonic(), ordered))
            self.changed.notify_all()


def ask_watch(question: Any, context: Context) -> None:
    """Write an object and see its event; once, and in order."""
    watcher: Watcher = question.shared["watcher"]
    body = json.loads(json.dumps(question.plan["object"]).replace("%KEY%", question.key))
    question.in_flight = True
    try:
        watcher.write(question, question.plan["watched"], body)
    except Wrong as error:
        question.in_flight = not error.definite
        raise
    question.in_flight = False
    question.acknowledge()
    acknowledged = time.monotonic()
    question.reached()
    watcher.seen(question.key, question.left())
    threading.Event().wait(min(SETTLE, max(0.0, question.deadline - time.monotonic())))
    events = watcher.seen(question.key, 0)
    question.value = {
        "delay": round(max(0.0, events[0][0] - acknowledged), 4) if events else None,
        "seen": len(events),
        "ordered": all(ordered for _, ordered in events),
    }
    if not events:
        raise Wrong("its event never came")


def begin(plan: dict[str, Any], context: Context) -> dict[str, Any]:
    """What all beats of one prober share."""
    return {"watcher": Watcher(plan, context)} if plan["ask"] == "watch" else {"idle": queue.SimpleQueue()}


ASK: dict[str, Callable[[Any, Context], None]] = {
    "pod": ask_pod,
    "scale": ask_scale,
    "lease": ask_lease,
    "watch": ask_watch,
    "kept": ask_kept,
}
