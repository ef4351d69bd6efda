"""From data to the files of a component: templates, units, flags, certificates."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.machine import File
from lab.pki import CA_FILES, Credentials, paths
from lab.pki.credentials import Authority
from lab.topology import Node, Profile

ETCD = "/opt/etcd"
KUBERNETES = "/opt/kubernetes"
CFG = f"{KUBERNETES}/cfg"
LOGS = f"{KUBERNETES}/logs"
CA_KEY = f"{KUBERNETES}/ssl/ca-key.pem"
SA_KEY = f"{KUBERNETES}/ssl/sa.key"
SA_PUB = f"{KUBERNETES}/ssl/sa.pub"

_TEMPLATES = Environment(
    loader=PackageLoader("lab.components"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
    auto_reload=False,
)

# The guide's units give up after five quick failures, and a controller has those before its apiserver
# is there; so its profile is repaired by a pause and no limit.
RESTART: Mapping[Profile, Mapping[str, str]] = {
    Profile.HARDENED: {"Restart": "always", "RestartSec": "0.5"},
    Profile.GUIDE: {"Restart": "on-failure", "RestartSec": "5"},
}


@dataclass(frozen=True, slots=True)
class Service:
    """A unit of ours.  `settings` are further lines of its [Service] section."""

    description: str
    start: tuple[str, ...]
    type: str = "exec"
    after: tuple[str, ...] = ("network.target",)
    before: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    def file(self, unit: str) -> File:
        """The unit file, where systemd looks for what the administrator wrote."""
        return File(f"/etc/systemd/system/{unit}", render("service.j2", service=self))


def render(template: str, **values: object) -> bytes:
    """A template filled in; jinja2's UndefinedError if a value is missing."""
    return _TEMPLATES.get_template(template).render(values).encode()


def options(variable: str, flags: Mapping[str, str]) -> bytes:
    """An environment file which holds a command line, one flag per line, as the guide writes them."""
    lines = " \\\n".join(f"--{flag}={value}" for flag, value in flags.items())
    return f'{variable}="{lines}"\n'.encode()


def environment(values: Mapping[str, str]) -> bytes:
    """An environment file, one variable per line."""
    return "".join(f'{name}="{value}"\n' for name, value in values.items()).encode()


def secret(path: str, content: bytes | str) -> File:
    """A file for root's eyes only."""
    return File(path, content if isinstance(content, bytes) else content.encode(), mode=0o600)


def pair_files(credentials: Credentials, use: str, node: Node) -> list[File]:
    """Certificate and key of one use, where that use keeps them."""
    cert, key = paths(use)
    pair = credentials.pair(use, node)
    return [File(cert, pair.cert), secret(key, pair.key)]


def ca_file(credentials: Credentials, name: Authority) -> File:
    """A CA's certificate, where its users look for it."""
    return File(CA_FILES[name], credentials.ca(name))
