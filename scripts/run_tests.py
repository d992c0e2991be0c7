"""Run the whole test suite in parallel, with two more workers than cores, because each waits half of its time."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Tests write to memory if there is enough. Otherwise they wait for the disk for a third of their time.
MEMORY = Path("/dev/shm")  # noqa: S108 - we create a separate folder in it
ENOUGH_BYTES = 2 * 1024**3


def main() -> int:
    workers = str(max(4, (os.cpu_count() or 2) + 2))
    extra = sys.argv[1:]
    has_plenty = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    with tempfile.TemporaryDirectory(prefix="tertulia-", dir=MEMORY if has_plenty else None) as folder:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            workers,
            "--dist",
            "worksteal",
            f"--basetemp={folder}/t",
            *extra,
        ]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
