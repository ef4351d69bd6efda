"""Each machine gets the secrets of its roles, no others, for root's eyes only."""

from dataclasses import replace

import pytest
from component_files import CONTAINER, NODES, files_of
from fixed import fixed_credentials, guide_topology

from lab.machine import File
from lab.pki import USES, Credentials, grants, paths
from lab.topology import Balancer, Cni, Profile, Role, Topology

PLANS = {
    "hardened": guide_topology(),
    "guide": replace(guide_topology(), profile=Profile.GUIDE),
    "other": replace(guide_topology(), cni=Cni.FLANNEL, load_balancer=Balancer.HAPROXY),
}


def files(plan: str, name: str) -> dict[str, File]:
    return files_of(PLANS[plan], CONTAINER, PLANS[plan].node(name))


def secrets(topology: Topology, name: str, known: Credentials) -> dict[str, bytes]:
    """What must not be seen, by the name under which `grants` hands it out."""
    node = topology.node(name)
    used = {use.name: known.pair(use.name, node).key for use in USES if use.roles and use.roles & node.roles}
    return used | {
        "kubernetes-ca-key": known.ca_key("kubernetes"),
        "service-account": known.service_account.private,
        "bootstrap-token": known.bootstrap_token.secret.encode(),
        "encryption-key": known.encryption_key.encode(),
    }


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("plan", PLANS)
def test_a_machine_holds_exactly_the_secrets_granted_to_it(plan: str, name: str) -> None:
    topology, content = PLANS[plan], b"\0".join(file.content for file in files(plan, name).values())
    held = {
        what for what, secret in secrets(topology, name, fixed_credentials()).items() if secret in content
    }
    assert held == grants(topology, topology.node(name))


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("plan", PLANS)
def test_whatever_holds_a_secret_is_for_root_only(plan: str, name: str) -> None:
    hidden = secrets(PLANS[plan], name, fixed_credentials()).values()
    open_files = [
        file.path
        for file in files(plan, name).values()
        if file.mode != 0o600 and any(secret in file.content for secret in hidden)
    ]
    assert open_files == []


@pytest.mark.parametrize("name", NODES)
def test_no_unit_or_command_line_holds_a_secret(name: str) -> None:
    hidden = secrets(PLANS["hardened"], name, fixed_credentials()).values()
    lines = [f for f in files("hardened", name).values() if f.path.endswith((".service", ".conf"))]
    assert lines
    assert not [f.path for f in lines if any(secret in f.content for secret in hidden)]


@pytest.mark.parametrize("name", NODES)
def test_the_ca_key_is_on_masters_only(name: str) -> None:
    held = "/opt/kubernetes/ssl/ca-key.pem" in files("hardened", name)
    assert held == (Role.CONTROL_PLANE in guide_topology().node(name).roles)


@pytest.mark.parametrize("name", NODES)
def test_certificates_lie_where_the_table_of_uses_says(name: str) -> None:
    node, there = guide_topology().node(name), files("hardened", name)
    for use in USES:
        if use.roles & node.roles:
            cert, key = paths(use.name)
            assert there[cert].content == fixed_credentials().pair(use.name, node).cert
            assert (there[key].content, there[key].mode) == (
                fixed_credentials().pair(use.name, node).key,
                0o600,
            )
