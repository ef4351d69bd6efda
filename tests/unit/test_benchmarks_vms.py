"""The figures of VMs: what is compared, what a cut measurement still lacks, and the words of the table."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner
from test_docs import ROOT

GIVEN = {"host": "2 cores", "commit": "abc", "at": "now"}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("figures")
    for name in ("figures", "vms", "bringup"):
        sys.modules.pop(name, None)


@pytest.fixture
def vms(figures: ModuleType) -> ModuleType:
    return importlib.import_module("vms")


def up(seconds: float, **more: Any) -> dict[str, Any]:
    facts = {"seconds": seconds, "whole": 400.0, "harness_cpu": 12.0, "memory_gib": 5.5, "steps": {"dns": 9}}
    return {**GIVEN, **facts, **more}


def script(seconds: float) -> dict[str, Any]:
    return {**GIVEN, "seconds": seconds, "steps": {"DNS answer 10.0.0.7": seconds}}


def test_the_product_comes_right_after_the_script_and_restores_after_it(figures: ModuleType) -> None:
    wanted = figures.all_wanted(2, 2, script=True)
    assert [each.file for each in wanted[:4]] == [
        "01-script-01.json",
        "01-up-01.json",
        "01-restore-01.json",
        "01-restore-02.json",
    ]
    assert len({each.file for each in wanted}) == len(wanted) == 8
    assert not [each for each in figures.all_wanted(2, 2, script=False) if each.kind == figures.SCRIPT]


def test_a_cut_measurement_goes_on_and_a_pair_is_never_of_two_hours(
    figures: ModuleType, tmp_path: Path
) -> None:
    wanted = figures.all_wanted(1, 3, script=True)
    first, second, *restores = wanted
    todo = lambda: figures.to_make(wanted, figures.read(tmp_path, wanted))  # noqa: E731
    assert todo() == wanted
    figures.write(tmp_path, first, script(300))
    assert todo() == wanted, "a script alone is made again, with the product right after it"
    figures.write(tmp_path, second, up(330))
    assert todo() == restores
    figures.write(tmp_path, restores[1], {**GIVEN, "seconds": 9.0, "memory_gib": 5})
    assert todo() == [restores[0], restores[2]]
    (tmp_path / first.file).write_text('{"seconds"')
    assert todo()[:2] == [first, second], "what was cut while it was written is none"


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  253.1s DNS answer 10.0.0.57\n", "DNS answer 10.0.0.57"),
        ("12.05 up", "up"),
        ("every-master\n", "every-master"),
        ("T0 1764230000.5 Fri Nov 27", "T0 1764230000.5 Fri Nov 27"),
    ],
)
def test_the_clock_of_who_tells_is_no_part_of_the_step(figures: ModuleType, line: str, step: str) -> None:
    assert figures.step_of(line) == step


def test_the_end_is_the_later_of_both_and_none_without_one(figures: ModuleType) -> None:
    steps = {
        "etcd healthy (all 3)": 98.0,
        "DNS answer 10.0.0.7": 253.0,
        "readyz 11": 147.0,
        "readyz 12": 307.0,
    }
    assert figures.ended(steps, figures.SCRIPT_ENDS) == 307.0
    assert figures.ended({"dns": 310.0, "every-master": 290.0}, figures.UP_ENDS) == 310.0
    assert figures.ended({"dns": 310.0}, figures.UP_ENDS) is None


def test_the_table_has_each_goal_held_missed_or_not_measured(figures: ModuleType) -> None:
    runs = {
        figures.Wanted("script", 1): script(300),
        figures.Wanted("up", 1): up(330),
        figures.Wanted("up", 2): up(900),
        **{
            figures.Wanted("restore", 1, n): {**GIVEN, "seconds": float(seconds), "memory_gib": 7.5}
            for n, seconds in enumerate((9, 34, 34), 1)
        },
    }
    said = list(figures.table(runs))
    assert "| 1.10 | 1.10 to 1.10 | 1 | 1.15 | held |" in said[2], (
        "a round without a script is compared with none"
    )
    assert "| 34.00 s | 9.00 to 34.00 s | 3 | 20 s | MISSED |" in said[3]
    assert "| 5.50 GiB |" in said[4]
    assert said[5].endswith("| 7 GiB | MISSED |")
    assert "| 3.00 % |" in said[6]
    assert figures.missed(runs) == [figures.GOALS[1].what, figures.GOALS[3].what]
    empty = list(figures.table({}))
    assert all(line.endswith("| not measured |") for line in empty[2:])
    assert len(empty) == 2 + len(figures.GOALS)
    assert "    300.0  DNS answer 10.0.0.7" in list(figures.steps_told(runs))


def test_the_goals_are_those_of_vms(figures: ModuleType) -> None:
    assert [goal.most for goal in figures.GOALS] == [1.15, 20, 7, 7, 5]


def test_memory_is_that_of_this_labs_vms_and_of_no_other(vms: ModuleType, tmp_path: Path) -> None:
    vms.PROCESSES = tmp_path
    with pytest.raises(click.ClickException, match="no QEMU of lab benchvm"):
        vms.memory_gib()
    commands = {
        "7": ["/usr/bin/qemu-system-x86_64", "-name", "guest=thwlab_benchvm_k8s-lb,debug-threads=on"],
        "8": ["/usr/bin/qemu-system-x86_64", "-name", "guest=thwlab_benchvm2_k8s-lb,debug-threads=on"],
        "9": ["/bin/grep", "guest=thwlab_benchvm_k8s-lb"],
        "10": ["/usr/bin/qemu-system-x86_64", "-name", "guest=thwlab_benchvm_k8s-master1"],
    }
    for number, command in commands.items():
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text("\0".join(command) + "\0")
        (tmp_path / number / "status").write_text("Name:\tqemu\nVmHWM:\t 9999999 kB\nVmRSS:\t 1048576 kB\n")
    assert vms.memory_gib() == 2.0


def test_lines_of_a_program_are_timed_and_one_that_fails_is_no_run(vms: ModuleType) -> None:
    steps = vms.timed("script", ["bash", "-c", "echo '  1.0s one'; echo two"])
    assert list(steps) == ["one", "two"]
    assert 0 <= steps["one"] <= steps["two"] < 60
    with pytest.raises(click.ClickException, match="exited 7, after: one"):
        vms.timed("script", ["bash", "-c", "echo one; exit 7"])
    with pytest.raises(
        click.ClickException, match="DNS answer and readyz 12 were not both reached, only one"
    ):
        vms.run_script("echo one")


def test_what_is_made_is_removed_also_when_the_script_fails(
    vms: ModuleType, figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(vms, "remove_lab", lambda name, word: removed.append(f"{name} {word}"))
    monkeypatch.setattr(vms, "run_up", lambda _: pytest.fail("nothing to compare with"))
    todo = figures.all_wanted(1, 0, script=True)
    with pytest.raises(click.ClickException):
        vms.measure(todo, tmp_path, "vagrant:libvirt:private", "exit 1", f"touch {tmp_path}/ended")
    assert (tmp_path / "ended").exists()
    assert removed == ["benchvm vagrant:libvirt:private"]
    assert figures.read(tmp_path, todo) == {}


def test_only_restores_that_are_missing_need_a_lab_and_no_second_figure_of_up(
    vms: ModuleType, figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = figures.all_wanted(1, 2, script=False)
    figures.write(tmp_path, wanted[0], up(330))
    made: list[Any] = []
    monkeypatch.setattr(vms, "run_up", lambda _: up(999))
    monkeypatch.setattr(vms, "restore", lambda todo, _: made.extend(todo))
    monkeypatch.setattr(vms, "remove_lab", lambda *_, **__: None)
    vms.measure(figures.to_make(wanted, figures.read(tmp_path, wanted)), tmp_path, "vagrant:libvirt", "", "")
    assert made == wanted[1:]
    assert figures.read(tmp_path, wanted)[wanted[0]]["seconds"] == 330


def test_the_table_alone_runs_nothing_and_ends_with_1_while_runs_are_missing(
    vms: ModuleType, figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vms, "measure", lambda *_: pytest.fail("it runs something"))
    argv = ["--table", "--restores", "0", "--folder", str(tmp_path)]
    empty = CliRunner().invoke(vms.main, argv)
    assert empty.exit_code == 1
    assert empty.output.count("not measured") == len(figures.GOALS)
    figures.write(tmp_path, figures.Wanted("up", 1), up(330))
    assert CliRunner().invoke(vms.main, argv).exit_code == 0
    figures.write(tmp_path, figures.Wanted("script", 1), script(200))
    found = CliRunner().invoke(vms.main, argv)
    assert (found.exit_code, "| 1.65 |" in found.output) == (1, True)


def test_a_script_without_its_end_is_a_mistake(vms: ModuleType) -> None:
    found = CliRunner().invoke(vms.main, ["--script", "bash run.sh"])
    assert found.exit_code == 2
    assert "--script and --end-script go together" in found.output
