import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from fake_lab import never
from fixed import fixed_credentials, guide_topology

from lab import opening
from lab.bringup import Blocked, Outcome, StageFailed
from lab.choice import provider_of
from lab.cli import health, lifecycle, look, outside
from lab.cli.app import FAMILIES, HOME, cli
from lab.cli.failures import exit_code, is_told, told
from lab.cli.inside import Follower
from lab.cli.progress import Progress, ended
from lab.cli.session import Session
from lab.cli.status import NOT_ASKED, LabStatus, MachineStatus, render, unit_states
from lab.doctor import Finding, Verdict
from lab.doctor.fix import Repair
from lab.errors import ClusterError, ConfigError, LabError
from lab.machine import Machine
from lab.machine import Result as Ran
from lab.opening import state_of
from lab.plan import DEFAULT, load_plan
from lab.providers.base import Snapshot
from lab.providers.vagrant import speed
from lab.state import StateFolder
from lab.wait import NotYet

pytestmark = pytest.mark.usefixtures("no_real_lab")
ENV = {name: None for name in os.environ if name.startswith("LAB_") or name == "CI"}


class FakeMachine(Machine):
    """Answers every command with the same."""

    answer = Ran(0, b"out\xff\n", b"err\n")
    answers: Mapping[str, Ran] = {}  # by program, where not all are the same

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self.asked: list[tuple[str, ...]] = []

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Ran:
        self.asked.append(argv)
        return self.answers.get(argv[0], self.answer)

    def pull_plug(self) -> None: ...
    def boot(self) -> None: ...
    def reboot(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class FakeProvider:
    name = "fake"

    def __init__(self) -> None:
        self.did: list[str] = []
        self.taken: dict[str, Snapshot] = {}

    def snapshot(self, name: str) -> None:
        self.did.append(f"snapshot {name}")
        when = f"2026-01-01T00:00:{len(self.did):02}Z"
        self.taken[name] = Snapshot(name, when, ("k8s-master1", "k8s-lb"))

    def snapshots(self) -> list[Snapshot]:
        return list(self.taken.values())

    def forget_snapshot(self, name: str) -> None:
        self.did.append(f"forget {name}")
        del self.taken[name]

    def restore(self, name: str) -> None:
        self.did.append(f"restore {name}")


class FakeApi:
    url = "https://127.0.0.1:40123"


class FakeLab:
    def __init__(self, session: Session) -> None:
        self.topology = guide_topology("clitest")
        self.state = session.state
        self.state.path.mkdir(parents=True, exist_ok=True)
        self.provider = FakeProvider()
        self.credentials = fixed_credentials()
        self.one = FakeMachine(self.topology.nodes[0])
        self.machines = {"k8s-master1": self.one}

    def machine(self, name: str) -> FakeMachine:
        return self.one

    def api(self) -> FakeApi:
        return FakeApi()

    def close(self) -> None: ...


IGNORE = "signal.signal(signal.SIGINT, signal.SIG_IGN);"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[FakeLab]:
    made: list[FakeLab] = []

    def attached(session: Session) -> FakeLab:
        made.append(made[0] if made else FakeLab(session))
        return made[0]

    monkeypatch.setattr(Session, "attached", attached)
    return made


def thwlab(*args: str, **extra: Any) -> Result:
    return CliRunner(env=ENV).invoke(cli, ["--name", "clitest", *args], **extra)


def names() -> list[str]:
    return sorted(HOME)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_command_is_where_the_command_line_looks_for_it(family: str) -> None:
    module = import_module(f"lab.cli.{family}")
    assert {each.name for each in module.COMMANDS} == set(FAMILIES[family])


def test_a_call_imports_no_other_family_than_its_own() -> None:
    script = "import sys; from lab.cli.app import cli; print(*(m for m in sys.modules if m in %r))"
    asked = [f"lab.cli.{family}" for family in FAMILIES] + ["pytest"]
    done = subprocess.run([sys.executable, "-c", script % asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", [n for n in names() if n not in ("kubectl", "artifacts")])
def test_help_teaches_by_example(name: str) -> None:
    result = thwlab(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"thwlab {name}" in result.output or f"thwlab --name two {name}" in result.output


def test_the_commands_of_the_issue_are_there() -> None:
    wanted = "artifacts completion config doctor down env exec kubeconfig kubectl logs restore shell snapshot"
    assert {*wanted.split(), "status", "summary", "sweep", "up"} <= set(names())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--profile", "x", "config"), "hardened"),
        (("up", "--until", "ectd"), "etcd"),
        (("up", "--config", "/no/such.yaml"), "/no/such.yaml"),
        (("shell", "k8s-mastr1"), "k8s-master1"),
        (("snapshot",), "NAME, or --list"),
        (("snapshot", "Not Good"), "a-z"),
        (("stats",), "stats"),
        (("exec", "k8s-lb"), "CMD"),
    ],
)
def test_bad_input_is_2_and_named(args: tuple[str, ...], says: str) -> None:
    result = thwlab(*args)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


def test_an_unknown_variable_is_2() -> None:
    result = CliRunner(env={**ENV, "LAB_NAEM": "x"}).invoke(cli, ["config"])
    assert result.exit_code == 2
    assert "LAB_NAEM" in result.output


def test_a_lab_that_is_not_there_is_3_with_the_command() -> None:
    result = thwlab("status")
    assert result.exit_code == 3
    assert "thwlab --name clitest up" in result.output


def test_a_user_is_told_of_roots_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clitest").mkdir()
    monkeypatch.setattr("lab.cli.session.DEFAULT_ROOT", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(lifecycle, "remove_lab", lambda name, word, force: False)
    result = thwlab("status")
    assert result.exit_code == 3
    for said in (result.output, thwlab("down").output):
        assert 'root has one: `sudo -E env "PATH=$PATH" thwlab --name clitest status`' in said


def test_options_may_stand_after_the_command_and_win() -> None:
    result = thwlab("config", "--name", "later")
    assert "later" in result.output
    assert "clitest" not in result.output


def test_config_shows_where_each_value_came_from() -> None:
    result = CliRunner(env={**ENV, "LAB_PROFILE": "guide"}).invoke(cli, ["config"])
    assert "LAB_PROFILE" in result.output
    assert "default.yaml:" in result.output


def test_a_dry_run_starts_nothing() -> None:
    result = thwlab("up", "--dry-run", "--until", "etcd")
    assert result.exit_code == 0
    assert "nothing was done" in result.output
    assert "apiserver" not in result.output


def waits(output: str) -> dict[str, list[str]]:
    """By the stage, those that it comes after."""
    table = output.partition("stages:")[2]
    lines = [line.strip().removesuffix(")").partition(" (after ") for line in table.splitlines()]
    return {told.split()[0]: after.split(", ") for told, _, after in lines if after}


def test_a_dry_run_tells_what_a_stage_comes_after_where_machines_are_known_to_be_fast() -> None:
    kubelet = ["runtime", "access", "controllers", "load-balancer"]
    whole = thwlab("up", "--dry-run", "--provider", "incus").output
    assert waits(whole)["kubelet"] == [*kubelet, "control-plane"]
    assert waits(whole)["hosts"] == ["programs"]
    assert "measured" not in whole
    part = thwlab("up", "--dry-run", "--provider", "incus", "--until", "kubelet").output
    assert waits(part)["kubelet"] == kubelet, "nobody asked for its leaders"


@pytest.mark.parametrize(
    ("guest", "hosts", "kubelet_waits"),
    [(0.01, ["programs"], True), (0.15, ["programs", "etcd"], False), (None, ["programs"], False)],
    ids=["fast", "slow", "not measured"],
)
def test_of_machines_that_are_measured_when_they_are_new_it_tells_what_is_known(
    guest: float | None, hosts: list[str], kubelet_waits: bool
) -> None:
    word = "vagrant:virtualbox"
    folder = provider_of(word, "clitest").project.folder  # type: ignore[attr-defined]
    if guest is not None:
        folder.mkdir(parents=True)
        speed.write(speed.Speed(guest, host=0.01), folder / "speed.json")
    output = thwlab("up", "--dry-run", "--provider", word).output
    assert waits(output)["hosts"] == hosts
    assert ("control-plane" in waits(output)["kubelet"]) is kubelet_waits
    assert ("measured when they are new" in output) is (guest is None)


def test_a_dry_run_without_a_provider_is_of_the_one_the_lab_was_made_with() -> None:
    state_of("clitest").intend("vagrant:virtualbox", "digest", {}, {})
    assert "measured when they are new" in thwlab("up", "--dry-run").output
    assert "measured" not in thwlab("up", "--dry-run", "--provider", "incus").output


def test_the_machines_of_every_table_can_be_asked_for_like_a_stage() -> None:
    result = thwlab("up", "--dry-run", "--until", "machines")
    assert result.exit_code == 0
    assert "k8s-worker2" in result.output
    assert "each machine knows the others" in result.output
    assert "etcd " not in result.output.partition("stages:")[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageFailed("stage etcd: no leader"), 1),
        (ConfigError("plan", ["line 3"]), 2),
        (LabError("no daemon", remedy="start it"), 3),
        (ExceptionGroup("two", [StageFailed("a"), StageFailed("b")]), 1),
        (BaseExceptionGroup("two", [StageFailed("a"), LabError("b")]), 3),
        (OSError(28, "No space left on device", "/var"), 3),
    ],
)
def test_each_failure_has_its_exit_code_and_no_traceback(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, "_bring_up", fail)
    result = thwlab("up")
    assert result.exit_code == code == exit_code(error)
    assert told(error).splitlines()[0] in result.output
    assert "Traceback" not in result.output


def test_a_defect_is_not_hidden() -> None:
    assert not is_told(ExceptionGroup("x", [LabError("a"), KeyError("b")]))


def test_ctrl_c_says_what_is_left_and_what_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "_bring_up", interrupt)
    assert "before anything of lab clitest" in thwlab("up").output
    state_of("clitest").intend("incus:private", "digest")
    result = thwlab("up")
    assert result.exit_code == 130
    assert "thwlab --name clitest down" in result.output


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_all_is_imported_is_quiet(ignored: bool, tmp_path: Path) -> None:
    """As in the first second of a call; a background job's SIGINT stays ignored."""
    (tmp_path / "click.py").write_text("import os\nos.kill(os.getpid(), 2)\nraise SystemExit('went on')\n")
    start = f"import signal, lab.cli; {IGNORE * ignored} lab.cli.main()"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", start], env=env, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == ((1, b"went on\n") if ignored else (130, b"interrupted\n"))


