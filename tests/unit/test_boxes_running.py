"""The proofs in a daemon of somebody's: their scripts and verdicts, with stand-ins and no VM."""

import json
import os
import subprocess
import sys
from pathlib import Path

import incus_in_vm as proof
import libvirtd_running
import pytest
from support_said import around, verdicts

WELL = """\
CGROUP cgroup2fs, PID 1 systemd
DAEMON 0
THEIRS 0
BEFORE 6
UP 0
DURING 17
BROUGHT 11
DOWN 0
AFTER 6
SAME
SAID
"""
CLIENT = """\
#!/usr/bin/env python3
# The daemon's client: what it lists is in files, by the address that is asked.
import json, os, pathlib, sys
things = json.loads(pathlib.Path(os.environ["THINGS"]).read_text())
if sys.argv[1] == "query":
    print(json.dumps(things.get(sys.argv[2], [])))
"""
THEIRS = {
    "/1.0/projects": ["/1.0/projects/default", "/1.0/projects/theirs"],
    "/1.0/instances?project=theirs": ["/1.0/instances/mine?project=theirs"],
    "/1.0/networks?project=default": ["/1.0/networks/mine0"],
    "/1.0/storage-pools": ["/1.0/storage-pools/theirs"],
    "/1.0/storage-pools/theirs/volumes": ["/1.0/storage-pools/theirs/volumes/container/mine"],
}


def test_all_that_must_be_said_is_and_each_thing_that_is_not_is_named() -> None:
    assert verdicts(WELL, proof.CGROUP) == []
    for line in (proof.CGROUP, "UP 0", "DOWN 0", "SAME"):
        assert verdicts(WELL.replace(f"{line}\n", ""), proof.CGROUP) == [f"no line `{line}`"]
    assert verdicts(WELL.replace("UP 0", "UP 3")) == ["no line `UP 0`"]
    assert verdicts(WELL.replace("BROUGHT 11", "BROUGHT 0")) == [
        "the lab brought nothing into the daemon's listing"
    ]
    assert verdicts(WELL.replace("SAID", "LOST vm mine\nLEFT inner\nSAID")) == ["LOST vm mine", "LEFT inner"]


@pytest.mark.parametrize(
    "script", [proof.script(proof.INCUS), proof.script(proof.LXD), libvirtd_running.script(Path("/x"))]
)
def test_the_script_is_one_that_bash_reads(script: str) -> None:
    said = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=20)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.skipif(not Path("/usr/bin/jq").exists(), reason="jq is not installed")
def test_the_listing_has_what_every_project_and_pool_has(tmp_path: Path) -> None:
    client = tmp_path / "lxc"
    client.write_text(CLIENT.replace("/usr/bin/env python3", sys.executable))
    client.chmod(0o755)
    script, (listed_by, *_) = proof.script(proof.LXD), around("true", tmp_path).splitlines()
    functions = script[script.index("c() {") : script.index("thwlab() {")] + listed_by

    def listed(things: dict[str, list[str]]) -> str:
        (tmp_path / "things").write_text(json.dumps(things))
        environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "THINGS": str(tmp_path / "things")}
        argv = ["bash", "-euc", f"{functions}\nlisted one"]
        subprocess.run(argv, env=environ, check=True, capture_output=True, timeout=60)
        return (tmp_path / "one").read_text()

    before = listed(THEIRS)
    assert "/1.0/instances/mine?project=theirs" in before
    assert "/1.0/networks/mine0" in before
    assert "volumes/container/mine" in before
    assert "project theirs" in before
    for address, more in (
        ("/1.0/projects", "/1.0/projects/thwlab"),
        ("/1.0/profiles?project=default", "/1.0/profiles/left"),
        ("/1.0/storage-pools", "/1.0/storage-pools/left"),
        ("/1.0/storage-pools/theirs/volumes", "/1.0/storage-pools/theirs/volumes/image/left"),
    ):
        assert listed({**THEIRS, address: [*THEIRS.get(address, []), more]}) != before, address
    assert listed(THEIRS) == before


def test_the_vm_has_no_network_and_cannot_write_what_is_ours(tmp_path: Path) -> None:
    made = proof.Made(*(tmp_path / name for name in ("disk", "vmlinuz", "initrd", "proof")))
    argv = proof.argv_of(made, tmp_path, "tcg")
    assert argv[argv.index("-nic") + 1] == "none"
    assert f"if=virtio,format=raw,readonly=on,file={tmp_path}/proof" in argv


def test_the_unit_is_begun_by_the_target_that_is_booted(tmp_path: Path) -> None:
    proof.settle(tmp_path)
    wanted = tmp_path / "etc/systemd/system/graphical.target.wants/proof.service"
    assert wanted.readlink() == Path("/etc/systemd/system/proof.service")
    assert (tmp_path / "etc/systemd/system/default.target").readlink().name == "graphical.target"
    unit = (tmp_path / "etc/systemd/system/proof.service").read_text()
    assert "ExecStart=/bin/bash /proof/run" in unit
    assert f"StandardOutput=file:{proof.PORT}" in unit
    assert "/dev/vdb /proof ext4 ro" in (tmp_path / "etc/fstab").read_text()
