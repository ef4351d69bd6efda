"""Carry connections from this host's loopback into the lab's network namespace.

A program of its own, on the standard library: ``python -I forward.py NETNS ADDRESS PORT LISTEN``
prints the loopback port it listens on and serves until it is ended.  Its listening socket belongs to
the host; the process itself lives in the lab's namespace, where `down` finds it.
"""

import asyncio
import ctypes
import socket
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        sink.close()


async def _serve(listener: socket.socket, address: str, port: int) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        for side in (writer, inner_writer):
            side.close()

    server = await asyncio.start_server(carry, sock=listener)
    await server.serve_forever()


def main() -> None:
    """Listen, enter the namespace, serve."""
    network, address, port, wanted = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", int(wanted)))
    with Path(network).open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {network}")
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    asyncio.run(_serve(listener, address, int(port)))


if __name__ == "__main__":
    main()
