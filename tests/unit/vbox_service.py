"""One service that answers for VBoxManage and VBoxHeadless, as VBoxSVC does: a call costs a few milliseconds.

The programs are a few lines of shell that carry their words there and do as they are told.
"""

import select
import shlex
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fake_vms import World, answer

PROGRAMS = ("VBoxManage", "VBoxHeadless")
SHIM = """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port} || exit 98
printf '%s\\n' $(($# + 1)) >&3
printf '%s\\0' "${{0##*/}}" "$@" >&3
IFS= read -r -d '' -u 3 told
eval "$told"
"""


@contextmanager
def serving_calls(world: World, folder: Path) -> Iterator[None]:
    """Programs in ``folder`` for as long as it lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        for name in PROGRAMS:
            path = folder / name
            path.unlink(missing_ok=True)
            path.write_text(SHIM.format(port=listener.getsockname()[1]))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        accepting = threading.Thread(target=_accept, args=(listener, world), daemon=True)
        accepting.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(timeout=5)


def _accept(listener: socket.socket, world: World) -> None:
    with suppress(OSError):  # closed
        while True:
            client = listener.accept()[0]
            threading.Thread(target=_attend, args=(client, world), daemon=True).start()


def _attend(client: socket.socket, world: World) -> None:
    with client, suppress(OSError):
        argv = _words(client)
        if not _goes_on(client, world, argv):
            return
        status, out, err = answer(world, argv, {})
        told = f"printf %s {shlex.quote(out)}; printf %s {shlex.quote(err)} >&2; exit {status}"
        client.sendall(told.encode())


def _words(client: socket.socket) -> list[str]:
    """How many there are, and then each with a zero behind it."""
    text = b""
    while not (b"\n" in text and text.count(b"\0") == int(text.partition(b"\n")[0])):
        text += client.recv(1 << 16)
    return [each.decode() for each in text.partition(b"\n")[2].split(b"\0")[:-1]]


def _goes_on(client: socket.socket, world: World, argv: list[str]) -> bool:
    """Take the time that `hang` in the facts asks for; False if who called was ended meanwhile."""
    line = " ".join(argv)
    seconds = sum(each for words, each in world.load().get("hang", {}).items() if words in line)
    if not seconds:
        return True
    world.note(argv)
    return not select.select([client], [], [], seconds)[0]
