"""Test the limits of request heads with raw sockets against a real process: size, number, time, and characters."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.fakes.bystander import longest_wait_s
from tests.fakes.process import Process

HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("heads"))
    assert process.url
    yield process
    process.kill()


def send(process: Process, *pieces: bytes) -> bytes:
    """Send bytes on a connection of their own, and return everything that is answered until it closes."""
    url = httpx.URL(process.url)
    with closing(socket.create_connection((url.host, url.port or 80), timeout=30)) as connection:
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while piece := connection.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def head_of(size: int) -> bytes:
    """Return a request for /healthz whose target and headers have this size: names, values, and four bytes for each."""
    used = len("/healthz") + len("Host: 127.0.0.1\r\nConnection: close\r\nX: \r\n")
    return b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * (size - used) + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 431)])
def test_a_head_has_at_most_64_kibibytes(process: Process, size: int, status: int) -> None:
    assert status_of(send(process, head_of(size))) == status


@pytest.mark.parametrize(("number", "status"), [(100, 200), (101, 431)])
def test_a_head_has_at_most_100_headers(process: Process, number: int, status: int) -> None:
    headers = b"".join(b"X-%d: a\r\n" % index for index in range(number - 2))
    assert status_of(send(process, b"GET /healthz HTTP/1.1\r\n" + HOST + headers + b"\r\n")) == status


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz?" + b"a=1&" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Cookie: " + b"a=1; " * 20_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-" + b"n" * 70_000 + b": a\r\n\r\n",
    ],
    ids=["path", "query", "cookies", "name"],
)
def test_long_paths_queries_cookies_and_names_are_refused(process: Process, head: bytes) -> None:
    answer = send(process, head)
    assert status_of(answer) == 431
    assert b'"code":"head_too_large"' in answer
    assert b"x-content-type-options: nosniff" in answer


@pytest.mark.parametrize(
    ("begin", "endless"),
    [
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: ", b"a" * 65_536),
        (b"GET /healthz HTTP/1.1\r\n" + HOST, b"X: a\r\n" * 10_000),
        (b"GET /", b"a" * 65_536),
        (b"POST /api/v1/session HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 65_536),
    ],
    ids=["value", "headers", "path", "trailer"],
)
def test_endless_heads_take_no_memory_and_keep_nobody_waiting(process: Process, begin: bytes, endless: bytes) -> None:
    def attack() -> None:
        for _ in range(10):
            attackers = [threading.Thread(target=send, args=(process, begin, *[endless] * 800)) for _ in range(4)]
            for attacker in attackers:
                attacker.start()
            for attacker in attackers:
                attacker.join()

    before = process.memory_mib()
    assert longest_wait_s(process.url, attack) <= 0.05
    assert process.peak_memory_mib() - before <= 20


def test_pipelined_requests_are_limited(process: Process) -> None:
    before = process.memory_mib()
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = send(process, *[request * 1000] * 500)
    assert answers.count(b"HTTP/1.1 200") < 500_000
    assert process.peak_memory_mib() - before <= 20


def test_a_few_pipelined_requests_are_answered_in_order(process: Process) -> None:
    requests = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9
    answers = send(process, requests + b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (answers.count(b'{"status":"ok"}'), answers.endswith(b'{"status":"ready"}')) == (9, True)


@pytest.mark.parametrize("count", [10, 11])
def test_at_most_ten_requests_wait_behind_the_answered_one(process: Process, count: int) -> None:
    requests = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * count
    answers = send(process, requests + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (answers.count(b'{"status":"ok"}') == count + 1) is (count == 10)


def test_a_slow_second_head_is_ended_too(process: Process) -> None:
    url = httpx.URL(process.url)
    with closing(socket.create_connection((url.host, url.port or 80), timeout=30)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b'{"status":"ok"}' not in answer:
            answer += connection.recv(65536)
        began = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert connection.recv(65536) == b""
    assert time.monotonic() - began > 9


def test_a_body_whose_declared_length_is_too_large_is_refused_before_it_arrives(process: Process) -> None:
    head = b"POST /api/v1/session HTTP/1.1\r\n" + HOST + b"X-Tertulia: 1\r\nContent-Type: application/json\r\n"
    answer = send(process, head + b"Content-Length: 65537\r\n\r\n")
    assert (status_of(answer), b'"code":"body_too_large"' in answer) == (413, True)


def test_a_slow_head_is_ended_after_ten_seconds(process: Process) -> None:
    began = time.monotonic()
    assert send(process, b"GET /healthz HTTP/1.1\r\nX: ") == b""
    assert time.monotonic() - began > 9


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/shared/a%00b",
        "/api/v1/shared/%ED%A0%80",
        "/api/v1/search?q=a%00b",
        "/api/v1/search?q=%ED%A0%80",
        "/%FF",
    ],
)
def test_the_null_character_and_lone_surrogates_are_refused_in_addresses(process: Process, target: str) -> None:
    answer = send(process, f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert (status_of(answer), b'"code":"invalid_text"' in answer) == (422, True)


@pytest.mark.parametrize("header", [b"X: a\x00b", b"Authorization: Bearer a\x00b", b"X\x00: a"])
def test_the_null_character_is_refused_in_headers(process: Process, header: bytes) -> None:
    answer = send(process, b"GET /healthz HTTP/1.1\r\n" + HOST + header + b"\r\n\r\n")
    assert (status_of(answer), b"problem+json" in answer) == (400, True)


@pytest.mark.parametrize(
    "host", ["localhost:1@evil", "localhost:", "evil", "localhost.evil", "127.0.0.1:x", "[::1]:1@e"]
)
def test_a_foreign_host_is_refused(process: Process, host: str) -> None:
    answer = send(process, f"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n".encode())
    assert status_of(answer) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_every_spelling_of_this_machine_is_accepted(process: Process, host: str) -> None:
    assert (
        status_of(send(process, f"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n".encode())) == 200
    )