def test_down_says_when_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lifecycle, "remove_lab", lambda name, word, force: asked.append(name) or False)
    assert "nothing to remove" in thwlab("down").output
    assert asked == ["clitest"]


def test_work_in_a_thread_hands_its_error_over() -> None:
    with pytest.raises(LabError, match="boom"):
        lifecycle.interruptible(lambda: (_ for _ in ()).throw(LabError("boom")))


def test_kubectl_gets_every_argument_untouched(lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, ...]] = []
    monkeypatch.setattr(outside, "run_instead", lambda *what: ran.append(what))
    monkeypatch.setattr(outside, "kubectl_program", lambda _: Path("/cache/kubectl"))
    args = ("-n", "x", "exec", "p", "--help", "--name", "y", "--", "ls", "-l")
    assert thwlab("kubectl", *args).exit_code == 0
    assert ran[0][:2] == ("/cache/kubectl", ("kubectl", *args))
    thwlab("kubectl", "--", "get", "nodes")
    assert ran[1][1] == ("kubectl", "get", "nodes"), "by itself it would print its help, and exit 0"


def test_kubectl_sees_no_proxy_and_the_labs_kubeconfig() -> None:
    env = outside.kubectl_environment({"HTTPS_PROXY": "x", "no_proxy": "y", "A": "b"}, Path("/k"))
    assert env == {"A": "b", "KUBECONFIG": "/k"}


