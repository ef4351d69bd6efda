"""Readiness as the machine tells it: the real shell lines, with stand-ins for the programs they call."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from component_files import CONTAINER, POD_CIDRS, VM, everything
from fake_lab import never
from fixed import fixed_credentials, guide_topology

from lab import carrying
from lab.carrying import Load
from lab.components import base, readiness
from lab.components.admin import KUBECONFIG, Admin
from lab.components.apiserver import ApiServer
from lab.components.base import Component, await_all, await_ready, cargo_of, install, last_words, place
from lab.components.cni import CniFlannel, CniRouted
from lab.components.controller_manager import ControllerManager
from lab.components.etcd import Etcd
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.components.nginx import Nginx
from lab.components.node_prep import Hosts
from lab.components.outside import Outside
from lab.components.readiness import ask
from lab.components.rendering import SA_KEY
from lab.components.scheduler import Scheduler
from lab.errors import LabError, WaitExpired
from lab.machine import File, Machine, Platform, Result
from lab.signatures import recognised
from lab.topology import Node
from lab.transfer import Carried
from lab.wait import NotYet, stretch, wait_until

PLAN = guide_topology()
STAND_INS = {"systemctl": "echo ActiveState=failed; echo NRestarts=7", "journalctl": "echo last words"}


class Here(Machine):
    """Runs commands on this host, with ``programs`` (name: shell body) before all others in the path."""

    def __init__(self, node: Node, folder: Path, **programs: str) -> None:
        super().__init__(node)
        self.folder, self.calls, self.files, self.transfers = folder, [], {}, 0
        stand_ins = {
            "systemctl": "echo ActiveState=failed; echo NRestarts=7",
            "journalctl": "echo last words",
        }
        for name, body in (stand_ins | programs).items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.calls.append(argv)
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        done = subprocess.run(argv, input=stdin, capture_output=True, env=env, timeout=10)
        return Result(done.returncode, done.stdout, done.stderr)

    def carry(
        self,
        files: Sequence[File],
        lacking: Mapping[str, Sequence[File]] | None = None,
        *,
        look: Sequence[str] = (),
        timeout: float = 60,
    ) -> Carried:
        self.transfers += 1
        more = [f for sake, each in (lacking or {}).items() if sake not in self.files for f in each]
        left = frozenset(f.path for f in more if self.files.get(f.path, f) != f)
        wanted = [*files, *(f for f in more if f.path not in left)]
        changed = frozenset(f.path for f in wanted if self.files.get(f.path) != f)
        self.files |= {f.path: f for f in wanted}
        seen = self.run(*look).stdout if look and changed != {f.path for f in (*files, *more)} else ""
        return Carried(changed, left, seen)

    def _never(self) -> None:
        raise NotImplementedError

    pull_plug = boot = reboot = pause = resume = _never


class Silent(Here):
    """Answers nothing before the deadline."""

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        return Result(None)


def master(folder: Path, **programs: str) -> Here:
    return Here(PLAN.node("k8s-master1"), folder, **programs)


def worker(folder: Path, **programs: str) -> Here:
    return Here(PLAN.node("k8s-worker1"), folder, **programs)


def test_a_good_answer_is_silence(tmp_path: Path) -> None:
    ask(master(tmp_path), "etcd.service", "echo fine")


def test_not_yet_tells_answer_state_and_last_words_in_one_round_trip(tmp_path: Path) -> None:
    machine = master(tmp_path)
    with pytest.raises(NotYet, match=r"sick \| etcd.service ActiveState=failed NRestarts=7 \| last words"):
        ask(machine, "etcd.service", "echo sick; false")
    assert len(machine.calls) == 1


def test_without_a_unit_nobody_is_asked_for_its_journal(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match=r"^sick$"):
        ask(master(tmp_path), None, "echo sick; false")


def test_no_answer_before_the_deadline_is_not_yet(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="no answer within"):
        ask(Silent(PLAN.nodes[0], tmp_path), "etcd.service", "true")


def test_an_apiserver_is_ready_when_it_says_200(tmp_path: Path) -> None:
    curl = r"printf '[+]ping ok\nreadyz check passed\n200'"
    ApiServer(PLAN, CONTAINER).check_ready(master(tmp_path, curl=curl))


def test_an_apiserver_that_fails_names_the_checks_and_not_those_that_pass(tmp_path: Path) -> None:
    curl = r"printf '[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n500'"
    with pytest.raises(NotYet, match=r"^\[-]etcd failed") as seen:
        ApiServer(PLAN, CONTAINER).check_ready(master(tmp_path, curl=curl))
    assert "ping ok" not in str(seen.value)


def test_an_apiserver_that_refuses_is_not_ready(tmp_path: Path) -> None:
    curl = "echo 'curl: (7) refused' >&2; printf 000; exit 7"
    with pytest.raises(NotYet, match="refused"):
        ApiServer(PLAN, CONTAINER).check_ready(master(tmp_path, curl=curl))


def test_an_apiserver_is_asked_at_its_own_address(tmp_path: Path) -> None:
    curl = f'echo "$@" >{tmp_path}/asked; printf 200'
    ApiServer(PLAN, CONTAINER).check_ready(master(tmp_path, curl=curl))
    assert "https://192.168.100.11:6443/readyz?verbose" in (tmp_path / "asked").read_text()


def test_nginx_that_runs_but_does_not_listen_is_not_ready(tmp_path: Path) -> None:
    machine = Here(PLAN.node("k8s-lb"), tmp_path, systemctl="echo active", bash="echo refused; exit 1")
    with pytest.raises(NotYet, match="refused"):
        Nginx(PLAN, CONTAINER).check_ready(machine)


def test_what_a_unit_said_in_error_is_told_before_its_last_lines(tmp_path: Path) -> None:
    said = [
        '{"level":"fatal","msg":"the last error"}',
        "E1126 19:06:12 proxier.go:1] no rules",
        *(f'{{"level":"info","msg":"line {number}"}}' for number in range(9)),
    ]
    journal = tmp_path / "journal"
    journal.write_text("\n".join(said))
    machine = worker(tmp_path, ip="true", journalctl=f"cat {journal}")
    with pytest.raises(NotYet) as seen:
        CniRouted(PLAN, CONTAINER, POD_CIDRS).check_ready(machine)
    told = str(seen.value)
    assert "the last error" in told
    assert "no rules" in told
    assert told.endswith('"line 8"}')
    assert "line 3" not in told


def test_a_kube_proxy_whose_rules_are_gone_tells_what_helps(tmp_path: Path) -> None:
    machine = worker(tmp_path, curl="case $* in *10.0.0.1*) echo refused; exit 7;; esac")
    with pytest.raises(NotYet, match=r"refused \| its rules do not lead there, and systemctl restart"):
        KubeProxy(PLAN, CONTAINER).check_ready(machine)


def test_a_missing_route_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match=r"no route to 10\.10\.1\.0/24"):
        CniRouted(PLAN, CONTAINER, POD_CIDRS).check_ready(worker(tmp_path, ip="true"))


ROUTE = "echo 10.10.1.0/24 via 192.168.100.22 dev eth0"


def test_every_route_there_is_ready(tmp_path: Path) -> None:
    machine = worker(tmp_path, ip=ROUTE, ls="printf '%s\\n' 10-thwlab.conflist 87-other.conf")
    CniRouted(PLAN, CONTAINER, POD_CIDRS).check_ready(machine)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("10-thwlab.conflist 00-other.conf", "takes /etc/cni/net.d/00-other.conf before"),
        ("", "takes /etc/cni/net.d/ before"),
    ],
)
def test_a_network_that_the_runtime_takes_first_is_named(tmp_path: Path, there: str, said: str) -> None:
    machine = worker(tmp_path, ip=ROUTE, ls=f"printf '%s\\n' {there}")
    with pytest.raises(NotYet, match=said):
        CniRouted(PLAN, CONTAINER, POD_CIDRS).check_ready(machine)


def test_a_crash_loop_ends_the_wait_with_its_cause(tmp_path: Path) -> None:
    scheduler = Scheduler(PLAN, CONTAINER)
    scheduler.patience = 0
    with pytest.raises(WaitExpired, match=r"kube-scheduler on k8s-master1.*last words"):
        install([scheduler], [master(tmp_path, curl="exit 7")], fixed_credentials())


def test_journals_are_read_once_when_a_wait_has_expired_and_not_by_every_try(tmp_path: Path) -> None:
    """They cost the machine that is waited for more than the question does."""
    scheduler = Scheduler(PLAN, CONTAINER)
    scheduler.patience = 0.5
    reads = tmp_path / "reads"
    machine = master(tmp_path, curl="exit 7", journalctl=f"echo read >>{reads}; echo last words")
    with pytest.raises(WaitExpired, match="last words"):
        await_ready(scheduler, machine)
    tries = [argv for argv in machine.calls if argv[0] == "sh"]
    assert len(tries) > 1
    assert len(reads.read_text().splitlines()) <= 2


def test_last_words_are_of_those_that_do_not_serve(tmp_path: Path) -> None:
    curl = "case $* in *10259*) exit 7;; esac"
    machine, both = (
        master(tmp_path, curl=curl),
        [kind(PLAN, CONTAINER) for kind in (ControllerManager, Scheduler)],
    )
    (said,) = last_words(both, [machine])
    assert said.startswith("k8s-master1: kube-scheduler.service ActiveState=failed")
    assert said.endswith("last words")


def test_a_machine_that_cannot_be_asked_hides_no_other_ones_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(*_: object, **__: object) -> Result:
        raise LabError("k8s-master1 is not running")

    machine = master(tmp_path)
    monkeypatch.setattr(machine, "run", off)
    assert last_words([Scheduler(PLAN, CONTAINER)], [machine]) == ["k8s-master1: k8s-master1 is not running"]


FAILED = "echo ActiveState=failed"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are looked at at once."""
    monkeypatch.setattr(readiness, "LOOK", 0.0)
    monkeypatch.setattr(base, "LINGER", 0.0)


