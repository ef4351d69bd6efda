"""A run's use of a lab, and the signs of life it gives."""

from pathlib import Path
from typing import Any

import fake_lab
import pytest

from lab.bringup import Blocked, Outcome, StageFailed
from lab.errors import ConfigError, LabError
from lab.heartbeat import Heartbeat
from lab.history import read
from lab.session import LabSession, stages_of
from lab.settings import resolve


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FAKE_EVENTS", str(tmp_path / "events"))
    fake_lab.install(monkeypatch.setattr)
    return tmp_path


def records(folder: Path) -> list[dict[str, Any]]:
    """The one stream of a run, also when these tests run in a worker of xdist."""
    (stream,) = folder.glob("records*.jsonl")
    return read(stream)


def session(root: Path, told: list[str], **options: str) -> LabSession:
    return LabSession(resolve({"run": "r1", **options}, {}, {}), root, told.append)


def test_making_one_touches_nothing(root: Path, told: list[str]) -> None:
    new = session(root, told)
    assert new.topology.name == "thw"
    assert new.outcomes() == {}
    new.finish(failed=True)
    new.remove(failed=True)
    assert list(root.iterdir()) == []
    assert told == []


def test_the_plan_and_the_provider_are_checked_together(root: Path, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        session(root, told, provider="cloud", versions="9.9").check()
    assert "cloud" in str(caught.value)
    assert "9.9" in str(caught.value)
    session(root, told, provider="incus:private").check()


def test_the_latest_link_points_to_the_newest_run(root: Path, told: list[str]) -> None:
    for run in ("r1", "r2"):
        session(root, told, run=run).require("etcd")
        assert (root / "artifacts/latest").readlink() == Path(run)
    assert records(root / "artifacts/latest")


def test_records_tell_the_bringup(root: Path, told: list[str]) -> None:
    session(root, told).require("etcd")
    kinds = [(each["kind"], each.get("stage")) for each in records(root / "artifacts/r1")]
    assert kinds[:3] == [("run", None), ("note", None), ("stage-start", "machines")]
    assert kinds[-1] == ("stage", "etcd")


def test_each_worker_of_xdist_has_a_stream_of_its_own(
    root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        session(root, told).require("etcd")
    names = sorted(path.name for path in (root / "artifacts/r1").iterdir())
    assert names == ["records-gw0.jsonl", "records-gw1.jsonl"]


def test_a_beat_says_how_far_something_is() -> None:
    told: list[str] = []
    now = [0.0]
    heart = Heartbeat(told.append, silence=15, clock=lambda: now[0])
    heart.started("programs")
    heart.step("programs", "k8s-lb: sending 12 MiB")
    now[0] = 20.0
    heart.beat()
    assert told == ["  ...    still at work: programs 20 s (k8s-lb: sending 12 MiB)"]
    heart.ended("programs")
    heart.started("programs")
    now[0] = 40.0
    heart.beat()
    assert told[1] == "  ...    still at work: programs 20 s"


def test_a_note_that_something_is_ready_is_recorded_and_not_told(root: Path, told: list[str]) -> None:
    session(root, told)._told("programs: etcd (1/9) ready")
    assert told == []


def test_stages_that_this_plan_does_not_have_are_left_out(root: Path, told: list[str]) -> None:
    new = session(root, told)
    new.wanted = {"etcd", "vip"}
    new.require("etcd", "vip")
    assert "vip" not in new.outcomes()


def test_what_is_up_already_takes_no_lock(
    root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = session(root, told)
    new.require("etcd")
    monkeypatch.setattr("lab.state.StateFolder.locked", None)
    new.require("etcd")


def test_a_failure_to_open_is_kept_and_nothing_is_collected(
    root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "open")
    new = session(root, told)
    for _ in range(2):
        with pytest.raises(LabError, match="cannot run"):
            new.require("etcd")
    new.finish(failed=True)
    assert new.outcomes() == {}
    assert fake_lab.events() == ["open thw"]


def test_what_other_processes_brought_up_is_heard_and_failures_count(root: Path, told: list[str]) -> None:
    new = session(root, told)
    broken = Outcome("dns", 2.0, StageFailed("x"))
    new.hear({"etcd": Outcome("etcd", 1.0), "dns": Outcome("dns", 1.0)})
    new.hear({"etcd": Outcome("etcd", 3.0), "dns": broken})
    new.hear({"dns": Outcome("dns", 9.0), "machines": Outcome("machines", 5.0)})
    assert new.outcomes() == {
        "etcd": Outcome("etcd", 3.0),
        "dns": broken,
        "machines": Outcome("machines", 5.0),
    }
    assert next(iter(new.outcomes())) == "machines"


def test_a_lab_locked_by_another_is_told_instead_of_collected(
    root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = session(root, told)
    new.require("etcd")

    def held(*_: object) -> None:
        raise LabError("another process has held it")

    monkeypatch.setattr("lab.state.StateFolder.locked", held)
    new.finish(failed=True)
    assert "another process has held it" in told[-1]


def test_another_runs_lab_is_not_removed(root: Path, told: list[str]) -> None:
    session(root, told, keep="always").require("etcd")
    other = session(root, told, run="r2", keep="never")
    other.require("etcd")
    other.remove(failed=False)
    assert "stays" in told[-1]
    assert (root / "state/thw").exists()


def test_properties_tell_results_apart(root: Path, told: list[str]) -> None:
    one, two = session(root, told).properties(), session(root, told, profile="guide").properties()
    assert one["lab.plan"] != two["lab.plan"]
    assert (one["lab.run"], two["lab.profile"], one["lab.kubernetes"]) == ("r1", "guide", "1.37.2")


def test_every_setting_is_shown_with_what_stands_behind_an_empty_one(root: Path, told: list[str]) -> None:
    shown = {name: (value, origin) for name, value, origin in session(root, told, keep="").effective()}
    assert shown["run"] == ("r1", "--lab-run")
    assert shown["keep"] == ("on-failure", "default")
    assert shown["name"][0] == "thw"
    assert shown["versions"][0] == "1.37.2"
    assert all(value for value, _ in shown.values())


def test_fixture_names_stand_for_stages() -> None:
    table = {"lab_etcd": ("etcd",), "lab": ("dns", "admin")}
    assert stages_of(["tmp_path", "lab_etcd", "lab"], table) == {"etcd", "dns", "admin"}


# -- heartbeat --------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def beating(told: list[str], clock: Clock) -> Heartbeat:
    return Heartbeat(told.append, silence=15, clock=clock)


def test_after_fifteen_silent_seconds_a_line_says_what_runs_and_how_long(
    told: list[str], clock: Clock
) -> None:
    heart = beating(told, clock)
    heart.started("etcd")
    clock.now += 10
    heart.started("runtime")
    heart.beat()
    clock.now += 5
    heart.beat()
    assert told == ["  ...    still at work: etcd 15 s, runtime 5 s"]
    clock.now += 14
    heart.beat()
    assert len(told) == 1
    clock.now += 1
    heart.beat()
    assert told[1] == "  ...    still at work: etcd 30 s, runtime 20 s"


def test_a_stage_that_ended_breaks_the_silence_and_is_not_named(told: list[str], clock: Clock) -> None:
    heart = beating(told, clock)
    heart.started("etcd")
    heart.started("runtime")
    clock.now += 14
    heart.ended("etcd")
    clock.now += 14
    heart.beat()
    assert told == []
    clock.now += 1
    heart.beat()
    assert told == ["  ...    still at work: runtime 29 s"]


def test_nothing_at_work_is_nothing_to_say(told: list[str], clock: Clock) -> None:
    heart = beating(told, clock)
    clock.now += 60
    heart.beat()
    heart.started("etcd")
    heart.ended("etcd")
    heart.ended("never began")
    clock.now += 60
    heart.beat()
    assert told == []


def test_it_beats_by_itself_and_stops_at_the_end_of_the_block(told: list[str]) -> None:
    heart = Heartbeat(told.append, silence=0.01)
    with heart:
        heart.started("etcd")
        fake_lab.until(lambda: len(told) > 1)
    said = len(told)
    with heart:  # what was left running is not taken along
        heart.beat()
    assert len(told) <= said + 1


def test_a_session_gives_signs_of_life_while_stages_run(
    root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: object) -> None:
        fake_lab.until(lambda: any("still at work: etcd" in line for line in told))

    stages = [
        stage if stage.name != "etcd" else type(stage)("etcd", "", slow)
        for stage in fake_lab.stages_for(None)
    ]  # type: ignore[arg-type]
    monkeypatch.setattr("lab.session.stages_for", lambda _: stages)
    LabSession(resolve({}, {}, {}), root, told.append, lambda say: Heartbeat(say, silence=0.01)).require(
        "etcd"
    )


def test_blocked_is_told_as_such(root: Path, told: list[str]) -> None:
    session(root, told)._report("dns", Outcome("dns", 0.0, Blocked("dns was not tried, it needs etcd")))
    assert told == ["  blocked dns               0.0 s  dns was not tried, it needs etcd"]


def test_another_run_attaches_with_the_same_choices(root: Path, told: list[str]) -> None:
    new = session(root, told, versions="1.36.3", provider="incus:private", keep="always")
    assert new.arguments() == ["--lab-provider=incus:private", "--lab-name=thw", "--lab-versions=1.36.3"]
