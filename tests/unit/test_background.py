"""The end of a process that does not wait for its threads."""

import signal
import subprocess
import sys
import time

import pytest

BUSY = "import threading; threading.Thread(target=threading.Event().wait).start()"


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("end", "status"),
    [("background.leave(130)", 130), ("background.end(4)", 4), ("raise SystemExit(3)", 3)],
)
def test_what_is_wanted_at_the_end_is_done_once(end: str, status: int) -> None:
    asked = "background.at_end(lambda: print('done', flush=True))"
    done = ended(f"from lab import background; {asked}; {end}")
    assert (done.returncode, done.stdout) == (status, "done\n")


def test_a_terminated_process_does_it_too_and_ends_by_its_signal() -> None:
    script = (
        "import signal; from lab import background\n"
        "signal.signal(signal.SIGTERM, background.terminate)\n"
        "background.at_end(lambda: print('done', flush=True))\n"
        "signal.raise_signal(signal.SIGTERM)"
    )
    done = ended(script)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "done\n"), done.stderr


def test_leaving_waits_for_no_thread() -> None:
    assert ended(f"from lab import background; {BUSY}; background.leave(130)").returncode == 130


def test_an_orderly_end_frees_nothing_and_does_what_others_asked_for() -> None:
    script = (
        "import atexit, weakref; from lab import background\n"
        "class Kept:\n    def __del__(self): print('freed', flush=True)\n"
        "kept = Kept(); atexit.register(lambda: print('registered', flush=True))\n"
        "weakref.finalize(background, lambda: print('finalized', flush=True))\n"
        f"{BUSY}; background.end(0)"
    )
    done = ended(script)
    assert (done.returncode, sorted(done.stdout.split())) == (0, ["finalized", "registered"])


def test_a_second_interrupt_ends_what_is_done_at_the_end() -> None:
    stuck = "print('begun', flush=True); threading.Event().wait()"
    script = (
        "import signal, threading; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from lab import background\ndef last():\n    {stuck}\n"
        "background.at_end(last)\nbackground.leave(130)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert time.monotonic() - start < 5
