"""What a lab's machines stand on in the daemon: its project, pool, network and image."""

from functools import partial
from pathlib import Path
from typing import Any

from lab.background import start
from lab.providers.base import Missing
from lab.providers.incus.api import Api, Json, Upload, ignoring
from lab.providers.incus.daemon import PrivateDaemon
from lab.providers.incus.description import BEGUN, bridge_of, network_of, pool_of, project_of
from lab.providers.incus.image import Image
from lab.providers.subnets import free_network, networks_of_host
from lab.topology import Topology


def taken(lab: str, topology: Topology) -> list[Missing]:
    """Who has the plan's network on this host already: with the running daemon it is the lab's too."""
    wanted, own = topology.networks.nodes, bridge_of(lab)
    others = {name: net for name, net in networks_of_host().items() if name != own}
    free = free_network(
        wanted.prefixlen, [*others.values(), topology.networks.pods, topology.networks.services]
    )
    return [
        Missing(f"{wanted} overlaps {net} of {name}", f"another `network: cidr` in the plan, such as {free}")
        for name, net in others.items()
        if net.overlaps(wanted)
    ]


def is_laid(api: Api) -> bool:
    """Whether the lab has anything there: its project comes first and goes last."""
    return api.exists(f"/1.0/projects/{api.project}")


def begun_from(api: Api) -> Path | None:
    """The folder of the lab that began what is laid; None if nothing is, or a version that did not tell."""
    told = api.get(f"/1.0/projects/{api.project}")["config"].get(BEGUN) if is_laid(api) else None
    return Path(told) if told else None


def lay(
    api: Api, topology: Topology, image: Image | None, private: PrivateDaemon | None, state: Path
) -> None:
    """Have all of it there; what is, stays, also if another process lays it just now."""
    _unless(api, "projects", project_of(topology.name, state))
    parts = [
        start(partial(_import_image, api, image)),
        start(partial(_create_pool, api, topology.name, private)),
        start(partial(_unless, api, "networks", network_of(topology), query_project="default")),
    ]
    for part in parts:
        part.result()


def clear(api: Api, lab: str) -> None:
    """Remove it with every machine on it; harmless where there is nothing."""
    if is_laid(api):
        _empty_project(api)
    for path in (f"networks/{bridge_of(lab)}", f"storage-pools/{pool_of(lab)['name']}"):
        ignoring(404, partial(api.do, "DELETE", f"/1.0/{path}", query_project="default"))


def _create_pool(api: Api, lab: str, private: PrivateDaemon | None) -> None:
    _unless(api, "storage-pools", pool_of(lab, lasting=not private), query_project="default")
    if private:
        private.cache_disks()


def _import_image(api: Api, image: Image | None) -> None:
    if image is None or api.exists(f"/1.0/images/{image.fingerprint}"):
        return
    boundary = "thwlab-image-parts"
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(image.upload_size(boundary)),
    }
    api.do("POST", "/1.0/images", Upload(image.upload(boundary)), timeout=300, headers=headers)


def _unless(api: Api, collection: str, body: Json, **query: Any) -> None:
    if not api.exists(f"/1.0/{collection}/{body['name']}"):
        ignoring(409, partial(api.do, "POST", f"/1.0/{collection}", body, timeout=120, **query))


def _empty_project(api: Api) -> None:
    for instance in api.get("/1.0/instances", query_recursion=1):
        path = f"/1.0/instances/{instance['name']}"
        if instance["status"] != "Stopped":
            api.do("PUT", f"{path}/state", {"action": "stop", "force": True, "timeout": 30})
        api.do("DELETE", path)
    for image in api.get("/1.0/images", query_recursion=1):
        api.do("DELETE", f"/1.0/images/{image['fingerprint']}")
    api.do("DELETE", f"/1.0/projects/{api.project}")
