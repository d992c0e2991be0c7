"""Compare real answers with their description in the OpenAPI document."""

from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


class Answers:
    """The answers of a test. `wrong` names those that do not fit their schema, or have fields that it does not list."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.wrong: list[str] = []
        self.checked = 0

    def check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Check an answer of the route `path`, such as `/chats/{chat_id}`."""
        operation = self._document["paths"][f"/api/v1{path}"][method.lower()]
        described = operation["responses"].get(str(answer.status_code))
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if described is None:
            self.wrong.append(f"{method} {path}: {answer.status_code} is not described")
        elif "json" in kind:
            schema = described["content"][kind]["schema"] | {"components": self._document["components"]}
            self.checked += 1
            problem = best_match(Draft202012Validator(schema).iter_errors(answer.json()))
            if problem is not None:
                where = "/".join(map(str, problem.absolute_path))
                self.wrong.append(f"{method} {path} {answer.status_code}: {where}: {problem.message[:200]}")
