"""The command line: `tertulia serve` and the commands that look after a database, its secrets and its users.

Exit codes: 0 done, 1 a fault was found or the command failed, 2 a setting or argument is wrong.
"""

from tertulia.cli.main import app, main

__all__ = ["app", "main"]
