"""A namespace of a test file's own, with a name no other session uses."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import Cluster


@contextmanager
def namespace(cluster: Cluster, part: str) -> Iterator[str]:
    """Its name; removed at the end with all that is in it."""
    name = f"e2e-{part}-{uuid.uuid4().hex[:8]}"
    api = cluster.api()
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield name
    finally:
        api.delete(f"/api/v1/namespaces/{name}")
