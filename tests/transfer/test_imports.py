"""Test the full export and imports of our own and other formats: round trips, duplicates, undo, invalid files."""

import io
import json
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tertulia.transfer.found import FoundMessage
from tertulia.transfer.imported_chat import in_order
from tertulia.transfer.reader import chatgpt, claude, librechat, openwebui
from tertulia.transfer.reader.shapes import seconds
from tests.conftest import SignIn
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Call, Finish, Reasoning, ScriptedProvider, Text
from tests.files import samples
from tests.files.test_files import ready
from tests.waiting import until

SAMPLES = Path(__file__).parent / "samples"


def take(client: Client, name: str, content: bytes) -> dict[str, Any]:
    """Import a file, wait until the job ends, and return the job."""
    job: dict[str, Any] = client.api("POST", "/imports", files={"file": (name, content)}, expect=201)
    state: dict[str, Any] = {}

    def is_done() -> bool:
        state.update(client.api("GET", f"/imports/{job['id']}"))
        return state["status"] not in ("queued", "running")

    until(is_done, 30, lambda: f"the import did not end: {state}")
    return state


def sample(client: Client, name: str) -> dict[str, Any]:
    return take(client, name, (SAMPLES / name).read_bytes())


def branch(client: Client, chat_id: str, **params: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.api("GET", f"/chats/{chat_id}/messages", params=params)["items"]
    return items[::-1]


def everything(client: Client) -> dict[str, bytes]:
    client.api("POST", "/export/confirm", expect=204)
    with zipfile.ZipFile(io.BytesIO(client.get("/export").content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    return samples.packed(dict(parts))


def rich_chat(client: Client, provider: ScriptedProvider) -> str:
    """Create a chat with files, branches, a thread, a tool call, a tag and state. Return its id."""
    chat = client.chat(title="Ours", system_prompt="Be kind.", settings={"temperature": 0.5, "tools": ["calculate"]})
    client.api("PUT", "/auto-approval-settings", json={"specific_tools": {"calculate": [{"rule": "allow"}]}})
    file = ready(client, "paper.pdf", samples.PDF)
    picture = ready(client, "cat.png", samples.picture())
    files = [file["id"], picture["id"]]
    first = client.say(chat["id"], "Look", reply=False, attachment_ids=files)["message"]
    provider.play(
        [Reasoning("Hm."), Text("One."), Finish()],
        [Text("I work it out."), Call("calculate", {"expression": "1 + 1"}), Finish("tool_calls")],
        [Text("Two."), Finish()],
        [Text("Deep."), Finish()],
    )
    sent = client.say(chat["id"], "Which?")
    client.finished(sent["run"]["id"])
    again = client.api("POST", f"/messages/{sent['reply']['id']}/regenerate", json={}, expect=201)
    client.finished(again["run"]["id"])
    deep = client.say(chat["id"], "Within", parent_message_id=first["id"])
    client.finished(deep["run"]["id"])
    client.api(
        "POST",
        f"/messages/{first['id']}/edit",
        json={"content": "Look here", "attachment_ids": files, "in_place": True},
        expect=201,
    )
    client.api("PUT", f"/messages/{first['id']}/reactions/👍")
    tag = client.api("POST", "/tags", json={"name": "Home", "colour": "blue"}, expect=201)
    client.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}")
    schema = {"type": "object", "properties": {"origin": {"type": "string"}}}
    client.api("PUT", f"/chats/{chat['id']}/state", json={"state": {"origin": "PRG"}, "schema": schema})
    client.api("PATCH", f"/chats/{chat['id']}", json={"is_pinned": True})
    client.api("PUT", f"/chats/{chat['id']}/head", json={"message_id": sent["reply"]["id"]})
    return str(chat["id"])


def test_an_imported_export_gives_the_same_export(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    rich_chat(ana, provider)
    ana.say(ana.chat()["id"], "Another, in the archive", reply=False)
    out = everything(ana)
    assert sum(name.startswith("chats/") for name in out) == 2
    assert sum(name.startswith("files/") for name in out) == 2
    other = sign_in("ana2")  # a new user with the same display name
    other.api("PATCH", "/me", json={"name": "Ana"})
    job = take(other, "everything.zip", zipped(out))
    assert (job["status"], job["source"], job["error"]) == ("completed", "tertulia", None)
    assert job["report"] | {"chats": 2, "files": 2, "refused": 0, "problems": []} == job["report"]
    again = everything(other)
    assert again.keys() == out.keys()
    for name in out:
        assert json.loads(again[name]) == json.loads(out[name]) if name.endswith("json") else again[name] == out[name]
    ours = next(chat for chat in other.api("GET", "/chats")["items"] if chat["title"] == "Ours")
    shown = branch(other, ours["id"])
    assert [message["content"] for message in shown] == ["Look here paper.pdf cat.png", "Which?", "One."]
    assert all(message["imported"] for message in shown)
    picture = next(part for part in shown[0]["parts"] if part["type"] == "image")
    assert other.get(f"/attachments/{picture['attachment_id']}/content").content == samples.picture()
    (call,) = other.api("GET", f"/chats/{ours['id']}/tool-executions")["items"]
    assert (call["result"]["content"], call["requested_by"], call["run_id"]) == ("2", None, None)
    reply = other.api("GET", f"/messages/{call['message_id']}")
    assert call["id"] in [part.get("tool_execution_id") for part in reply["parts"]]
    assert other.api("GET", f"/chats/{ours['id']}/state")["state"] == {"origin": "PRG"}
    assert other.api("GET", "/tools/usage")["items"] == []
    allowed = other.api("GET", "/auto-approval-settings")
    assert allowed["specific_tools"] == {}  # automatic approvals are not imported
    assert other.api("GET", "/search", params={"q": "within"})["items"]
    assert other.api("GET", "/usage")["items"] == []  # imported usage is not counted


def test_the_sample_data_is_imported_completely(ana: Client) -> None:
    """Import the demo chats, with a flight request as chat state (conformance S002-055)."""
    sample = resources.files("tertulia.demo") / "chats.json"
    job = take(ana, "chats.json", sample.read_bytes())
    assert job["report"] | {"chats": 4, "messages": 14, "refused": 0, "problems": []} == job["report"]
    flight = next(chat for chat in ana.api("GET", "/chats")["items"] if chat["title"] == "A flight to Lisbon")
    state = ana.api("GET", f"/chats/{flight['id']}/state")
    assert state["state"]["last_flight_request"]["destination"] == "LIS"
    assert set(state["schema"]["properties"]) == {"last_flight_request", "pending_flight_request", "preferences"}
    assert len(ana.api("GET", f"/chats/{flight['id']}/tool-executions")["items"]) == 1
    review = next(chat for chat in ana.api("GET", "/chats")["items"] if chat["title"] == "A review in TypeScript")
    review = ana.api("GET", f"/chats/{review['id']}")
    assert (review["provider"], review["model_name"]) == ("openai", "gpt-4")
    assert (review["settings"]["temperature"], review["settings"]["max_tokens"]) == (0.7, 2000)
    assert review["system_prompt"].startswith("You are a careful reviewer")
    (message,) = ana.api("GET", f"/chats/{review['id']}/messages")["items"]
    assert [part["type"] for part in message["parts"]] == ["text", "code", "text"]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_a_state_that_violates_its_schema_is_left_out_and_reported(ana: Client) -> None:
    (flight, *_) = json.loads((resources.files("tertulia.demo") / "chats.json").read_text())
    flight["chat"]["state"]["state"] = {"unknown": True}
    job = take(ana, "chats.json", json.dumps([flight]).encode())
    assert job["report"]["chats"] == 1
    assert "does not match its schema" in job["report"]["problems"][0]


def test_imported_calls_are_ended_and_invalid_calls_left_out(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    rich_chat(ana, provider)
    out = everything(ana)
    name = next(name for name in out if name.startswith("chats/"))
    chat = json.loads(out[name])
    reply = next(message for message in chat["messages"] if "tool_executions" in message)
    whole = reply["tool_executions"][0]
    reply["tool_executions"] = [
        whole | {"status": "pending"},
        whole | {"tool_name": "x" * 101},
        whole | {"parameters": {"a": "\x00"}},
        whole | {"cost": "-1"},
        "nonsense",
    ]
    other = sign_in("bob")
    job = take(other, "everything.zip", zipped(out | {name: json.dumps(chat).encode()}))
    assert job["status"] == "completed"
    assert "A tool call could not be read and was left out." in str(job["report"]["problems"])
    ours = next(chat for chat in other.api("GET", "/chats")["items"] if chat["title"] == "Ours")
    calls = other.api("GET", f"/chats/{ours['id']}/tool-executions")["items"]
    assert [(call["status"], call["requested_by"]) for call in calls] == [("cancelled", None)]
    assert other.api("GET", "/tool-executions", params={"status": "pending"})["items"] == []


def rich_draft(client: Client, provider: ScriptedProvider) -> str:
    """Create a draft with branches, accepted edits, named versions and a working copy. Return its id."""
    draft = client.api("POST", "/drafts", json={"title": "Letter", "content": LETTER}, expect=201)["id"]
    provider.play([Text("<edit><find>Three</find><replace>3</replace></edit>"), Finish()])
    answer = client.api(
        "POST", f"/drafts/{draft}/proposals", json={"instruction": "x", "version_number": 1}, expect=201
    )
    client.finished(answer["sent"]["run"]["id"])
    until(lambda: client.api("GET", f"/drafts/{draft}/proposals")["items"][0]["status"] == "open")
    client.api("POST", f"/proposals/{answer['proposal']['id']}/accept")
    for content, parent in ((LETTER.replace("One", "1"), 1), ("Quite another text.", 3)):
        body = {"content": content, "parent_version_number": parent, "name": f"on {parent}"}
        client.api("POST", f"/drafts/{draft}/versions", json=body, expect=201)
    client.api("POST", f"/drafts/{draft}/versions/2/restore", expect=201)
    typed = {"content": "Being typed", "base_version_number": 5, "revision": 0, "window_id": "w"}
    client.api("PUT", f"/drafts/{draft}/working-copy", json=typed)
    return str(draft)


LETTER = "One two.\n\nThree four.\n\n" + "And so on. " * 30


def test_an_imported_draft_has_every_version(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    draft, chat = rich_draft(ana, provider), ana.chat(title="Told")
    ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft}")
    out = everything(ana)
    assert sorted(name.split("/")[0] for name in out) == ["README.txt", "chats", "chats", "drafts", "manifest.json"]
    other = sign_in("ana2")
    other.api("PATCH", "/me", json={"name": "Ana"})
    job = take(other, "everything.zip", zipped(out))
    assert job["report"] | {"chats": 2, "drafts": 1, "refused": 0, "problems": []} == job["report"]
    again = everything(other)
    assert again.keys() == out.keys()
    for name in out:
        assert json.loads(again[name]) == json.loads(out[name]) if name.endswith("json") else again[name] == out[name]
    [imported] = other.api("GET", "/drafts")["items"]
    assert other.api("GET", f"/drafts/{imported['id']}")["working_copy"]["content"] == "Being typed"
    [attached_chat] = other.api("GET", f"/drafts/{imported['id']}/chats")["items"]
    assert attached_chat["kind"] == "draft"
    for number in range(1, 6):
        path = f"/versions/{number}"
        theirs, ours = other.api("GET", f"/drafts/{imported['id']}{path}"), ana.api("GET", f"/drafts/{draft}{path}")
        for key in ("content", "parent_version_number", "base_version_number", "generation_source", "name", "words"):
            assert theirs[key] == ours[key], (number, key)
        their_authorship, our_authorship = (
            client.api("GET", f"/drafts/{draft_id}{path}/authorship")["items"]
            for client, draft_id in ((other, imported["id"]), (ana, draft))
        )
        assert their_authorship == our_authorship
    save = {"content": "Still numbered", "parent_version_number": 5}
    assert other.api("POST", f"/drafts/{imported['id']}/versions", json=save, expect=201)["version_number"] == 6
    second = take(other, "again.zip", zipped(out))["report"]
    assert (second["drafts"], second["already_there"]) == (0, 3)


def test_undoing_an_import_removes_its_drafts_and_chats(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    rich_draft(ana, provider)
    out = zipped(everything(ana))
    bob = sign_in("bob")
    job = take(bob, "a.zip", out)
    bob.api("POST", f"/imports/{job['id']}/undo")
    assert bob.api("GET", "/drafts")["items"] == []
    assert bob.api("GET", "/chats")["items"] == []


def test_undoing_an_import_keeps_a_draft_edited_since(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    rich_draft(ana, provider)
    out = zipped(everything(ana))
    bob, carol = sign_in("bob"), sign_in("carol")
    job = take(bob, "a.zip", out)
    [draft] = bob.api("GET", "/drafts")["items"]
    typed = {"content": "Bob types", "base_version_number": 5, "revision": 1, "window_id": "w"}
    bob.api("PUT", f"/drafts/{draft['id']}/working-copy", json=typed)
    bob.api("POST", f"/imports/{job['id']}/undo")
    assert bob.api("GET", f"/drafts/{draft['id']}")["working_copy"]["content"] == "Bob types"
    assert len(bob.api("GET", f"/drafts/{draft['id']}/chats")["items"]) == 1
    # A chat of an earlier import becomes a direct chat again when the draft is removed.
    files = everything(ana)
    first = take(carol, "chats.zip", zipped({name: files[name] for name in files if not name.startswith("drafts/")}))
    assert first["report"]["chats"] == 1
    second = take(carol, "all.zip", out)
    assert carol.api("GET", "/chats")["items"] == []
    carol.api("POST", f"/imports/{second['id']}/undo")
    assert carol.api("GET", "/drafts")["items"] == []
    assert [chat["kind"] for chat in carol.api("GET", "/chats")["items"]] == ["direct"]


def test_an_imported_draft_does_not_take_over_a_shared_chat(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    rich_draft(ana, provider)
    files = everything(ana)
    bob, _ = sign_in("bob"), sign_in("carol")
    take(bob, "chats.zip", zipped({name: files[name] for name in files if not name.startswith("drafts/")}))
    [chat] = bob.api("GET", "/chats")["items"]
    bob.api("POST", f"/chats/{chat['id']}/shares", json={"shared_with_username": "carol"}, expect=201)
    take(bob, "all.zip", zipped(files))
    assert [item["id"] for item in bob.api("GET", "/chats")["items"]] == [chat["id"]]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_a_draft_above_the_size_limit_is_left_out_and_reported(ana: Client, provider: ScriptedProvider) -> None:
    rich_draft(ana, provider)
    files = everything(ana)
    [name] = [name for name in files if name.startswith("drafts/")]
    item = json.loads(files[name])
    item["draft"]["id"] = "another"
    first = item["versions"][0] | {"content": "a" * 400_000}
    more = [
        first | {"version_number": number, "parent_version_number": 1, "content": None, "changes": [[0, 0, "b"]]}
        for number in range(2, 400)
    ]
    item["versions"] = [first, *more]
    report = take(ana, "a.zip", zipped({name: json.dumps(item).encode()}))["report"]
    assert (report["drafts"], report["refused"]) == (0, 1)
    assert "too many or too long" in report["problems"][0]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_unsafe_ids_and_future_times_of_an_import_are_replaced(ana: Client, provider: ScriptedProvider) -> None:
    rich_draft(ana, provider)
    files = everything(ana)
    [name] = [name for name in files if name.startswith("drafts/")]
    item = json.loads(files[name])
    item["draft"] |= {"id": "../../../evil", "updated_at": "2090-01-01T00:00:00Z", "title": "Odd \x00 one"}
    job = take(ana, "a.zip", zipped({name: json.dumps(item).encode()}))
    assert (job["error"], job["report"]["problems"], job["report"]["drafts"]) == (None, [], 1)
    again = everything(ana)
    assert len(again) == len(files) + 2  # the draft and its chat
    assert not any(".." in file_name for file_name in again)
    assert not any(draft["updated_at"].startswith("2090") for draft in ana.api("GET", "/drafts")["items"])
    assert seconds(float("inf")) is None


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
@pytest.mark.parametrize(
    "broken",
    [
        {"version_number": 3},
        {"parent_version_number": None},
        {"parent_version_number": 7},
        {"changes": [[0, 10_000, "x"]], "content": None},
        {"changes": [[5, 6, "x"], [2, 3, "y"]], "content": None},
    ],
)
def test_a_draft_with_inconsistent_versions_is_left_out_and_reported(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider, broken: dict[str, Any]
) -> None:
    rich_draft(ana, provider)
    out = everything(ana)
    [name] = [name for name in out if name.startswith("drafts/")]
    item = json.loads(out[name])
    item["versions"][1] |= broken
    report = take(sign_in("bob"), "a.zip", zipped(out | {name: json.dumps(item).encode()}))["report"]
    assert (report["drafts"], report["refused"], report["chats"]) == (0, 1, 1)
    assert "do not fit" in report["problems"][0]


def test_importing_the_same_file_again_adds_nothing(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    rich_chat(ana, provider)
    out = zipped(everything(ana))
    other = sign_in("bob")
    assert take(other, "a.zip", out)["report"]["chats"] == 1
    assert take(other, "b.zip", out)["report"] == {
        "chats": 0, "messages": 0, "files": 0, "drafts": 0, "already_there": 1, "refused": 0, "problems": [],
    }  # fmt: skip
    assert len(other.api("GET", "/chats")["items"]) == 1


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_a_chatgpt_export_is_imported(ana: Client) -> None:
    job = sample(ana, "chatgpt.json")
    assert (job["source"], job["report"]["chats"], job["report"]["refused"]) == ("chatgpt", 1, 1)
    (chat,) = ana.api("GET", "/chats")["items"]
    assert (chat["title"], chat["pinned_at"] is not None, chat["last_message_at"]) == (
        "Birds",
        True,
        "2023-11-14T22:13:33Z",
    )
    shown = branch(ana, chat["id"])
    assert [(message["role"], message["content"]) for message in shown] == [
        ("user", "Name a bird."),
        ("assistant", ""),
        ("assistant", "The **heron**."),
        ("user", "What is this? [A picture that is not in the export]"),
        ("assistant", "print(1)"),
        ("assistant", "1"),
        ("assistant", "It is one."),
    ]
    assert shown[1]["parts"] == [{"type": "reasoning", "text": "A walrus is no bird."}]
    assert shown[2]["model_name"] == "gpt-5"
    source = {"type": "source", "url": "https://example.org/heron", "title": "Heron", "passages": []}
    assert shown[2]["parts"][1] == source
    robin = next(message for message in shown[1]["sibling_ids"] if message != shown[1]["id"])
    assert ana.api("GET", f"/messages/{robin}")["content"] == "The robin."


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_a_zipped_claude_export_is_imported(ana: Client) -> None:
    conversations = (SAMPLES / "claude.json").read_bytes()
    job = take(ana, "claude.zip", samples.packed({"conversations.json": conversations, "users.json": b"[]"}))
    assert (job["source"], job["report"]["chats"]) == ("claude", 1)
    (chat,) = ana.api("GET", "/chats")["items"]
    shown = branch(ana, chat["id"])
    assert [message["role"] for message in shown] == ["user", "assistant", "assistant"]
    assert "flour 500" in shown[0]["content"]
    assert shown[1]["parts"][0] == {"type": "reasoning", "text": "Yeast."}
    assert any("not in the export" in problem for problem in job["report"]["problems"])


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_an_open_webui_export_is_imported(ana: Client) -> None:
    job = sample(ana, "openwebui.json")
    assert job["report"]["chats"] == 2
    assert job["report"]["refused"] == 0
    chats = ana.api("GET", "/chats")["items"] + ana.api("GET", "/chats", params={"archived": "true"})["items"]
    assert len(chats) == 2
    tags = {tag["name"] for tag in ana.api("GET", "/tags")["items"]}
    assert "cocina" in tags
    rivers = next(chat for chat in chats if any("Amazon" in message["content"] for message in branch(ana, chat["id"])))
    shown = branch(ana, rivers["id"])
    assert len(shown[1]["sibling_ids"]) == 2
    parts = [part["type"] for chat in chats for message in branch(ana, chat["id"]) for part in message["parts"]]
    assert "reasoning" in parts


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
@pytest.mark.parametrize("name", ["librechat-linear.json", "librechat-tree.json"])
def test_a_librechat_export_is_imported(ana: Client, name: str) -> None:
    job = sample(ana, name)
    assert (job["source"], job["report"]["chats"], job["report"]["refused"]) == ("librechat", 1, 0)
    (chat,) = ana.api("GET", "/chats")["items"]
    assert chat["title"] == "Branches in LibreChat"
    assert ana.api("GET", f"/chats/{chat['id']}")["system_prompt"] == "You are terse."
    shown = branch(ana, chat["id"])
    assert shown[0]["content"] == "Capital of Peru?"
    if "tree" in name:
        assert len(shown[1]["sibling_ids"]) > 1


def test_undoing_an_import_keeps_chats_continued_since(ana: Client) -> None:
    job = sample(ana, "openwebui.json")
    chats = ana.api("GET", "/chats")["items"] + ana.api("GET", "/chats", params={"archived": "true"})["items"]
    own = ana.chat(title="Mine")
    ana.say(chats[0]["id"], "And more", reply=False)
    assert ana.api("POST", f"/imports/{job['id']}/undo")["status"] == "undone"
    left = ana.api("GET", "/chats")["items"] + ana.api("GET", "/chats", params={"archived": "true"})["items"]
    assert {chat["id"] for chat in left} == {own["id"], chats[0]["id"]}
    again = sample(ana, "openwebui.json")["report"]
    assert (again["chats"], again["already_there"]) == (1, 1)


def unreadable() -> list[tuple[str, bytes, str]]:
    return [
        ("a.json", b"{}", "No chat could be read"),
        ("a.json", b"[1, 2]", "No chat could be read"),
        ("a.json", b'[{"mapping": {', "damaged"),
        ("a.json", b"hello", "is not JSON"),
        ("a.zip", samples.packed({"a.txt": b"x"}), "contains no chats"),
        ("bomb.zip", samples.packed({"conversations.json": b"[" + b" " * (20 * 2**20)}), "hundred times"),
    ]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_an_unreadable_file_reports_the_reason(ana: Client) -> None:
    for name, content, message in unreadable():
        job = take(ana, name, content)
        assert (job["status"], message in job["error"]) == ("failed", True), job
    assert ana.api("GET", "/chats")["items"] == []


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_an_unreadable_chat_does_not_affect_the_others(ana: Client) -> None:
    chats = json.loads((SAMPLES / "claude.json").read_text())
    broken = {"uuid": "x", "name": "Broken", "chat_messages": [{"uuid": ["?"], "content": 5, "attachments": "no"}]}
    odd = {"mapping": {"a": {"parent": "b", "message": None}, "b": {"parent": "a"}}, "current_node": "a", "id": "odd"}
    job = take(ana, "a.json", json.dumps([broken, odd, *chats]).encode())
    assert job["status"] == "completed"
    assert [chat["title"] for chat in ana.api("GET", "/chats")["items"]].count("Bread") == 1


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # reading a file does not depend on the database
def test_a_text_that_is_too_long_is_cut_and_reported(ana: Client) -> None:
    chats = json.loads((SAMPLES / "claude.json").read_text())
    chats[0]["chat_messages"][0]["content"] = [{"type": "text", "text": "a" * 100_001}]
    chats[0]["chat_messages"][0]["attachments"] = []
    job = take(ana, "a.json", json.dumps(chats).encode())
    assert any("cut" in problem for problem in job["report"]["problems"])
    (chat,) = ana.api("GET", "/chats")["items"]
    assert len(branch(ana, chat["id"])[0]["parts"][0]["text"]) == 100_000


def test_a_user_does_not_see_imports_of_others(ana: Client, sign_in: SignIn) -> None:
    job = sample(ana, "claude.json")
    bob = sign_in("bob")
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/undo")):
        bob.api(method, f"/imports/{job['id']}{path}", expect=404)
    assert bob.api("GET", "/imports")["items"] == []


def test_an_api_token_cannot_export_everything(ana: Client, server: Any) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "x"}, expect=201)["token"]
    with Client(server.url) as other:
        other.headers["Authorization"] = f"Bearer {token}"
        assert other.get("/export").status_code == 403


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "parent", "message", "content", "parts", "role", "author", "mapping", "children", "messages", "history",
             "currentId", "parentId", "output", "type", "text", "uuid", "chat_messages", "messageId", "content_type"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON)
def test_readers_handle_any_json_or_raise_an_expected_exception(item: object) -> None:
    for reader, wrapped in (
        (chatgpt, {"mapping": item if isinstance(item, dict) else {"a": item}, "id": "1"}),
        (claude, {"chat_messages": [item], "uuid": "1"}),
        (openwebui, {"id": "1", "chat": {"history": {"messages": item if isinstance(item, dict) else {}}}}),
        (librechat, {"conversationId": "1", "messages": [item]}),
    ):
        try:
            chat = reader.read(wrapped)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        known = {message.id for message in chat.messages}
        assert all(message.parent is None or message.parent in known for message in chat.messages)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-1, 8), st.none() | st.floats(1, 9)), max_size=9))
def test_messages_are_ordered_after_their_parents(
    links: list[tuple[int, int, float | None]],
) -> None:
    messages = [
        FoundMessage(
            id=str(message), parent=str(parent) if parent >= 0 else None, role="user", parts=[], created_at=moment
        )
        for message, parent, moment in links
    ]
    ordered = in_order(messages)
    place = {message.id: number for number, message in enumerate(ordered)}
    by_id = {message.id: message for message in messages}
    for message in ordered:
        parent = by_id[message.id].parent
        assert parent not in by_id or parent == message.id or place[str(parent)] < place[message.id]
