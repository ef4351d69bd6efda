"""CI runs what the README says, by actions that cannot change, with no right that it does not need."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import PAGES, ROOT, targets

from lab.choice import WORDS, Made, made_of
from lab.doctor.programs import TESTING
from lab.versions import rows

FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.iterdir())
NIGHTLY, CI = FOLDER / "nightly.yaml", FOLDER / "ci.yaml"
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
ON = True  # what YAML 1.1 makes of `on`


def workflow(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> list[str]:
    return [line.strip() for step in steps(path) for line in step.get("run", "").splitlines()]


def lines_of_code(page: Path) -> Iterator[str]:
    """Whole lines and whole spans that the page sets as code."""
    text = page.read_text()
    for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE):
        yield from (line, re.split(r"\s{3,}", line)[0])
    yield from re.findall(r"`([^`\n]+)`", text)


def documented() -> set[str]:
    readme = ROOT / "README.md"
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in targets(readme)}
    return {line for page in PAGES if page == readme or page in linked for line in lines_of_code(page)}


def schema_says(path: Path) -> subprocess.CompletedProcess[str]:
    argv = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_is_as_github_reads_it(path: Path) -> None:
    said = schema_says(path)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    ("good", "bad"), [("runs-on:", "run-on:"), ("contents: read", "contents: look"), ("steps:", "step:")]
)
def test_a_mistake_in_one_is_noticed(tmp_path: Path, good: str, bad: str) -> None:
    text = NIGHTLY.read_text()
    assert good in text
    (tmp_path / "nightly.yaml").write_text(text.replace(good, bad))
    assert schema_says(tmp_path / "nightly.yaml").returncode == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_is_one_the_documents_have(path: Path) -> None:
    ran = commands(path)
    assert len(ran) > 3
    assert not set(ran) - documented()


def test_a_command_that_is_only_a_part_of_a_documented_one_is_none() -> None:
    assert not {"make everything", "thwlab down --all", "make e2e; true", ".venv/bin/thwlab"} & documented()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_cannot_change_and_their_version_is_said(path: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert not [line for line in used if not PINNED.fullmatch(line)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_knows_no_secret(path: Path) -> None:
    found = workflow(path)
    assert found["permissions"] == {"contents": "read"}
    assert not [name for name, job in found["jobs"].items() if "permissions" in job]
    assert "secrets" not in path.read_text()
    checkouts = [step for step in steps(path) if "actions/checkout@" in step.get("uses", "")]
    assert checkouts
    assert not [step for step in checkouts if step["with"]["persist-credentials"] is not False]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_has_an_end_and_no_two_runs_meet(path: Path) -> None:
    found = workflow(path)
    assert found["concurrency"]["group"]
    assert not [name for name, job in found["jobs"].items() if "timeout-minutes" not in job]
    removing = [step for step in steps(path) if "thwlab" in step.get("run", "")]
    assert not [step for step in removing if "timeout-minutes" not in step]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_results_are_kept_and_the_lab_removed_also_after_a_failure(path: Path) -> None:
    for name, job in workflow(path)["jobs"].items():
        ran = [step.get("run", "") for step in job["steps"]]
        after = job["steps"][
            max(
                ran.index(each)
                for each in ("make e2e", 'make failover ARGS="-m vm"', "make unit")
                if each in ran
            )
            + 1 :
        ]
        assert not [step for step in after if "always()" not in step["if"]], name
        told = " ".join(step.get("run", step.get("uses", "")) for step in after)
        assert "thwlab summary --markdown" in told
        assert "actions/upload-artifact@" in told
        assert after[-1]["with"]["path"] == "artifacts/${{ env.LAB_RUN }}*/"
        assert ("thwlab down" in told) is ("make e2e" in ran)


@pytest.mark.parametrize("path", [NIGHTLY, CI], ids=lambda path: path.name)
def test_leftovers_are_swept_before_the_lab_is_made(path: Path) -> None:
    ran = commands(path)
    assert ran.index(".venv/bin/thwlab sweep --yes") < ran.index("make e2e")
    assert ran.index(".venv/bin/thwlab down") < ran.index("make e2e")


def matrices() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The jobs of one choice by hand, and every night's, as GitHub's `format` and `fromJSON` make them."""
    told = workflow(NIGHTLY)["jobs"]["e2e"]["strategy"]["matrix"]["include"]
    chosen, nightly = re.findall(r"'(\[.*?\])'", told)
    return json.loads(chosen.replace("{{", "{").replace("}}", "}")), json.loads(nightly)


