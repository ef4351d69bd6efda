"""Connections on which nobody says anything: kept by the program itself, cut by servers on loopback."""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_histories import made

from lab.errors import LabError
from lab.history import Recorder, history, read
from lab.invariants.finding import Verdict
from lab.invariants.streams import IdleCut
from lab.invariants.terms import Connection, Seconds
from lab.plan import load_topology
from lab.probes import idle
from lab.probes.clocks import Clocks
from lab.probes.keeping import _PATHS, lives
from lab.probes.watching import IDLE, Watch
from lab.probes.workload import quiet_pod

HEADS = {
    "watch": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "logs": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nPaused\n\r\n",
    "exec": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x82\x01\x01",
}
KEPT = {name: path.format(pod="p") for name, path in _PATHS.items()}
Cut = Callable[[socket.socket], None]


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says_its_end(connection: socket.socket) -> None:
    connection.sendall(b"0\r\n\r\n")


def says_goodbye(connection: socket.socket) -> None:
    connection.sendall(b"\x88\x02\x03\xe8")


@contextmanager
def cutting(
    after: float | None, cut: Cut, refused: int = 0, *, cuts: list[float] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """A server that answers as the API does, says nothing more, and cuts so many seconds later or never.

    When it did goes to ``cuts``, by the clock that all processes of this host have.
    """
    seen: list[str] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket, number: int) -> None:
            asked = connection.recv(4096).decode()
            seen.append(asked)
            if number < refused:
                connection.sendall(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
                return
            kind = next(name for name, path in KEPT.items() if path in asked)
            connection.sendall(HEADS[kind])
            over.wait(after)
            if cuts is not None:
                cuts.append(time.monotonic())
            cut(connection)

        def accept() -> None:
            for number in range(9):
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection, number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1], seen
        over.set()
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def keeping(folder: Path, port: int, *names: str) -> Iterator[Path]:
    """The program as it is run; ended by the end of its input."""
    output = folder / "idle.jsonl"
    plan = {"address": "127.0.0.1", "port": port, "host": "127.0.0.1", "tls": None, "output": str(output)}
    (folder / "plan").write_text(json.dumps({**plan, "kept": {name: KEPT[name] for name in names}}))
    argv = [sys.executable, "-I", idle.__file__, str(folder / "plan")]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE)
    try:
        yield output
    finally:
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def lines(output: Path) -> list[dict[str, Any]]:
    text = output.read_text() if output.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def once(output: Path, word: str, count: int = 1) -> None:
    """Wait until so many lines have the word."""
    until = time.monotonic() + 20
    while sum(word in line for line in lines(output)) < count:
        assert time.monotonic() < until, f"no {word} among {lines(output)}"
        threading.Event().wait(0.02)


@pytest.mark.parametrize(
    ("name", "cut", "said"),
    [
        ("watch", resets, "ConnectionResetError"),
        ("watch", says_its_end, "its end was said"),
        ("logs", resets, "ConnectionResetError"),
        ("logs", says_its_end, "its end was said"),
        ("exec", resets, "ConnectionResetError"),
        ("exec", says_goodbye, "its end was said"),
    ],
)
def test_a_connection_that_is_cut_lived_until_then(tmp_path: Path, name: str, cut: Cut, said: str) -> None:
    cuts: list[float] = []
    with cutting(0.7, cut, cuts=cuts) as (port, _), keeping(tmp_path, port, name) as output:
        once(output, "cut")
    told = lives(lines(output))[name]
    assert told["cut"]
    assert told["said"].startswith(said)
    since = max(line[word] for line in lines(output) for word in ("opened", "heard") if word in line)
    assert cuts[0] - since - 0.001 <= told["lived"] < 3
    assert told["lived"] > 0


def test_what_nobody_cuts_lives_on_without_a_word_of_ours(tmp_path: Path) -> None:
    names = ("exec", "logs", "watch")
    with cutting(None, resets) as (port, seen), keeping(tmp_path, port, *names) as output:
        once(output, "opened", 3)
        threading.Event().wait(0.5)
    found = lives(lines(output))
    assert {name: (told["cut"], told["lived"] >= 0.4) for name, told in found.items()} == dict.fromkeys(
        names, (False, True)
    )
    assert len(seen) == 3


def test_one_that_is_refused_is_asked_for_again(tmp_path: Path) -> None:
    with cutting(None, resets, refused=1) as (port, _), keeping(tmp_path, port, "watch") as output:
        once(output, "opened")
    assert lines(output)[0] == {"kept": "watch", "refused": "HTTPException: HTTP 503: b''"}


def test_an_exec_asks_for_a_websocket_and_the_others_do_not(tmp_path: Path) -> None:
    with cutting(None, resets) as (port, seen), keeping(tmp_path, port, "exec", "watch") as output:
        once(output, "opened", 2)
    upgraded = {asked.split()[1]: "Upgrade: websocket" in asked for asked in seen}
    assert upgraded == {KEPT["exec"]: True, KEPT["watch"]: False}


def test_a_life_counts_from_the_last_byte() -> None:
    told = [
        {"kept": "logs", "refused": "x"},
        {"kept": "logs", "opened": 10.0},
        {"kept": "logs", "heard": 12.0},
        {"kept": "logs", "cut": 32.0, "said": "reset"},
        {"kept": "exec", "refused": "never open"},
        {"ended": 60.0},
    ]
    assert lives(told) == {"logs": {"lived": 20.0, "cut": True, "said": "reset"}}


def test_without_an_end_nothing_is_claimed() -> None:
    with pytest.raises(LabError, match="did not come to its end"):
        lives([{"kept": "logs", "opened": 10.0}])


class Kept:
    """In place of the process."""

    def __init__(self, told: Any) -> None:
        self._told = told

    def told(self) -> Any:
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


def ended(folder: Path, told: Any) -> Any:
    nobody: Any = type("Cluster", (), {"machines": {}})()
    nowhere: Any = None
    watch = Watch(
        nobody, nowhere, folder / "probes", Recorder(folder / "records.jsonl"), 60, "seed", Clocks(nobody)
    )
    watch.keeping = Kept(told)  # type: ignore[assignment]
    watch.end()
    return history(read(watch.recorder.path))


@pytest.mark.parametrize(
    ("lived", "cut", "verdict"),
    [(20.0, True, Verdict.BROKEN), (70.0, False, Verdict.HELD), (20.0, False, Verdict.UNKNOWN)],
)
def test_what_is_recorded_is_what_is_judged(
    tmp_path: Path, lived: float, cut: bool, verdict: Verdict
) -> None:
    facts = ended(tmp_path, {"exec": {"lived": lived, "cut": cut, "said": "reset" if cut else ""}}).facts
    found = IdleCut(kept=Connection.EXEC, at_least=Seconds(60)).judge(made(**facts))
    assert found.verdict is verdict
    assert found.text.endswith("after 20.0 s: reset") == (lived == 20.0 and cut)


def test_a_keeper_that_came_to_nothing_is_a_trouble_of_the_run(tmp_path: Path) -> None:
    seen = ended(tmp_path, LabError("nothing can be had"))
    assert seen.troubles == ("nothing can be had",)
    assert IDLE not in seen.facts


def test_the_pod_is_quiet_and_goes_with_what_probes_left() -> None:
    pod = quiet_pod(load_topology(), "abcd-idle")
    assert pod["metadata"]["labels"] == {"thwlab": "probe"}
    (container,) = pod["spec"]["containers"]
    assert (container["args"], "readinessProbe" in container) == (["pause"], False)
