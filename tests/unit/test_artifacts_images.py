import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.artifacts.images import agnhost_image, coredns_image, pause_image, write_image
from lab.topology import Versions

NEWEST = Versions("1.37.2", "3.7.3", "2.4.2", "1.9.1", "1.14.7", "1.37.0", "0.27.4", "2.66.1", "3.10.2")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF program")
    path.chmod(0o755)
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, tarfile.TarInfo]]:
    """Manifest, configuration and the members of the only layer; the hashes in it are checked."""
    with tarfile.open(path) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(content["manifest.json"])
    config = content[manifest["Config"]]
    assert manifest["Config"] == hashlib.sha256(config).hexdigest() + ".json"
    (layer,) = [content[name] for name in manifest["Layers"]]
    document = json.loads(config)
    assert document["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    with tarfile.open(fileobj=io.BytesIO(layer)) as inner:
        return manifest, document, {member.name: member for member in inner}


def test_an_image_has_its_name_its_command_and_its_files(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "image.tar"
    identity = write_image(
        path, "r.io/a:1", {"/usr/bin/a": program}, ["/usr/bin/a"], ["x"], {"K": "v"}, "7:8"
    )
    manifest, config, members = read(path)
    assert manifest["RepoTags"] == ["r.io/a:1"]
    assert identity == "sha256:" + manifest["Config"].removesuffix(".json")
    assert (config["config"]["Entrypoint"], config["config"]["Cmd"]) == (["/usr/bin/a"], ["x"])
    assert config["config"]["User"] == "7:8"
    assert "K=v" in config["config"]["Env"]
    assert members["usr/bin/a"].size == 12
    assert members["usr/bin/a"].mode == 0o755
    assert members["usr"].isdir()


def test_same_input_gives_same_bytes_whenever_and_whoever(tmp_path: Path, program: Path) -> None:
    one, two = tmp_path / "1.tar", tmp_path / "2.tar"
    write_image(one, "a:1", {"/a": program, "/b": program}, ["/a"], env={"A": "1", "B": "2"})
    os.utime(program, (5, 5))
    write_image(two, "a:1", {"/b": program, "/a": program}, ["/a"], env={"B": "2", "A": "1"})
    assert one.read_bytes() == two.read_bytes()


def test_other_content_gives_another_id(tmp_path: Path, program: Path) -> None:
    before = write_image(tmp_path / "1.tar", "a:1", {"/a": program}, ["/a"])
    program.write_bytes(b"other")
    assert write_image(tmp_path / "2.tar", "a:1", {"/a": program}, ["/a"]) != before


def test_folders_come_before_what_is_in_them_and_all_is_roots(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "image.tar"
    write_image(path, "a:1", {"/opt/b/c": program}, ["/opt/b/c"], links={"/opt/a": "b/c"})
    _, _, members = read(path)
    assert list(members).index("opt") < list(members).index("opt/b") < list(members).index("opt/b/c")
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert members["tmp"].mode == 0o1777


def test_a_missing_program_leaves_no_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_image(tmp_path / "image.tar", "a:1", {"/a": tmp_path / "none"}, ["/a"])
    assert not (tmp_path / "image.tar").exists()


def test_pause_and_coredns_have_their_upstream_names(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "image.tar"
    pause_image(path, NEWEST, {"pause": program})
    assert read(path)[0]["RepoTags"] == ["registry.k8s.io/pause:3.10.2"]
    coredns_image(path, NEWEST, {"coredns": program})
    manifest, config, _ = read(path)
    assert manifest["RepoTags"] == ["registry.k8s.io/coredns/coredns:v1.14.7"]
    assert config["config"]["Entrypoint"] == ["/coredns"]


def test_agnhost_pauses_by_default_and_has_a_shell_and_clients(tmp_path: Path, program: Path) -> None:
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/busybox").write_bytes(b"busybox")
    path = tmp_path / "image.tar"
    agnhost_image(path, NEWEST, {"agnhost": program}, tmp_path / "root")
    manifest, config, members = read(path)
    assert manifest["RepoTags"] == ["registry.k8s.io/e2e-test-images/agnhost:2.66.1"]
    assert (config["config"]["Entrypoint"], config["config"]["Cmd"]) == (["/agnhost"], ["pause"])
    for applet in ("sh", "nc", "nslookup", "wget"):
        assert members[f"bin/{applet}"].linkname == "busybox"
    assert members["bin/busybox"].isreg()
