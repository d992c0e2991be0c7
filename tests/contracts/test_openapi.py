"""Test all OpenAPI operations with generated input: no 5xx, and no undocumented status, content type or shape."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer

EXAMPLES = 4  # per operation; other tests cover unusual input
# Endless streams, calls that end the caller's session or account, and the download of everything.
LEFT_OUT = ("/events", "/operator/", "/api/v1/export", "/api/v1/session")


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def admin(server: LiveServer, sign_in: SignIn) -> Client:
    return make_admin(server, sign_in)


def test_no_operation_gives_an_undocumented_answer(server: LiveServer, admin: Client) -> None:
    scopes = ["read", "write", "admin"]
    token = admin.api("POST", "/api-tokens", json={"name": "all", "scopes": scopes}, expect=201)["token"]
    document = admin.get(f"{server.url}/api/v1/openapi.json").json()
    api = schemathesis.openapi.from_dict(document)
    headers = {"Authorization": f"Bearer {token}"}
    wrong: list[str] = []
    for result in api.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]
        if any(part in operation.path for part in LEFT_OUT) or operation.path.endswith("/{user_id}"):
            continue

        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            response = case.call(base_url=server.url, headers=headers, timeout=20)
            case.validate_response(
                response,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        try:
            ask()
        except Exception as error:  # report all operations
            wrong.append(f"{operation.method.upper()} {operation.path}: {error}"[:600])
    assert wrong == [], "\n\n".join(wrong)


def test_every_json_answer_is_described(server: LiveServer, admin: Client) -> None:
    document = admin.get(f"{server.url}/api/v1/openapi.json").json()
    vague = [
        f"{method} {path} {status}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, response in operation["responses"].items()
        for kind, content in response.get("content", {}).items()
        if "json" in kind and not ({"$ref", "properties", "anyOf", "oneOf", "items"} & set(content.get("schema", {})))
    ]
    assert vague == []
