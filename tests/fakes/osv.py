"""A service of advisories for tests, with the limits of the real OSV service."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

MAX_QUERIES = 1000


class OsvService:
    """Answers `querybatch` and `vulns`. `page_size` is the number of ids of one answer for each query."""

    def __init__(self, records: list[dict[str, Any]], *, page_size: int = 1000) -> None:
        self.records = {record["id"]: record for record in records}
        self.queries: list[dict[str, Any]] = []
        self.is_failing = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = service.query(body) if self.path == "/v1/querybatch" else (404, {})
                self._answer(status, answer)

            def do_GET(self) -> None:
                record = service.records.get(self.path.removeprefix("/v1/vulns/"))
                self._answer(*((200, record) if record else (404, {"code": 5, "message": "Bug not found."})))

            def _answer(self, status: int, answer: Any) -> None:
                content = orjson.dumps(answer)
                self.send_response(503 if service.is_failing else status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._page_size = page_size
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def query(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        queries = body.get("queries", [])
        self.queries += queries
        if len(queries) > MAX_QUERIES:
            return 400, {"code": 3, "message": "Too many queries."}
        if any("version" in query and "purl" in query.get("package", {}) for query in queries):
            return 400, {"code": 3, "message": "version specified in params and purl query"}
        return 200, {"results": [self._result(query) for query in queries]}

    def _result(self, query: dict[str, Any]) -> dict[str, Any]:
        ids = [
            id_
            for id_, record in self.records.items()
            if any(
                affected["package"]["name"] == query["package"]["name"]
                and query["version"] in affected.get("versions", ())
                for affected in record["affected"]
            )
        ]
        start = int(query.get("page_token", 0))
        page = ids[start : start + self._page_size]
        if not page:
            return {}
        result: dict[str, Any] = {"vulns": [{"id": id_, "modified": "2026-11-01T00:00:00Z"} for id_ in page]}
        if start + self._page_size < len(ids):
            result["next_page_token"] = str(start + self._page_size)
        return result

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
