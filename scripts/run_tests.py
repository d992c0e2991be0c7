"""Run tests in parallel: all, the fast ones, or the given files and folders. A path below web/ runs its unit tests."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Tests write to memory if there is enough. Otherwise they wait for the disk for a third of their time.
MEMORY = Path("/dev/shm")  # noqa: S108 - we create a separate folder in it
ENOUGH_BYTES = 2 * 1024**3
# What `--quick` leaves out: a real browser, timeouts, long histories, child processes, and programs of other projects.
SLOW = (
    "tests/context/test_next_request.py",
    "tests/context/test_summaries.py",
    "tests/contracts/test_openapi.py",
    "tests/contracts/test_toy_domain.py",
    "tests/drafts/test_drafts_stored.py",
    "tests/drafts/test_files.py",
    "tests/e2e",
    "tests/faults",
    "tests/files/test_files.py",
    "tests/search/test_meaning.py",
    "tests/server",
    "tests/providers/test_local_model.py",
    "tests/runs/test_faults.py",
    "tests/runs/test_replies.py",
    "tests/tools/test_servers.py",
    "tests/tools/test_sign_in.py",
    "tests/transfer/test_backup.py",
    "tests/transfer/test_imports.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders, for example tests/tools/test_policy.py")
    parser.add_argument("--quick", action="store_true", help="only fast tests, only on SQLite")
    parser.add_argument("--cov", action="store_true", help="measure branch coverage, and fail below the limit")
    arguments, extra = parser.parse_known_args()
    web = [path.removeprefix("web/") for path in arguments.paths if path.startswith("web/")]
    paths = [path for path in arguments.paths if not path.startswith("web/")]
    failed = 0
    if web:
        failed = subprocess.run([sys.executable, "scripts/build_web.py", "npx", "vitest", "run", *web]).returncode
    if paths or not web:
        failed = _run_pytest(paths, extra, quick=arguments.quick, cov=arguments.cov) or failed
    return failed


def _run_pytest(paths: list[str], extra: list[str], *, quick: bool, cov: bool) -> int:
    # Each worker waits half of its time, so there are two more than cores. One file starts faster without workers.
    is_one_file = len(paths) == 1 and ".py" in paths[0]
    workers = "0" if is_one_file else str(max(4, (os.cpu_count() or 2) + 2))
    options = ["-n", workers, "--dist", "worksteal", *extra]
    if quick:
        options += [f"--ignore={path}" for path in SLOW]
    if cov:
        options += ["--cov", "--cov-report=term:skip-covered"]
    has_plenty = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    with tempfile.TemporaryDirectory(prefix="tertulia-", dir=MEMORY if has_plenty else None) as folder:
        command = [sys.executable, "-m", "pytest", f"--basetemp={folder}/t", *options, *paths]
        engines = {"TERTULIA_TEST_ENGINES": "sqlite"} if quick else {}
        return subprocess.run(command, check=False, env=os.environ | engines).returncode


if __name__ == "__main__":
    sys.exit(main())
