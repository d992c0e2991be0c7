"""The MCP servers of others that the tests talk to, as their lock says; those of Python come with the tests' packages."""

import hashlib
from pathlib import Path

from build_web import run, with_node

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "tools" / "servers"


def main() -> None:
    stamp, lock = FOLDER / "node_modules" / ".installed-from", (FOLDER / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(lock).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("Installing the MCP servers that the tests talk to …", flush=True)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], FOLDER, with_node())
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