def test_the_kubeconfig_is_ours_alone_and_no_secret_is_printed(lab: list[FakeLab]) -> None:
    result = thwlab("kubeconfig")
    path = Path(result.stdout.strip())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FakeApi.url in path.read_text()
    assert "key" not in result.output


def test_env_speaks_each_shells_words() -> None:
    assert outside.env_lines("bash", "/a b/k", "/p") == [
        "export KUBECONFIG='/a b/k'",
        'export PATH=/p:"$PATH"',
    ]
    assert outside.env_lines("fish", "/it's", "/p")[0] == "set -gx KUBECONFIG '/it\\'s'"
    assert outside.login_shell({"SHELL": "/bin/tcsh"}) == "bash"


def test_exec_gives_bytes_and_status_through(lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeMachine, "answer", Ran(7, b"\xaa\xff\x00", b"oh"))
    result = thwlab("exec", "k8s-master1", "--", "ls", "-l", "--help")
    assert result.exit_code == 7
    assert result.stdout_bytes == b"\xaa\xff\x00"
    assert lab[0].one.asked == [("ls", "-l", "--help")]


NO_SUCH = b"Command not found"  # LXD's words for every command that ends with 127


@pytest.mark.parametrize(
    ("argv", "err", "says"),
    [
        (("nope",), NO_SUCH, "k8s-master1: nope: command not found\n"),
        (("ls -l",), NO_SUCH, "thwlab --name clitest exec k8s-master1 -- sh -c 'ls -l'"),
    ],
)
def test_a_command_that_is_not_there_is_named_with_its_machine(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], err: bytes, says: str
) -> None:
    monkeypatch.setattr(FakeMachine, "answers", {argv[0]: Ran(127, b"", err), "sh": Ran(1)})
    result = thwlab("exec", "k8s-master1", *argv)
    assert result.exit_code == 127
    assert says in result.output


