"""Work in threads of their own, which never keep the process from ending."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], name: str = "") -> Future[T]:
    """Begin the work now, in the caller's context, and return what it will come to.

    A `ThreadPoolExecutor` joins its threads when it is left and again when the interpreter ends: after
    Ctrl-C one would wait for every deadline in them.  Nobody waits for these.
    """
    result: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            result.set_exception(error)

    threading.Thread(target=run, name=name or None, daemon=True).start()
    return result