def test_a_unit_that_failed_for_good_is_not_waited_for(tmp_path: Path, impatient: None) -> None:
    scheduler = Scheduler(PLAN, CONTAINER)
    machine = master(tmp_path, curl="echo refused; exit 7", systemctl=FAILED)
    said = r"kube-scheduler.service has failed, and nothing starts it again; refused; .*last words"
    with pytest.raises(WaitExpired, match=said) as raised:
        await_ready(scheduler, machine)
    assert raised.value.seconds < scheduler.patience / 2


@pytest.mark.parametrize(
    "state", [f"{FAILED}; echo Job=17", "echo ActiveState=activating", "echo ActiveState=active; echo Job=0"]
)
def test_a_unit_that_is_about_to_start_is_waited_for(tmp_path: Path, impatient: None, state: str) -> None:
    """One that had failed before has a job for a while."""
    turns = tmp_path / "turns"
    curl = f"echo >>{turns}; [ $(wc -l <{turns}) -ge 3 ]"
    await_ready(Scheduler(PLAN, CONTAINER), master(tmp_path, curl=curl, systemctl=state))
    assert len(turns.read_text().splitlines()) == 3


def test_a_unit_is_looked_at_now_and_then_and_not_at_each_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "LOOK", 0.5)
    machine = master(tmp_path, systemctl="echo ActiveState=active")
    asked: list[float] = []

    def no() -> None:
        asked.append(time.monotonic())
        raise NotYet("refused")

    with pytest.raises(WaitExpired):
        wait_until("it", readiness.Watch(machine, "etcd.service", no, never).check, timeout=1.2, every=0.02)
    assert len(machine.calls) == 2
    assert len(asked) > 10


