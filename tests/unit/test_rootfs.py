"""What the machines' root is made of, where Debian's packages come from, and nothing half-made."""

from pathlib import Path

import pytest

from lab.artifacts import debian, rootfs
from lab.artifacts.fetch import Programs
from lab.errors import LabError
from lab.plan import load_topology
from lab.topology import Versions

OFFICIAL = (
    "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
)
THIRD = "Types: deb\nURIs: https://vendor.example/linux/debian\nSuites: bookworm\nComponents: stable\n"


@pytest.fixture
def versions() -> Versions:
    return load_topology().versions


def test_keys_follow_what_goes_in(monkeypatch: pytest.MonkeyPatch, versions: Versions) -> None:
    before = rootfs.root_key("bookworm", Programs([]), versions)
    assert rootfs.root_key("bookworm", Programs([]), versions) == before
    assert rootfs.root_key("trixie", Programs([]), versions) != before
    for name, value in {
        "BASE_RECIPE": 0,
        "ROOT_RECIPE": 0,
        "MASKED": (),
        "PACKAGES": ["systemd"],
        "LEFT_OUT": (),
        "LINKS": {},
        "PLACES": {},
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(rootfs, name, value)
            assert rootfs.root_key("bookworm", Programs([]), versions) != before, name


def test_another_program_or_pause_version_is_another_root(
    monkeypatch: pytest.MonkeyPatch, versions: Versions
) -> None:
    before = rootfs.root_key("bookworm", Programs([]), versions)
    monkeypatch.setattr(Programs, "digest", lambda _: "another")
    assert rootfs.root_key("bookworm", Programs([]), versions) != before


def test_the_base_does_not_follow_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rootfs.base_key("bookworm")
    monkeypatch.setattr(rootfs, "PLACES", {})
    assert rootfs.base_key("bookworm") == before


def test_a_base_of_another_architecture_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rootfs.base_key("bookworm")

    class Arm:
        machine = "aarch64-of-tests"

    monkeypatch.setattr(rootfs.os, "uname", lambda: Arm)
    assert rootfs.base_key("bookworm") != before


def test_every_program_has_one_place() -> None:
    names = [name for names in rootfs.PLACES.values() for name in names]
    assert len(names) == len(set(names))
    assert {"kubelet", "etcd", "containerd"} <= set(names)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (OFFICIAL, True),
        ("deb http://mirror.example/debian bookworm main\n", True),
        ("deb http://mirror.example/ubuntu noble main universe\n", True),
        (THIRD, False),
        ("deb https://vendor.example/apt bookworm main\n", False),
        ("# deb http://mirror.example/debian bookworm main\n", False),
        ("", False),
    ],
)
def test_only_the_distributions_own_archives_are_used(tmp_path: Path, text: str, ours: bool) -> None:
    (tmp_path / "x.sources").write_text(text)
    assert debian.is_debian_source(tmp_path / "x.sources") is ours


def test_a_source_that_is_no_text_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x.list").write_bytes(b"\xff\xfe debian main")
    debian.is_debian_source(tmp_path / "x.list")


def test_the_recipe_names_suite_target_and_packages(tmp_path: Path) -> None:
    argv = debian.bootstrap("bookworm", tmp_path / "base.tar", rootfs.PACKAGES, {})
    assert argv[0] == "mmdebstrap"
    assert argv[argv.index("bookworm") + 1] == str(tmp_path / "base.tar")
    (include,) = [each for each in argv if each.startswith("--include=")]
    assert "systemd" in include.removeprefix("--include=").split(",")


def test_a_finished_root_is_taken_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, versions: Versions
) -> None:
    monkeypatch.setattr(rootfs, "debian_suite", lambda: "bookworm")
    folder = tmp_path / "roots" / rootfs.root_key("bookworm", Programs([]), versions)
    folder.mkdir(parents=True)
    (folder / "root.squashfs").touch()
    monkeypatch.setattr(rootfs, "run", None)
    assert rootfs.build_root(tmp_path, Programs([]), versions) == folder / "root.squashfs"


def test_a_base_that_cannot_be_built_leaves_nothing_under_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LabError("`mmdebstrap` exited 1: no mirror")

    monkeypatch.setattr(rootfs, "run", fail)
    told: list[str] = []
    with pytest.raises(LabError, match="no mirror"):
        rootfs.build_base(tmp_path, "bookworm", told.append)
    assert not list((tmp_path / "bases").glob("*.tar"))
    assert list((tmp_path / "work").iterdir()) == []
    assert len(told) == 1
    assert told[0].startswith("root: Debian bookworm, ")


def test_a_base_is_built_once_and_renamed_into_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def build(*argv: str, **_: object) -> None:
        calls.append(argv)
        Path(next(word for word in argv if word.endswith("base.tar"))).write_text("tar")

    monkeypatch.setattr(rootfs, "run", build)
    first = rootfs.build_base(tmp_path, "bookworm")
    assert first.read_text() == "tar"
    assert rootfs.build_base(tmp_path, "bookworm") == first
    assert len(calls) == 1


def test_what_must_be_unique_is_not_in_the_root(tmp_path: Path) -> None:
    for name in (*rootfs.UNIQUE_PER_MACHINE, "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("unique")
    rootfs._forget_identity(tmp_path)
    left = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"etc/machine-id": "", "etc/resolv.conf": ""}


def test_a_link_to_the_hosts_resolver_is_not_followed(tmp_path: Path) -> None:
    host = tmp_path / "host.conf"
    host.write_text("nameserver")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/resolv.conf").symlink_to(host)
    rootfs._forget_identity(tmp_path / "root")
    assert host.read_text() == "nameserver"


@pytest.mark.parametrize("release", ["ID=fedora\n", "", None])
def test_a_host_without_debian_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str | None
) -> None:
    path = tmp_path / "os-release"
    if release is not None:
        path.write_text(release)
    monkeypatch.setattr(debian, "OS_RELEASE", path)
    with pytest.raises(LabError, match="copy that cache folder here"):
        debian.debian_suite()


def test_the_suite_is_this_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=debian\n# comment\nVERSION_CODENAME="bookworm"\n')
    monkeypatch.setattr(debian, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(debian.shutil, "which", lambda _: "/usr/bin/apt-get")
    assert debian.debian_suite() == "bookworm"


def test_what_another_recipe_made_is_not_needed(
    tmp_path: Path, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "debian_suite", lambda: "bookworm")
    kept = tmp_path / "roots" / rootfs.root_key("bookworm", Programs([]), versions)
    old = tmp_path / "roots" / "0123456789abcdef"
    for folder in (kept, old):
        folder.mkdir(parents=True)
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / f"bookworm-{rootfs.base_key('bookworm')}.tar").touch()
    (tmp_path / "bases" / "bookworm-old.tar").touch()
    assert rootfs.unneeded(tmp_path, Programs([]), versions) == [tmp_path / "bases" / "bookworm-old.tar", old]


def test_without_root_no_image_is_begun(
    tmp_path: Path, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "debian_suite", lambda: "bookworm")
    monkeypatch.setattr(rootfs.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="artifacts fetch --image"):
        rootfs.build_root(tmp_path, Programs([]), versions)
    assert list(tmp_path.iterdir()) == []
