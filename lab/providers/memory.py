"""How much memory this host has to spare."""

import re


def available_mib(meminfo: str) -> int | None:
    """MemAvailable of /proc/meminfo; None where it does not tell.  Pure."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else None
