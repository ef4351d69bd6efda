"""Commands over SSH, against a real sshd on loopback: status, deadline, leftovers, faults."""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import Server, needs_sshd, serving

from lab.errors import LabError
from lab.machine import OUTPUT_CAP, File, Result
from lab.plan import load_topology
from lab.providers.vagrant import ssh
from lab.providers.vagrant.connection import Access, Connection, Unreachable, configuration, sockets_folder
from lab.providers.vagrant.machine import VagrantMachine
from lab.providers.vagrant.ssh import execute, remote_line
from lab.providers.vagrant.virtualbox import VirtualBox

pytestmark = needs_sshd
SSH = shutil.which("ssh")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    made = Connection("k8s-lb", tmp_path_factory.mktemp("lab") / "a lab % ä")
    made.learn(server.access)
    yield made
    made.close()


@pytest.fixture
def connection(server: Server, shared: Connection) -> Iterator[Connection]:
    yield shared
    server.resume()


def run(connection: Connection, *argv: str, stdin: bytes = b"", timeout: float = 20) -> Result:
    return execute(connection, argv, stdin=stdin, timeout=timeout)


def sh(connection: Connection, script: str, timeout: float = 20) -> Result:
    return run(connection, "sh", "-c", script, timeout=timeout)


def test_a_command_has_its_own_status_output_and_errors(connection: Connection) -> None:
    done = sh(connection, "echo out; echo err >&2; exit 3")
    assert (done.status, done.out, done.err) == (3, b"out\n", b"err\n")
    assert done.leftover == ()
    assert done.cut == 0


@pytest.mark.parametrize("status", [0, 1, 126, 127, 137, 254, 255])
def test_no_status_of_a_command_is_taken_for_one_of_ssh(connection: Connection, status: int) -> None:
    assert sh(connection, f"exit {status}").status == status


def test_a_command_that_is_not_there_is_an_answer(connection: Connection) -> None:
    done = run(connection, "no-such-program-here")
    assert done.status == 127
    assert "no-such-program-here" in done.stderr
    assert not re.search("[0-9a-f]{16}", done.stderr), "our mark is nobody else's business"


def test_arguments_arrive_as_they_are(connection: Connection) -> None:
    odd = ["a b", "", "'", '"', "$HOME", "`id`", "a\nb", "*", "\\", "ä", "--", "-n"]
    done = run(connection, "printf", r"%s\0", *odd)
    assert done.out == "\0".join([*odd, ""]).encode()


def test_bytes_are_kept_as_they_came(connection: Connection) -> None:
    done = sh(connection, r"printf '\252\377\000'; printf '\344' >&2")
    assert (done.out, done.err) == (b"\xaa\xff\x00", b"\xe4")


def test_input_arrives_whole_and_ends(connection: Connection) -> None:
    data = os.urandom(3 << 20)
    assert run(connection, "cat", stdin=data).out == data


def test_input_that_nobody_reads_does_no_harm(connection: Connection) -> None:
    assert run(connection, "true", stdin=bytes(4 << 20)).status == 0


def test_the_environment_is_the_labs_not_the_users(connection: Connection) -> None:
    lines = dict(line.split("=", 1) for line in run(connection, "env").stdout.splitlines())
    assert lines["PATH"].startswith("/opt/kubernetes/bin:")
    assert lines["LANG"] == "C.UTF-8"
    assert "SSH_CONNECTION" not in lines


def test_a_flood_is_counted_and_capped(connection: Connection) -> None:
    size = OUTPUT_CAP + 5_000_000
    done = sh(connection, f"head -c {size} /dev/zero >&2; exit 4", timeout=60)
    assert done.status == 4
    assert len(done.err) == OUTPUT_CAP
    assert done.cut == 5_000_000


def test_the_marks_are_taken_out_wherever_they_come(connection: Connection) -> None:
    done = sh(connection, "printf 'no newline at the end' >&2; exit 9")
    assert (done.status, done.err) == (9, b"no newline at the end")


def test_at_the_deadline_what_was_printed_comes_back(connection: Connection) -> None:
    begun = time.monotonic()
    done = sh(connection, "echo before; exec sleep 60", timeout=1)
    assert time.monotonic() - begun < 6
    assert done.timed_out
    assert done.out == b"before\n"
    assert done.leftover == ()


