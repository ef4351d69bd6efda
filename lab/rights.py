"""What a user is told to type: the command line that was typed, for the same lab, and with root's rights."""

import getpass
import grp
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

OPTIONS = ("provider", "config", "name", "versions", "profile")  # those that say which lab is meant
# Those of the CLI that are about one lab; written down, for nothing here may import the CLI.
COMMANDS = (
    "up down status config snapshot restore shell exec logs kubectl kubeconfig env doctor artifacts "
    "heal rejoin run shrink"
)
OURS = re.compile(rf"\bthwlab (?=(?:{COMMANDS.replace(' ', '|')})\b)(?!\w+ --name\b)")


def typed() -> str:
    """The command line of this process, as it can be pasted."""
    program, *arguments = sys.argv
    if Path(program).name == "__main__.py":
        known = getattr(sys.modules["__main__"].__spec__, "parent", "")  # of a worker's there is none
        return shlex.join([sys.executable, "-m", known or Path(program).parent.name, *arguments])
    return shlex.join([_short(program), *arguments])


def _short(program: str) -> str:
    """Its bare name where the user's PATH finds that very file."""
    found = shutil.which(Path(program).name)
    return Path(program).name if found and os.path.realpath(found) == os.path.realpath(program) else program


def as_root(command: str) -> str:
    """One of our commands with root's rights, for the lab that was named."""
    return _with_rights(same_lab(command))


def again_as_root() -> str:
    """What was typed, with root's rights."""
    return _with_rights(typed())


def _with_rights(line: str) -> str:
    """Found by this user's PATH, which sudo would replace."""
    return line if os.geteuid() == 0 else f'sudo -E env "PATH=$PATH" {line}'


def same_lab(text: str, flags: str | None = None) -> str:
    """The text, with the options that name the lab in each `thwlab` command that has none.

    They are those of this process's own command line, be it thwlab's or pytest's, unless `flags` gives them.
    """
    given = flags_of(chosen(sys.argv[1:])) if flags is None else flags
    return OURS.sub(lambda found: f"{found[0].rstrip()}{given} ", text)


def chosen(arguments: Sequence[str]) -> dict[str, str]:
    """Which lab these arguments of thwlab or pytest are about.  Pure."""
    ours = _before_others(arguments)
    found = {}
    for place, word in enumerate(ours):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--lab-").removeprefix("--")
        if not option.startswith("--") or name not in OPTIONS:
            continue
        if not equals and place + 1 < len(ours):
            value = ours[place + 1]
        found[name] = value
    return found


def _before_others(arguments: Sequence[str]) -> Sequence[str]:
    """What follows is another program's."""
    ends = [arguments.index(word) for word in ("--", "kubectl") if word in arguments]
    return arguments[: min(ends, default=len(arguments))]


def flags_of(options: Mapping[str, str]) -> str:
    """The options as they are typed after `thwlab`, with a blank before each; empty for none.  Pure."""
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in options.items() if value)


def as_thwlab(text: str) -> str:
    """The text, its options as `thwlab` has them; they are written as pytest's.  Pure."""
    return text.replace("--lab-", "--")


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
    return f"sudo usermod -aG {group} {getpass.getuser()}; log in again after that"