@pytest.mark.parametrize(("slowness", "looks"), [(1.0, 5), (10.0, 1)])
def test_a_slow_machine_is_looked_at_as_much_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowness: float, looks: int
) -> None:
    """In emulation a look took most of the processor that an apiserver needed to come up."""
    now = [0.0]
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: now[0]))
    machine = master(tmp_path, systemctl="echo ActiveState=active")
    stretch(slowness)
    try:
        watch = readiness.Watch(machine, "etcd.service", no_answer, no_answer)
        for now[0] in (*range(0, 14), 30.0):
            with pytest.raises(NotYet):
                watch.check()
    finally:
        stretch(1.0)
    assert len(machine.calls) == looks


def no_answer() -> None:
    raise NotYet("refused")


def test_what_has_no_unit_is_only_asked(tmp_path: Path, impatient: None) -> None:
    machine = master(tmp_path, systemctl=FAILED)

    def no() -> None:
        raise NotYet("refused")

    with pytest.raises(NotYet):
        readiness.Watch(machine, None, no, never).check()
    assert machine.calls == []


def test_what_this_host_cannot_ask_is_asked_on_the_machine_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall between the two is no reason to wait until patience ends."""
    monkeypatch.setattr(readiness, "THERE", 0.2)
    began, asked = time.monotonic(), []

    def no() -> None:
        raise NotYet("timed out")

    watch = readiness.Watch(master(tmp_path), None, no, lambda: asked.append(time.monotonic()))
    wait_until("it", watch.check, timeout=5, every=0.02)
    (once,) = asked
    assert once - began >= 0.2


def test_where_there_is_no_way_from_this_host_the_machine_is_asked(tmp_path: Path) -> None:
    """A forwarder that cannot be had, for its port is another's now, is no fault of the component."""
    machine, asked = master(tmp_path, curl="printf 200"), []

    def no_way(name: str, port: int) -> tuple[str, int]:
        asked.append((name, port))
        raise LabError(f"cannot forward to {name}:{port}")

    await_ready(ApiServer(PLAN, CONTAINER), machine, Outside(no_way, fixed_credentials()))
    assert asked == [(machine.name, 6443)]
    assert machine.calls


