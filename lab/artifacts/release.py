"""Programs as their publishers release them: over TLS, checked against a sha256 that never changes again."""

import hashlib
import json
import ssl
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import httpx2

from lab.artifacts import network
from lab.artifacts.catalogue import Download, Item
from lab.artifacts.source import Beat, SourceFailed, Unreachable

CHUNK = 1 << 18
MOST_SUMS = 1 << 20
MOST_REDIRECTS = 5
BEAT = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, in seconds, until a host counts as unreachable, a server as silent, a download as endless."""

    connect: float = 3.0
    silence: float = 10.0
    whole: float = 1800.0


@dataclass(slots=True)
class Releases:
    """Official binaries.  `rebase` replaces the start of the catalogue's addresses, for mirrors and tests."""

    root: Path
    limits: Limits = field(default_factory=Limits)
    rebase: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    name: str = "release"
    _unreachable: dict[str, Unreachable] = field(default_factory=dict)

    def offers(self, item: Item) -> bool:
        """Whether the publisher releases binaries of the item."""
        return bool(item.downloads)

    def deliver(self, item: Item, into: Path, beat: Callable[[Beat], None]) -> str:
        """Download every file of the release and take the programs out of it."""
        for number, download in enumerate(item.downloads, start=1):
            name = urlsplit(download.url).path.rpartition("/")[2]
            phase = f"downloading {name} ({number} of {len(item.downloads)})"
            before, each = (number - 1) / len(item.downloads), 1 / len(item.downloads)
            self._one(download, name, into, partial(_beat, beat, phase, before, each))
        return self._based(item.downloads[0].url)

    def _one(self, download: Download, name: str, into: Path, beat: Callable[[float | None], None]) -> None:
        url = self._based(download.url)
        wanted = self._sha256(url, download)
        packed = into / f".{name}"
        try:
            with self._opened(url) as response:
                got = _save(response, packed, self.limits.whole, beat)
            if got != wanted:
                raise SourceFailed(f"{url} has sha256 {got}, not {wanted}: refused")
            _unpack(packed, download, name, into)
        finally:
            packed.unlink(missing_ok=True)

    def _sha256(self, url: str, download: Download) -> str:
        """The hash the file must have: pinned, else locked, else published and from then on locked."""
        locked = Lock(self.root / "release.lock.json")
        known = download.sha256 or locked.get(url)
        if known:
            return known
        sums = self._based(download.sums)
        with self._opened(sums) as response:
            text = _text(response, sums)
        published = published_sha256(text, urlsplit(url).path.rpartition("/")[2])
        if not published:
            raise SourceFailed(f"{sums} has no sha256 of {url}")
        return locked.set(url, published)

    def _based(self, url: str) -> str:
        for start, instead in self.rebase.items():
            if url.startswith(start):
                return instead + url.removeprefix(start)
        return url

    @contextmanager
    def _opened(self, url: str) -> Iterator[httpx2.Response]:
        """The answer to a GET, redirects followed as long as they stay on https."""
        origin = urlsplit(url).netloc
        if known := self._unreachable.get(origin):
            raise known
        try:
            with self._followed(url, MOST_REDIRECTS) as response:
                yield response
        except Unreachable as error:
            self._unreachable[origin] = error
            raise
        except httpx2.HTTPError as error:
            raise SourceFailed(f"{url}: {_said(error)}") from error

    @contextmanager
    def _followed(self, url: str, redirects: int) -> Iterator[httpx2.Response]:
        if urlsplit(url).scheme != "https":
            raise SourceFailed(f"{url} is not https: refused")
        proxy = network.insist_reachable(url, timeout=self.limits.connect)
        with self._client(proxy) as client, client.stream("GET", url) as response:
            if response.next_request is None:
                _insist_ok(url, response)
                yield response
                return
            target = str(response.next_request.url)
        if redirects == 0:
            raise SourceFailed(f"{url} is redirected more than {MOST_REDIRECTS} times")
        with self._followed(target, redirects - 1) as response:
            yield response

    def _client(self, proxy: network.Proxy | None) -> httpx2.Client:
        silence = self.limits.silence
        return httpx2.Client(
            proxy=proxy.url if proxy else None,
            trust_env=False,
            verify=self.tls or ssl.create_default_context(),
            timeout=httpx2.Timeout(silence, connect=self.limits.connect),
            headers={"Accept-Encoding": "identity", "User-Agent": "thwlab"},
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """The hashes published when a file was first seen; nothing else is accepted from then on."""

    path: Path

    def get(self, url: str) -> str:
        """The locked hash, or nothing."""
        return self._read().get(url, "")

    def set(self, url: str, sha256: str) -> str:
        """Lock the hash, unless another process was first; return the one that holds."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self.path}.lock"):
            locked = self._read()
            held = locked.setdefault(url, sha256)
            fresh = self.path.with_suffix(".fresh")
            fresh.write_text(json.dumps(locked, indent=2, sort_keys=True) + "\n", "utf-8")
            fresh.rename(self.path)
        return held

    def _read(self) -> dict[str, str]:
        try:
            locked = dict(json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise SourceFailed(f"{self.path} cannot be read: {error}", remedy=f"rm {self.path}") from error
        return locked


def published_sha256(text: str, name: str) -> str:
    """The hash of `name` in a publisher's side file: a bare hash, or lines of hash and name."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and len(lines[0]) == 1:
        return _hexadecimal(lines[0][0])
    named = {words[-1].lstrip("*").rpartition("/")[2]: words[0] for words in lines if len(words) > 1}
    return _hexadecimal(named.get(name, ""))


def _hexadecimal(text: str) -> str:
    return text.lower() if len(text) == 64 and set(text.lower()) <= set("0123456789abcdef") else ""


def _insist_ok(url: str, response: httpx2.Response) -> None:
    if response.status_code != httpx2.codes.OK:
        raise SourceFailed(f"{url}: {response.status_code} {response.reason_phrase}")


def _text(response: httpx2.Response, url: str) -> str:
    content = b""
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > MOST_SUMS:
            raise SourceFailed(f"{url} is longer than {MOST_SUMS} bytes, so it is no list of hashes")
    return content.decode("utf-8", "replace")


def _save(response: httpx2.Response, path: Path, whole: float, beat: Callable[[float | None], None]) -> str:
    """Write the body to a file, hash it on the way, and return the hash."""
    end, told, digest, got = time.monotonic() + whole, 0.0, hashlib.sha256(), 0
    size = int(response.headers.get("content-length", 0))
    with path.open("wb") as stream:
        for chunk in response.iter_raw():
            stream.write(chunk)
            digest.update(chunk)
            got += len(chunk)
            if (now := time.monotonic()) - told > BEAT:
                told = now
                beat(got / size if size else None)
            if now > end:
                raise SourceFailed(f"{response.url}: only {got} bytes within {whole:.0f}s")
    return digest.hexdigest()


def _unpack(packed: Path, download: Download, name: str, into: Path) -> None:
    if not download.members:
        packed.rename(into / name)
        return
    try:
        with tarfile.open(packed) as archive:
            for program, member in download.members.items():
                _extract(archive, member, into / program)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise SourceFailed(f"{download.url} is not the archive it should be: {error}") from error


def _extract(archive: tarfile.TarFile, member: str, path: Path) -> None:
    """Only the content of a regular file is taken; names and owners in the archive mean nothing."""
    content = archive.extractfile(archive.getmember(member))
    if content is None:
        raise KeyError(f"{member} is not a regular file")
    with path.open("wb") as stream:
        while chunk := content.read(CHUNK):
            stream.write(chunk)


def _beat(beat: Callable[[Beat], None], phase: str, before: float, each: float, done: float | None) -> None:
    """Tell the part of one file that is done as a part of all files."""
    beat(Beat(phase, None if done is None else before + each * done))


def _said(error: httpx2.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
