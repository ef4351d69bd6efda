import platform
from dataclasses import replace

import pydantic
import pytest

from lab.artifacts.catalogue import (
    CatalogueEntry,
    catalogue,
    items,
    machine_arch,
    optional_entries,
    package_name,
)
from lab.errors import LabError
from lab.topology import Versions

NEWEST = Versions("1.37.2", "3.7.3", "2.4.2", "1.9.1", "1.14.7", "1.37.0", "0.27.4", "2.66.1", "3.10.2")
ALL = optional_entries()


def test_every_program_has_one_entry_and_every_build_names_each_of_its_programs() -> None:
    programs = [program for entry in catalogue().values() for program in entry.programs]
    assert len(programs) == len(set(programs))
    for name, entry in catalogue().items():
        assert entry.modules, name
        assert set(entry.modules.packages) == set(entry.programs), name


def test_every_build_of_the_newest_versions_has_its_pinned_modules() -> None:
    directories = [item.build.directory for item in items(NEWEST, also=ALL) if item.build]
    assert len(directories) == len(catalogue())
    missing = [str(directory) for directory in directories if not (directory / "go.mod").is_file()]
    assert missing == []


@pytest.mark.parametrize(
    ("program", "version"),
    [("kubernetes", v) for v in ("1.36.3", "1.35.4", "1.34.4")]
    + [("etcd", v) for v in ("3.6.14", "3.6.8")]
    + [("coredns", v) for v in ("1.14.2", "1.13.1")],
)
def test_older_versions_are_pinned_too(program: str, version: str) -> None:
    item = next(i for i in items(NEWEST) if i.name == program)
    assert item.build
    directory = item.build.directory.parent / version
    assert f" v{version} " in (directory / "go.mod").read_text("utf-8")
    assert f" v{version} h1:" in (directory / "go.sum").read_text("utf-8")


def test_a_pinned_module_directory_has_a_tool_line_for_every_package() -> None:
    for item in items(NEWEST, also=ALL):
        assert item.build
        text = (item.build.directory / "go.mod").read_text("utf-8")
        for package in item.build.packages.values():
            assert (
                f"\t{package}\n" in text
                or f"tool {package}\n" in text
                or text.startswith(f"module {package}")
            )


def test_kubernetes_is_one_download_per_program_and_etcd_one_archive() -> None:
    by_name = {item.name: item for item in items(NEWEST, arch="arm64")}
    urls = [download.url for download in by_name["kubernetes"].downloads]
    assert "https://dl.k8s.io/v1.37.2/bin/linux/arm64/kubelet" in urls
    assert len(urls) == 6
    (archive,) = by_name["etcd"].downloads
    assert archive.members["etcdctl"] == "etcd-v3.7.3-linux-arm64/etcdctl"
    assert archive.sums.endswith("/v3.7.3/SHA256SUMS")


def test_agnhost_is_built_from_the_kubernetes_modules_and_never_downloaded() -> None:
    agnhost = next(item for item in items(NEWEST) if item.name == "agnhost")
    assert agnhost.build
    assert agnhost.build.directory.parts[-2:] == ("kubernetes", "1.37.2")
    assert agnhost.build.ldflags == "-X main.Version=2.66.1"
    assert (agnhost.version, agnhost.downloads) == ("2.66.1", ())


def test_agnhost_comes_from_the_kubernetes_it_is_part_of_whichever_the_cluster_runs() -> None:
    mixed = replace(NEWEST, kubernetes="1.36.3")
    build = next(item for item in items(mixed) if item.name == "agnhost").build
    assert build
    assert build.directory.parts[-2:] == ("kubernetes", "1.37.2")


def test_kubernetes_is_told_its_version_by_the_linker() -> None:
    build = next(item for item in items(NEWEST) if item.name == "kubernetes").build
    assert build
    assert "version.gitVersion=v1.37.2 " in build.ldflags
    assert build.ldflags.endswith("version.gitMinor=37")


def test_optional_entries_come_only_when_asked_for() -> None:
    assert "flannel" not in [item.name for item in items(NEWEST)]
    assert "flannel" in [item.name for item in items(NEWEST, also=["flannel"])]


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("go.etcd.io/etcd/server/v3", "server"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        ("lab/vault", "vault"),
    ],
)
def test_go_names_a_program_after_its_path(package: str, name: str) -> None:
    assert package_name(package) == name


def test_an_unknown_key_in_the_catalogue_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="sha265"):
        CatalogueEntry.model_validate(
            {
                "version": "x",
                "programs": [],
                "build_seconds": 1,
                "release": {"url": "", "sums": "", "sha265": {}},
            }
        )


def test_an_architecture_without_programs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(LabError, match="riscv64, only for amd64, arm64"):
        machine_arch()
