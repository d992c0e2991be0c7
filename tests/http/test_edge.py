"""What stands around every route: limits of bodies, problem documents, headers."""

from collections.abc import Iterator

import pytest

from tests.fakes.live_server import Client


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    """What stands around the routes does not know the database."""
    kind: str = request.param
    return kind


@pytest.mark.parametrize(("size", "status"), [(4 * 1024 * 1024, 422), (4 * 1024 * 1024 + 1, 413)])
def test_a_body_is_at_most_four_mebibytes(ana: Client, size: int, status: int) -> None:
    frame = len('{"title": ""}')
    body = '{"title": "' + "x" * (size - frame) + '"}'
    assert len(body) == size
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status


def test_a_body_without_a_length_is_counted_as_it_comes(ana: Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * 1024 * 1024

    answer = ana.post("/chats", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(("depth", "words"), [(32, "This field is unknown. Remove it."), (33, "deeper than 32")])
def test_a_body_is_at_most_32_levels_deep(ana: Client, depth: int, words: str) -> None:
    body = '{"x": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"null", b'{"title": "\xff"}', b'{"title": "\\ud800"}', b"\x00"]
)
def test_a_body_that_is_no_object_is_told(ana: Client, body: bytes) -> None:
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_of_another_kind_is_told(ana: Client) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = ana.post("/chats", content="title=x", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")


@pytest.mark.parametrize("field", ["title", "system_prompt", "provider"])
def test_the_character_that_postgresql_cannot_store_is_refused_everywhere(ana: Client, field: str) -> None:
    refused = ana.post("/chats", json={field: "a\x00b"})
    assert refused.status_code == 422
    assert "U+0000" in refused.json()["detail"]
    assert ana.post("/session", json={"username": "a\x00", "password": "x"}).status_code == 422
    ana.chat(title="the six letters \\u0000 are words like others")


def test_a_missing_route_and_a_wrong_method_are_problem_documents(ana: Client) -> None:
    missing, wrong = ana.get("/nothing"), ana.put("/setup", json={})
    assert ana.post("/nothing", json={}).status_code == 404
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")


def test_every_answer_carries_the_security_headers(ana: Client) -> None:
    for answer in (
        ana.get("/chats"),
        ana.get("/nothing"),
        ana.get(f"http://127.0.0.1:{ana.base_url.port}/"),
    ):
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in headers


def test_ids_in_any_spelling_of_a_uuid_are_taken_and_others_told(ana: Client) -> None:
    chat = ana.chat()
    assert ana.api("GET", f"/chats/{chat['id'].upper()}")["id"] == chat["id"]
    assert ana.api("GET", "/chats/not-an-id", expect=422)["errors"][0]["field"] == "chat_id"


def test_health_and_readiness(ana: Client) -> None:
    root = f"http://127.0.0.1:{ana.base_url.port}"
    assert ana.get(f"{root}/healthz").json() == {"status": "ok"}
    assert ana.get(f"{root}/readyz").json() == {"status": "ready"}
