"""The forwarder, for real on loopback; entering a namespace is left to the lab."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.providers import forward, reaching
from lab.providers.reaching import Forwarders


@pytest.fixture
def target() -> Iterator[int]:
    """Answers each connection with what it said, once it has said all."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def echo(connection: socket.socket) -> None:
    with connection:
        said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        connection.sendall(said)


@pytest.fixture
def forwarded(target: int) -> Iterator[int]:
    yield from serving(target)


def serving(port: int) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        serving = asyncio.create_task(forward._serve(listener, "127.0.0.1", port))
        await stop.wait()
        serving.cancel()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    loop.call_soon_threadsafe(stop.set)
    thread.join(5)


def ask(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_what_goes_in_comes_out_also_after_one_side_has_ended(forwarded: int) -> None:
    assert ask(forwarded, b"hello") == b"hello"
    assert ask(forwarded, b"") == b""


def test_megabytes_pass_whole(forwarded: int) -> None:
    text = bytes(range(256)) * 20_000
    assert ask(forwarded, text) == text


def test_connections_do_not_wait_for_each_other(forwarded: int) -> None:
    with socket.create_connection(("127.0.0.1", forwarded), timeout=10) as slow:
        slow.sendall(b"still talking")
        assert ask(forwarded, b"quick") == b"quick"


def test_a_machine_that_does_not_listen_ends_the_connection_and_not_the_forwarder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()[1]
    running = serving(dead)
    port = next(running)
    assert ask(port, b"") == b""
    assert ask(port, b"") == b""
    next(running, None)


def test_a_namespace_that_is_not_there_ends_the_program_at_once() -> None:
    argv = [sys.executable, "-I", forward.__file__, "/nowhere", "127.0.0.1", "1", "0"]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
    assert done.stdout == b""


# -- one forwarder per machine and port ---------------------------------------------------------------


PROGRAM = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[4])))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
import threading
threading.Event().wait(30)
"""


@pytest.fixture
def forwarders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forwarders]:
    """Forwarders in this very namespace, whose program needs no rights."""
    program = tmp_path / "forward.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(forward, "__file__", str(program))
    started = []
    original = subprocess.Popen

    def popen(*args: object, **how: object) -> subprocess.Popen[bytes]:
        started.append(original(*args, **how))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(reaching.subprocess, "Popen", popen)
    yield Forwarders(tmp_path / "forward", Path("/proc/self/ns/net"))
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def pid_of(forwarders: Forwarders, name: str) -> int:
    return int((forwarders.records / name).read_text().split()[0])


def test_a_port_stays_the_same_as_long_as_its_forwarder_lives(forwarders: Forwarders) -> None:
    first = forwarders.port_to("a", "192.168.100.11", 6443)
    pid = pid_of(forwarders, "a-6443")
    assert forwarders.port_to("a", "192.168.100.11", 6443) == first
    assert pid_of(forwarders, "a-6443") == pid
    assert forwarders.port_to("b", "192.168.100.12", 6443) != first


def test_a_dead_forwarder_is_replaced_behind_the_same_port(forwarders: Forwarders) -> None:
    first = forwarders.port_to("a", "192.168.100.11", 6443)
    pid = pid_of(forwarders, "a-6443")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert forwarders.port_to("a", "192.168.100.11", 6443) == first


def test_a_port_that_somebody_took_is_named_with_who_to_look_for(forwarders: Forwarders) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        forwarders.records.mkdir()
        (forwarders.records / "a-6443").write_text(f"999999999 {port}\n")
        with pytest.raises(
            LabError, match=rf"cannot forward to 192\.168\.100\.11:6443[\s\S]*sport = :{port}"
        ):
            forwarders.port_to("a", "192.168.100.11", 6443)


@pytest.mark.parametrize("content", ["x y z", "", "1", "1 80", "one two", "\x00"])
def test_a_record_that_nobody_here_wrote_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "k8s-lb-6443").write_text(content)
    assert reaching._read(tmp_path / "k8s-lb-6443") is None
    assert reaching._read(tmp_path / "none") is None
    (tmp_path / "k8s-lb-6443").write_text("4711 40001\n")
    assert reaching._read(tmp_path / "k8s-lb-6443") == (4711, 40001)
