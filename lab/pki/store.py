"""Credentials on this host: one file each, 0600, in a folder of 0700; made once and read ever after."""

import base64
import re
import secrets
import shlex
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import InvalidVersion
from filelock import FileLock, Timeout

from lab.errors import LabError
from lab.pki.credentials import Authority, Credentials, Pair, Token
from lab.pki.fitness import RENEW_WITHIN, unfit
from lab.pki.issuing import BACKDATE, LEAF_LIFE, issue, key_pair, new_ca, new_key, opened
from lab.pki.uses import Planned, planned
from lab.topology import Topology

T = TypeVar("T")
TOKEN_LIFE = timedelta(hours=24)
TOKEN_LEFT = timedelta(hours=1)  # a bring-up that starts with this much left still ends in time
LOCK_SECONDS = 30
_KEY_BEGINS = b"-----BEGIN EC PRIVATE KEY-----"
_ALPHABET = string.ascii_lowercase + string.digits
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16}) (\S+)\n")
_LASTING = {f"{name}-ca.pem" for name in get_args(Authority)} | {"service-account.key", "encryption-key"}
_CLOCK = "set this host's clock, for instance timedatectl set-ntp true, and try again"
_AGAIN = "thwlab down, then thwlab up: the lab is made anew with new credentials"


def load_or_create(topology: Topology, directory: Path, *, now: datetime | None = None) -> Credentials:
    """Every credential of the plan, read from ``directory`` or made there.

    Additive: what is good stays byte for byte, nodes may be added.  A certificate which no longer
    matches the plan or ends within seven days is replaced and named in `Credentials.reissued`, as is
    a bootstrap token with less than an hour to live.  CAs are never replaced.  Raises LabError for
    a damaged file or a CA at the end of its life, naming the file and the remedy.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        with FileLock(directory / ".lock", timeout=LOCK_SECONDS, mode=0o600):
            return _load(topology, directory, now or datetime.now(UTC))
    except Timeout as error:
        raise LabError(
            f"{directory} was locked by another run for {LOCK_SECONDS} s",
            remedy=f"see who holds it: fuser -v {shlex.quote(str(directory / '.lock'))}",
        ) from error
    except OSError as error:
        raise LabError(
            f"cannot keep credentials in {directory}: {error}",
            remedy="make the folder writable and free some space, or choose another state folder",
        ) from error


def expiring(directory: Path, within: timedelta, *, now: datetime | None = None) -> list[tuple[str, float]]:
    """Certificates that end within that time, soonest first, with days left (negative: ended)."""
    moment = now or datetime.now(UTC)
    ends = ((path.stem, _end(path) - moment) for path in directory.glob("*.pem"))
    near = [(name, left / timedelta(days=1)) for name, left in ends if left <= within]
    return sorted(near, key=lambda entry: (entry[1], entry[0]))


def _load(topology: Topology, directory: Path, now: datetime) -> Credentials:
    reissued: dict[str, str] = {}
    authorities = {name: _authority(directory / f"{name}-ca.pem", name, now) for name in get_args(Authority)}
    pairs = {
        (plan.use.name, plan.node): _leaf(directory, plan, authorities[plan.use.authority], now, reissued)
        for plan in planned(topology)
    }
    return Credentials(
        authorities,
        pairs,
        _kept(directory / "service-account.key", new_key, key_pair),
        _token(directory / "bootstrap-token", now, reissued),
        _kept(directory / "encryption-key", _new_encryption_key, _encryption_key),
        reissued,
    )


def _authority(path: Path, name: str, now: datetime) -> Pair:
    pair = _kept(path, lambda: _joined(new_ca(name, now)), _ca_pair)
    certificate = opened(pair)
    if certificate.not_valid_before_utc > now:
        begin = certificate.not_valid_before_utc
        raise LabError(f"{path} is not valid before {begin}, and this host's clock says {now}", remedy=_CLOCK)
    if certificate.not_valid_after_utc - now < RENEW_WITHIN:
        raise LabError(f"the CA in {path} ends at {certificate.not_valid_after_utc}", remedy=_AGAIN)
    return pair


def _leaf(directory: Path, plan: Planned, ca: Pair, now: datetime, reissued: dict[str, str]) -> Pair:
    path = directory / f"{plan.name}.pem"
    kept = _read(path, _pair)
    reason = unfit(opened(kept), plan, opened(ca), now) if kept else ""
    if kept and not reason:
        return kept
    pair = _issued(plan, ca, now)
    _write(path, _joined(pair))
    if reason:
        reissued[plan.name] = reason
    return pair


def _issued(plan: Planned, ca: Pair, now: datetime) -> Pair:
    return issue(
        ca,
        cn=plan.cn,
        o=plan.use.o,
        sans=plan.sans,
        usages=plan.use.usages,
        not_before=now - BACKDATE,
        not_after=now + LEAF_LIFE,
    )


def _token(path: Path, now: datetime, reissued: dict[str, str]) -> Token:
    token = _kept(path, lambda: _new_token(now), _parsed_token)
    if token.expires - now > TOKEN_LEFT:
        return token
    reissued[path.name] = f"it ends at {token.expires}"
    _write(path, _new_token(now))
    return _parsed_token(path.read_bytes())


def _new_token(now: datetime) -> bytes:
    expires = (now + TOKEN_LIFE).replace(microsecond=0)
    return f"{_random(6)}.{_random(16)} {expires.isoformat()}\n".encode()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _parsed_token(content: bytes) -> Token:
    match = _TOKEN.fullmatch(content.decode())
    if match is None:
        raise ValueError("not `id.secret expiry`")
    expires = datetime.fromisoformat(match[3])
    if expires.tzinfo is None:
        raise ValueError("the expiry has no time zone")
    return Token(match[1], match[2], expires)


def _new_encryption_key() -> bytes:
    return base64.b64encode(secrets.token_bytes(32))


def _encryption_key(content: bytes) -> str:
    if len(base64.b64decode(content, validate=True)) != 32:
        raise ValueError("not 32 bytes in base64")
    return content.decode()


def _pair(content: bytes) -> Pair:
    cert, begin, rest = content.partition(_KEY_BEGINS)
    pair = Pair(cert, begin + rest)
    opened(pair)
    return pair


def _ca_pair(content: bytes) -> Pair:
    pair = _pair(content)
    certificate = opened(pair)
    try:
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        raise ValueError("the CA did not sign itself") from None
    return pair


def _joined(pair: Pair) -> bytes:
    """Certificate and key in one file, so that a crash never leaves one without the other."""
    return pair.cert + pair.key


def _end(path: Path) -> datetime:
    pair = _read(path, _pair)
    return opened(pair).not_valid_after_utc if pair else datetime.max.replace(tzinfo=UTC)


def _kept(path: Path, make: Callable[[], bytes], parse: Callable[[bytes], T]) -> T:
    found = _read(path, parse)
    if found is not None:
        return found
    content = make()
    _write(path, content)
    return parse(content)


def _read(path: Path, parse: Callable[[bytes], T]) -> T | None:
    """What the file says, None if there is none; tightens its mode if somebody loosened it."""
    try:
        path.chmod(0o600)
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, UnsupportedAlgorithm, InvalidVersion) as error:
        raise LabError(f"{path} is damaged: {error}", remedy=_remedy(path)) from error


def _remedy(path: Path) -> str:
    if path.name in _LASTING:  # machines and stored objects depend on it
        return _AGAIN
    return f"rm {shlex.quote(str(path))}, then thwlab up: it is made again"


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        part.touch(mode=0o600, exist_ok=False)
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
