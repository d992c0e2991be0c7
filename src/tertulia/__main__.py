"""Run the command line: `python -m tertulia`."""

from tertulia.cli import main

main()
