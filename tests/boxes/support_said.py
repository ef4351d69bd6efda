"""What a proof in somebody's daemon says: a word for each step, and the daemon's listing around the lab."""

from pathlib import Path

WORDS = ("DAEMON 0", "THEIRS 0", "UP 0", "DOWN 0", "SAME", "SAID")


def around(up: str, folder: Path = Path("/tmp")) -> str:
    """Lines of bash: the listing before this command, while its lab is there, and after `thwlab down`.  Pure.

    The listings lie in the folder.  They want `listing`, and `thwlab` with the lab's name.
    """
    return f"""\
listed() {{ listing | sort -u > "{folder}/$1"; wc -l < "{folder}/$1"; }}
echo "BEFORE $(listed before)"
{up}; echo "UP $?"
echo "DURING $(listed during)"
diff {folder}/before {folder}/during | grep -c '^>' | sed 's/^/BROUGHT /'
diff {folder}/before {folder}/during | sed -n 's/^</LOST /p'
thwlab down; echo "DOWN $?"
echo "AFTER $(listed after)"
diff {folder}/before {folder}/after && echo SAME
ls -A "${{THWLAB_STATE:-/var/lib/thwlab}}" 2>/dev/null | sed 's/^/LEFT /'
echo SAID
"""


def verdicts(said: str, *more: str) -> list[str]:
    """What is not as it should be, by the words above and ``more`` lines; empty if all is.  Pure."""
    lines = said.splitlines()
    missing = [f"no line `{each}`" for each in (*more, *WORDS) if each not in lines]
    brought = [int(line.split()[1]) for line in lines if line.startswith("BROUGHT ")]
    nothing = [] if brought and brought[0] > 0 else ["the lab brought nothing into the daemon's listing"]
    return missing + nothing + [line for line in lines if line.startswith(("LEFT ", "LOST "))]
