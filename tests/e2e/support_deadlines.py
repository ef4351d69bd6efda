"""How long a client that a test starts waits for its answer: longer where machines are slow.

Such a deadline is a wait, for it only tells an answer from none.  How late an answer may come is a verdict,
by the fixture `lab_limits`, and is never stretched.
"""

import math

from lab.wait import stretched


def whole(seconds: float) -> str:
    """The deadline in whole seconds, or turns of a loop, as programs take it; 1 at least."""
    return str(max(1, math.ceil(stretched(seconds))))
