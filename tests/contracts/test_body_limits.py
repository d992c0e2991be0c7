"""Send one more than allowed of everything in every request body of the API to a real process.

Each is refused in a few milliseconds, with a short answer, while other requests are served.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from tertulia.http.body import MAX_DEPTH, MAX_VALUES
from tests.fakes.bystander import longest_wait_s
from tests.fakes.live_server import Client
from tests.fakes.process import Process
from tests.waiting import until

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}
NO_ID = "00000000-0000-7000-8000-000000000000"
MAX_ANSWER_BYTES = 32 * 1024
MAX_WAIT_S = 0.05
PASSES = 15  # plain passes over as many values as a body may hold, on a machine that is too slow for MAX_WAIT_S


def pass_s() -> float:
    """Return the CPU seconds of reading 50,000 values and writing each as text, on this machine now."""
    text, best = f"[{'0,' * 49_999}0]", 1.0
    for _ in range(10):
        began = time.process_time()
        for value in json.loads(text):
            str(value)
        best = min(best, time.process_time() - began)
    return best


Body = tuple[str, str, str, str]  # method, path, what is beyond its limit, the body as JSON


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("bodies"))
    assert process.url
    yield process
    process.kill()


@pytest.fixture(scope="module")
def ada(process: Process) -> Iterator[Client]:
    with closing(Client(process.url)) as client:
        client.api("POST", "/setup", json=ADA, expect=201)
        yield client


@pytest.fixture(scope="module")
def document(ada: Client) -> dict[str, Any]:
    described: dict[str, Any] = ada.api("GET", "/openapi.json")
    return described


class Excesses:
    """Bodies that have one more than allowed of something, for every schema of a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.unlimited: list[str] = []

    def bodies(self) -> Iterator[Body]:
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                content = operation.get("requestBody", {}).get("content", {})
                if "application/json" not in content or path.startswith("/api/v1/operator"):
                    continue
                address = path
                for parameter in operation.get("parameters", []):
                    address = address.replace(f"{{{parameter['name']}}}", NO_ID)
                for what, value in self._values(content["application/json"]["schema"], path):
                    yield method, address, what, json.dumps(value)
                yield method, address, "values", json.dumps({"x": [0] * MAX_VALUES})
                yield method, address, "levels", '{"x":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
                yield method, address, "unknown fields", json.dumps({f"x{index}": 0 for index in range(20_000)})

    def _values(self, schema: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """Yield values that are valid but for one thing in them."""
        schema = self._resolve(schema)
        for option in schema.get("anyOf", schema.get("oneOf", ())):
            yield from self._values(option, where)
        match schema.get("type"):
            case "string" if "maxLength" in schema:
                yield f"{where}: characters", "x" * (schema["maxLength"] + 1)
            case "array":
                yield from self._lists(schema, where)
            case "object":
                yield from self._mappings(schema, where)

    def _lists(self, schema: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        if "maxItems" not in schema:
            self.unlimited.append(where)
            return
        yield f"{where}: items", [0] * (schema["maxItems"] + 1)
        for what, value in self._values(schema["items"], f"{where}[]"):
            yield what, [value]

    def _mappings(self, schema: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        fields = schema.get("properties", {})
        for name, field in fields.items():
            for what, value in self._values(field, f"{where}.{name}"):
                yield what, {name: value}
        if schema.get("additionalProperties") is False:
            yield f"{where}: fields", {f"x{index}": 0 for index in range(len(fields) + 1)}
        elif "maxProperties" not in schema:
            self.unlimited.append(where)
        else:
            yield f"{where}: entries", {f"x{index}": 0 for index in range(schema["maxProperties"] + 1)}

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in schema:
            return schema
        target: dict[str, Any] = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return target


def test_every_list_and_mapping_in_a_request_has_a_maximum(document: dict[str, Any]) -> None:
    excesses = Excesses(document)
    assert len(list(excesses.bodies())) > 200
    assert excesses.unlimited == []


def memory_at_rest(process: Process) -> float:
    """Return the memory of a process that has loaded what it loads in the background, such as the prices."""
    readings = [process.memory_mib()]

    def is_steady() -> bool:
        time.sleep(0.5)
        readings.append(process.memory_mib())
        return readings[-1] - readings[-2] < 0.2

    until(is_steady)
    return readings[-1]


def test_one_more_of_everything_is_refused_quickly_and_briefly(
    process: Process, ada: Client, document: dict[str, Any]
) -> None:
    bodies = list(Excesses(document).bodies())
    wrong: list[str] = []
    slow: list[str] = []
    before = memory_at_rest(process)

    def timed(method: str, path: str, body: str) -> tuple[httpx.Response, float]:
        """Return the answer and how long the event loop worked on it, which is what others wait at most."""
        before_s = process.loop_cpu_s()
        headers = {"Content-Type": "application/json"}
        answer = ada.request(method, f"{process.url}{path}", content=body, headers=headers)
        return answer, process.loop_cpu_s() - before_s

    for method, path, what, body in bodies:
        answer, used_s = timed(method, path, body)
        # Other tests slow the machine down. What is slow five times, each time compared with a plain pass, is slow.
        tries = 1
        while used_s > MAX_WAIT_S and used_s > PASSES * pass_s() and tries < 5:
            _, used_s = timed(method, path, body)
            tries += 1
        if tries == 5:
            slow.append(f"{method} {path} {what}: {used_s:.3f} s")
        if answer.status_code not in (401, 403, 404, 413, 422) or len(answer.content) > MAX_ANSWER_BYTES:
            wrong.append(f"{method} {path} {what}: {answer.status_code}, {len(answer.content)} bytes")
    assert (wrong, slow) == ([], [])
    assert process.peak_memory_mib() - before <= 30


def test_a_large_body_without_a_sign_in_is_not_read(process: Process) -> None:
    zeros = b'{"attachment_ids": [' + b"0," * 2_000_000 + b"0]}"
    kind = {"Content-Type": "application/json"}

    def attack() -> None:
        with Client(process.url) as stranger:
            for token in ("tta_" + "x" * 43, "x" * 43):
                headers = kind | {"Authorization": f"Bearer {token}"}
                answer = stranger.post(f"/chats/{NO_ID}/messages", content=zeros, headers=headers)
                assert answer.status_code == 401
            answer = stranger.post("/session", content=zeros, headers=kind)
            assert (answer.status_code, answer.json()["limit"]) == (413, 65_536)

    before = process.memory_mib()
    assert longest_wait_s(process.url, attack) <= 0.05
    assert process.peak_memory_mib() - before <= 30


def test_an_invalid_body_without_a_sign_in_is_answered_as_not_signed_in(process: Process) -> None:
    with Client(process.url) as stranger:
        headers = {"Authorization": "Bearer tta_unknown", "Content-Type": "application/json"}
        assert stranger.post("/chats", content=b"not JSON", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/chats?limit=5&page=2", "/me?x=1", "/search?q=a&%F0%9F%98%80=1"])
def test_an_unknown_query_parameter_is_refused(ada: Client, path: str) -> None:
    assert ada.api("GET", path, expect=422)["code"] == "unknown_parameter"