def test_at_the_deadline_all_that_the_command_started_ends(connection: Connection, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"setsid sleep 61 & echo $! >{pids}; sh -c 'sleep 62' & echo $! >>{pids}; sleep 63"
    done = sh(connection, script, timeout=1.5)
    assert done.timed_out
    assert any("sleep 61" in each for each in done.leftover)
    assert any("sleep 62" in each for each in done.leftover)
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_who_holds_the_output_after_the_end_is_named_and_the_status_kept(connection: Connection) -> None:
    begun = time.monotonic()
    done = sh(connection, "sleep 64 & echo done; exit 5", timeout=1.5)
    assert time.monotonic() - begun < 8
    assert (done.status, done.out) == (5, b"done\n")
    assert done.leftover == ("sleep 64",)


def test_a_service_that_holds_nothing_lives_on(connection: Connection, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = sh(connection, f"setsid sleep 65 </dev/null >/dev/null 2>&1 & echo $! >{pid}")
    assert done.status == 0
    os.kill(int(pid.read_text()), 9)


def test_a_command_that_ignores_every_signal_ends_too(connection: Connection) -> None:
    begun = time.monotonic()
    assert sh(connection, "trap '' TERM INT HUP; while :; do sleep 1; done", timeout=1).timed_out
    assert time.monotonic() - begun < 6


def test_a_silent_machine_costs_no_more_than_the_deadline(
    connection: Connection, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "GRACE", 1.0)
    assert sh(connection, "true").ok
    server.pause()
    begun = time.monotonic()
    done = sh(connection, "echo never", timeout=1)
    assert time.monotonic() - begun < 6
    assert done.timed_out
    assert done.out == b""
    server.resume()
    assert sh(connection, "echo again").out == b"again\n"


def test_a_command_outlives_a_pause_within_its_deadline(connection: Connection, server: Server) -> None:
    assert sh(connection, "true").ok
    threading.Timer(0.4, server.pause).start()
    threading.Timer(1.4, server.resume).start()
    done = sh(connection, "sleep 0.8; echo through; exit 6", timeout=15)
    assert (done.status, done.out) == (6, b"through\n")


def test_a_first_connection_to_a_silent_machine_has_the_same_deadline(
    connection: Connection, server: Server
) -> None:
    connection.close()
    server.pause()
    begun = time.monotonic()
    assert sh(connection, "true", timeout=1).timed_out
    assert time.monotonic() - begun < 5


def test_a_machine_that_is_off_is_said_at_once(tmp_path: Path) -> None:
    gone = Connection("k8s-lb", tmp_path)
    gone.learn(Access("127.0.0.1", 1, "root", ()))
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"k8s-lb \(root@127\S+:1\) cannot be asked by SSH: .*refused"):
        run(gone, "true", timeout=30)
    assert time.monotonic() - begun < 5


def test_a_machine_of_which_nothing_is_known_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="nobody knows how k8s-lb is reached"):
        run(Connection("k8s-lb", tmp_path), "true")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_new_host_key_is_no_silent_surprise(
    connection: Connection, server: Server, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one of another kind, of which nothing is known yet."""
    assert sh(connection, "true").ok
    connection.close()
    server.stop()
    monkeypatch.setattr(server, "kind", kind)
    server.new_host_key()
    server.start()
    with pytest.raises(Unreachable, match="another SSH host key") as caught:
        sh(connection, "true")
    assert "thwlab down" in caught.value.remedy
    connection.learn(server.access, new=True)
    assert sh(connection, "true").ok


def test_a_server_that_ends_under_a_command_is_no_status(connection: Connection, server: Server) -> None:
    anew = threading.Timer(0.8, lambda: (server.stop(), server.start()))
    anew.start()
    with pytest.raises(LabError, match="the connection broke while `sh -c 'sleep 5'` ran"):
        sh(connection, "sleep 5", timeout=15)
    anew.join(timeout=15)
    assert run(connection, "true", timeout=10).ok


def test_a_broken_connection_is_made_anew(connection: Connection, server: Server) -> None:
    assert sh(connection, "true").ok
    server.stop()
    server.start()
    assert sh(connection, "echo anew").out == b"anew\n"


@pytest.mark.parametrize("times", [1, 2])
def test_an_ssh_that_fails_before_the_command_began_is_tried_once_more(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    said = "mux_client_request_session: read from master failed: Broken pipe"
    failed = tmp_path / "failed"
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" -N "*|*" -O "*) exec {SSH} "$@";; esac\n'
        f"if [ $(wc -c <{failed}) -lt {times} ]; then printf x >>{failed}; echo '{said}' >&2; exit 255; fi\n"
        f'exec {SSH} "$@"\n'
    )
    program.chmod(0o755)
    failed.touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    if times == 1:
        assert sh(connection, "echo once").out == b"once\n"
    else:
        with pytest.raises(Unreachable, match="Broken pipe"):
            sh(connection, "echo never")


def test_a_socket_without_a_master_is_no_hindrance(connection: Connection) -> None:
    connection.close()
    connection._socket.write_text("left by a crash")
    assert sh(connection, "echo ok").out == b"ok\n"


def test_all_commands_share_one_connection(connection: Connection, server: Server) -> None:
    connection.close()
    before = len((server.folder / "log").read_text().split("Accepted publickey"))
    threads = [threading.Thread(target=sh, args=(connection, "sleep 0.2")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = Connection("k8s-lb", connection._config.parent)
    assert sh(again, "true").ok
    assert len((server.folder / "log").read_text().split("Accepted publickey")) == before + 1


def test_a_password_is_never_asked_for(server: Server, tmp_path: Path) -> None:
    stranger = Connection("k8s-lb", tmp_path)
    stranger.learn(Access("127.0.0.1", server.port, server.access.user, ()))
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="Permission denied"):
        run(stranger, "true", timeout=30)
    assert time.monotonic() - begun < 10


def test_nothing_is_left_after_many_rounds(connection: Connection) -> None:
    assert sh(connection, "true").ok
    threads, files = threading.active_count(), descriptors()
    for _ in range(5):
        sh(connection, "sleep 66 & echo $!", timeout=0.3)
        sh(connection, "true")
    time.sleep(0.3)
    assert threading.active_count() <= threads
    assert descriptors() <= files + 1


def test_files_are_brought_in_one_stream(connection: Connection, tmp_path: Path) -> None:
    node = load_topology().node("k8s-lb")
    machine = VagrantMachine(node, "d", VirtualBox(), connection)
    files = [File(str(tmp_path / "a b" / str(n)), bytes([n]) * 300_000, mode=0o600) for n in range(4)]
    assert machine.apply(files) == {file.path for file in files}
    assert [Path(file.path).read_bytes() for file in files] == [file.content for file in files]
    assert machine.apply(files) == frozenset()


def test_who_is_not_root_becomes_it_without_a_question() -> None:
    line = remote_line(("id",), "mark", 5.0, root=False)
    assert line.startswith("sudo -n -- sh -c ")
    assert remote_line(("id",), "mark", 5.0, root=True).startswith("sh -c ")


@pytest.fixture
def unprivileged(connection: Connection, server: Server) -> Iterator[Connection]:
    """A connection that must ask sudo; a test puts what stands in for it on the guest's PATH."""
    before = connection._config.read_text()
    connection._config.write_text(before.replace("User root\n", "User  root\n"))
    yield connection
    connection._config.write_text(before)
    (server.folder / "bin" / "sudo").unlink(missing_ok=True)


def test_sudo_gets_the_command_as_it_is(unprivileged: Connection, server: Server) -> None:
    sudo = server.folder / "bin" / "sudo"
    sudo.parent.mkdir(exist_ok=True)
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && [ "$2" = -- ] || exit 99\nshift 2\nexec "$@"\n')
    sudo.chmod(0o755)
    done = run(unprivileged, "printf", r"%s\0", "a b", "$HOME", "'", stdin=b"in")
    assert (done.status, done.out) == (0, b"a b\0$HOME\0'\0")
    assert sh(unprivileged, "sleep 67 & exit 3", timeout=1.0).leftover == ("sleep 67",)


def test_a_machine_where_one_cannot_become_root_says_so(unprivileged: Connection, server: Server) -> None:
    sudo = server.folder / "bin" / "sudo"
    sudo.parent.mkdir(exist_ok=True)
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    with pytest.raises(Unreachable, match="sudo: a password is required") as caught:
        run(unprivileged, "true")
    assert "NOPASSWD" in caught.value.remedy


def test_a_command_too_long_for_one_argument_is_refused_with_the_way(connection: Connection) -> None:
    with pytest.raises(LabError, match="too long for one argument") as caught:
        run(connection, "echo", "x" * 200_000)
    assert "stdin" in caught.value.remedy


def test_secrets_given_as_input_are_in_no_command_line(connection: Connection) -> None:
    found: list[str] = []

    def look() -> None:
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found.append(each.read_text(errors="replace"))
            except OSError:
                continue

    threading.Timer(0.5, look).start()
    run(connection, "sh", "-c", "cat >/dev/null; sleep 1", stdin=b"hunter2-and-more")
    assert any("sleep 1" in each for each in found)
    assert not [each for each in found if "hunter2" in each]


def test_the_configuration_holds_paths_with_anything_that_can_be_written(tmp_path: Path) -> None:
    access = Access("127.0.0.1", 2222, "vagrant", ("/home/a b/100%/key",))
    text = configuration("k8s-lb", access, Path("/tmp/s"), tmp_path / "known")
    assert '  IdentityFile "/home/a b/100%%/key"\n' in text
    assert "  BatchMode yes\n" in text
    assert "  IdentitiesOnly yes\n" in text
    with pytest.raises(LabError, match="cannot be written"):
        configuration("k8s-lb", Access("h", 22, "u", ('/a"b',)), Path("/tmp/s"), tmp_path / "known")


def test_sockets_lie_in_a_short_folder_of_this_users_only(tmp_path: Path) -> None:
    folder = sockets_folder(tmp_path)
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o755)
    with pytest.raises(LabError, match="not a folder of this user's alone"):
        sockets_folder(tmp_path)
    long = Connection("k8s-" + "x" * 59, tmp_path / ("y" * 160))
    assert len(str(long._socket)) + 18 <= 104


def test_a_socket_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    made = Connection("k8s-lb", tmp_path, sockets=tmp_path / ("z" * 100))
    with pytest.raises(LabError, match="too long a path"):
        made.learn(Access("127.0.0.1", 22, "root", ()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
