"""An interactive command on a machine: this terminal's keys go there, and what it prints comes here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from lab.errors import LabError
from lab.providers.base import Provider
from lab.providers.commands import ENVIRONMENT
from lab.providers.incus import IncusProvider
from lab.providers.incus.api import Api, Json
from lab.providers.vagrant.provider import VagrantProvider

CHUNK = 4096


def interactive(provider: Provider, machine: str, argv: Sequence[str]) -> int:
    """Run the command in this terminal; its exit status."""
    if isinstance(provider, VagrantProvider):
        return subprocess.call(provider.terminal_argv(machine, argv))
    if not isinstance(provider, IncusProvider):
        raise LabError(f"no terminal on a machine of provider {provider.name}")
    api = provider.api
    operation = api.begin("POST", f"/1.0/instances/{machine}/exec", _request(argv), timeout=30)
    with (
        _connected(api, operation, "0") as data,
        _connected(api, operation, "control") as control,
        _raw(sys.stdin.fileno()),
        _resizing(control),
    ):
        threading.Thread(target=_send_keys, args=(data,), daemon=True).start()
        _print_output(data)
    done = api.get(f"/1.0/operations/{operation['id']}/wait", timeout=30, query_timeout=20)
    return int((done.get("metadata") or {}).get("return", 1))


def _request(argv: Sequence[str]) -> Json:
    size = shutil.get_terminal_size()
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("SYSTEMD")}
    return {
        "command": list(argv),
        "environment": {**environment, "TERM": os.environ.get("TERM", "xterm")},
        "wait-for-websocket": True,
        "interactive": True,
        "width": size.columns,
        "height": size.lines,
        "cwd": "/root",
    }


@contextmanager
def _connected(api: Api, operation: Json, name: str) -> Iterator[ClientConnection]:
    secret = operation["metadata"]["fds"][name]
    url = f"ws://daemon/1.0/operations/{operation['id']}/websocket?secret={secret}"
    try:
        socket = unix_connect(
            str(api.socket),
            url,
            open_timeout=30,
            compression=None,
            max_size=None,
            ping_interval=None,
            proxy=None,
        )
    except (OSError, WebSocketException) as error:
        raise LabError(f"the daemon did not open a terminal: {error}") from error
    with closing(socket):
        yield socket


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key goes through, Ctrl-C too; the terminal is given back as it was."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _resizing(control: ClientConnection) -> Iterator[None]:
    """Tell the other side whenever the window changes its size."""

    def tell(*_: object) -> None:
        size = shutil.get_terminal_size()
        arguments = {"width": str(size.columns), "height": str(size.lines)}
        control.send(json.dumps({"command": "window-resize", "args": arguments}))

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _send_keys(data: ClientConnection) -> None:
    try:
        while keys := os.read(sys.stdin.fileno(), CHUNK):
            data.send(keys)
    except (WebSocketException, OSError):
        return  # the shell has ended


def _print_output(data: ClientConnection) -> None:
    try:
        while isinstance(message := data.recv(), bytes):
            os.write(sys.stdout.fileno(), message)
    except (WebSocketException, EOFError):
        return