def verbs(machine: Here) -> list[str]:
    """What systemctl was told to do, one entry per call, after the units that were enabled.

    What a machine's load looks at is asked by another shell.
    """
    return [", ".join(argv[4:]) for argv in machine.calls if argv[0] == "sh"]


def test_the_second_time_nothing_is_restarted(tmp_path: Path) -> None:
    machine, kubelet = worker(tmp_path, systemctl="true"), Kubelet(PLAN, CONTAINER)
    assert [place([kubelet], machine, fixed_credentials()) for _ in range(2)] == [["kubelet"], []]
    assert verbs(machine) == ["restart kubelet.service", "start kubelet.service"]


def test_a_new_configuration_reloads_nginx_and_a_new_unit_restarts_it(tmp_path: Path) -> None:
    machine, nginx = Here(PLAN.node("k8s-lb"), tmp_path, systemctl="true"), Nginx(PLAN, CONTAINER)
    place([nginx], machine, fixed_credentials())
    del machine.files["/etc/nginx/nginx.conf"]
    place([nginx], machine, fixed_credentials())
    assert verbs(machine) == ["restart nginx.service", "reload-or-restart nginx.service"]


def test_a_file_that_two_read_restarts_both_though_the_first_one_wrote_it(tmp_path: Path) -> None:
    """A wrong service-account key, put right by the apiserver's stage, stayed in the controller-manager."""
    machine, both = master(tmp_path, systemctl="true"), (ApiServer, ControllerManager)
    for kind in both:
        place([kind(PLAN, CONTAINER)], machine, fixed_credentials())
    del machine.files[SA_KEY]
    told = [place([kind(PLAN, CONTAINER)], machine, fixed_credentials()) for kind in (*both, *both)]
    assert told == [["kube-apiserver"], ["kube-controller-manager"], [], []]


def test_files_that_came_with_anothers_start_their_unit_all_the_same(tmp_path: Path) -> None:
    """And are told of once: whoever placed them before was not the one who reads them."""
    machine, both = master(tmp_path, systemctl="true"), (ApiServer, ControllerManager)
    cargo = cargo_of([kind(PLAN, CONTAINER) for kind in both], machine.node, fixed_credentials())
    machine.load = Load(machine, lambda: cargo)
    told = [place([kind(PLAN, CONTAINER)], machine, fixed_credentials()) for kind in (*both, *both)]
    assert told == [["kube-apiserver"], ["kube-controller-manager"], [], []]
    assert verbs(machine) == [
        "restart kube-apiserver.service",
        "restart kube-controller-manager.service",
        "start kube-apiserver.service",
        "start kube-controller-manager.service",
    ]
    assert machine.transfers == 1


def seen(unit: str, since: str, state: str = "active", enabled: str = "enabled") -> str:
    """What systemctl shows of a unit."""
    return f"Id={unit}\nActiveState={state}\nUnitFileState={enabled}\nStateChangeTimestamp={since}\n\n"


