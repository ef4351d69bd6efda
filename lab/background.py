"""Work in threads of their own, which never keep the process from ending."""

import atexit
import contextlib
import contextvars
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn, TypeVar

T = TypeVar("T")
_last: list[Callable[[], None]] = []


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


def at_end(act: Callable[[], None]) -> None:
    """Have this done when the process ends, also by `leave` or `terminate`."""
    _last.append(act)
    atexit.register(act)


def leave(status: int) -> NoReturn:
    """End the process now, without a word to threads at work; only what `at_end` asked for is done."""
    try:
        _finish()
    finally:
        os._exit(status)


def end(status: int) -> NoReturn:
    """End the process as the interpreter would, but free nothing: that goes with the process, 0.2 s sooner.

    Whatever anybody asked `atexit` for is done.
    """
    try:
        atexit._run_exitfuncs()
    finally:
        os._exit(status)


def terminate(number: int, _: object = None) -> None:
    """End the process by this signal, as its default would, after what `at_end` asked for; a handler."""
    signal.signal(number, signal.SIG_DFL)  # whoever asks twice is obeyed at once
    _finish()
    signal.raise_signal(number)


def _finish() -> None:
    """Whoever interrupts it is obeyed."""
    with contextlib.suppress(KeyboardInterrupt):
        for act in _last:
            act()
