"""Generate a Python client and the types of a TypeScript client from the OpenAPI document.

`generate_clients.py FOLDER` writes `FOLDER/python/tertulia_client` and `FOLDER/typescript/schema.ts`. The generator is in
its own virtual environment, because it needs other versions than the server. `--install` only creates that.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from build_web import run

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "clients"
LOCK = ROOT / "requirements-clients.lock"
DOCUMENT = ROOT / "web" / "src" / "api" / "generated" / "openapi.json"


def install() -> None:
    """Install the generator as locked, unless it is."""
    stamp, wanted = VENV / ".installed-from", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("Installing the generator of clients …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], check=True)
    stamp.write_text(wanted)


def generate(folder: Path) -> None:
    """Write both clients into a folder. A part of the document that the generator does not understand is an error."""
    install()
    package = folder / "python" / "tertulia_client"
    package.parent.mkdir(parents=True, exist_ok=True)
    (folder / "typescript").mkdir(exist_ok=True)
    environment = os.environ | {"PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    options = ["--path", str(DOCUMENT), "--output-path", str(package), "--meta", "none", "--overwrite"]
    run(["openapi-python-client", "generate", "--fail-on-warning", *options], folder, environment)
    shutil.copy(DOCUMENT.with_name("schema.ts"), folder / "typescript" / "schema.ts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist" / "clients")
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    if arguments.install:
        install()
    else:
        generate(arguments.folder.absolute())
        print(f"The clients are in {arguments.folder}. See docs/reference/api.md.")


if __name__ == "__main__":
    main()
