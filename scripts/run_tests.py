"""Run the whole suite: what shares nothing side by side, then what measures moments of its own alone."""

import os
import subprocess
import sys


def main() -> int:
    workers = str(max(2, os.cpu_count() or 2))
    extra = sys.argv[1:]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", workers, "--dist", "loadgroup", *extra], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
