"""Calls of the draft API for tests."""

from typing import Any

from tests.fakes.live_server import Client


def save(client: Client, draft_id: str, content: str, parent: int, *, expect: int = 201, **fields: Any) -> Any:
    body = {"content": content, "parent_version_number": parent, **fields}
    return client.api("POST", f"/drafts/{draft_id}/versions", json=body, expect=expect)


def put(
    client: Client, draft_id: str, content: str, base: int, revision: int, *, window: str = "a", expect: int = 200
) -> Any:
    body = {"content": content, "base_version_number": base, "revision": revision, "window_id": window}
    return client.api("PUT", f"/drafts/{draft_id}/working-copy", json=body, expect=expect)
