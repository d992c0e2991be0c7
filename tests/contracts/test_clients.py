"""Test that clients generated from the OpenAPI document compile, and work against a server."""

import compileall
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.live_server import Client, LiveServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def token(ana: Client) -> str:
    ana.api("POST", "/session/confirm", json={"password": "correct horse battery"}, expect=204)
    body = {"name": "client", "scopes": ["read", "write"]}
    token: str = ana.api("POST", "/api-tokens", json=body, expect=201)["token"]
    ana.chat(title="First")
    return token


def _run(*command: str | Path, **options: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_generated_python_client_works(server: LiveServer, token: str, tmp_path: Path) -> None:
    path = "/usr/bin:/bin"
    _run(sys.executable, "scripts/generate_clients.py", tmp_path, PATH=path)
    assert compileall.compile_dir(tmp_path / "python", quiet=1)
    python = ROOT / ".venv" / "clients" / "bin" / "python"
    use = Path(__file__).parent / "clients" / "use_python.py"
    said = _run(python, use, server.url, token, PYTHONPATH=str(tmp_path / "python"))
    assert int(said.split()[1]) > 400  # every module can be imported


def test_the_generated_typescript_client_works(server: LiveServer, token: str, tmp_path: Path) -> None:
    bundle = tmp_path / "client.mjs"
    build = ("npx", "rolldown", "src/test/generated-client.ts", "--platform", "node", "--file", bundle)
    in_web = (sys.executable, "scripts/build_web.py")
    home = str(tmp_path)
    path = "/usr/local/bin:/usr/bin:/bin"
    _run(*in_web, *build, PATH=path, HOME=home)
    assert _run(*in_web, "node", bundle, server.url, token, PATH=path, HOME=home).strip() == "used"