def filled(
    tmp_path: Path, shown: str, stamps: Mapping[str, float], *, probing: bool = False, **more: str
) -> tuple[Here, list[Component]]:
    """A master with all files of two components; what systemctl shows there, and when files changed."""
    (tmp_path / "shown").write_text(shown)
    (tmp_path / "stamps").write_bytes(b"".join(f"{at:.9f} {path}\0".encode() for path, at in stamps.items()))
    programs = {"systemctl": f"[ $1 != show ] || cat {tmp_path}/shown", "stat": f"cat {tmp_path}/stamps"}
    machine = master(tmp_path, **programs, **more)
    both: list[Component] = [kind(PLAN, CONTAINER) for kind in (ApiServer, ControllerManager)]
    cargo = cargo_of(both, machine.node, fixed_credentials(), probing=probing)
    machine.apply([*cargo.freely, *(file for files in cargo.lacking.values() for file in files)])
    machine.load = Load(machine, lambda: cargo)
    return machine, both


NOON = "Fri 2026-11-27 12:00:00.500000 UTC"
EARLY = "Fri 2026-11-27 11:59:59.000000 UTC"
AT_NOON = datetime(2026, 11, 27, 12, 0, 0, 500000, UTC).timestamp()
APISERVER, MANAGER = "kube-apiserver.service", "kube-controller-manager.service"


def test_what_is_right_and_runs_is_told_nothing(tmp_path: Path) -> None:
    """Each command on a machine takes 0.1 s or more, and the second `up` has to look at them all."""
    stamps = {SA_KEY: AT_NOON - 0.001, f"/etc/systemd/system/{APISERVER}": AT_NOON}
    machine, both = filled(tmp_path, seen(APISERVER, NOON) + seen(MANAGER, "", "inactive"), stamps)
    for component in both:
        assert place([component], machine, fixed_credentials()) == []
    assert verbs(machine) == [f"start {MANAGER}"]


def asked_apart(machine: Here, component: Component) -> bool:
    """Whether it was asked on its machine by a command of its own."""
    before = len(machine.calls)
    await_all([component], [machine])
    return len(machine.calls) > before


@pytest.mark.parametrize(
    ("curl", "since", "apart"), [("exit 0", NOON, False), ("sleep 3", NOON, True), ("exit 0", EARLY, True)]
)
def test_who_answered_when_units_were_looked_at_is_not_asked_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curl: str, since: str, apart: bool
) -> None:
    """But who did not answer soon is, and everybody on a machine on which somebody was told of a change."""
    monkeypatch.setattr(carrying, "PATIENCE", 1)
    shown = seen(APISERVER, since) + seen(MANAGER, NOON)
    machine, (apiserver, manager) = filled(
        tmp_path, shown, {SA_KEY: AT_NOON - 0.001}, probing=True, curl=curl
    )
    place([manager], machine, fixed_credentials())
    place([apiserver], machine, fixed_credentials())
    (tmp_path / "curl").write_text("#!/bin/sh\n")
    assert asked_apart(machine, manager) is apart


def test_who_can_be_asked_from_outside_is_not_asked_along(tmp_path: Path) -> None:
    both: list[Component] = [kind(PLAN, CONTAINER) for kind in (ApiServer, ControllerManager)]
    node = PLAN.node("k8s-master1")
    assert [*cargo_of(both, node, fixed_credentials(), probing=True).probes] == ["kube-controller-manager"]
    assert cargo_of(both, node, fixed_credentials()).probes == {}


def test_where_files_were_written_nobody_is_known_to_serve(tmp_path: Path) -> None:
    machine, (_, manager) = filled(
        tmp_path, seen(APISERVER, NOON) + seen(MANAGER, NOON), {}, probing=True, curl="exit 0"
    )
    machine.files.pop(SA_KEY)
    place([manager], machine, fixed_credentials())
    assert machine.load is not None
    assert machine.load.served == frozenset()


def test_a_file_newer_than_its_units_last_change_is_told_of_once(tmp_path: Path) -> None:
    """Whoever brought it was killed before he came to the unit, which would run on with the old one."""
    machine, both = filled(tmp_path, seen(APISERVER, NOON) + seen(MANAGER, EARLY), {SA_KEY: AT_NOON - 0.001})
    changed = [place([component], machine, fixed_credentials()) for component in (*both, *both)]
    assert changed == [[], ["kube-controller-manager"], [], []]
    assert verbs(machine) == [f"restart {MANAGER}"]