def test_a_command_that_ran_and_ended_with_127_speaks_for_itself(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = b"script: 1: nope: not found\n"
    monkeypatch.setattr(FakeMachine, "answers", {"script": Ran(127, b"", own + NO_SUCH), "sh": Ran(0)})
    result = thwlab("exec", "k8s-master1", "script")
    assert (result.exit_code, result.stderr_bytes) == (127, own)


def test_a_unit_that_wrote_nothing_yet_is_no_failure(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"systemctl": Ran(0, b"masked\n"), "journalctl": Ran(1, b"-- No entries --\n")}
    monkeypatch.setattr(FakeMachine, "answers", answers)
    result = thwlab("logs", "k8s-master1", "nginx")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "-- No entries --\n")


def offered(*words: str) -> list[str]:
    """What the Tab key offers for the last of these words."""
    with CliRunner(env=ENV).isolation():
        found = ShellComplete(cli, {"obj": Session()}, "thwlab", "_X").get_completions(
            [*words[:-1]], words[-1]
        )
    return [each.value for each in found]


@pytest.mark.parametrize("command", ["shell", "exec", "logs"])
def test_machines_are_offered(command: str) -> None:
    assert offered(command, "k8s-w") == ["k8s-worker1", "k8s-worker2"]


def test_units_of_the_machine_that_was_typed_are_offered() -> None:
    assert offered("logs", "k8s-master1", "kube-s") == ["kube-scheduler"]
    assert offered("logs", "k8s-worker1", "kube") == ["kubelet", "kube-proxy"]
    assert offered("logs", "nowhere", "") == []


def test_stages_labs_and_versions_are_offered() -> None:
    state_of("other").intend("incus:private", "digest")
    assert offered("up", "--until", "etc") == ["etcd"]
    assert offered("down", "--name", "") == ["other"]
    assert offered("up", "--versions", "1.3")[0] == "1.37"


def test_snapshots_are_offered_and_without_a_lab_none(lab: list[FakeLab]) -> None:
    thwlab("snapshot", "fresh")
    assert offered("restore", "f") == offered("snapshot", "--delete", "") == ["fresh"]


def test_where_nothing_can_be_known_the_tab_key_is_silent() -> None:
    assert offered("restore", "") == []
    assert offered("--config", "/no/such.yaml", "shell", "") == []


def test_a_command_cut_by_its_deadline_is_a_lab_error(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeMachine, "answer", Ran(None, b"partial"))
    result = thwlab("exec", "--timeout", "1", "k8s-master1", "sleep", "9")
    assert result.exit_code == 3
    assert "partial" in result.output
    assert "timed out" in result.output


def test_logs_hide_the_cursor_and_follow_from_it(lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeMachine, "answer", Ran(0, b"line\n-- cursor: s=1;i=2\n"))
    result = thwlab("logs", "k8s-master1", "etcd", "-n", "5")
    assert result.output == "line\n"
    machine = lab[0].one
    assert machine.asked[1][-3:] == ("-u", "etcd", "--lines=5")
    with pytest.raises(NotYet, match="s=1;i=2"):
        Follower(machine, ("journalctl",), "s=0").go_on()
    assert machine.asked[-1][-1] == "--after-cursor=s=0"


USE = """
import sys
from pathlib import Path
from lab.users import Sign
sign = Sign(Path(sys.argv[1]), "artifacts/r1")
print("used", flush=True)
sys.stdin.read()
"""


