"""Sockets of daemons that others started."""

import socket
from pathlib import Path

ASK = 10.0  # seconds


def listens(path: Path) -> bool:
    """Whether somebody takes this user's connections there; a daemon that ended leaves its socket's name."""
    with socket.socket(socket.AF_UNIX) as probing:
        probing.settimeout(ASK)
        try:
            probing.connect(str(path))
        except OSError:
            return False
    return True
