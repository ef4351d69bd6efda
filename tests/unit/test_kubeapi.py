"""The client of the API against a server with the lab's own certificates."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixed import guide_topology
from https_server import Request, Server, serving

from lab.errors import ClusterError
from lab.kubeapi import KubeApi, Refused, covers, path_of
from lab.pki import Credentials, load_or_create
from lab.wait import NotYet

CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "coredns", "namespace": "kube-system"},
    "data": {"Corefile": "ü"},
}
MISSING = {"kind": "Status", "message": 'configmaps "x" not found'}
Replies = dict[str, tuple[int, Any]]


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_create(guide_topology(), tmp_path_factory.mktemp("pki"))


@pytest.fixture
def replies() -> Replies:
    return {
        "GET": (200, {"items": [{"a": 1}]}),
        "PATCH": (200, {"ok": 1}),
        "PUT": (200, {}),
        "POST": (201, {}),
    }


@pytest.fixture
def server(credentials: Credentials, tmp_path: Path, replies: Replies) -> Iterator[Server]:
    def answer(request: Request) -> tuple[int, Any]:
        return replies[request.method]

    pair = credentials.pair("kubernetes", guide_topology().node("k8s-master1"))
    with serving(answer, pair, credentials.ca("kubernetes"), tmp_path) as running:
        yield running


@pytest.fixture
def api(server: Server, credentials: Credentials) -> Iterator[KubeApi]:
    made = KubeApi(server.url, credentials.ca("kubernetes"), credentials.pair("user"))
    yield made
    made.close()


def test_it_asks_as_the_administrator(api: KubeApi, server: Server) -> None:
    assert api.get("/api/v1/nodes", labelSelector="a=b") == {"items": [{"a": 1}]}
    assert (server.seen[0].path, server.seen[0].user) == ("/api/v1/nodes?labelSelector=a%3Db", "k8s-user")


def test_items_are_the_list(api: KubeApi) -> None:
    assert api.items("/api/v1/nodes") == [{"a": 1}]


def test_apply_is_server_side(api: KubeApi, server: Server) -> None:
    api.apply(CONFIG_MAP)
    (seen,) = server.seen
    assert (seen.method, seen.kind) == ("PATCH", "application/apply-patch+yaml")
    assert seen.path.startswith("/api/v1/namespaces/kube-system/configmaps/coredns?")
    assert "fieldManager=thwlab" in seen.path
    assert "force=true" in seen.path
    assert json.loads(seen.body) == CONFIG_MAP


LIVE = {**CONFIG_MAP, "metadata": {**CONFIG_MAP["metadata"], "resourceVersion": "7"}}
ALTERED = {**LIVE, "data": {"Corefile": "o"}}


@pytest.mark.parametrize(
    ("found", "applied", "asked", "changed"),
    [
        ((200, LIVE), LIVE, ["GET"], False),
        ((200, {**LIVE, "data": {"Corefile": "ü", "more": "of another's"}}), LIVE, ["GET"], False),
        ((200, ALTERED), {"metadata": {"resourceVersion": "8"}}, ["GET", "PATCH"], True),
        ((200, ALTERED), LIVE, ["GET", "PATCH"], False),
        ((404, MISSING), LIVE, ["GET", "PATCH"], True),
    ],
    ids=["as described", "with more", "altered", "written in another way", "gone"],
)
def test_an_object_is_applied_only_where_it_is_not_as_described(
    api: KubeApi, server: Server, replies: Replies, found: Any, applied: Any, asked: list[str], changed: bool
) -> None:
    replies["GET"], replies["PATCH"] = found, (200, applied)
    assert api.ensure(CONFIG_MAP) is changed
    assert [seen.method for seen in server.seen] == asked


def test_what_cannot_be_looked_at_is_not_taken_for_absent(api: KubeApi, replies: Replies) -> None:
    replies["GET"] = (500, MISSING)
    with pytest.raises(Refused):
        api.ensure(CONFIG_MAP)


@pytest.mark.parametrize(
    ("live", "wanted", "covered"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({}, {"a": {}}, False),
        ("1", 1, False),
        (None, [], False),
    ],
)
def test_what_covers_a_manifest(live: Any, wanted: Any, covered: bool) -> None:
    assert covers(live, wanted) is covered


def test_put_and_post_send_json(api: KubeApi, server: Server) -> None:
    api.put("/a/approval", {"x": 1})
    api.post("/b", {"y": 2})
    assert [(seen.method, seen.path, json.loads(seen.body)) for seen in server.seen] == [
        ("PUT", "/a/approval", {"x": 1}),
        ("POST", "/b", {"y": 2}),
    ]


def test_a_refusal_says_request_status_and_the_servers_words(
    api: KubeApi, replies: Replies, server: Server
) -> None:
    replies["GET"] = (404, MISSING)
    with pytest.raises(Refused) as caught:
        api.get("/api/v1/x")
    assert isinstance(caught.value, ClusterError)
    assert caught.value.status == 404
    assert str(caught.value) == f'GET {server.url}/api/v1/x got 404: configmaps "x" not found'


@pytest.mark.parametrize("body", ["<html>bad gateway</html>", "", '"text"', "[1]"])
def test_a_refusal_that_is_no_status_object_keeps_its_text(api: KubeApi, replies: Replies, body: str) -> None:
    replies["GET"] = (502, body)
    with pytest.raises(Refused) as caught:
        api.text("/readyz")
    assert caught.value.status == 502
    assert body in str(caught.value)


def test_deleting_what_is_not_there_is_harmless_and_other_refusals_are_not(
    api: KubeApi, replies: Replies
) -> None:
    replies["DELETE"] = (404, MISSING)
    api.delete("/api/v1/x")
    replies["DELETE"] = (403, {"message": "forbidden"})
    with pytest.raises(Refused, match="403: forbidden"):
        api.delete("/api/v1/x")


def test_readyz_is_text(api: KubeApi, replies: Replies) -> None:
    replies["GET"] = (200, "[+]ping ok\nreadyz check passed\n")
    assert api.text("/readyz").endswith("passed\n")


def test_nobody_there_is_not_yet(credentials: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = KubeApi(f"https://127.0.0.1:{port}", credentials.ca("kubernetes"), None)
    with pytest.raises(NotYet, match=rf"GET https://127\.0\.0\.1:{port}/readyz: .*refused"):
        api.text("/readyz")


def test_an_answer_of_another_authority_is_not_yet_with_the_reason(
    server: Server, credentials: Credentials
) -> None:
    with pytest.raises(NotYet, match="CERTIFICATE_VERIFY_FAILED"):
        KubeApi(server.url, credentials.ca("etcd"), None).get("/")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda m: m, "/api/v1/namespaces/kube-system/configmaps/coredns"),
        (lambda m: {**m, "metadata": {"name": "a"}}, "/api/v1/namespaces/default/configmaps/a"),
        (lambda m: {**m, "kind": "Namespace"}, "/api/v1/namespaces/coredns"),
        (
            lambda m: {**m, "kind": "Deployment", "apiVersion": "apps/v1"},
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
        ),
        (
            lambda m: {**m, "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1"},
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/coredns",
        ),
    ],
)
def test_where_an_object_stands(change: Callable[[dict[str, Any]], dict[str, Any]], path: str) -> None:
    assert path_of(change(dict(CONFIG_MAP))) == path
