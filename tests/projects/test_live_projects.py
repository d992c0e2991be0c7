"""Test that the windows of members hear of each change to the chats of a project."""

from collections.abc import Iterator
from typing import Any

from tests.conftest import SignIn
from tests.fakes.live_server import Client, parse_events


def next_of(events: Iterator[Any], entity: str, operation: str) -> dict[str, Any]:
    """Return the next change of an entity by this operation. The test ends by its time limit if there is none."""
    for _, name, change in events:
        if name == "change" and (change["entity"], change["operation"]) == (entity, operation):
            return dict(change)
    raise AssertionError("the stream ended")


def test_members_hear_of_chats_that_come_and_go(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    project = ana.api("POST", "/projects", json={"name": "Garden"}, expect=201)["id"]
    ana.api("POST", f"/projects/{project}/members", json={"username": "bob", "role": "member"}, expect=201)
    with bob.stream("GET", "/events") as stream:
        events = parse_events(stream, within_s=60)
        assert next(events)[1] == "ready"
        own = {"project_id": project, "is_open_to_project": True}
        first = ana.chat(**own)["id"]
        change = next_of(events, "chat", "created")
        assert (change["entity_id"], change["payload"]) == (first, None)
        ana.api("DELETE", f"/projects/{project}/chats/{first}")
        assert next_of(events, "project", "updated")["entity_id"] == project
        ana.api("PUT", f"/projects/{project}/chats/{first}", json={"is_open_to_project": True})
        assert next_of(events, "chat", "updated")["entity_id"] == first
        ana.api("DELETE", f"/chats/{first}", expect=204)
        assert next_of(events, "chat", "deleted")["entity_id"] == first
        ana.api("POST", f"/chats/{first}/restore")
        assert next_of(events, "chat", "created")["entity_id"] == first
