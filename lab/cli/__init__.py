"""The command `thwlab`.

Reading order: `app` (the commands and how they end), `failures` (exit codes), `session` (settings, plan,
lab), `progress` (what one sees), then one file for each family of commands.
"""

from lab.cli.app import cli, main

__all__ = ["cli", "main"]