def test_a_unit_that_runs_and_was_disabled_is_enabled_and_named(tmp_path: Path) -> None:
    """It would be gone with its machine's next boot, and until then nothing shows it."""
    shown = seen(APISERVER, NOON, enabled="disabled") + seen(MANAGER, NOON)
    machine, both = filled(tmp_path, shown, {SA_KEY: AT_NOON - 1})
    asked = tmp_path / "asked"
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$*" >>{asked}\ncase $1 in show) cat {tmp_path}/shown;; '
        "is-active) echo active;; is-enabled) exit 1;; esac\n"
    )
    said = place(both, machine, fixed_credentials())
    assert said == ["kube-apiserver, which would not have come back with its machine"]
    assert [line for line in asked.read_text().splitlines() if not line.startswith("show")] == [
        f"is-active {APISERVER}",
        f"is-enabled --quiet {APISERVER}",
        f"enable --quiet {APISERVER}",
    ]


def test_a_member_that_the_others_removed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at each start, and systemd starts it again for ever."""
    monkeypatch.setattr(readiness, "LOOK", 0)
    words = '{"level":"warn","msg":"the member has been permanently removed from the cluster"}'
    machine = master(
        tmp_path, systemctl="echo ActiveState=activating; echo Job=0", journalctl=f"echo '{words}'"
    )

    def no() -> None:
        raise NotYet("refused")

    watch = readiness.Watch(machine, "etcd.service", no, no, Etcd.ends_for_good)
    watch._next = 0.0
    with pytest.raises(readiness.UnitFailed, match="permanently removed from the cluster"):
        watch.check()


def test_who_ended_for_good_is_not_asked_once_more_and_no_stack_is_shown(
    tmp_path: Path, impatient: None
) -> None:
    """Its client would wait 10 s for an answer; and 2 kB of stack hid what it said."""
    words = '{"msg":"permanently removed from the cluster","stacktrace":"main.go(12)"}'
    machine = master(
        tmp_path, systemctl="echo ActiveState=activating; echo Job=0", journalctl=f"echo '{words}'"
    )
    with pytest.raises(WaitExpired, match="permanently removed") as told:
        await_ready(Etcd(PLAN, CONTAINER), machine)
    assert "stacktrace" not in str(told.value)
    assert machine.calls[-1][4] == "false"


class Mortal(Scheduler):
    """A component with words of its own for an end that no further start undoes."""

    ends_for_good = ("gone for good", "and that is that")


LAST = '{"level":"warn","msg":"and that is that"}'


def test_a_component_with_words_of_its_own_is_not_waited_for_once_it_says_them(
    tmp_path: Path, impatient: None
) -> None:
    machine = master(
        tmp_path,
        curl="echo refused; exit 7",
        systemctl="echo ActiveState=activating; echo Job=0",
        journalctl=f"echo '{LAST}'",
    )
    said = "kube-scheduler.service ends at each start, and no further one helps: it says 'and that is that'"
    with pytest.raises(WaitExpired, match=said) as raised:
        await_ready(Mortal(PLAN, CONTAINER), machine)
    assert raised.value.seconds < Mortal.patience / 2


@pytest.mark.parametrize(("component", "told"), [(Mortal, True), (Scheduler, False)])
def test_what_a_component_calls_its_end_is_told_though_it_lies_far_back(
    tmp_path: Path, component: type[Scheduler], told: bool
) -> None:
    journal = tmp_path / "journal"
    journal.write_text("\n".join([LAST, *(f"line {number}" for number in range(90))]))
    machine = master(tmp_path, curl="echo refused; exit 7", journalctl=f'tail -n "$4" {journal}')
    with pytest.raises(NotYet) as seen:
        component(PLAN, CONTAINER).check_ready(machine)
    assert (LAST in str(seen.value)) is told
    assert "line 89" in str(seen.value)


def test_etcd_says_its_end_as_the_signature_has_it() -> None:
    """`lab.signatures` explains the same line of a journal."""
    (words,) = Etcd.ends_for_good
    assert recognised(words)


def test_where_systemd_does_not_say_since_when_every_unit_is_asked_apart(tmp_path: Path) -> None:
    machine, both = filled(tmp_path, "", {SA_KEY: AT_NOON})
    assert place(both, machine, fixed_credentials()) == []
    assert verbs(machine) == [f"start {APISERVER}, start {MANAGER}"]


class Says(Hosts):
    """A component that is asked on its machine whether a file of its name is there."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(PLAN, CONTAINER)
        self.name, self.patience, self.folder = name, 1, folder

    def probe(self, node: Node) -> str:
        return f"test -e {self.folder}/{self.name} || {{ echo no {self.name}; exit 1; }}"


