"""An open-loop writer, a program of its own on the standard library: ``python -I support_writer.py PLAN``.

PLAN is a JSON file: targets (address, port), ca, cert, key, kind (configmap or etcd), where (a namespace
or a prefix of keys), period and deadline in seconds.  Each beat of the grid writes one key of its own over a
fresh TLS connection, whether the beats before it were answered or not.  One JSON line per write goes to
standard output once it is decided; times are of the monotonic clock, which all processes of a host share.
It ends when standard input does, after the last writes were decided.
"""

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


def request(plan: dict[str, Any], host: str, key: str) -> bytes:
    """The HTTP request that writes the key with its own name as value."""
    if plan["kind"] == "etcd":
        path, name = "/v3/kv/put", f"{plan['where']}/{key}"
        body: dict[str, Any] = {"key": _base64(name), "value": _base64(key)}
    else:
        path = f"/api/v1/namespaces/{plan['where']}/configmaps"
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": key}, "data": {"key": key}}
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def judged(status: int) -> str:
    """A 5xx may have been carried out all the same; any other refusal was not."""
    if 200 <= status < 300:
        return OK
    return UNKNOWN if status >= 500 else FAILED


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def _exchange(
    plan: dict[str, Any], context: ssl.SSLContext, host: str, port: int, record: dict[str, Any]
) -> int:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        record["sent"] = time.monotonic()
        writer.write(request(plan, host, record["key"]))
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        record["said"] = "" if status < 300 else (await reader.read(2000))[-300:].decode(errors="replace")
        return status
    finally:
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


async def _write(plan: dict[str, Any], context: ssl.SSLContext, number: int, scheduled: float) -> None:
    host, port = plan["targets"][number % len(plan["targets"])]
    record: dict[str, Any] = {"key": f"w{number:06}", "target": host, "scheduled": scheduled}
    record["begun"] = time.monotonic()
    try:
        status = await asyncio.wait_for(_exchange(plan, context, host, port, record), plan["deadline"])
        record["outcome"] = judged(status)
        record["status"] = status
    except (TimeoutError, OSError, EOFError, ValueError, IndexError) as error:
        record["outcome"] = UNKNOWN if "sent" in record else FAILED
        record["said"] = f"{type(error).__name__} {error}".strip()
    record["answered"] = time.monotonic()
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


async def _run(plan: dict[str, Any]) -> None:
    context = ssl.create_default_context(cafile=plan["ca"])
    context.load_cert_chain(plan["cert"], plan["key"])
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    begun, writes = time.monotonic(), set()
    for number in range(1 << 31):
        scheduled = begun + number * plan["period"]
        try:
            await asyncio.wait_for(stop.wait(), max(0.0, scheduled - time.monotonic()) or 1e-4)
            break
        except TimeoutError:
            task = asyncio.create_task(_write(plan, context, number, scheduled))
            writes.add(task)
            task.add_done_callback(writes.discard)
    await asyncio.gather(*writes)


if __name__ == "__main__":
    asyncio.run(_run(json.loads(Path(sys.argv[1]).read_text())))