@contextmanager
def in_use() -> Iterator[int]:
    """Another process, of this pid, uses the lab for the body."""
    argv = [sys.executable, "-c", USE, str(state_of("clitest").path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"used\n"
        yield process.pid
        process.kill()


def test_a_lab_in_use_is_restored_only_by_force(lab: list[FakeLab]) -> None:
    thwlab("snapshot", "fresh")
    with in_use() as pid:
        result = thwlab("restore", "fresh")
        assert result.exit_code == 3
        for word in (f"pid {pid} (", "artifacts/r1", "`thwlab --name clitest restore fresh --force`"):
            assert word in result.output
        assert lab[0].provider.did == ["snapshot fresh"]
        assert thwlab("restore", "fresh", "--force").exit_code == 0
    assert lab[0].provider.did == ["snapshot fresh", "restore fresh"]


class Ground:
    """A provider with nothing but something to remove."""

    def is_there(self) -> bool:
        return True

    def insist_ours(self) -> None:
        return

    def destroy(self) -> None:
        return


def test_a_lab_in_use_is_removed_only_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "remove_lab", opening.remove_lab)
    monkeypatch.setattr(opening, "provider_of", lambda *_: Ground())
    state = state_of("clitest")
    state.intend("incus:private", "digest")
    with in_use() as pid:
        result = thwlab("down")
        assert result.exit_code == 3
        for word in (f"pid {pid} (", "since", "let it finish", "`thwlab --name clitest down --force`"):
            assert word in result.output
        assert state.intent()
        assert "is removed" in thwlab("down", "--force").output
    assert list(state.path.parent.iterdir()) == []


def test_a_lab_whose_user_was_killed_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "remove_lab", opening.remove_lab)
    monkeypatch.setattr(opening, "provider_of", lambda *_: Ground())
    state_of("clitest").intend("incus:private", "digest")
    with in_use():
        pass
    assert "is removed" in thwlab("down").output


def test_snapshots_are_listed_restored_and_deleted_as_the_provider_knows_them(lab: list[FakeLab]) -> None:
    assert thwlab("snapshot", "fresh").exit_code == 0
    assert thwlab("snapshot", "--list").output.split() == ["fresh", "2026-01-01T00:00:01Z"]
    assert thwlab("restore", "fresh").exit_code == 0
    assert thwlab("snapshot", "--delete", "fresh").exit_code == 0
    assert "no snapshots of lab clitest" in thwlab("snapshot", "--list").output
    assert lab[0].provider.did == ["snapshot fresh", "restore fresh", "forget fresh"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("snapshot", "fresh"), "thwlab --name clitest snapshot --delete fresh"),
        (("snapshot", "--delete", "frehs"), "Did you mean 'fresh'"),
        (("restore", "frehs"), "Did you mean 'fresh'"),
        (("snapshot", "--delete"), "--delete NAME"),
        (("snapshot", "--delete", "--list", "fresh"), "--delete NAME"),
    ],
)
def test_mistakes_with_snapshots_do_nothing(lab: list[FakeLab], args: tuple[str, ...], says: str) -> None:
    thwlab("snapshot", "fresh")
    result = thwlab(*args)
    assert result.exit_code == 2
    assert says in result.output
    assert lab[0].provider.did == ["snapshot fresh"]


def test_a_snapshot_of_before_a_machine_came_brings_back_no_whole_lab(lab: list[FakeLab]) -> None:
    thwlab("snapshot", "small")
    lab[0].machines["k8s-worker1"] = lab[0].one
    assert "not of k8s-worker1" in thwlab("snapshot", "--list").output
    result = thwlab("restore", "small")
    assert (result.exit_code, "not of k8s-worker1" in result.output) == (2, True)
    assert lab[0].provider.did == ["snapshot small"]


@pytest.mark.parametrize("args", [("restore", "x"), ("snapshot", "x"), ("snapshot", "--list")])
def test_where_there_is_no_lab_it_is_the_lab_that_is_missed(args: tuple[str, ...]) -> None:
    result = thwlab(*args)
    assert result.exit_code == 3
    assert "there is no lab clitest" in result.output


def test_down_of_a_misspelled_name_says_which_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    state_of("clitset").intend("incus:private", "digest")
    monkeypatch.setattr(lifecycle, "remove_lab", lambda name, word, force: False)
    result = thwlab("down")
    assert result.exit_code == 0
    assert "did you mean --name clitset?" in result.output
    assert "did you mean --name clitset?" in thwlab("status").output


