"""``python -m lab.cli``: the same as `thwlab`."""

from lab.cli.app import main

main()
