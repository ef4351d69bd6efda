"""Which labs may be swept away: those that nobody holds and nobody touched for long, and no other."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_locks import held
from test_users import used

from lab import leftovers, opening
from lab.cli.app import cli
from lab.errors import LabError
from lab.leftovers import find, home_of, remove
from lab.providers.incus.daemon import PrivateDaemon
from lab.state import StateFolder, state_root

pytestmark = pytest.mark.usefixtures("no_real_lab")
HOUR = 3600.0
HALF_A_DAY = 12 * HOUR


class Nothing:
    """A provider of which nothing is left but the state folder."""

    def is_there(self) -> bool:
        return False

    def insist_ours(self) -> None: ...

    def destroy(self) -> None: ...


@pytest.fixture
def removing(no_real_lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labs are removed for real, and it takes no machine: there is none."""
    monkeypatch.setattr(leftovers, "remove_lab", opening.remove_lab)
    monkeypatch.setattr(opening, "provider_of", lambda *_: Nothing())


def old(path: Path, hours: float = 26) -> None:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - hours * HOUR,) * 2)


def lab(name: str = "two", *, hours: float = 26, owner: str = "") -> StateFolder:
    state = StateFolder(state_root() / name)
    state.intend("incus:private", "abc")
    if owner:
        state.owner.write_text(owner)
    old(state.path, hours)
    return state


def network(tag: str, *, hours: float = 26) -> Path:
    path = leftovers.NETWORKS / f"thwlab-{tag}"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    old(path, hours)
    return path


def process(*words: str) -> None:
    folder = leftovers.PROCESSES / "4711"
    folder.mkdir(parents=True)
    (folder / "cmdline").write_text("\0".join([*words, ""]))


def thwlab(*args: str) -> Result:
    env = {name: None for name in os.environ if name.startswith("LAB_")}
    return CliRunner(env=env).invoke(cli, list(args))


def tag_of(state: StateFolder) -> str:
    return PrivateDaemon(state.name, state.path / "incus", "").tag


# -- what may go, and what stays ---------------------------------------------------------------------


def test_of_a_host_without_labs_nothing_is_said_to_be_left() -> None:
    assert find(0) == []
    assert "no lab on this host" in thwlab("sweep").output


def test_a_lab_that_nobody_holds_may_go_and_it_is_said_whose_it_was() -> None:
    lab(owner="nightly-7")
    (found,) = find(HALF_A_DAY)
    assert (found.name, found.what) == ("two", "made by run nightly-7, provider incus:private")
    assert found.idle == pytest.approx(26 * HOUR, abs=60)
    assert not found.stays


def test_one_that_was_brought_up_by_hand_is_told_from_a_runs() -> None:
    lab()
    assert find(HALF_A_DAY)[0].what == "made by `thwlab up`, provider incus:private"


@pytest.mark.parametrize("hours", [0, 1, 11.9])
def test_a_young_one_stays(hours: float) -> None:
    lab(hours=hours)
    assert find(HALF_A_DAY)[0].stays == "touched within the last 12 h"
    assert not find(hours * HOUR)[0].stays


def test_a_run_that_ended_a_moment_ago_makes_an_old_lab_young() -> None:
    state = lab()
    (state.path / "users").mkdir()
    old(state.path)
    assert not find(HALF_A_DAY)[0].stays
    os.utime(state.path / "users")
    assert find(HALF_A_DAY)[0].stays


def test_what_a_daemon_writes_by_itself_makes_no_lab_young() -> None:
    state = lab()
    (state.path / "incus").mkdir()
    old(state.path)
    (state.path / "incus/daemon.log").write_text("still here")
    assert not find(HALF_A_DAY)[0].stays


def test_a_clock_that_was_set_back_makes_no_lab_old() -> None:
    lab(hours=-5)
    assert find(1)[0].stays


def test_one_in_use_stays_however_old_it_is_and_goes_when_the_run_is_dead() -> None:
    state = lab()
    with used(state.path, "artifacts/r1") as run:
        old(state.path)
        assert f"in use: pid {run.pid} (" in find(0)[0].stays
    assert run.wait() != 0
    assert not find(0)[0].stays


@pytest.mark.parametrize("mode", ["shared", "alone"])
@pytest.mark.parametrize("which", ["gate", "turn"])
def test_one_on_which_a_test_has_its_turn_stays(which: str, mode: str) -> None:
    state = lab()
    with held(getattr(state, which), mode, "test_reboot of pid 9"):
        assert find(0)[0].stays == "a test has its turn on it: test_reboot of pid 9"
    assert not find(0)[0].stays


def test_one_that_is_being_built_stays() -> None:
    state = lab()
    with held(state.lock, note="pid 9 (thwlab up)"):
        assert find(0)[0].stays == "being built or removed by pid 9 (thwlab up)"
    assert not find(0)[0].stays


def test_a_state_that_cannot_be_read_is_a_leftover_too() -> None:
    (lab().path / "lab.json").write_text("{")
    assert find(0)[0].what == "its state is not this version's"
    assert not find(0)[0].stays


def test_to_look_changes_nothing() -> None:
    lab()
    before = sorted(state_root().rglob("*"))
    find(0)
    assert sorted(state_root().rglob("*")) == before


# -- what is left without a state folder -------------------------------------------------------------


def test_a_network_of_a_lab_that_has_its_folder_is_no_second_lab() -> None:
    network(tag_of(lab()))
    assert [each.name for each in find(0)] == ["two"]