def test_components_of_one_machine_are_asked_in_one_command(tmp_path: Path) -> None:
    machine = master(tmp_path)
    both = [Says(tmp_path, name) for name in ("one", "two")]
    for each in both:
        (tmp_path / each.name).touch()
    await_all(both, [machine])
    assert len(machine.calls) == 1


@pytest.mark.parametrize("missing", ["one", "two"])
def test_of_several_asked_in_one_command_the_one_that_does_not_serve_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(base, "LINGER", 0)
    both = [Says(tmp_path, name) for name in ("one", "two")]
    (other,) = (each.name for each in both if each.name != missing)
    (tmp_path / other).touch()
    with pytest.raises(WaitExpired, match=f"{missing} on k8s-master1.*no {missing}"):
        await_all(both, [master(tmp_path)])


def test_cargo_is_free_where_no_unit_reads_it() -> None:
    """The machine of the balancer is the administrator's too, and its member of etcd reads the same CA."""
    node, kinds = PLAN.node("k8s-lb"), (Hosts, Etcd, Admin)
    cargo = cargo_of([kind(PLAN, CONTAINER) for kind in kinds], node, fixed_credentials())
    freely = {file.path for file in cargo.freely}
    lacking = {file.path for more in cargo.lacking.values() for file in more}
    assert set(cargo.lacking) == {"/etc/systemd/system/etcd.service"}
    assert {"/etc/hosts", KUBECONFIG} <= freely
    assert {"/opt/etcd/ssl/ca.pem", "/etc/systemd/system/etcd.service"} <= lacking
    assert not freely & lacking


def test_a_unit_that_did_not_run_is_enabled_though_its_files_are_right(tmp_path: Path) -> None:
    """Whoever brought them may have been killed before he came to it: it would not run at the next boot."""
    calls = tmp_path / "calls"
    systemctl = f'echo "$*" >>{calls}; case $1 in is-active) echo inactive;; esac'
    machine, kubelet = worker(tmp_path, systemctl=systemctl), Kubelet(PLAN, CONTAINER)
    machine.apply(kubelet.files(machine.node, fixed_credentials()))
    assert place([kubelet], machine, fixed_credentials()) == ["kubelet, which did not run"]
    unit = "kubelet.service"
    assert calls.read_text().splitlines() == [
        f"is-active {unit}",
        f"enable --quiet {unit}",
        f"start --no-block {unit}",
    ]


def test_files_without_a_unit_touch_no_unit(tmp_path: Path) -> None:
    machine = master(tmp_path)
    hosts = everything(PLAN, CONTAINER)[0]
    assert place([hosts], machine, fixed_credentials()) == ["hosts"]
    assert machine.calls == []


def test_flannels_answer_becomes_a_cni_configuration(tmp_path: Path) -> None:
    (tmp_path / "subnet.env").write_text("FLANNEL_SUBNET=10.10.3.1/24\nFLANNEL_MTU=1450\n")
    files = CniFlannel(PLAN, CONTAINER).files(PLAN.node("k8s-worker1"), fixed_credentials())
    script = next(file.content.decode() for file in files if file.path.endswith("flannel-conflist"))
    script = script.replace("/run/flannel", str(tmp_path)).replace("/etc/cni/net.d", str(tmp_path))
    subprocess.run(["/bin/sh", "-c", script], check=True, timeout=10)
    made = (tmp_path / "10-thwlab.conflist").read_text()
    assert '"subnet": "10.10.3.0/24"' in made
    assert '"mtu": 1450' in made


def scripts(component: Component) -> list[bytes]:
    every = (component.files(node, fixed_credentials()) for node in component.nodes())
    return [file.content for files in every for file in files if file.mode == 0o755]


@pytest.mark.parametrize("platform", [CONTAINER, VM], ids=["container", "vm"])
def test_every_script_is_a_shell_script(platform: Platform) -> None:
    found = [text for component in everything(PLAN, platform) for text in scripts(component)]
    assert found
    for text in found:
        subprocess.run(["/bin/sh", "-n"], input=text, check=True, timeout=10)
