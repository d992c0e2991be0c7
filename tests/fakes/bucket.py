"""A bucket that speaks the part of S3's HTTP API that the file store uses."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Bucket:
    """Runs in its own thread. `objects` maps each key to its content."""

    def __init__(self, name: str = "bucket") -> None:
        self.objects: dict[str, bytes] = {}
        self.name = name
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self._answer(200, self._put())

            def do_GET(self) -> None:
                key, query = self._key()
                if "list-type" in query:
                    self._answer(200, bucket.listing(query.get("prefix", [""])[0]))
                elif key not in bucket.objects:
                    self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                else:
                    self._give(bucket.objects[key])

            def do_POST(self) -> None:
                """Delete several objects in one request. Missing ones count as deleted."""
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                keys = re.findall(r"<Key>(.*?)</Key>", body)
                for key in keys:
                    bucket.objects.pop(key, None)
                deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
                self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

            def _put(self) -> bytes:
                bucket.objects[self._key()[0]] = self.rfile.read(int(self.headers["content-length"]))
                return b""

            def _give(self, content: bytes) -> None:
                wanted = self.headers.get("range")
                if wanted is None:
                    self._answer(200, content, {"Last-Modified": "Sun, 22 Nov 2026 12:00:00 GMT"})
                    return
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                part = content[int(start) : int(end) + 1 if end else None]
                last = int(start) + len(part) - 1
                headers = {
                    "Content-Range": f"bytes {start}-{last}/{len(content)}",
                    "Last-Modified": "Sun, 22 Nov 2026 12:00:00 GMT",
                }
                self._answer(206, part, headers)

            def _key(self) -> tuple[str, dict[str, list[str]]]:
                parts = urlsplit(self.path)
                return unquote(parts.path).removeprefix(f"/{bucket.name}/"), parse_qs(parts.query)

            def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), "ETag": '"e"', **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Discard the access log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "eu-west-1",
        }

    def listing(self, prefix: str) -> bytes:
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
            '<LastModified>2026-11-22T12:00:00Z</LastModified><ETag>"e"</ETag></Contents>'
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
