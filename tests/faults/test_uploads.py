"""Test a server killed in the middle of an upload: the upload leaves no trace, and the next one works."""

import socket
from contextlib import closing
from pathlib import Path

from tests.fakes.live_server import Client
from tests.fakes.process import Process
from tests.waiting import until

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}


def test_a_server_killed_during_an_upload_leaves_no_file(tmp_path: Path) -> None:
    process = Process(tmp_path)
    with Client(process.url) as client:
        client.api("POST", "/setup", json=ADA, expect=201)
        cookies = client.cookies
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        request = (
            f"POST /api/v1/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nX-Tertulia: 1\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
            '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        )
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(request.encode() + b"a" * 4_000_000)
            until(lambda: any(path.stat().st_size > 2**20 for path in (tmp_path / "uploads").glob("*")))
            process.kill()
    again = Process(tmp_path)
    with closing(Client(again.url)) as client:
        client.cookies = cookies
        assert client.api("GET", "/attachments")["items"] == []
        assert client.api("GET", "/storage")["used_bytes"] == 0
        file = client.api("POST", "/attachments", files={"file": ("a.txt", b"a" * 100)}, expect=201)
        until(lambda: client.api("GET", f"/attachments/{file['id']}")["status"] == "ready")
    again.kill()
