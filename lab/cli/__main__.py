"""``python -m lab.cli``: the same as `thwlab`."""

from lab.cli import main

main()
