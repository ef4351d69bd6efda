import datetime
import hashlib
import io
import ipaddress
import json
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.artifacts.catalogue import Download, Item
from lab.artifacts.release import Limits, Lock, Releases, published_sha256
from lab.artifacts.source import Beat, SourceFailed, Unreachable

CONTENT = b"program" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """An HTTPS server of our own: what it answers by path, and what it was asked."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.asked.append(self.path)
            seen.answers.get(self.path, status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
        seen = Server(f"https://127.0.0.1:{http.server_port}")
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield seen
        seen.over.set()
        http.shutdown()


@pytest.fixture
def releases(tmp_path: Path, certificate: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Releases:
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return Releases(
        tmp_path / "cache",
        Limits(connect=0.5, silence=0.5, whole=5),
        rebase={"https://dl.test": server.url},
        tls=ssl.create_default_context(cafile=str(certificate)),
    )


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


def body(content: bytes, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def status(code: int, location: str = "") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def item(*, sha256: str = "", members: dict[str, str] | None = None) -> Item:
    download = Download("https://dl.test/tool", "https://dl.test/tool.sha256", sha256, members or {})
    return Item("tool", "1.0", "amd64", ("tool",), 1, (download,), None)


def quiet(_: Beat) -> None:
    pass


def archive(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_a_pinned_file_arrives_and_nothing_else(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = body(CONTENT)
    assert releases.deliver(item(sha256=SHA256), into, quiet) == f"{server.url}/tool"
    assert [path.name for path in into.iterdir()] == ["tool"]
    assert (into / "tool").read_bytes() == CONTENT
    assert server.asked == ["/tool"]


def test_without_a_pin_the_publishers_hash_is_used_and_locked(
    releases: Releases, server: Server, into: Path
) -> None:
    server.answers |= {"/tool": body(CONTENT), "/tool.sha256": body(SHA256.encode())}
    releases.deliver(item(), into, quiet)
    (into / "tool").unlink()
    server.answers |= {
        "/tool": body(b"other"),
        "/tool.sha256": body(hashlib.sha256(b"other").hexdigest().encode()),
    }
    with pytest.raises(SourceFailed, match=f"not {SHA256}: refused"):
        releases.deliver(item(), into, quiet)
    assert server.asked.count("/tool.sha256") == 1
    assert list(into.iterdir()) == []


def test_a_wrong_hash_is_refused_and_named(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = body(CONTENT + b"!")
    with pytest.raises(SourceFailed, match=rf"127\.0\.0\.1.*/tool has sha256 .* not {SHA256}"):
        releases.deliver(item(sha256=SHA256), into, quiet)
    assert list(into.iterdir()) == []


def test_a_truncated_download_is_refused(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = body(CONTENT, length=len(CONTENT) + 1)
    with pytest.raises(SourceFailed, match="/tool: "):
        releases.deliver(item(sha256=SHA256), into, quiet)
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("code", [403, 404, 500])
def test_any_other_status_is_named(releases: Releases, server: Server, into: Path, code: int) -> None:
    server.answers["/tool"] = status(code)
    with pytest.raises(SourceFailed, match=f"/tool: {code} "):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_a_missing_side_file_is_named(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = body(CONTENT)
    with pytest.raises(SourceFailed, match=r"tool\.sha256: 404"):
        releases.deliver(item(), into, quiet)


def test_a_redirect_over_tls_is_followed(releases: Releases, server: Server, into: Path) -> None:
    server.answers |= {"/tool": status(302, "/there?a=b"), "/there?a=b": body(CONTENT)}
    releases.deliver(item(sha256=SHA256), into, quiet)
    assert (into / "tool").read_bytes() == CONTENT


def test_a_redirect_to_http_is_refused(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = status(302, "http://127.0.0.1:1/tool")
    with pytest.raises(SourceFailed, match=r"http://127\.0\.0\.1:1/tool is not https"):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_an_endless_redirect_ends(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = status(302, "/tool")
    with pytest.raises(SourceFailed, match="more than 5 times"):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_a_server_that_hangs_is_left(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = lambda _: bool(server.over.wait(10)) and None
    began = time.monotonic()
    with pytest.raises(SourceFailed, match="ReadTimeout"):
        releases.deliver(item(sha256=SHA256), into, quiet)
    assert time.monotonic() - began < 3


def test_a_server_that_drips_is_left(releases: Releases, server: Server, into: Path) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        body(b"", length=100)(request)
        while not server.over.wait(0.05):
            request.wfile.write(b"x")

    server.answers["/tool"] = drip
    releases.limits = Limits(connect=0.5, silence=0.5, whole=0.3)
    with pytest.raises(SourceFailed, match=r"only \d+ bytes within"):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_a_certificate_of_nobody_we_know_is_refused(releases: Releases, into: Path) -> None:
    releases.tls = None
    with pytest.raises(SourceFailed, match="CERTIFICATE_VERIFY_FAILED"):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_no_network_is_noticed_at_once_and_remembered(
    releases: Releases, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    releases.rebase = {}
    for _ in range(3):
        with pytest.raises(Unreachable, match=r"dl\.test:443: its name cannot be resolved"):
            releases.deliver(item(sha256=SHA256), into, quiet)
    assert asked == ["dl.test"]


def test_a_dead_proxy_is_named(releases: Releases, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"HTTPS_PROXY=http://127\.0\.0\.1:9 is dead"):
        releases.deliver(item(sha256=SHA256), into, quiet)


def test_downloads_go_through_the_proxy(
    releases: Releases, server: Server, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        lines: list[bytes] = []
        threading.Thread(target=serve_connect, args=(proxy, lines), daemon=True).start()
        with pytest.raises(SourceFailed, match="403"):
            releases.deliver(item(sha256=SHA256), into, quiet)
    assert lines[0].startswith(f"CONNECT {server.url.removeprefix('https://')} HTTP/1.1".encode())


def serve_connect(proxy: socket.socket, lines: list[bytes]) -> None:
    """Refuse every CONNECT; the first connection only asks whether somebody is there."""
    while True:
        try:
            client, _ = proxy.accept()
        except OSError:
            return
        with client:
            if line := client.recv(4096):
                lines.append(line)
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def test_a_program_is_taken_out_of_its_archive(releases: Releases, server: Server, into: Path) -> None:
    packed = archive("tool-1.0/tool", CONTENT)
    server.answers["/tool"] = body(packed)
    pinned = item(sha256=hashlib.sha256(packed).hexdigest(), members={"tool": "tool-1.0/tool"})
    releases.deliver(pinned, into, quiet)
    assert [path.name for path in into.iterdir()] == ["tool"]
    assert (into / "tool").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "packed",
    [
        b"no archive",
        archive("other", b"x"),
        archive("tool", b"", tarfile.SYMTYPE),
        archive("tool", CONTENT)[:60],
    ],
    ids=["not an archive", "another member", "a link out of it", "cut off"],
)
def test_an_archive_without_the_program_is_refused(
    releases: Releases, server: Server, into: Path, packed: bytes
) -> None:
    server.answers["/tool"] = body(packed)
    pinned = item(sha256=hashlib.sha256(packed).hexdigest(), members={"tool": "tool"})
    with pytest.raises(SourceFailed, match="not the archive it should be"):
        releases.deliver(pinned, into, quiet)


def test_progress_is_told(releases: Releases, server: Server, into: Path) -> None:
    server.answers["/tool"] = body(CONTENT)
    beats: list[Beat] = []
    releases.deliver(item(sha256=SHA256), into, beats.append)
    assert beats[0].phase == "downloading tool (1 of 1)"
    assert beats[0].done
    assert 0 < beats[0].done <= 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SHA256, SHA256),
        (SHA256.upper() + "\n", SHA256),
        (f"{SHA256}  tool\n", SHA256),
        (f"{'0' * 64}  other\n{SHA256} *dist/tool\n", SHA256),
        (f"{SHA256}  other\n", ""),
        ("<html>not found</html>", ""),
        ("", ""),
        ("abc", ""),
    ],
)
def test_a_publishers_side_file(text: str, found: str) -> None:
    assert published_sha256(text, "tool") == found


def test_the_first_hash_locked_holds(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "release.lock.json")
    assert lock.get("u") == ""
    assert lock.set("u", "1") == "1"
    assert lock.set("u", "2") == "1"
    assert json.loads(lock.path.read_text()) == {"u": "1"}


def test_a_broken_lock_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "release.lock.json").write_text("{")
    with pytest.raises(SourceFailed, match=r"release\.lock\.json cannot be read"):
        Lock(tmp_path / "release.lock.json").get("u")
