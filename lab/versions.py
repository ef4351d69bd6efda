"""Which releases go together: the rows of versions.yaml, the choice of one, and the skew policy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, RootModel

from lab.strictyaml import Document, Schema, read_file, validate
from lab.topology import Versions

TABLE = Path(__file__).with_name("versions.yaml")
_NODE = (3, 0, "not newer than kube-apiserver and at most three minor versions older")
_CONTROLLER = (1, 0, "not newer than kube-apiserver and at most one minor version older")
_CLIENT = (1, 1, "within one minor version of kube-apiserver")
POLICY = {  # upstream's version skew policy: minor versions older, newer, and in words
    "kubelet": _NODE,
    "kube-proxy": _NODE,
    "kube-controller-manager": _CONTROLLER,
    "kube-scheduler": _CONTROLLER,
    "kubectl": _CLIENT,
}


def release(text: str) -> str:
    """The text if it is a release such as 1.37.2; raises ValueError with what to write."""
    if re.fullmatch(r"(0|[1-9][0-9]{0,4})(\.(0|[1-9][0-9]{0,4})){2}", text):
        return text
    hint = " without the v" if text.startswith("v") else ""
    raise ValueError(f"'{text[:40]}' is no release; write three numbers such as 1.37.2{hint}")


Release = Annotated[str, AfterValidator(release)]


class VersionsFile(Schema):
    """`versions:` of a plan: a row, and what differs from it."""

    row: str | None = Field(None, examples=['"1.37"'])
    etcd: Release | None = None
    containerd: Release | None = None
    cni_plugins: Release | None = None
    coredns: Release | None = None
    crictl: Release | None = None
    flannel: Release | None = None
    agnhost: Release | None = None
    pause: Release | None = None
    kubelet: Release | None = None
    kube_proxy: Release | None = None
    kube_controller_manager: Release | None = None
    kube_scheduler: Release | None = None
    kubectl: Release | None = None

    def given(self) -> dict[str, str]:
        """What the plan says beside the row, under the names of the file."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude={"row"})


class _Row(Schema):
    kubernetes: Release
    etcd: Release
    containerd: Release
    cni_plugins: Release
    coredns: Release
    crictl: Release
    flannel: Release
    agnhost: Release
    pause: Release


class _Table(RootModel[dict[str, _Row]]):
    """All rows by their name."""


@cache
def table() -> Document:
    """versions.yaml as read."""
    return read_file(TABLE)


@cache
def rows() -> Mapping[str, Versions]:
    """The releases of each row, newest Kubernetes first."""
    return {name: Versions(**row.model_dump()) for name, row in validate(table(), _Table).root.items()}


def row_of(wish: str) -> str | None:
    """The name of the row for "1.37" or "1.37.2"; None if there is none."""
    return next((name for name, row in rows().items() if wish in (name, row.kubernetes)), None)


def unknown_row(wish: str) -> str:
    """What to say about a wish no row fulfils."""
    valid = [word for name, row in rows().items() for word in (name, row.kubernetes)]
    return f"Kubernetes '{wish[:40]}' is not pinned here; {_instead(wish)} (valid: {', '.join(valid)})"


def _instead(wish: str) -> str:
    """The row whose number is nearest to the wish's, and the newest."""
    newest, *_ = names = list(rows())
    numbers = [int(number) for number in re.findall(r"[0-9]{1,5}", wish)]
    if len(numbers) < 2:
        return f"the newest is '{newest}'"
    near = min(names, key=lambda name: _distance(name, numbers))
    meant = rows()[near].kubernetes if len(numbers) > 2 else near
    return f"did you mean '{meant}'" + ("?" if near == newest else f", or the newest, '{newest}'?")


def _distance(name: str, numbers: Sequence[int]) -> list[int]:
    return [abs(int(ours) - theirs) for ours, theirs in zip(name.split("."), numbers, strict=False)]


def chosen(row: str, given: Mapping[str, str]) -> Versions:
    """The releases of a row with what a plan gives beside it."""
    skewed = tuple((name, version) for name, version in given.items() if name in POLICY)
    pinned = {name.replace("-", "_"): version for name, version in given.items() if name not in POLICY}
    base = {name: getattr(rows()[row], name) for name in _Row.model_fields}
    return Versions(**{**base, **pinned}, skewed=skewed)


def version_problems(row: str, versions: Versions) -> Iterator[tuple[str, str]]:
    """What does not go together, as (component, what to do).  Pure but for the table."""
    for program, version in versions.skewed:
        known = [other.kubernetes for other in rows().values()]
        if reason := skew(program, version, versions.kubernetes):
            yield program, reason
        elif version not in known:
            yield program, f"{program} {version} is not pinned here (valid: {', '.join(known)})"
    pair = rows()[row].etcd
    if minor(versions.etcd) != minor(pair):
        yield "etcd", f"Kubernetes {row} goes with etcd {pair}, not {versions.etcd}; remove `etcd:`"


def skew(program: str, version: str, apiserver: str) -> str:
    """Why this version may not be used beside that kube-apiserver, or nothing.  Pure."""
    older, newer, rule = POLICY[program]
    (major, ours), (theirs_major, theirs) = minor(version), minor(apiserver)
    if major == theirs_major and theirs - older <= ours <= theirs + newer:
        return ""
    return f"{program} {version} beside kube-apiserver {apiserver}: it must be {rule}"


def minor(version: str) -> tuple[int, int]:
    """Major and minor number of a release."""
    major, second, _ = version.split(".")
    return int(major), int(second)