def test_an_up_that_began_nothing_gives_no_advice_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    state_of("clitest").intend("incus:private", "digest")

    def refuse(*_: object, **__: object) -> None:
        raise LabError("runs with another plan")

    monkeypatch.setattr(lifecycle, "open_lab", refuse)
    assert "goes on from here" not in thwlab("up").output


def test_an_up_that_failed_half_way_says_how_to_go_on(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StageFailed("no leader")

    session = Session()
    session.options = {"name": "clitest"}
    monkeypatch.setattr(lifecycle, "open_lab", lambda *_, **__: FakeLab(session))
    monkeypatch.setattr(lifecycle, "_require", fail)
    result = thwlab("up")
    assert result.exit_code == 1
    assert "`thwlab --name clitest up` goes on from here" in result.output


def test_unit_states_tell_absent_and_masked_from_failed() -> None:
    failed = "Id=a.service\nLoadState=loaded\nActiveState=failed\n"
    absent = "Id=b.service\nLoadState=not-found\nActiveState=inactive\n"
    masked = "Id=c.service\nLoadState=masked\nActiveState=inactive\n"
    assert unit_states(f"{failed}\n{absent}\n{masked}") == {
        "a.service": "failed",
        "b.service": "not installed",
        "c.service": "masked",
    }


def test_a_unit_that_runs_and_would_not_at_the_next_boot_is_named_with_what_helps() -> None:
    """Every test is green until the machine boots."""
    shown = "Id={}.service\nLoadState=loaded\nActiveState=active\nUnitFileState={}\n"
    units = unit_states(
        "\n".join(shown.format(*each) for each in (("etcd", "disabled"), ("kubelet", "enabled")))
    )
    assert units == {"etcd.service": "active, disabled", "kubelet.service": "active"}
    master = MachineStatus("k8s-master1", "192.168.100.11", [], "running", units)
    seen = LabStatus("two", "x", "fake", [master], "ok", [], [])
    assert not seen.healthy
    assert render(seen, " --name two")[-1] == (
        "etcd.service on k8s-master1: does not start at boot: `thwlab --name two up` enables it"
    )


@pytest.mark.parametrize(("api", "healthy"), [(NOT_ASKED, True), ("ok", False)])
def test_a_masked_unit_is_well_only_before_its_stage(api: str, healthy: bool) -> None:
    """The image brings the balancers masked; what serves has none."""
    balancer = MachineStatus("k8s-lb", "192.168.100.100", [], "running", {"nginx.service": "masked"})
    seen = LabStatus("two", "x", "fake", [balancer], api, [], [])
    assert seen.healthy is healthy
    (row,) = [row for row in render(seen) if "nginx" in row]
    assert row.split() == ["nginx.service", "masked"]


def test_a_long_stage_says_how_far_it_is() -> None:
    said: list[str] = []
    progress = Progress({"programs": "they are there"}, said.append)
    progress.report("programs", None)
    assert "they are there" in progress.waiting()
    progress.step("programs", "k8s-lb: sending 12 MiB")
    assert "k8s-lb: sending 12 MiB" in progress.waiting()
    progress.report("programs", Outcome("programs", 1.0))
    progress.report("programs", None)
    assert "they are there" in progress.waiting(), "the step was of the time before"


def test_a_heartbeat_says_what_is_waited_for() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress({"etcd": "every member commits"}, said.append, clock=lambda: now[0])
    progress.report("etcd", None)
    now[0] = 5.0
    progress.beat()
    assert said == []
    now[0] = 11.0
    progress.beat()
    assert "etcd, 11 s (every member commits)" in said[0]


def test_notes_that_differ_in_time_left_only_are_said_once() -> None:
    said: list[str] = []
    progress = Progress({}, said.append)
    for text in ("etcd building, about 9 s left", "etcd building, about 8 s left", "etcd ready"):
        progress.note(text)
    assert said == ["etcd building, about 9 s left"]


def test_a_stages_line_says_how_it_went() -> None:
    assert ended(Outcome("etcd", 1.5), "commits").split() == ["ok", "etcd", "1.5", "s", "commits"]
    assert "FAILED" in ended(Outcome("etcd", 1.5, ClusterError("no leader")), "x")
    assert "blocked" in ended(Outcome("api", 0, Blocked("needs etcd")), "x")
    long = ended(Outcome("etcd", 1.5, ClusterError("no leader " * 100)), "x")
    assert len(long) < 240, "all of it is told in the end"
    assert long.endswith(" …")


def test_doctor_is_3_when_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Finding("ip", Verdict.MISSING, "not installed", "network", "apt-get install iproute2")
    monkeypatch.setattr(health, "examine", lambda _: [lacking])
    result = thwlab("doctor")
    assert result.exit_code == 3
    assert "remedy: apt-get install iproute2" in result.output


@pytest.mark.parametrize("words", [(), ("--fix",)])
def test_doctor_tells_of_options_that_thwlab_has(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    lacking = Finding("KVM", Verdict.MISSING, "none", "KVM", "--lab-provider=incus")
    monkeypatch.setattr(health, "examine", lambda _: [lacking])
    result = thwlab("doctor", *words)
    assert result.output.count("--provider=incus") == 1 + len(words)
    assert "--lab-" not in result.output


def test_doctor_installs_nothing_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Finding("ip", Verdict.MISSING, "no", "n", "r", ("iproute2",))
    monkeypatch.setattr(health, "examine", lambda _: [lacking])
    monkeypatch.setattr("lab.doctor.facts.Facts.debian", True)
    monkeypatch.setattr(health, "carry_out", never)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    result = thwlab("doctor", "--fix")
    assert result.exit_code == 3
    assert "install -y" in result.output
    assert "nothing was installed" in result.output


def test_doctor_names_options_as_thwlab_has_them() -> None:
    found = Finding("KVM", Verdict.MISSING, "none", "one", "containers: --lab-provider=incus")
    assert health.report([found])[-1].endswith("remedy: containers: --provider=incus")


def test_doctor_says_that_a_package_made_another_libvirtd_of_the_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacking = Finding("libvirtd", Verdict.MISSING, "no", "n", "r", ("libvirt-daemon-system",))
    found, runs = [lacking], [None]
    monkeypatch.setattr(health, "examine", lambda _: found)
    monkeypatch.setattr("lab.doctor.facts.Facts.debian", True)
    monkeypatch.setattr("lab.choice.running_socket", lambda: runs[0])
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def installed(*_: object) -> None:
        runs[0] = tmp_path
        found.clear()

    monkeypatch.setattr(health, "carry_out", installed)
    for word in ("vagrant:libvirt:private", "incus"):
        runs[0], found[:] = None, [lacking]
        assert (
            "--provider vagrant:libvirt:private is"
            not in thwlab("--provider", word, "doctor", "--fix", "--yes").output
        )
    runs[0], found[:] = None, [lacking]
    said = thwlab("--provider", "vagrant:libvirt", "doctor", "--fix", "--yes").output
    assert "vagrant:libvirt would have been vagrant:libvirt:private" in said
    assert "it is vagrant:libvirt:running now" in said
    assert "--provider vagrant:libvirt:private is one of the lab's own" in said


def test_what_no_lab_needs_may_fail_to_install_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a release without Vagrant would keep CI from having a lab."""
    done: list[str] = []

    def carry_out(commands: list[tuple[str, ...]], _: Path) -> None:
        done.extend(command[-1] for command in commands)
        if commands and commands[0][-1] == "vagrant":
            raise LabError("`apt-get install vagrant` exited 100", remedy="none")

    wished = (("apt-get", "install", "vagrant"), ("apt-get", "install", "ruby"))
    monkeypatch.setattr(health, "carry_out", carry_out)
    monkeypatch.setattr(health, "examine", lambda _: [])
    monkeypatch.setattr(health, "gather", lambda *_: None)
    monkeypatch.setattr(health, "repair_for", lambda *_: Repair((("apt-get", "update"),), (), wished))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    result = thwlab("doctor", "--fix", "--yes")
    assert done == ["update", "vagrant", "ruby"]
    assert "left out, for no lab needs it: `apt-get install vagrant` exited 100" in result.output
    assert result.exit_code == 0


def test_ci_or_yes_goes_ahead() -> None:
    assert health.goes_ahead(False, {"CI": "true"})
    assert health.goes_ahead(True, {})
    assert not health.goes_ahead(False, {"CI": "1"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    result = thwlab("completion", shell)
    assert result.exit_code == 0
    assert "_THWLAB_COMPLETE" in result.output


def test_a_closed_pipe_and_a_poor_locale_are_no_tracebacks(tmp_path: Path) -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "THWLAB_STATE": str(tmp_path)}
    line = f"{sys.executable} -m lab.cli config | true; {sys.executable} -m lab.cli --help >/dev/null"
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stderr == b""


def test_status_as_json_is_json(lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    ill = MachineStatus("m", "1.2.3.4", [], "running", {"etcd.service": "failed"})
    seen = LabStatus("clitest", "x", "fake", [ill], "ok", [("etcd", -2.0)], ["other"])
    monkeypatch.setattr(look, "examine", lambda _: seen)
    result = thwlab("status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["machines"][0]["units"] == {"etcd.service": "failed"}
    assert "ended 2 days ago" in thwlab("status").output


def status_of(**states: str) -> LabStatus:
    machines = [MachineStatus(name, "192.168.100.1", [], state, {}) for name, state in states.items()]
    return LabStatus("two", "x", "fake", machines, NOT_ASKED, [], [])


@pytest.mark.parametrize(
    ("states", "healthy", "says"),
    [
        ({"a": "running", "b": "not created"}, True, ""),
        (
            {"a": "not created", "b": "not created"},
            False,
            "no machine was created yet: `thwlab --name two up`",
        ),
        ({"a": "running", "b": "stopped"}, False, "b stopped: `thwlab --name two up` boots it"),
        ({"a": "running", "b": "gone"}, False, "b gone: `thwlab --name two up` makes anew, without"),
        ({"a": "paused", "b": "paused"}, False, "a, b paused: `thwlab --name two up` resumes them"),
        ({"a": "no answer within 8s", "b": "running"}, False, "no answer within 8s"),
    ],
)
def test_status_tells_what_is_off_and_what_brings_it_back(
    states: dict[str, str], healthy: bool, says: str
) -> None:
    seen = status_of(**states)
    assert seen.healthy is healthy
    assert says in "\n".join(render(seen, " --name two"))
    assert ("thwlab" in "\n".join(render(seen))) is ("thwlab" in says)


def test_only_machines_that_run_are_asked_for_their_units(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProvider, "states", lambda _: {"k8s-master1": "paused"}, raising=False)
    result = thwlab("status")
    assert result.exit_code == 1
    assert "paused" in result.output
    assert "k8s-lb         192.168.100.100  not created" in result.output
    assert lab[0].one.asked == []


def test_a_machine_that_was_there_and_is_no_more_is_no_healthy_lab(
    lab: list[FakeLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed by hand; it was called `not created`, as if nobody had asked for it yet."""
    monkeypatch.setattr(FakeProvider, "states", lambda _: {"k8s-master1": "paused"}, raising=False)
    proven = frozenset({"etcd", "load-balancer"})
    monkeypatch.setattr(StateFolder, "proven", lambda *_: proven)
    result = thwlab("status")
    assert result.exit_code == 1
    assert "k8s-lb         192.168.100.100  gone" in result.output
    assert "k8s-worker1    192.168.100.21   not created" in result.output


@pytest.mark.parametrize("args", [("status",), ("exec", "k8s-lb", "true"), ("kubeconfig",)])
def test_a_dead_daemon_is_named_with_what_brings_it_back(args: tuple[str, ...]) -> None:
    state = state_of("clitest")
    state.intend("incus:private", load_plan(DEFAULT, name="clitest").topology.digest())
    (state.path / "incus").mkdir()
    result = thwlab(*args)
    assert result.exit_code == 3
    assert "lab clitest: its daemon is dead" in result.output
    assert "`thwlab --name clitest up` starts it again" in result.output


def test_commands_that_look_know_the_plan_the_lab_was_brought_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    small = (DEFAULT.parents[1] / "docs/plans/small.yaml").resolve()
    plan = load_plan(small, name="mine").topology
    state_of("mine").intend("incus:private", plan.digest(), {}, {"config": str(small)})
    session = Session()
    session.options = {"name": "mine"}
    intent = state_of("mine").intent()
    assert intent is not None
    assert session._plan_of(intent).digest() == plan.digest()
    session = Session()
    session.options = {"name": "mine", "versions": "1.36"}
    with pytest.raises(LabError, match=r"--config .*small\.yaml"):
        session._plan_of(intent)
