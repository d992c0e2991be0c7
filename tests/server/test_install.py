"""Tests that a wheel installed into an empty environment serves the pages, with the commands of the Dockerfile."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTION = re.compile(r"^(RUN|HEALTHCHECK|CMD) (.+)$", re.MULTILINE)
# It needs root, and creates an account of the container's own system.
ONLY_IN_A_CONTAINER = "useradd "


def instructions(name: str) -> list[str]:
    """Return the arguments of one instruction of the Dockerfile, in order."""
    return [text for kind, text in INSTRUCTION.findall((ROOT / "Dockerfile").read_text()) if kind == name]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the RUN lines in a copy of the repository's files. Return the folder of the environment they create."""
    source = tmp_path_factory.mktemp("src")
    target = tmp_path_factory.mktemp("opt") / "tertulia"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    python = Path(sys.executable).resolve()
    (source / "bin").mkdir()
    (source / "bin/python").symlink_to(python)
    path = f"{source / 'bin'}:{os.environ['PATH']}"
    for line in instructions("RUN"):
        if line.startswith(ONLY_IN_A_CONTAINER):
            continue
        # The cache gives the same files, which are checked by their hashes. Python compiles those that it needs.
        command = line.replace("/opt/tertulia", str(target)).replace(" --no-cache-dir", "")
        subprocess.run(
            command, shell=True, cwd=source, check=True, env=os.environ | {"PATH": path, "PIP_NO_COMPILE": "1"}
        )
    return target


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TERTULIA_", "PYTHON"))}
    return inherited | {
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "TERTULIA_DATA": str(tmp_path),
        "TERTULIA_LOCAL_MODEL": "none",
        "TERTULIA_EMBEDDING_MODEL": "none",
        "PORT": "0",
    }


@pytest.fixture
def url(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Start what CMD names outside the repository, and yield the address that it prints."""
    (command,) = instructions("CMD")
    process = subprocess.Popen(
        json.loads(command), env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed = next((line for line in process.stdout if "running at" in line), "")
    match = re.search(r"http://\S+", printed)
    assert match, printed
    yield match[0]
    process.terminate()
    process.communicate(timeout=30)


def test_the_installed_wheel_serves_the_page_and_its_files(
    environment: dict[str, str], url: str, tmp_path: Path
) -> None:
    """Check all of it in one test, because each process that runs a part would install everything."""
    page = httpx.get(url)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    script = re.search(r'src="(/assets/[^"]+\.js)"', page.text)
    assert script, page.text
    assert httpx.get(url + script[1]).status_code == 200
    # The health check succeeds only while the server runs.
    (line,) = instructions("HEALTHCHECK")
    check = shlex.split(line.split("CMD ", 1)[1])
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert subprocess.run(check, env=environment).returncode == 0
    elsewhere = environment | {"TERTULIA_DATA": str(tmp_path / "other")}
    assert subprocess.run(check, env=elsewhere, capture_output=True).returncode == 1
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    result = subprocess.run(["tertulia", "--version"], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"tertulia {version[1]}\n"
