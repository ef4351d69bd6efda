"""What a user who is not root types instead."""

import getpass
import grp
import os
from pathlib import Path


def as_root(command: str) -> str:
    """One of our commands with root's rights, found by this user's PATH, which sudo would replace."""
    return command if os.geteuid() == 0 else f'sudo -E env "PATH=$PATH" {command}'


def sudo(command: str) -> str:
    """A command of the system's with root's rights."""
    return command if os.geteuid() == 0 else f"sudo {command}"


def group_of(path: Path) -> str:
    """The group that a file belongs to."""
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def joining(group: str) -> str:
    """What makes this user a member."""
    return f"sudo usermod -aG {group} {getpass.getuser()}, then log in again"
