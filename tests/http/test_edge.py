"""Test the middleware around every route: body limits, problem documents, security headers."""

from collections.abc import Iterator

import pytest

from tests.fakes.live_server import Client


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    """Return `sqlite`: the middleware does not use the database."""
    kind: str = request.param
    return kind


@pytest.mark.parametrize(("size", "status"), [(4 * 1024 * 1024, 422), (4 * 1024 * 1024 + 1, 413)])
def test_a_body_is_at_most_four_mebibytes(ana: Client, size: int, status: int) -> None:
    frame = len('{"title": ""}')
    body = '{"title": "' + "x" * (size - frame) + '"}'
    assert len(body) == size
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status


def test_a_body_without_a_length_is_counted_while_it_is_received(ana: Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * 1024 * 1024

    answer = ana.post("/chats", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(("depth", "detail"), [(32, "This field is unknown. Remove it."), (33, "deeper than 32")])
def test_a_body_is_at_most_32_levels_deep(ana: Client, depth: int, detail: str) -> None:
    body = '{"x": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"null", b'{"title": "\xff"}', b'{"title": "\\ud800"}', b"\x00"]
)
def test_a_body_that_is_not_a_json_object_is_refused(ana: Client, body: bytes) -> None:
    answer = ana.post("/chats", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_of_another_content_type_is_refused(ana: Client) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = ana.post("/chats", content="title=x", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")


@pytest.mark.parametrize("field", ["title", "system_prompt", "provider"])
def test_the_null_character_is_refused_in_every_text(ana: Client, field: str) -> None:
    refused = ana.post("/chats", json={field: "a\x00b"})
    assert refused.status_code == 422
    assert "U+0000" in refused.json()["detail"]
    assert ana.post("/session", json={"username": "a\x00", "password": "x"}).status_code == 422
    ana.chat(title="the six letters \\u0000 are text like others")


def test_a_missing_route_and_a_wrong_method_are_problem_documents(ana: Client) -> None:
    missing, wrong = ana.get("/nothing"), ana.put("/setup", json={})
    assert ana.post("/nothing", json={}).status_code == 404
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")


def test_every_response_has_the_security_headers(ana: Client) -> None:
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


def test_ids_accept_any_uuid_spelling_and_other_text_is_refused(ana: Client) -> None:
    chat = ana.chat()
    assert ana.api("GET", f"/chats/{chat['id'].upper()}")["id"] == chat["id"]
    assert ana.api("GET", "/chats/not-an-id", expect=422)["errors"][0]["field"] == "chat_id"


def test_health_and_readiness_are_reported(ana: Client) -> None:
    root = f"http://127.0.0.1:{ana.base_url.port}"
    assert ana.get(f"{root}/healthz").json() == {"status": "ok"}
    assert ana.get(f"{root}/readyz").json() == {"status": "ready"}