def test_every_night_has_these_machines_and_versions() -> None:
    chosen, nightly = matrices()
    asked = [(each["provider"], each["versions"]) for each in nightly]
    versions = ("1.37", "1.36", "1.35")
    assert asked == [
        (kind, each) for kind in ("incus:private", "vagrant:libvirt:private") for each in versions
    ]
    assert {provider for provider, _ in asked} <= set(WORDS)
    assert {version for _, version in asked} <= set(rows())
    late = [each for each in (*chosen, *nightly) if each["e2e-minutes"] > each["minutes"] - 57]
    assert not late, "of the other steps"


def test_every_kind_of_machines_may_be_chosen_by_hand() -> None:
    inputs = workflow(NIGHTLY)[ON]["workflow_dispatch"]["inputs"]
    machines, versions = (inputs[name]["options"] for name in ("provider", "versions"))
    assert machines[0] == inputs["provider"]["default"] == "", "every night's"
    assert set(machines[1:]) <= set(WORDS)
    kinds = {
        "incus:private",
        "incus:running",
        "incus-vm:private",
        "vagrant:libvirt:running",
        "vagrant:virtualbox",
    }
    assert kinds <= set(machines)
    assert {each["provider"] for each in matrices()[1]} <= set(machines)
    assert versions == list(rows())
    (one,) = matrices()[0]
    assert (one["provider"], one["versions"]) == ("{0}", "{1}")


def test_pull_requests_try_what_stands_in_for_vms() -> None:
    """Else all that is said of VirtualBox is skipped on a fresh runner, and nobody is told."""
    ran = commands(CI)
    wanted = {name for each in TESTING for name in each.packages} - {"chromium"}  # a snap on that runner
    assert ran.index("make unit") > next(n for n, each in enumerate(ran) if wanted <= set(each.split()))


def test_forks_do_not_start_what_is_root_on_the_runner() -> None:
    triggers = workflow(NIGHTLY)[ON]
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    assert triggers["schedule"][0]["cron"].split()[0] not in ("0", "15", "30", "45")
    assert "pull_request_target" not in workflow(CI)[ON]
    jobs = workflow(CI)["jobs"]
    assert jobs["check"]["runs-on"] == "ubuntu-24.04"
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert re.fullmatch(
        rf"\$\{{\{{ \(github.event_name == 'push' \|\| {re.escape(own)}\) "
        r"&& vars.THWLAB_RUNNER \|\| 'ubuntu-24.04' \}\}",
        jobs["e2e"]["runs-on"],
    )


def breaking() -> dict[str, str]:
    """The steps that break the lab on purpose: the command, by how the word of the machines begins."""
    found = {}
    for step in steps(NIGHTLY):
        if step.get("run", "").startswith("make failover"):
            for kind in re.findall(r"startsWith\(matrix.provider, '([a-z:-]+)'\)", step["if"]):
                found[kind] = step["run"]
    return found


def test_scenarios_run_every_night_on_each_kind_of_machines() -> None:
    _, *providers = workflow(NIGHTLY)[ON]["workflow_dispatch"]["inputs"]["provider"]["options"]
    assert {each.split(":")[0] for each in providers} == {"incus", "incus-vm", "vagrant"}
    for provider in providers:
        ran = [command for kind, command in breaking().items() if provider.startswith(kind)]
        assert ran == ["make failover" if made_of(provider) is Made.ROOT else 'make failover ARGS="-m vm"']


def test_the_jobs_page_has_the_scenarios_too() -> None:
    """They lie in a folder of their own, which a summary of the run does not look into."""
    folders = {
        step["env"]["LAB_RUN"] for step in steps(NIGHTLY) if step.get("run", "").startswith("make fail")
    }
    assert folders == {"${{ env.LAB_RUN }}-failover"}
    told = [each for each in commands(NIGHTLY) if "thwlab summary" in each]
    place = '"artifacts/$LAB_RUN-failover"'
    assert [place in each for each in told] == [False, True]
    assert told[1].startswith(f"test ! -d {place} || ")


def test_there_are_minutes_for_what_breaks_vms() -> None:
    chosen, nightly = matrices()
    limits = [s["timeout-minutes"] for s in steps(NIGHTLY) if s.get("run", "").endswith('"-m vm"')]
    vms = [*chosen, *(each for each in nightly if each["provider"].startswith("vagrant"))]
    assert limits
    assert [each for each in vms if each["e2e-minutes"] + sum(limits) + 57 > each["minutes"]] == []
