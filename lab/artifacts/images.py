"""Container images made from verified programs: a docker-archive with one layer, same input, same bytes."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from lab.artifacts.catalogue import machine_arch
from lab.artifacts.elf import closure, inside
from lab.topology import Versions

EPOCH = "1970-01-01T00:00:00Z"
APPLETS = (
    *(
        "sh",
        "cat",
        "date",
        "echo",
        "env",
        "grep",
        "head",
        "hostname",
        "id",
        "ip",
        "kill",
        "ls",
        "mkdir",
        "mktemp",
    ),
    *(
        "nc",
        "netstat",
        "nslookup",
        "ping",
        "ps",
        "rm",
        "sed",
        "seq",
        "sleep",
        "stat",
        "tail",
        "tee",
        "telnet",
    ),
    *("test", "timeout", "touch", "tr", "traceroute", "true", "wc", "wget"),
)
CLIENTS = ("/usr/bin/dig", "/usr/bin/curl")


@dataclass(frozen=True, slots=True)
class Image:
    """An image as planned: by path in it, host files and targets of links; and how it runs."""

    reference: str
    files: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


def write_image(
    path: Path,
    reference: str,
    files: Mapping[str, Path],
    entrypoint: Sequence[str],
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    user: str = "",
    *,
    links: Mapping[str, str] | None = None,
    arch: str = "",
) -> str:
    """Write the image as a tar that `ctr images import` takes; return its id.  Same input, same bytes."""
    image = Image(reference, files, links or {}, entrypoint, command, env or {}, user)
    layer = layer_of(image)
    config = _json(config_of(image, hashlib.sha256(layer).hexdigest(), arch or machine_arch()))
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    members = {"manifest.json": _json(manifest), f"{digest}.json": config, "layer.tar": layer}
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("wb") as stream:
        _tar(stream, [(_entry(name, 0o644), content) for name, content in members.items()])
    fresh.rename(path)
    return f"sha256:{digest}"


def layer_of(image: Image) -> bytes:
    """The one layer: folders, links and files, sorted, owned by root, without times."""
    entries = [
        (_entry(name, 0o1777 if name == "tmp" else 0o755, tarfile.DIRTYPE), b"") for name in _folders(image)
    ]
    entries += [(_link(name, target), b"") for name, target in sorted(image.links.items())]
    for name, source in sorted(image.files.items()):
        entries.append((_entry(name.lstrip("/"), source.stat().st_mode & 0o777), source.read_bytes()))
    stream = io.BytesIO()
    _tar(stream, entries)
    return stream.getvalue()


def config_of(image: Image, layer_sha256: str, arch: str) -> dict[str, object]:
    """The image's configuration, as the OCI image specification names things."""
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    process: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in sorted({**path, **image.env}.items())]
    }
    process |= {"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}
    process |= {"Cmd": list(image.command)} if image.command else {}
    process |= {"User": image.user} if image.user else {}
    return {
        "architecture": arch,
        "os": "linux",
        "created": EPOCH,
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_sha256}"]},
        "history": [{"created": EPOCH, "created_by": "thwlab"}],
    }


def pause_image(path: Path, versions: Versions, programs: Mapping[str, Path]) -> str:
    """The sandbox image, under its upstream name."""
    reference = f"registry.k8s.io/pause:{versions.pause}"
    return write_image(path, reference, {"/pause": programs["pause"]}, ["/pause"], user="65535:65535")


def coredns_image(path: Path, versions: Versions, programs: Mapping[str, Path]) -> str:
    """The DNS server, under its upstream name."""
    reference = f"registry.k8s.io/coredns/coredns:v{versions.coredns}"
    return write_image(path, reference, {"/coredns": programs["coredns"]}, ["/coredns"])


def agnhost_image(path: Path, versions: Versions, programs: Mapping[str, Path], root: Path) -> str:
    """Kubernetes' own test image: with a shell and network clients from a Debian `root`.

    /bin/busybox (static) must be there; `CLIENTS` come along, with their libraries, as far as they are.
    """
    reference = f"registry.k8s.io/e2e-test-images/agnhost:{versions.agnhost}"
    clients = closure(root, [name for name in CLIENTS if (root / name.lstrip("/")).exists()])
    files = {**clients, "/agnhost": programs["agnhost"], "/bin/busybox": inside(root, "/bin/busybox")}
    links = {f"/bin/{applet}": "busybox" for applet in APPLETS}
    return write_image(path, reference, files, ["/agnhost"], ["pause"], links=links)


def write_images(folder: Path, root: Path, programs: Mapping[str, Path], versions: Versions) -> list[Path]:
    """All images of a cluster as files in the folder; ``root`` is as `agnhost_image` wants it."""
    paths = [folder / f"{name}.tar" for name in ("pause", "coredns", "agnhost")]
    pause_image(paths[0], versions, programs)
    coredns_image(paths[1], versions, programs)
    agnhost_image(paths[2], versions, programs, root)
    return paths


def _folders(image: Image) -> list[str]:
    names = [PurePosixPath(name.lstrip("/")) for name in (*image.files, *image.links)]
    parents = {str(parent) for name in names for parent in name.parents}
    return sorted((parents | {"tmp", "etc"}) - {"."})


def _entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type = mode, kind
    return info


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = _entry(name.lstrip("/"), 0o777, tarfile.SYMTYPE)
    info.linkname = target
    return info


def _tar(stream: IO[bytes], entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
