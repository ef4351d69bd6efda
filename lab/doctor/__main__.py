"""``python -m lab.doctor --can-host``: one line and status 3 if this host cannot run the plan's lab."""

import argparse
import sys
from pathlib import Path

from lab.doctor import can_host
from lab.errors import ConfigError
from lab.plan import load_topology
from lab.providers.base import Missing
from lab.rights import as_root
from lab.settings import resolve


def one_line(lacking: list[Missing]) -> str:
    """Why not, and what would make it run."""
    why = "; ".join(each.what for each in lacking)
    if all(each.packages for each in lacking):
        return f"this host cannot run a lab ({why}); `{as_root('thwlab doctor --fix')}` makes it run"
    cure = "; ".join(dict.fromkeys(each.remedy for each in lacking if each.remedy))
    return f"this host cannot run a lab ({why}); what would make it run: {cure}"


def main(argv: list[str] | None = None) -> int:
    """0 if it can, 2 for a bad plan or setting, 3 if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m lab.doctor", description=__doc__)
    parser.add_argument("--can-host", action="store_true", required=True)
    parser.parse_args(argv)
    try:
        settings = {name: each.value for name, each in resolve({}, {}).items()}
        config = Path(settings["config"]) if settings["config"] else None
        chosen = {key: settings[key] or None for key in ("name", "versions", "profile")}
        topology = load_topology(config, **chosen)
        lacking = can_host(topology, settings["provider"])
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if lacking:
        sys.stdout.write(" ".join(one_line(lacking).split()) + "\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
