"""Tests for the built pages: which addresses are pages, HEAD, caching and compression."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tertulia.http.web import PAGES
from tests.conftest import ServerMaker

ROOT = Path(__file__).resolve().parents[2]
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def engine_kind() -> str:
    return "sqlite"


@pytest.fixture
def client(start_server: ServerMaker) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start_server().url, trust_env=False) as http:
        yield http


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/icon.svg", "/api/v1/openapi.json", "/c/some-chat"])
def test_head_answers_like_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == 200
    for name in ("content-type", "content-length"):
        assert head.headers.get(name) == get.headers.get(name)
    # An HTTP client reads no body after HEAD, so look at the bytes.
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


def test_head_of_a_protected_route_needs_a_sign_in(client: httpx.Client) -> None:
    assert client.head("/api/v1/chats").status_code == 401
    assert client.head("/api/v1/events").status_code == 401


@pytest.mark.parametrize(
    "path", ["/metrics", "/.well-known/openid-configuration", "/v1/models", "/api/v1/nothing", "/assets/gone.js"]
)
def test_an_unknown_path_is_a_problem_document(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/.well-known/security.txt", "/v1/chat/completions", "/api/nothing"])
def test_reserved_paths_are_no_page_for_browsers_either(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers=BROWSER).headers["content-type"] == "application/problem+json"


def test_an_unknown_address_shows_browsers_the_page_with_status_404(client: httpx.Client) -> None:
    response = client.get("/no-such-page", headers=BROWSER)
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_every_address_of_the_pages_is_known() -> None:
    router = (ROOT / "web" / "src" / "app" / "router.tsx").read_text()
    paths = re.findall(r'path: "/([\w-]*)', router)
    assert len(paths) > 15
    assert set(paths) == PAGES


def test_a_file_is_not_sent_again_to_a_client_that_has_it(client: httpx.Client) -> None:
    first = client.get("/icon.svg")
    again = client.get("/icon.svg", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"


def test_assets_are_kept_for_ever_and_sent_compressed(client: httpx.Client) -> None:
    name = re.search(r'src="(/assets/[^"]+\.js)"', client.get("/").text)
    assert name is not None
    packed = client.get(name[1], headers={"Accept-Encoding": "gzip"})
    plain = client.get(name[1], headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.content == plain.content
    assert "immutable" in packed.headers["cache-control"]
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
