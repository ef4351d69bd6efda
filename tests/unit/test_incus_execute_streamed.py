"""Commands with input: it arrives whole, and a stream that the daemon drops is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_command import EXEC, FDS, STREAM, WAIT, Command, run
from fake_daemon import Daemon, WebSocket, begun, done, ok, refused, running

from lab.errors import LabError
from lab.providers.incus.api import Api
from lab.providers.incus.execute import execute


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


def test_the_control_stream_is_opened_first_for_a_quick_command_would_be_over(daemon: Daemon) -> None:
    command = Command()
    run(daemon, command, stdin=b"in")
    assert command.opened[0] == "ctl"
    assert sorted(command.opened) == sorted(FDS.values())


def test_standard_input_arrives_whole_and_ends(daemon: Daemon) -> None:
    command = Command()
    text = bytes(range(256)) * 2000
    command.wait = lambda _: (command.fed.wait(10), done(200, **{"return": 0}))[1]  # type: ignore[method-assign, assignment]
    assert run(daemon, command, stdin=text).ok
    assert command.read == text


def test_a_stream_that_the_daemon_refuses_is_tried_again_until_the_deadline(daemon: Daemon) -> None:
    daemon.replies |= {EXEC: begun("op", fds=FDS), STREAM: refused(404, "operation not found"), WAIT: ok()}
    result = execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"in", timeout=0.3)
    assert result.timed_out


def test_a_stream_without_its_end_is_told_where_the_command_ended(daemon: Daemon) -> None:
    """LXD 5.0.2 closes one of some thousands in the middle."""
    command = Command(b"half of it")
    talk = command.talk

    def dropping(stream: WebSocket) -> None:
        if stream.secret == "out":
            stream.send(b"half")
            stream.connection.close()
        else:
            talk(stream)

    command.talk = dropping  # type: ignore[method-assign]
    with pytest.raises(LabError, match=r"lost output of `cat 'a b'`"):
        run(daemon, command, stdin=b"in")
