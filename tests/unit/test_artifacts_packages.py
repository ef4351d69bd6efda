"""The packages for plain boxes: resolved by this host's apt in folders of its own, kept as an archive."""

import shutil
import subprocess
from pathlib import Path

import pytest
from plain_guest import archive
from stand_in import StandIn, on_path

from lab.artifacts import debian, packages
from lab.artifacts.packages import (
    INDEX,
    NoSources,
    Release,
    archive_key,
    fetch_archive,
    insist_cached,
    resourced,
    unneeded_archives,
)
from lab.errors import LabError

HERE = Release("debian", "bookworm", "amd64")
NEXT = Release("debian", "trixie", "amd64")
SOURCES = """\
Types: deb
URIs: http://mirror.example/debian-bookworm/x
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-bookworm.gpg
"""
needs_dpkg_deb = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian host with one source file, its apt-get a stand-in."""
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "apt/sources.list.d/debian.sources").write_text(SOURCES)
    monkeypatch.setattr(debian, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(debian, "APT", tmp_path / "apt")
    monkeypatch.setenv("PATH", on_path(tmp_path / "bin"))
    return tmp_path


@pytest.fixture
def apt(host: Path) -> StandIn:
    return StandIn(host / "bin/apt-get").answer("")


def deb(folder: Path, name: str) -> Path:
    """A real package with nothing in it."""
    tree = folder / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: x\nDescription: y\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin" / name).write_text(name)
    path = folder / f"{name}_1.0-1_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(path)]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    return path


@needs_dpkg_deb
def test_an_archive_is_fetched_once_and_apt_finds_its_way_in_it(host: Path) -> None:
    made = deb(host, "hello")
    fetching = host / "bin/apt-get"
    fetching.parent.mkdir(exist_ok=True)
    # It puts what it downloads where it was told that its cache is.
    fetching.write_text(
        f'#!/bin/sh\necho "$*" >>{host}/asked\nfor word; do case $word in Dir::Cache=*)\n'
        f"cp {made} ${{word#Dir::Cache=}}/archives/ ;; esac; done\n"
    )
    fetching.chmod(0o755)
    told: list[str] = []
    got = fetch_archive(host / "cache", NEXT, told.append, ["hello"])
    (package,) = got.packages.values()
    assert (package.name, package.version, package.file.name) == ("hello", "1.0-1", made.name)
    assert f"Filename: ./{made.name}\nSize: {made.stat().st_size}\nSHA256: " in package.stanza
    assert told == ["packages: 1 of debian trixie (amd64), and what they need"]
    update, install = (host / "asked").read_text().splitlines()
    assert update.endswith(" update --error-on=any")
    assert "Dir::State::status=" in install
    assert install.endswith(" --no-install-recommends --download-only install hello")
    assert fetch_archive(host / "cache", NEXT, told.append, ["hello"]).digest == got.digest
    assert len(told) == 1
    assert list((host / "cache/work").iterdir()) == []


def test_nothing_of_this_hosts_apt_is_touched(host: Path, apt: StandIn) -> None:
    fetch_archive(host / "cache", HERE)
    settings = [word for call in apt.calls for word in call if word.startswith("Dir::")]
    assert {word.partition("=")[0] for word in settings} >= {"Dir::State", "Dir::Cache", "Dir::State::status"}
    assert not [word for word in settings if not word.endswith("=/dev/null") and str(host) not in word]


def test_no_network_and_nothing_in_the_cache_is_explained(host: Path, apt: StandIn) -> None:
    apt.answer("update", err="E: Temporary failure resolving 'mirror.example'", status=100)
    with pytest.raises(LabError, match=r"cannot be fetched[^$]*failure resolving[^$]*remedy: with a network"):
        fetch_archive(host / "cache", HERE)
    assert not list((host / "cache/packages").glob(f"*/{INDEX}"))
    assert list((host / "cache/work").iterdir()) == []


def test_without_a_network_what_is_there_is_used(host: Path, apt: StandIn) -> None:
    apt.answer("", status=100)
    archive(host / "cache/packages" / archive_key(HERE), {"runc": "1.1"})
    assert list(fetch_archive(host / "cache", HERE).packages) == ["runc"]
    assert apt.calls == []


def test_whether_all_is_there_can_be_asked_for_without_fetching(host: Path, apt: StandIn) -> None:
    with pytest.raises(LabError, match=r"offline and no packages of debian bookworm \(amd64\)"):
        insist_cached(host / "cache", HERE)
    archive(host / "cache/packages" / archive_key(HERE), {"runc": "1.1"})
    insist_cached(host / "cache", HERE)
    insist_cached(host / "cache", Release("ubuntu", "noble", "amd64"))  # nobody here could fetch those
    assert apt.calls == []


def test_a_host_without_apt_says_so(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(host / "nothing"))
    with pytest.raises(NoSources, match="this host has no apt"):
        fetch_archive(host / "cache", HERE)


def test_another_distributions_packages_are_not_this_hosts(host: Path, apt: StandIn) -> None:
    with pytest.raises(NoSources, match=r"knows debian, and not ubuntu noble"):
        fetch_archive(host / "cache", Release("ubuntu", "noble", "amd64"))
    assert apt.calls == []


def test_sources_become_another_releases_and_keep_mirror_and_key() -> None:
    assert resourced(SOURCES, "bookworm", "trixie") == SOURCES.replace(
        "Suites: bookworm bookworm-updates", "Suites: trixie trixie-updates"
    )
    line = "deb http://mirror.example/bookworm bookworm-security main\n"
    assert resourced(line, "bookworm", "trixie") == line.replace("bookworm-security", "trixie-security")


def test_what_packages_need_is_found_with_alternatives(tmp_path: Path) -> None:
    found = archive(tmp_path / "a", {"libc": "2", "libdns": "9", "dig": "9", "other": "1"})
    assert [package.name for package in found.needed_by(["dig"])] == ["dig", "libc", "libdns", "other"]
    assert [package.name for package in found.needed_by(["libc", "not-there"])] == ["libc"]


def test_archives_of_other_packages_are_unneeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (archive_key(HERE), archive_key(NEXT), archive_key(HERE, ["old"])):
        (tmp_path / "packages" / key).mkdir(parents=True)
    assert unneeded_archives(tmp_path) == [tmp_path / "packages" / archive_key(HERE, ["old"])]
    monkeypatch.setattr(packages, "RECIPE", 0)
    assert len(unneeded_archives(tmp_path)) == 3
