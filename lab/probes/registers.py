"""Clients of registers in etcd, whose history is checked for linearizability; standard library only.

``python3 -I registers.py PLAN``, PLAN a JSON file: `targets` [[address, port], …] (each client is pinned to
one, in turn), `clients`, `tls` ({ca, cert, key} paths), `interval` (seconds between one client's operations),
`deadline`, `prefix` of keys, `per-key` (operations until clients move on to the next key), `seed`, `output`.

Closed loop: a client has one operation open.  What it does, read, write or compare-and-swap, is a matter of
the seed; values are unique.  One JSON line per operation: times are nanoseconds of the monotonic clock,
stamped before sending and after receiving.  After an operation of unknown outcome the client goes on under a
new number, for the old one may still be at work.  Nothing is retried.  Ends at the end of standard input.
"""

import base64
import http.client
import json
import random
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# The proposal was never made, or was refused: nothing was written.  Whatever else etcd says may come to be.
# "space exceeded" is none of these: what is under way while the quota is crossed is carried out, and then
# refused (quotaApplierV3 in https://github.com/etcd-io/etcd/blob/main/server/etcdserver/apply/apply.go).
DEFINITE = ("too many requests", "not found", "duplicate key", "compacted", "raft: stopped")


class Registers:
    """What all clients share: the keys in use, values not used yet, and where lines go."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.count = 0
        self.value = 0
        self.process = plan["clients"]
        self.out = Path(plan["output"]).open("a")  # noqa: SIM115 - as long as we live
        self.context = ssl.create_default_context(cafile=plan["tls"]["ca"])
        self.context.load_cert_chain(plan["tls"]["cert"], plan["tls"]["key"])

    def next_key(self) -> str:
        """The key of the next operation."""
        with self.lock:
            self.count += 1
            return f"{self.plan['prefix']}{self.count // self.plan['per-key']:05}"

    def next_value(self) -> str:
        """A value that nobody has written."""
        with self.lock:
            self.value += 1
            return str(self.value)

    def next_process(self) -> int:
        """A number for a client that starts anew."""
        with self.lock:
            self.process += 1
            return int(self.process)

    def say(self, record: dict[str, Any]) -> None:
        """One line, whole."""
        with self.lock:
            self.out.write(json.dumps(record) + "\n")
            self.out.flush()


class Client:
    """One of them, with a connection that it keeps as long as it works."""

    def __init__(self, registers: Registers, number: int) -> None:
        self.registers = registers
        self.process = number
        plan = registers.plan
        self.address, self.port = plan["targets"][number % len(plan["targets"])]
        self.random = random.Random(f"{plan['seed']}/{number}")
        self.connection: http.client.HTTPConnection | None = None
        self.seen: dict[str, str] = {}

    def run(self) -> None:
        """Operation after operation, until stopped."""
        interval = self.registers.plan["interval"]
        while not self.registers.stop.wait(interval * self.random.uniform(0.5, 1.5)):
            self.operate()

    def operate(self) -> None:
        """One operation, from its choice to its line."""
        key = self.registers.next_key()
        kind = self.random.choice(("read", "write", "cas"))
        if kind == "cas" and key not in self.seen:
            kind = "read"
        record: dict[str, Any] = {"process": self.process, "f": kind, "key": key, "target": self.address}
        if kind != "read":
            record["value"] = self.registers.next_value()
        if kind == "cas":
            record["old"] = self.seen[key]
        record["invoked"] = time.monotonic_ns()
        self.attempt(record)
        record["returned"] = time.monotonic_ns()
        self.registers.say(record)
        if record["outcome"] == UNKNOWN:
            self.process = self.registers.next_process()

    def attempt(self, record: dict[str, Any]) -> None:
        """Do it, and write its outcome into the record."""
        sent = False
        try:
            connection = self.connected()
            sent = True
            told = self.exchange(connection, record)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.connection = None
            # A read that failed has done nothing, whatever became of it.
            record["outcome"] = UNKNOWN if sent and record["f"] != "read" else FAILED
            record["said"] = f"{type(error).__name__}: {error}"[:200]
            return
        record |= told

    def connected(self) -> http.client.HTTPConnection:
        """Its connection, a fresh one if the last has failed."""
        deadline = self.registers.plan["deadline"]
        if self.connection is None:
            raw = socket.create_connection((self.address, self.port), timeout=deadline)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = http.client.HTTPConnection(self.address)
            made.sock = self.registers.context.wrap_socket(raw, server_hostname=self.address)
            self.connection = made
        self.connection.sock.settimeout(deadline)
        return self.connection

    def exchange(self, connection: http.client.HTTPConnection, record: dict[str, Any]) -> dict[str, Any]:
        """What etcd says to it."""
        path, body = asked(record)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        if answer.will_close:
            self.connection = None
        if answer.status != 200:
            return refused(told.decode(errors="replace"), record)
        return self.understood(json.loads(told), record)

    def understood(self, told: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        """The outcome of an answer, and the revisions that go with it."""
        found = {"outcome": OK, "revision": int(told["header"]["revision"])}
        if record["f"] == "read":
            kvs = told.get("kvs", ())
            if kvs:
                value = base64.b64decode(kvs[0]["value"]).decode()
                self.seen = {record["key"]: value}
                found |= {
                    "value": value,
                    "mod": int(kvs[0]["mod_revision"]),
                    "version": int(kvs[0]["version"]),
                }
            else:
                found["value"] = None
        elif record["f"] == "cas" and not told.get("succeeded"):
            found["outcome"] = FAILED
            self.seen = {}
        else:
            self.seen = {record["key"]: record["value"]}
        return found


def asked(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Path and body of an operation."""
    key = _base64(record["key"])
    if record["f"] == "read":
        return "/v3/kv/range", {"key": key}
    put = {"key": key, "value": _base64(record["value"])}
    if record["f"] == "write":
        return "/v3/kv/put", put
    same = {"key": key, "target": "VALUE", "result": "EQUAL", "value": _base64(record["old"])}
    return "/v3/kv/txn", {"compare": [same], "success": [{"requestPut": put}]}


def refused(said: str, record: dict[str, Any]) -> dict[str, Any]:
    """An error of etcd's own: certain only where it says that nothing was done."""
    certain = record["f"] == "read" or any(word in said for word in DEFINITE)
    return {"outcome": FAILED if certain else UNKNOWN, "said": " ".join(said.split())[:200]}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def main() -> None:
    """All clients, until standard input ends."""
    registers = Registers(json.loads(Path(sys.argv[1]).read_text()))
    clients = [Client(registers, number) for number in range(registers.plan["clients"])]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    registers.stop.set()
    for thread in threads:
        thread.join(registers.plan["deadline"] + 1)


if __name__ == "__main__":
    main()
