"""Connections that are opened and on which nobody says anything; standard library only.

``python3 -I idle.py PLAN``, PLAN a JSON file: `address`, `port`, `host`, `tls` ({ca, cert, key} paths),
`kept` ({name: path}; a path with `/exec?` is upgraded to a WebSocket), `output`.  Each connection is opened
once, over HTTP/1.1, for HTTP/2 has pings of its own.  A JSON line tells when it was open, another when it was
cut, and one when somebody did say something; times are seconds of the monotonic clock.  Nothing is ever sent
on it: only the kernel asks now and then whether the other end is there, which balancers of layer 4 do not
take for a word.  Ends at the end of standard input.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

PATIENCE = 10.0  # seconds for each step of opening
PAUSE = 1.0  # seconds between tries
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
PROTOCOL = "v5.channel.k8s.io"
BYE = 8  # the operation of a WebSocket's last frame
SAID = 200  # characters kept of an error


class Kept:
    """One connection, from its first try to its end."""

    def __init__(self, plan: dict[str, Any], context: ssl.SSLContext | None, name: str) -> None:
        self.plan, self.context, self.name = plan, context, name
        self.upgrades = "/exec?" in plan["kept"][name]

    def opened(self) -> http.client.HTTPResponse:
        """The head of the answer has come; `OSError` or `HTTPException` if it does not, or refuses."""
        raw = socket.create_connection((self.plan["address"], self.plan["port"]), timeout=PATIENCE)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        host = self.plan["host"]
        stream = self.context.wrap_socket(raw, server_hostname=host) if self.context else raw
        connection = http.client.HTTPConnection(host)
        connection.sock = stream
        connection.request("GET", self.plan["kept"][self.name], headers=self._headers())
        answer = connection.getresponse()
        if answer.status != (101 if self.upgrades else 200):
            raise http.client.HTTPException(f"HTTP {answer.status}: {answer.read(SAID)!r}")
        stream.settimeout(None)
        return answer

    def _headers(self) -> dict[str, str]:
        if not self.upgrades:
            return {}
        return {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": PROTOCOL,
        }

    def heard(self, answer: http.client.HTTPResponse) -> bytes:
        """What somebody says on it; nothing once it has ended."""
        told: bytes = answer.fp.read1(4096) if self.upgrades else answer.read1(4096)
        return b"" if self.upgrades and told[:1] and told[0] & 15 == BYE else told


class Keeper:
    """All connections of a plan, and where their lines go."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        self.context: ssl.SSLContext | None = None
        if plan.get("tls"):
            self.context = ssl.create_default_context(cafile=plan["tls"]["ca"])
            self.context.load_cert_chain(plan["tls"]["cert"], plan["tls"]["key"])
        self.out = Path(plan["output"]).open("a")  # noqa: SIM115 - as long as we live

    def begin(self) -> None:
        """A thread for each; they end with the process."""
        for name in self.plan["kept"]:
            threading.Thread(target=self.keep, args=(name,), daemon=True).start()

    def keep(self, name: str) -> None:
        """Open it, tried again until it is, and wait until somebody cuts it."""
        kept = Kept(self.plan, self.context, name)
        while True:
            try:
                answer = kept.opened()
                break
            except (OSError, http.client.HTTPException) as error:
                self.say(kept=name, refused=f"{type(error).__name__}: {error}"[:SAID])
                threading.Event().wait(PAUSE)
        last = time.monotonic()
        self.say(kept=name, opened=last)
        said = "its end was said"
        try:
            while kept.heard(answer):
                last = time.monotonic()
                self.say(kept=name, heard=last)
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = f"{type(error).__name__}: {error}"
        self.say(kept=name, cut=time.monotonic(), said=said[:SAID])

    def say(self, **told: Any) -> None:
        """One line, whole."""
        with self.lock:
            self.out.write(json.dumps(told) + "\n")
            self.out.flush()


def main() -> None:
    """Read the plan, keep what it names until told to stop."""
    keeper = Keeper(json.loads(Path(sys.argv[1]).read_text()))
    keeper.begin()
    sys.stdin.read()
    keeper.say(ended=time.monotonic())


if __name__ == "__main__":
    main()
