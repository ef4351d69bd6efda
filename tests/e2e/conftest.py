"""What the e2e tests of several chapters share: test pods on every worker, for the whole session."""

import uuid
from collections.abc import Iterator

import pytest
import support_pods
from support_pods import PodSet

from lab.cluster import Cluster


@pytest.fixture(scope="session")
def pods(lab_network: Cluster) -> Iterator[PodSet]:
    """A server and a client pod on every worker, ready and answering there; removed at the end."""
    namespace = f"e2e-pods-{uuid.uuid4().hex[:8]}"
    try:
        yield support_pods.create(lab_network, namespace)
    finally:
        lab_network.api().delete(f"/api/v1/namespaces/{namespace}")
