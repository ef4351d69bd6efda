"""The stand-in of VirtualBox: what it says of a VM is true of the port that leads to it, at once."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_host import first_free
from fake_virtualbox import new_vm
from fake_vms import World, answer
from switchboard import wired

VM = "thwlab_thw_k8s-lb"


@pytest.fixture
def port() -> int:
    return first_free(1)


@pytest.fixture
def sshd() -> Iterator[int]:
    """The port of one that lets itself be called and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def world(tmp_path: Path, port: int) -> World:
    """One VM, off."""
    vm = {**new_vm("poweroff"), "forwards": {"ssh": f"ssh,tcp,127.0.0.1,{port},,22"}}
    return World(tmp_path / "world").install(vms={VM: vm})


@pytest.fixture
def reached(world: World, tmp_path: Path, sshd: int) -> Iterator[World]:
    """The same, with a wire to its guest."""
    with wired(world, tmp_path, sshd):
        yield world


def manage(world: World, *argv: str) -> None:
    status, _, err = answer(world, ["VBoxManage", *argv], {})
    assert status == 0, err


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_vm_that_is_said_to_run_can_be_reached(reached: World, port: int) -> None:
    assert not listens(port)
    for _ in range(3):
        manage(reached, "startvm", VM, "--type", "headless")
        assert listens(port)
        manage(reached, "controlvm", VM, "poweroff")
        assert not listens(port)


def test_one_that_goes_on_where_it_was_saved_can_be_reached(reached: World, port: int) -> None:
    manage(reached, "startvm", VM, "--type", "headless")
    manage(reached, "snapshot", VM, "take", "here")
    manage(reached, "controlvm", VM, "poweroff")
    manage(reached, "snapshot", VM, "restore", "here")
    manage(reached, "startvm", VM, "--type", "headless")
    assert listens(port)


def test_nobody_listens_any_more_at_the_end(world: World, tmp_path: Path, sshd: int, port: int) -> None:
    with wired(world, tmp_path, sshd):
        manage(world, "startvm", VM, "--type", "headless")
        assert listens(port)
    assert not listens(port)
