"""The guest behind the stand-in sshd: what Vagrant and the lab ask of it by SSH, written down and answered.

sshd runs it as its ForceCommand.  Nothing that would change this host is run: a script of Vagrant's is only
read, a command of the lab's is looked up in `SAFE`, a file goes into the guest's own folder.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

MARKER = "41e57d38-b4f7-4e46-9c38-13873d338b86-vagrant-ssh"  # plugins/communicators/ssh/communicator.rb
SAFE = ("cat", "echo", "true", "false", "sleep", "printf")
INTERFACES = "eth0\neth1\n"
# A Debian whose network is configured by ifupdown, as that of debian/bookworm64: patterns of Vagrant's
# scripts, with what the guest prints and its status.  The first that is found counts; else it is 0.
ANSWERS = (
    (r"test 'x(debian|linux)' = ", "", 0),
    (r'= "x\$ID"|ostree|uname|/etc/(gentoo|arch|redhat|SuSE|pld)', "", 1),
    (r"netplan|is-active (systemd-networkd|NetworkManager)", "", 1),
    (r"hostname -f", "", 1),
    (r"addr \| grep -v LOOPBACK|/proc/net/dev", INTERFACES, 0),
    (r"addr \| grep LOOPBACK", "lo\n", 0),
)


def main(folder: Path) -> int:
    """One command of one client's; who that is, the switchboard wrote down under the client's port."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    client = os.environ["SSH_CONNECTION"].split()[1]
    name, boots = json.loads((folder / "lines" / client).read_text())
    guest = folder / name
    guest.mkdir(exist_ok=True)
    if re.fullmatch(r"(sudo .*)?bash -l", asked):
        return _script(guest, sys.stdin.read())
    words = shlex.split(asked)
    if words[0] == "scp":
        return _file(guest, words)
    return _command(guest, words, f"boot-{name}-{boots}")


def _note(guest: Path, kind: str, what: object) -> None:
    with (guest / "asked").open("a") as log:
        log.write(json.dumps([kind, what]) + "\n")


def _script(guest: Path, text: str) -> int:
    """Read a script of Vagrant's; of what it would do, only a shutdown is noticed."""
    script = text.partition(f"(>&2 printf '{MARKER}')\n")[2].removesuffix("exit\n")
    _note(guest, "script", script)
    sys.stdout.write(MARKER)
    sys.stderr.write(MARKER)
    if "poweroff" in script:
        (guest / "off").touch()
    for pattern, out, status in ANSWERS:
        if re.search(pattern, script):
            sys.stdout.write(out)
            return status
    return 0


def _file(guest: Path, words: list[str]) -> int:
    """Take a file by scp, under its own name; Vagrant's new key is let in from now on."""
    _note(guest, "file", words[-1])
    taken = guest / Path(words[-1]).name
    status = subprocess.run([*words[:-1], str(taken)], check=False).returncode
    if taken.is_file():
        text = taken.read_text()
        _note(guest, "content", text)
        if text.startswith("ssh-rsa ") and "insert" in taken.name:
            with (guest.parent / "user.pub").open("a") as keys:
                keys.write(text)
    return status


def _command(guest: Path, words: list[str], boot: str) -> int:
    """Run what the lab sent (`lab/providers/vagrant/ssh.py`), its command replaced by a harmless one."""
    shell = words[words.index("sh") :]
    argv = shell[6:]
    if argv:  # else it ends what runs past its deadline: only what bears the lab's own mark
        _note(guest, "command", argv)
        shell[6:] = _harmless(argv, boot)
    os.execvp("sh", shell)


def _harmless(argv: list[str], boot: str) -> list[str]:
    line = " ".join(argv)
    if "list-jobs" in line or line.endswith("boot_id"):
        return ["echo", boot]
    if argv[0] == "date":
        return argv if argv[1:] == ["+%s.%N"] else ["true"]
    if argv[0] == "stat":
        return ["echo", "cgroup2fs"]
    if argv[0] == "python3":
        return [sys.executable, *argv[1:]]
    return argv if argv[0] in SAFE else ["sh", "-c", 'echo "$0: not on this guest" >&2; exit 126', argv[0]]
