"""Programs built from Go modules: every dependency pinned by go.mod and checked against go.sum."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.artifacts import network, toolchain
from lab.artifacts.catalogue import Build, Item, package_name
from lab.artifacts.source import Beat, SourceFailed, Unreachable

# What would make a build depend on the user's shell; the module proxy is theirs to set and stays.
THEIRS = {"GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "CGO_CFLAGS", "CGO_LDFLAGS"}
KNOWN_FAILURES = {
    "no space left on device": "free space for GOCACHE, GOMODCACHE (`go env`) and TMPDIR, or move them",
    'C compiler "gcc" not found': "sudo apt-get install gcc libc6-dev",
    "checksum mismatch": "what is served is not what go.sum pins: do not use it; look at GOPROXY",
    "proxyconnect": "correct or unset the proxy variables",
    "dial tcp": "check the network, or GOPROXY (`go env GOPROXY`)",
    "module lookup disabled by GOPROXY=off": "a network is needed once, for the modules",
}


@dataclass(slots=True)
class GoModules:
    """`go build` in a pinned module directory.  A build uses all cores, so run one at a time."""

    root: Path
    deadline: float = 5400.0
    connect: float = 3.0
    name: str = "Go modules"
    _asked: str | None = None

    def offers(self, item: Item) -> bool:
        """Whether the catalogue says how to build the item."""
        return item.build is not None

    def deliver(self, item: Item, into: Path, beat: Callable[[Beat], None]) -> str:
        """Build the programs, static, and name them as the catalogue does."""
        assert item.build
        if not (item.build.directory / "go.mod").is_file():
            raise SourceFailed(f"no pinned modules for {item}: {item.build.directory}/go.mod is missing")
        beat(Beat("looking for a Go toolchain"))
        go = toolchain.find(self.root, toolchain.needed_by(item.build.directory / "go.mod"))
        log = self.root / "logs" / f"build-{item.name}-{item.version}.log"
        env = environment(item.build, item.arch, go.policy, os.environ)
        if self._unreachable(go.path, env):
            env["GOPROXY"] = "off"  # what is on disk is enough, or Go says at once what is missing
        self._run(build_command(go.path, item.build, into), item.build.directory, env, log, beat)
        _rename(item.build, into)
        return f"{item.build.directory.parent.name}/{item.build.directory.name} by Go modules with {go}"

    def _run(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path, beat: Callable[[Beat], None]
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = _await(process, self.deadline, lambda: beat(Beat(_doing(log))))
        if status is None:
            raise SourceFailed(f"`{shlex.join(argv)}` did not end within {self.deadline:.0f}s\n{_tail(log)}")
        if status != 0:
            raise _failure(argv, status, log, self._asked or "")

    def _unreachable(self, go: Path, env: Mapping[str, str]) -> str:
        """Why the module proxy cannot be reached, empty if it can; asked once for a run."""
        if self._asked is None:
            self._asked = _why_no_proxy(module_proxy(go, env), env, self.connect)
        return self._asked


def build_command(go: Path, build: Build, into: Path) -> list[str]:
    """The command line; `go install` would refuse to build for Linux elsewhere.

    The flags are part of the key of Go's own build cache, so they never vary.
    """
    tags = ["-tags", ",".join(build.tags)] if build.tags else []
    ldflags = f"-s -w {build.ldflags}".strip()
    return [
        *(str(go), "build", "-o", f"{into}/", "-v", "-trimpath", *tags, "-ldflags", ldflags),
        *build.packages.values(),
    ]


def environment(build: Build, arch: str, policy: str, user: Mapping[str, str]) -> dict[str, str]:
    """The user's environment with all that changes a build replaced by ours."""
    ours = {
        "GOOS": "linux",  # whatever this host is
        "GOARCH": arch,
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
        "GOTOOLCHAIN": policy,
        "CGO_ENABLED": "1" if build.cgo else "0",
    }
    return {name: value for name, value in user.items() if name not in THEIRS} | ours


def module_proxy(go: Path, env: Mapping[str, str]) -> str:
    """The address Go asks for modules first; empty if that is none, or the next one would do as well."""
    done = subprocess.run(
        [go, "env", "GOPROXY"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    chosen = done.stdout.strip()
    first = chosen.partition(",")[0]
    return first if first.startswith(("https://", "http://")) and "|" not in chosen else ""


def _why_no_proxy(url: str, env: Mapping[str, str], timeout: float) -> str:
    if not url:
        return ""
    try:
        network.insist_reachable(url, timeout=timeout, environ=env)
    except Unreachable as error:
        return str(error)
    return ""


def _await(process: subprocess.Popen[bytes], deadline: float, beat: Callable[[], None]) -> int | None:
    """The exit status, or None at the deadline.  However this ends, no process of the build is left."""
    end = time.monotonic() + deadline
    try:
        while time.monotonic() < end:
            try:
                return process.wait(timeout=min(1.0, max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                beat()
        return None
    finally:
        if process.poll() is None:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _doing(log: Path) -> str:
    """A few words from the last line of the log: with -v, the package being compiled."""
    lines = _tail(log, lines=1)
    return f"building: {lines[-100:]}" if lines else "building"


def _tail(log: Path, lines: int = 15) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 8192))
        text = stream.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])


def _failure(argv: Sequence[str], status: int, log: Path, unreachable: str) -> SourceFailed:
    """The end of the log, with what was unreachable, and the remedy where the cause is a known one."""
    seen = _tail(log)
    remedy = next((cure for sign, cure in KNOWN_FAILURES.items() if sign in seen), f"read {log}")
    note = f"\n{unreachable}" if unreachable else ""
    return SourceFailed(f"`{shlex.join(argv)}` exited {status}:\n{seen}{note}", remedy=remedy)


def _rename(build: Build, into: Path) -> None:
    for program, package in build.packages.items():
        built = into / package_name(package)
        if built.name != program:
            built.rename(into / program)