def test_a_network_whose_state_folder_is_lost_is_found_by_its_name() -> None:
    network(tag_of(StateFolder(state_root() / "gone")))
    (found,) = find(HALF_A_DAY)
    assert (found.name, found.what, found.stays) == ("gone", "its state folder is lost", "")


def test_so_is_a_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = tag_of(StateFolder(state_root() / "gone"))
    group = tmp_path / "cgroup" / f"thwlab-{tag}"
    group.mkdir(parents=True)
    old(group)
    monkeypatch.setattr(leftovers, "cgroup_mounts", lambda: {str(group.parent): ("cgroup2", "")})
    assert [(each.name, each.stays) for each in find(HALF_A_DAY)] == [("gone", "")]


def test_a_young_network_stays() -> None:
    network(tag_of(StateFolder(state_root() / "gone")), hours=1)
    assert find(HALF_A_DAY)[0].stays == "touched within the last 12 h"


def test_a_lab_of_another_state_folder_stays_and_the_folder_is_named() -> None:
    network("two-abc123")
    process("python", "-I", "/x/enclosure.py", "two-abc123", "/else/two/incus/daemon.log", "--", "incusd")
    (found,) = find(0)
    assert found.stays == "its folder is /else/two: `THWLAB_STATE=/else thwlab sweep`"
    assert home_of("two-abc124") is None


def test_one_whose_folder_nobody_tells_stays_too(monkeypatch: pytest.MonkeyPatch) -> None:
    network("two-abc123")
    assert "THWLAB_STATE names the folder" in find(0)[0].stays
    monkeypatch.setattr(leftovers, "state_root", lambda: leftovers.DEFAULT_ROOT)
    monkeypatch.setattr(leftovers, "labs", list)
    assert "THWLAB_STATE names the folder" in find(0)[0].stays


def test_other_networks_are_nobodys_lab() -> None:
    leftovers.NETWORKS.mkdir()
    (leftovers.NETWORKS / "cni-1234").touch()
    (leftovers.NETWORKS / "thwlab-").touch()
    assert find(0) == []


# -- removing ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("removing")
def test_what_may_go_is_removed_and_its_lock_too() -> None:
    state = lab()
    assert remove("two", HALF_A_DAY) == ""
    assert [path.name for path in state_root().iterdir()] == []
    assert not state.path.exists()


@pytest.mark.usefixtures("removing")
def test_one_without_a_folder_is_removed_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(opening, "provider_of", lambda _, name: named.append(name) or Nothing())
    network(tag_of(StateFolder(state_root() / "gone")))
    assert remove("gone", HALF_A_DAY) == ""
    assert named == ["gone"]


def in_use(state: StateFolder) -> object:
    return used(state.path)


def turn_taken(state: StateFolder) -> object:
    return held(state.turn, "shared")


def locked(state: StateFolder) -> object:
    return held(state.lock, note="pid 9 (thwlab up)")


@pytest.mark.parametrize("holding", [in_use, turn_taken, locked])
def test_who_came_after_the_look_keeps_the_lab(holding: Callable[[StateFolder], object]) -> None:
    state = lab()
    assert not find(0)[0].stays
    with holding(state):  # type: ignore[attr-defined]
        assert remove("two", 0)
    assert state.path.exists()


def test_one_that_was_touched_after_the_look_stays() -> None:
    state = lab()
    os.utime(state.path / "lab.json")
    assert remove("two", HALF_A_DAY) == "touched within the last 12 h"
    assert state.path.exists()


# -- the command -------------------------------------------------------------------------------------


def test_without_yes_nothing_is_removed() -> None:
    state = lab(owner="r1")
    result = thwlab("sweep")
    assert result.exit_code == 0
    assert (
        "would remove lab two: made by run r1, provider incus:private, not touched for 26 h" in result.output
    )
    assert result.output.endswith("`thwlab sweep --yes` with the same --older-than removes 1 of 1\n")
    assert state.path.exists()


@pytest.mark.usefixtures("removing")
def test_with_yes_the_one_goes_and_the_others_stay() -> None:
    gone, young, busy = lab("gone"), lab("young", hours=1), lab("busy")
    with used(busy.path):
        result = thwlab("sweep", "--yes")
    assert result.exit_code == 0
    assert [state.path.exists() for state in (gone, young, busy)] == [False, True, True]
    verdicts = {line.split(" lab ")[1].split(":")[0]: line.split()[0] for line in result.output.splitlines()}
    assert verdicts == {"gone": "removed", "young": "stays", "busy": "stays"}


@pytest.mark.usefixtures("removing")
def test_how_old_is_old_can_be_said() -> None:
    state = lab(hours=3)
    assert "would remove" in thwlab("sweep", "--older-than", "2h").output
    assert thwlab("sweep", "--yes", "--older-than", "4h").exit_code == 0
    assert state.path.exists()
    assert thwlab("sweep", "--yes", "--older-than", "2h").exit_code == 0
    assert not state.path.exists()


@pytest.mark.parametrize("word", ["12", "soon", "-1h", "", "1 h"])
def test_a_span_without_its_unit_is_a_mistake(word: str) -> None:
    result = thwlab("sweep", "--older-than", word)
    assert result.exit_code == 2
    assert "say 90m, 12h or 2d" in result.output


def test_one_that_cannot_be_removed_keeps_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def removing(name: str) -> None:
        asked.append(name)
        if name == "a":
            raise LabError("a mount is left", remedy="thwlab down --name a")

    monkeypatch.setattr(leftovers, "remove_lab", removing)
    lab("a"), lab("b")
    result = thwlab("sweep", "--yes")
    assert result.exit_code == 3
    assert asked == ["a", "b"]
    assert "a mount is left" in result.output
