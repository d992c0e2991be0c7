"""Install the third-party MCP servers of the tests, as locked. Those in Python come with the tests' packages."""

import hashlib
from pathlib import Path

from build_web import run, with_node

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "tools" / "servers"


def main() -> None:
    stamp, lock = FOLDER / "node_modules" / ".installed-from", (FOLDER / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(lock).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("Installing the MCP servers for the tests …", flush=True)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], FOLDER, with_node())
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
