"""A sign of life: what is being worked on, when nothing was said for a while."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

SILENCE = 15.0  # seconds


class Heartbeat:
    """Told what starts and ends, from any thread; says what still runs after a stretch of silence."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        silence: float = SILENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._silence = silence
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._steps: dict[str, str] = {}
        self._last = clock()
        self._end = threading.Event()

    def __enter__(self) -> Self:
        """Beat until the end of the block."""
        self._end = threading.Event()
        self._last = self._clock()
        threading.Thread(target=self._beat_until, args=(self._end,), name="heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Be silent, also about what was left running."""
        self._end.set()
        self._running.clear()

    def started(self, what: str) -> None:
        """Something begins; nothing is said about it yet."""
        with self._lock:
            self._running[what] = self._clock()

    def step(self, what: str, text: str) -> None:
        """How far something is that takes long; told with it for as long as it runs."""
        with self._lock:
            self._steps[what] = text

    def ended(self, what: str) -> None:
        """Something has ended, and its teller has said so."""
        with self._lock:
            self._running.pop(what, None)
            self._steps.pop(what, None)
            self._last = self._clock()

    def beat(self) -> None:
        """Say what runs, if it is time to."""
        with self._lock:
            now = self._clock()
            if now - self._last < self._silence or not self._running:
                return
            self._last = now
            running = ", ".join(self._shown(what, now - since) for what, since in self._running.items())
        self._say(f"  ...    still at work: {running}")

    def _shown(self, what: str, seconds: float) -> str:
        step = self._steps.get(what)
        return f"{what} {seconds:.0f} s" + (f" ({step})" if step else "")

    def _beat_until(self, end: threading.Event) -> None:
        while not end.wait(min(1.0, self._silence)):
            self.beat()
