"""Run the whole suite, side by side on all cores."""

import os
import subprocess
import sys


def main() -> int:
    workers = str(max(2, os.cpu_count() or 2))
    extra = sys.argv[1:]
    return subprocess.run([sys.executable, "-m", "pytest", "-n", workers, *extra], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
