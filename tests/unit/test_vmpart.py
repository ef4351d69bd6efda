"""The part of `make test` on VMs: when it is run, and that the Makefile does what was decided."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixed import guide_topology

from lab.choice import Made
from lab.doctor import vmpart
from lab.doctor.vmpart import Choice, caches_of, decide, minutes_since, obstacle_in
from lab.errors import ConfigError
from lab.providers.base import Missing
from lab.results import as_text, results_of

ROOT = Path(__file__).parents[2]
PACKAGE = Missing("no virsh", "apt-get install libvirt-clients", ("libvirt-clients",))
MEMORY = Missing("memory: 900 MiB available", "end what else runs")


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize("caches", ["warm", "cold", ""])
def test_it_is_run_where_vms_are_possible_and_time_is_left(caches: str) -> None:
    assert decide(55.0, caches, "").choice is Choice.RUN
    assert "55 of CI's 90 minutes" in decide(55.0, caches, "").line


def test_what_is_installed_first_is_told() -> None:
    assert "possible here once qemu-utils are installed, and" in decide(1.0, "", "", "qemu-utils").line


def test_too_little_time_is_an_excuse_for_who_had_to_fill_the_caches() -> None:
    decision = decide(55.1, "cold", "")
    assert decision.choice is Choice.LEFT_OUT
    assert "NOT RUN" in decision.line
    assert "more than 55" in decision.line


@pytest.mark.parametrize("caches", ["warm", ""])
def test_with_warm_caches_too_little_time_is_an_error(caches: str) -> None:
    decision = decide(70.0, caches, "")
    assert decision.choice is Choice.ERROR
    assert "NOT RUN" in decision.line


def test_a_host_that_cannot_is_no_error_however_late_it_is() -> None:
    decision = decide(70.0, "warm", "memory")
    assert decision.choice is Choice.LEFT_OUT
    assert "this host can run no VMs (memory)" in decision.line


def test_packages_are_no_obstacle_to_root_where_there_is_apt() -> None:
    assert obstacle_in([], root=False, apt=False) == ""
    assert obstacle_in([PACKAGE], root=True, apt=True) == ""
    assert "only root" in obstacle_in([PACKAGE], root=False, apt=True)
    assert "no apt" in obstacle_in([PACKAGE], root=True, apt=False)
    assert "libvirt-clients" in obstacle_in([PACKAGE], root=True, apt=False)


def test_what_no_package_brings_is_an_obstacle_to_anybody() -> None:
    assert obstacle_in([MEMORY, PACKAGE], root=True, apt=True) == MEMORY.what


def test_time_is_counted_from_what_the_makefile_noted() -> None:
    assert minutes_since("1000", 1000 + 56 * 60) == 56
    assert minutes_since("", 99.0) == 0
    with pytest.raises(ConfigError, match="THWLAB_BEGAN"):
        minutes_since("noon", 99.0)


def test_caches_without_an_image_are_cold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path))
    assert caches_of(guide_topology()) == "cold"
    monkeypatch.setattr(vmpart, "image_is_cached", lambda *_, **__: True)
    assert caches_of(guide_topology()) == "warm"


@pytest.mark.parametrize("there", [{Made.ROOT}, {Made.BOX}, {Made.ROOT, Made.BOX}])
def test_caches_are_warm_only_with_the_vms_box_too(there: set[Made], monkeypatch: pytest.MonkeyPatch) -> None:
    """The containers' root alone was looked at: a box that had to be built was no excuse."""
    monkeypatch.setattr(vmpart, "image_is_cached", lambda _, __, made=Made.ROOT: made in there)
    assert caches_of(guide_topology()) == ("warm" if len(there) == 2 else "cold")


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Missing]:
    """What the doctor misses on this Debian host, as root; the run is called r1."""
    found: list[Missing] = []
    monkeypatch.setattr(vmpart, "can_host", lambda *_: found)
    monkeypatch.setattr(vmpart.os, "geteuid", lambda: 0)
    monkeypatch.setattr(vmpart.platform, "system", lambda: "Linux")
    monkeypatch.setattr(vmpart, "OS_RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setattr(vmpart.time, "time", lambda: 10_000.0)
    monkeypatch.setenv("LAB_RUN", "r1")
    monkeypatch.setenv("LAB_ARTIFACTS", str(tmp_path / "artifacts"))
    return found


def test_the_status_says_what_to_do(lacking: list[Missing], capsys: pytest.CaptureFixture[str]) -> None:
    late = {"THWLAB_BEGAN": str(10_000 - 56 * 60)}
    lacking.append(PACKAGE)
    assert vmpart.main([], {}) == Choice.RUN.value == 0
    assert vmpart.main([], {**late, "THWLAB_WARMTH": "cold"}) == 3
    assert vmpart.main([], {**late, "THWLAB_WARMTH": "warm"}) == 1
    lacking.append(MEMORY)
    assert vmpart.main([], {**late, "THWLAB_WARMTH": "warm"}) == 3
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == ["run", *["NOT RUN"] * 3]


@pytest.mark.usefixtures("lacking")
def test_a_beginning_that_is_none_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert vmpart.main([], {"THWLAB_BEGAN": "noon"}) == 2
    assert "THWLAB_BEGAN" in capsys.readouterr().err


def test_the_runs_summary_says_what_was_left_out(lacking: list[Missing], tmp_path: Path) -> None:
    assert vmpart.main([], {}) == 0
    assert not (tmp_path / "artifacts").exists()
    lacking.append(MEMORY)
    assert vmpart.main([], {}) == 3
    text = "\n".join(as_text(results_of(tmp_path / "artifacts/r1")))
    assert f"the VM part of make test: NOT RUN: this host can run no VMs ({MEMORY.what})" in text


def test_what_is_red_before_it_is_why_it_was_not_run(
    lacking: list[Missing], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAB_CONFIG", "there is none.yaml")
    assert lacking == []
    assert vmpart.main(["--red"], {}) == 3
    text = "\n".join(as_text(results_of(tmp_path / "artifacts/r1")))
    assert "the VM part of make test: NOT RUN: linters, packages, unit or e2e tests are red" in text


def test_elsewhere_than_on_linux_nobody_is_asked(
    lacking: list[Missing], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vmpart.platform, "system", lambda: "Darwin")
    assert lacking == []
    assert vmpart.main([], {}) == 3
    assert "needs Linux" in capsys.readouterr().out


# -- the Makefile ----------------------------------------------------------------------------------

STAND_IN = """#!/bin/sh
told="provider=$LAB_PROVIDER run=$LAB_RUN warmth=$THWLAB_WARMTH began=$THWLAB_BEGAN"
echo "$(basename "$0") $* $told" >>"$LOG"
case "$(basename "$0") $*" in *"${RED:-nothing is red}"*) exit 1;; esac
case "$*" in
  "-m lab.doctor.vmpart --caches") echo cold;;
  "-m lab.doctor.vmpart") exit "$DECISION";;
  "doctor --fix") case "$LAB_PROVIDER" in vagrant*) exec sleep "$INSTALLS";; esac;;
  *test_nodes.py*) exec python3 -c "$TESTS";;
esac
"""

# As pytest: asked to end, it removes the lab.
TESTS = """
import os, signal, sys, time
def remove(*_):
    time.sleep(float(os.environ["REMOVES"]))
    sys.exit(2)
signal.signal(signal.SIGINT, remove)
time.sleep(float(os.environ["LASTS"]))
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Every program of the environment, all of them the same stand-in, which writes down its words."""
    if shutil.which("make") is None or shutil.which("timeout") is None:
        pytest.skip("make, or coreutils' timeout, is not here")
    for name in ("python", "ruff", "mypy", "thwlab"):
        path = tmp_path / "venv/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)
    (tmp_path / "venv/.installed").touch()
    return tmp_path / "venv"


def make(
    venv: Path,
    *words: str,
    decision: int = 0,
    lasts: float = 0,
    removes: float = 0,
    installs: float = 0,
    **has: str,
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """`make` with these words, in an environment that ``has`` these besides, and what it ran."""
    log = venv.parent / "log"
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MAKE", "LAB_", "THWLAB_", "MFLAGS", "VM", "MARK", "PROVIDER"))
    }
    told = {"CI": "true", "LOG": str(log), "DECISION": str(decision), "LAB_RUN": "r1", "TESTS": TESTS}
    told |= {"LASTS": str(lasts), "REMOVES": str(removes), "INSTALLS": str(installs)}
    done = subprocess.run(
        ["make", "-C", str(ROOT), f"VENV={venv}", *words],
        env={**clean, **told, **has}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done, log.read_text().splitlines() if log.exists() else []


def of_vms(ran: list[str]) -> list[str]:
    return [line for line in ran if "vmpart" in line or "test_nodes.py" in line or "vagrant" in line]


def test_an_environment_starts_wherever_its_checkout_is_and_whatever_the_locale(
    venv: Path, tmp_path: Path
) -> None:
    packages = venv / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    checkout = tmp_path / "a stranger's ö place"
    checkout.mkdir()
    found = packages / "_editable_impl_thwlab.pth"
    found.write_text(str(checkout), "utf-8")
    done = subprocess.run(
        ["make", "-C", str(ROOT), f"VENV={venv}", f"PYTHON={sys.executable}", "plain-path"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert found.read_bytes().isascii()
    code = f"import site, sys; site.addsitedir({str(packages)!r}); print(ascii(sys.path[-1]))"
    seen = subprocess.run(
        [sys.executable, "-I", "-c", code], env={"LC_ALL": "C"}, capture_output=True, text=True, timeout=60
    )
    assert seen.stdout == f"{str(checkout)!a}\n", seen.stderr


def test_no_leaves_the_part_on_vms_out(venv: Path) -> None:
    done, ran = make(venv, "test", "VM=no")
    assert done.returncode == 0, done.stderr
    assert any("-m pytest" in line and "-m e2e" in line for line in ran)
    assert of_vms(ran) == []


BOTH = "e2e or (failover and ci)"


@pytest.mark.parametrize(
    ("target", "words", "has", "marked"),
    [
        ("test", [], {}, BOTH),
        ("test", ["MARK=e2e"], {}, "e2e"),
        ("test", [], {"MARK": "e2e"}, "e2e"),
        ("e2e", [], {}, "e2e"),
        ("e2e", [], {"MARK": BOTH}, BOTH),
        ("e2e", [f"MARK={BOTH}"], {}, BOTH),
    ],
)
def test_ten_scenarios_follow_in_the_lab_of_the_tests_unless_a_mark_says_otherwise(
    venv: Path, target: str, words: list[str], has: dict[str, str], marked: str
) -> None:
    done, ran = make(venv, target, *words, **has)
    assert done.returncode == 0, done.stderr
    proven, *_ = (line for line in ran if "junit-e2e" in line)
    assert f"-m {marked} -rs" in proven


@pytest.mark.parametrize("words", [[], ["VM=yes"]])
def test_it_comes_last_and_knows_what_was_noted_before(venv: Path, words: list[str]) -> None:
    done, ran = make(venv, "test", *words)
    assert done.returncode == 0, done.stderr
    caches, decides, host, box, vms = of_vms(ran)
    assert box.startswith("thwlab artifacts fetch --image provider=vagrant:libvirt:private ")
    assert "vmpart --caches" in caches
    assert ran.index(caches) < next(i for i, line in enumerate(ran) if line.startswith("thwlab doctor --fix"))
    assert "warmth=cold" in decides
    assert decides.rpartition("began=")[2].isdigit()
    assert host.startswith("thwlab doctor --fix provider=vagrant:libvirt:private ")
    assert ran[-1] == vms
    for file in ("test_etcd.py", "test_control_plane.py", "test_nodes.py", "test_coredns.py::"):
        assert f"tests/e2e/{file}" in vms
    assert "provider=vagrant:libvirt:private run=r1-vm " in vms
    assert "--junitxml=artifacts/r1-vm/" in vms


@pytest.mark.parametrize(("decision", "ends"), [(3, 0), (1, 2), (2, 2)])
def test_what_is_left_out_for_good_reasons_is_no_failure(venv: Path, decision: int, ends: int) -> None:
    done, ran = make(venv, "test", "VM=yes", decision=decision)
    assert done.returncode == ends
    assert not [line for line in ran if "test_nodes.py" in line]


@pytest.mark.parametrize("red", ["ruff check", "tests/unit", "junit-e2e", "thwlab doctor"])
def test_what_is_red_before_it_leaves_it_out_with_a_record(venv: Path, red: str) -> None:
    done, ran = make(venv, "test", RED=red)
    assert done.returncode == 2
    assert [line.split(" provider=")[0] for line in of_vms(ran)][1:] == ["python -m lab.doctor.vmpart --red"]
    assert red in ran[-2], "what came after it was run all the same"


def test_who_wants_no_vms_hears_nothing_of_them(venv: Path) -> None:
    done, ran = make(venv, "test", "VM=no", RED="tests/unit")
    assert (done.returncode, of_vms(ran)) == (2, [])


def test_its_limit_ends_it_and_that_is_red(venv: Path) -> None:
    done, _ = make(venv, "e2e-vm", "VM_LIMIT=0.3", lasts=30)
    assert done.returncode == 2
    assert "ended after 0.3 s" in done.stderr
    assert make(venv, "e2e-vm", "VM_LIMIT=20")[0].returncode == 0


def test_more_time_than_is_meant_is_said_and_is_no_failure(venv: Path) -> None:
    done, _ = make(venv, "e2e-vm", "VM_AIM=0", "VM_LIMIT=20", lasts=1.5)
    assert done.returncode == 0
    assert "meant: 0 - OVER" in done.stdout
    assert "OVER" not in make(venv, "e2e-vm", "VM_LIMIT=20")[0].stdout


def test_the_limit_has_the_removal_in_it(venv: Path) -> None:
    began = time.monotonic()
    done, _ = make(venv, "e2e-vm", "VM_LIMIT=3", lasts=60, removes=60)
    assert done.returncode == 2
    assert "ended after 3 s" in done.stderr
    assert "thwlab --provider vagrant:libvirt:private down" in done.stderr
    assert time.monotonic() - began < 20, "it was not killed at its limit"


def test_what_is_installed_first_is_not_in_the_limit(venv: Path) -> None:
    assert make(venv, "e2e-vm", "VM_LIMIT=3", installs=4)[0].returncode == 0


def test_who_is_asked_to_end_has_time_to_remove_the_lab(venv: Path) -> None:
    done, _ = make(venv, "e2e-vm", "VM_LIMIT=8", lasts=60, removes=0.5)
    assert "ended after 8 s" in done.stderr
    assert "Error 124" in done.stderr, "it was killed, not asked"


def test_a_word_that_is_neither_yes_nor_no_is_a_mistake(venv: Path) -> None:
    done, ran = make(venv, "test", "VM=true")
    assert done.returncode == 2
    assert "only yes and no" in done.stderr
    assert ran == []
    assert make(venv, "unit", "VM=true")[0].returncode == 0, "somebody's own variable may have that name"


@pytest.mark.parametrize(("value", "lines"), [("", 0), (" ", 0), ("jenkins-agent-4", 5), ("yes sir", 5)])
def test_an_environment_may_have_a_vm_of_its_own(venv: Path, value: str, lines: int) -> None:
    """Which says nothing; only nothing at all is no."""
    done, ran = make(venv, "test", VM=value)
    assert done.returncode == 0, done.stderr
    assert any("-m e2e" in line for line in ran)
    assert len(of_vms(ran)) == lines


def test_an_empty_word_is_no(venv: Path) -> None:
    done, ran = make(venv, "test", "VM=")
    assert (done.returncode, of_vms(ran)) == (0, []), done.stderr


def test_a_word_counts_wherever_it_comes_from(venv: Path) -> None:
    assert of_vms(make(venv, "test", VM="no")[1]) == []
    assert len(of_vms(make(venv, "test", VM="yes")[1])) == 5


def test_the_command_line_has_the_last_word(venv: Path) -> None:
    assert of_vms(make(venv, "test", "VM=no", VM="yes")[1]) == []


def test_two_words_are_a_mistake(venv: Path) -> None:
    assert make(venv, "test", "VM=yes no")[0].returncode == 2


def test_what_it_selects_is_there() -> None:
    words = next(
        line
        for line in (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
        if line.startswith("VM_TESTS")
    ).split()
    chosen = [word for word in words if word.startswith("tests/")]
    assert len(chosen) == 4
    for each in chosen:
        path, _, test = each.partition("::")
        assert f"def {test}" in (ROOT / path).read_text()
