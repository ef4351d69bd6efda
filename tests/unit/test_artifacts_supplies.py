"""What plain machines are given is made once, and of what."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from plain_guest import archive, programs
from test_artifacts_packages import deb

from lab.artifacts import supplies
from lab.artifacts.importing import import_argv, importer
from lab.artifacts.packages import Archive, NoSources, Package, Release
from lab.artifacts.supplies import supply, unneeded_sets
from lab.plan import load_topology
from lab.topology import Versions

HERE = Release("debian", "bookworm", "amd64")


@pytest.fixture
def versions() -> Versions:
    return load_topology().versions


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Packages need no network and are not unpacked; which folders images were written to."""
    found = archive(tmp_path / "archive", {"busybox-static": "1", "curl": "7", "dnsutils": "9", "runc": "1"})
    written: list[Path] = []

    def write(folder: Path, *_: object) -> None:
        written.append(folder)
        (folder / "pause.tar").write_text("image")

    monkeypatch.setattr(supplies, "fetch_archive", lambda *_: found)
    monkeypatch.setattr(supplies, "unpack", lambda _, root: root.mkdir())
    monkeypatch.setattr(supplies, "write_images", write)
    return written


def test_images_are_made_once(tmp_path: Path, versions: Versions, world: list[Path]) -> None:
    mine = programs(tmp_path / "programs")
    told: list[str] = []
    first = supply(tmp_path / "cache", HERE, mine, versions, told.append)
    assert [path.name for path in first.images] == ["pause.tar"]
    assert supply(tmp_path / "cache", HERE, mine, versions, told.append) == first
    assert len(world) == 1
    assert told == ["container images"]
    assert list((tmp_path / "cache/work").iterdir()) == []


def test_another_version_has_other_images_and_the_old_ones_are_unneeded(
    tmp_path: Path, versions: Versions, world: list[Path]
) -> None:
    mine, cache = programs(tmp_path / "programs"), tmp_path / "cache"
    first = supply(cache, HERE, mine, versions)
    newer = replace(versions, pause="9.9")
    assert supply(cache, HERE, mine, newer).images != first.images
    assert unneeded_sets(cache, mine, newer) == [first.images[0].parent]


def test_images_that_could_not_be_made_are_not_there(
    tmp_path: Path, versions: Versions, world: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supplies, "write_images", full)
    with pytest.raises(OSError, match="No space"):
        supply(tmp_path / "cache", HERE, programs(tmp_path / "programs"), versions)
    assert not [path for path in (tmp_path / "cache/images").iterdir() if path.is_dir()]


def test_without_an_archive_there_are_the_images_that_need_none(
    tmp_path: Path, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> Archive:
        raise NoSources("this host has no apt")

    monkeypatch.setattr(supplies, "fetch_archive", none)
    got = supply(tmp_path / "cache", HERE, programs(tmp_path / "programs"), versions)
    assert (got.archive, got.why) == (None, "this host has no apt")
    assert [path.name for path in got.images] == ["coredns.tar", "pause.tar"]


def test_a_cache_that_was_filled_on_a_debian_host_has_everything_for_a_host_without_apt(
    tmp_path: Path, versions: Versions, world: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: archive and images are taken as they are; without the images there are the bare ones."""
    mine, cache = programs(tmp_path / "programs"), tmp_path / "cache"
    filled = supply(cache, HERE, mine, versions)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert supply(cache, HERE, mine, versions) == filled
    shutil.rmtree(cache / "images")
    got = supply(cache, HERE, mine, versions)
    assert got.archive == filled.archive
    assert [path.name for path in got.images] == ["coredns.tar", "pause.tar"]
    assert len(world) == 1


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_packages_are_unpacked_as_they_lie_in_a_debian_root(tmp_path: Path) -> None:
    made = deb(tmp_path, "hello")
    supplies.unpack([Package("hello", "1", made, "")], tmp_path / "root")
    assert (tmp_path / "root/bin/hello").read_text() == "hello"
    assert (tmp_path / "root/bin").readlink() == Path("usr/bin")


def test_a_containerd_that_imports_has_its_images_where_the_machines_own_looks() -> None:
    assert 'root = "/mnt/x/var/lib/containerd"\nstate = "/run/y/state"' in importer("/mnt/x", "/run/y")
    assert 'address = "/run/y/s"' in importer("", "/run/y")
    assert import_argv("ctr", "a.tar") == ["ctr", "-n", "k8s.io", "images", "import", "a.tar"]
