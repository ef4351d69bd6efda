"""The command line against the running lab, as a user types it."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from support_host import THWLAB, thwlab

from lab.cluster import Cluster
from lab.limits import Limits
from lab.topology import Role
from lab.wait import stretched

pytestmark = pytest.mark.e2e


def run(*argv: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
        env=env or dict(os.environ),
    )


def test_status_names_every_machine_and_every_unit_as_active(lab: Cluster, flags: list[str]) -> None:
    said = thwlab(*flags, "status")
    assert [node.name for node in lab.topology.nodes if node.name not in said] == []
    assert "API: ok" in said
    assert "failed" not in said


def test_a_second_up_changes_nothing_and_is_quick(lab: Cluster, flags: list[str], lab_limits: Limits) -> None:
    master = lab.of(Role.CONTROL_PLANE)[0]
    before = master.check("systemctl", "show", "-P", "MainPID", "kube-apiserver", "etcd")
    began = time.monotonic()
    thwlab(*flags, "up")
    lab_limits.at_most(time.monotonic() - began, 20, "a second up")
    assert master.check("systemctl", "show", "-P", "MainPID", "kube-apiserver", "etcd") == before


def test_a_shell_without_a_terminal_runs_what_standard_input_says(lab: Cluster, flags: list[str]) -> None:
    name = lab.topology.nodes[0].name
    done = run(*THWLAB, *flags, "shell", name, stdin="hostname; exit 4")
    assert (done.stdout.strip(), done.returncode) == (name, 4), done.stderr


def test_exec_passes_input_output_and_status_through(lab: Cluster, flags: list[str]) -> None:
    name = lab.topology.nodes[0].name
    done = run(*THWLAB, *flags, "exec", name, "--", "sh", "-c", "cat; echo err >&2; exit 7", stdin="in")
    assert (done.stdout, done.stderr.strip(), done.returncode) == ("in", "err", 7)


def test_a_users_own_kubectl_works_with_the_kubeconfig(lab: Cluster, flags: list[str]) -> None:
    path = Path(thwlab(*flags, "kubeconfig").strip())
    assert path.stat().st_mode & 0o777 == 0o600
    done = run(*THWLAB, *flags, "kubectl", "get", "nodes", "-o", "name")
    assert done.stdout.split() == [f"node/{node.name}" for node in lab.topology.of(Role.WORKER)], done.stderr


def test_logs_of_a_unit_are_those_of_the_unit(lab: Cluster, flags: list[str]) -> None:
    said = thwlab(*flags, "logs", lab.topology.of(Role.ETCD)[0].name, "etcd")
    assert "etcd" in said
    assert "kube-apiserver[" not in said


def test_a_wrong_machine_is_named_with_the_right_ones(lab: Cluster, flags: list[str]) -> None:
    done = run(*THWLAB, *flags, "exec", "k8s-mastr1", "--", "true")
    assert done.returncode == 2
    assert lab.topology.nodes[0].name in done.stderr
    assert "Traceback" not in done.stderr
