"""Tests for files over HTTP: upload, processing, use by models, search, deletion, and refusals."""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.file_uses import MessageFileUses
from tertulia.clock import now
from tertulia.db.opening import plain_engine
from tertulia.files.errors import StorageFull
from tertulia.files.kinds import safe_name
from tertulia.files.models import MAX_FILE_BYTES, Attachment, AttachmentStatus, Blob
from tertulia.files.processing import delete_unreferenced, sweep_files, take_file
from tertulia.files.queries import used_bytes
from tertulia.files.service import ReceivedFile, begin_storing
from tertulia.ids import UserId
from tests.conftest import SignIn
from tests.factories.files import make_attachment
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text
from tests.files import samples
from tests.waiting import Listener, until


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    provider = ScriptedProvider(models=["scripted", "gpt-4o", "gpt-3.5-turbo"])
    yield provider
    provider.close()


def upload(client: Client, name: str, content: bytes, *, expect: int = 201, **fields: str) -> Any:
    return client.api("POST", "/attachments", files={"file": (name, content)}, data=fields, expect=expect)


def ready(client: Client, name: str, content: bytes, **fields: Any) -> dict[str, Any]:
    """Upload a file, wait until it is processed, and return it."""
    uploaded = upload(client, name, content, **fields)
    file: dict[str, Any] = {}

    def is_done() -> bool:
        file.update(client.api("GET", f"/attachments/{uploaded['id']}"))
        return bool(file["status"] != "processing")

    until(is_done, 20)
    return file


KINDS: list[tuple[str, bytes, str | None, dict[str, object]]] = [
    ("a.png", samples.picture(64, 48), "image/png", {"dimensions": {"width": 64, "height": 48}}),
    ("b.txt", samples.picture(8, 8, "JPEG"), "image/jpeg", {"dimensions": {"width": 8, "height": 8}}),
    ("notes.md", "# Grüße".encode(), "text/markdown", {"encoding": "utf-8", "text_length": 7}),
    ("alt.txt", "Gr\xfc\xdfe an alle, die dies lesen".encode("cp1252"), "text/plain", {"text_length": 29}),
    ("wide.txt", "wörter".encode("utf-16"), "text/plain", {"encoding": "utf-16", "text_length": 6}),
    ("page.html", b"<p>One</p><script>bad()</script>", "text/html", {"text_length": 3}),
    ("paper.pdf", samples.PDF, "application/pdf", {"pages": 1, "text_length": 22}),
    ("paper.docx", samples.docx("Walrus"), None, {"text_length": 6}),
    ("table.xlsx", samples.xlsx("Walrus", "Weight"), None, {"pages": 1}),
    ("talk.pptx", samples.pptx("Walrus", "Weight"), None, {"pages": 2}),
    ("open.odt", samples.odt("Walrus"), "application/vnd.oasis.opendocument.text", {"text_length": 6}),
    ("rich.rtf", rb"{\rtf1\ansi{\fonttbl\f0 Arial;}Walrus\par}", "application/rtf", {"text_length": 6}),
    ("beep.wav", samples.sound(0.5), "audio/wav", {"duration": 0.5}),
    ("all.zip", samples.packed({"a": "b"}), "application/zip", {}),
]


def test_the_type_of_a_file_comes_from_its_content(ana: Client) -> None:
    for name, content, mime_type, metadata in KINDS:
        file = ready(ana, name, content)
        assert file["status"] == "ready", file
        assert mime_type in (None, file["mime_type"])
        assert file["metadata"] | metadata == file["metadata"], name
        assert (file["file_name"], file["file_size"]) == (name, len(content))
        response = ana.get(f"/attachments/{file['id']}/content")
        assert response.content == content
        assert "sandbox" in response.headers["content-security-policy"]
        assert response.headers["content-disposition"].startswith("inline") == file["mime_type"].startswith("image/")
        assert "html" not in response.headers["content-type"]


def unreadable() -> list[tuple[str, bytes, str]]:
    """Return unreadable files. They are created on demand, because some are large."""
    return [
        ("broken.png", samples.picture()[:40], "damaged"),
        ("broken.pdf", b"%PDF-1.4 nothing", "damaged"),
        ("no.docx", samples.packed({"word/other.xml": "<a/>"}), "required part"),
        ("entities.docx", samples.docx("&a;", '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'), "damaged"),
        ("large.docx", samples.packed({"word/document.xml": b"\0" * (600 * 2**20)}), "unpacks|too large"),
        ("wide.png", samples.picture(10_000, 5_001), "50 megapixels"),
    ]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # the process that reads files uses no database
def test_an_unreadable_file_is_kept_and_states_its_problem(ana: Client) -> None:
    for name, content, problem in unreadable():
        file = ready(ana, name, content)
        assert file["status"] == "error", name
        assert re.search(problem, file["metadata"]["problem"])
        assert ana.get(f"/attachments/{file['id']}/content").content == content


def test_invalid_uploads_are_refused(ana: Client) -> None:
    assert upload(ana, "empty.txt", b"", expect=422)["code"] == "file_empty"
    assert upload(ana, "x.exe", b"MZ\x90\0\x03\0\0\0" + b"\0" * 64, expect=415)["code"] == "file_type_not_allowed"
    assert upload(ana, "n" * 252 + ".txt", b"x", expect=422)["code"] == "file_name_too_long"
    assert upload(ana, "n" * 251 + ".txt", b"x")["file_name"] == "n" * 251 + ".txt"
    assert upload(ana, "../../etc/pa\u202esswd.txt", b"x")["file_name"] == "passwd.txt"
    assert ana.api("POST", "/attachments", json={}, expect=422)["code"] == "file_missing"
    assert (
        ana.api("POST", "/attachments", data={"a": "b"}, files={"b": ("b", b"b")}, expect=422)["code"] == "file_missing"
    )
    two = [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]
    assert ana.api("POST", "/attachments", files=two, expect=422)["code"] == "file_missing"
    assert ana.api("GET", "/storage")["files"] == 2
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhi'
    for boundary, body in (("B", head), ("B", b"nothing"), ("b" * 300, b"x"), ("", b"x")):
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        assert ana.api("POST", "/attachments", content=body, headers=kind, expect=422)["code"] == "file_missing"
    assert upload(ana, "x.heic", b"\0\0\0\x18ftypheic" + b"\0" * 32, expect=415)["code"] == "file_type_not_allowed"


@pytest.mark.parametrize(
    ("raw_name", "name"),
    [
        ("a/b\\c.txt", "c.txt"),
        ("a\x07\u200b.txt", "a.txt"),
        ('<a>:"b"?.txt', "_a___b__.txt"),
        (" .hidden. ", "hidden"),
    ],
)
def test_file_names_are_made_safe(raw_name: str, name: str) -> None:
    assert safe_name(raw_name) == name


def test_a_file_over_the_size_limit_is_refused(ana: Client, server: LiveServer) -> None:
    content = b"a" * MAX_FILE_BYTES
    assert upload(ana, "full.txt", content)["file_size"] == MAX_FILE_BYTES
    assert upload(ana, "over.txt", content + b"a", expect=413)["limit"] == MAX_FILE_BYTES
    # Refused by the header, before the bytes are sent.
    cookie = "; ".join(f"{name}={value}" for name, value in ana.cookies.items())
    head = (
        f"POST /api/v1/attachments HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nX-Tertulia: 1\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {MAX_FILE_BYTES * 2}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(head.encode())
        assert raw.recv(12).endswith(b"413")


def test_the_storage_limit_is_counted_to_the_byte(session: Session, alice: Actor) -> None:
    def store(size: int) -> None:
        received = ReceivedFile("a.txt", "a.txt", "text/plain", size, hashlib.sha256(os.urandom(8)).hexdigest())
        with session.begin_nested():
            begin_storing(
                session, alice, received, MessageFileUses(), RowLimits(), storage=StorageLimit(10, used_bytes)
            )

    store(4)
    with pytest.raises(StorageFull):
        store(7)
    store(6)
    with pytest.raises(StorageFull):
        store(1)


def test_equal_files_are_stored_once_without_revealing_it(ana: Client, sign_in: SignIn, session: Session) -> None:
    bob = sign_in("bob")
    first, second = upload(ana, "a.txt", b"the same"), upload(bob, "b.txt", b"the same")
    assert first.keys() == second.keys()
    assert first["status"] == second["status"] == "processing"
    assert session.scalar(sa.select(sa.func.count()).select_from(Blob)) == 1
    bob.api("GET", f"/attachments/{first['id']}", expect=404)
    bob.api("GET", f"/attachments/{first['id']}/content", expect=404)


def test_the_text_of_an_attachment_is_in_the_prompt(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("A walrus."), Finish()])
    chat = ana.chat()
    paper = ready(ana, "paper.pdf", samples.PDF)
    sent = ana.say(chat["id"], "What is it about?", attachment_ids=[paper["id"]])
    ana.finished(sent["run"]["id"])
    content = provider.requests[-1]["messages"][-1]["content"]
    assert "What is it about?" in content
    assert '<file name="paper.pdf">\nThe quick brown walrus' in content
    part = sent["message"]["parts"][1]
    assert part == {
        "type": "file",
        "attachment_id": paper["id"],
        "file_name": "paper.pdf",
        "file_type": "application/pdf",
        "file_size": len(samples.PDF),
    }
    assert ana.api("GET", f"/attachments/{paper['id']}")["used_in"]["message_id"] == sent["message"]["id"]


def test_only_models_with_vision_get_the_picture(ana: Client, provider: ScriptedProvider) -> None:
    picture = ready(ana, "cat.png", samples.picture(3000, 100))
    for model_name, sees in (("gpt-4o", True), ("gpt-3.5-turbo", False)):
        provider.play([Text("Teal."), Finish()])
        chat = ana.chat(provider="openai", model_name=model_name)
        sent = ana.say(chat["id"], "What colour?", attachment_ids=[picture["id"]])
        ana.finished(sent["run"]["id"])
        content = provider.requests[-1]["messages"][-1]["content"]
        if sees:
            assert content[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
        else:
            assert 'name="cat.png"' in content
    assert sent["message"]["parts"][1] == {
        "type": "image",
        "attachment_id": picture["id"],
        "alt": "cat.png",
        "width": 3000,
        "height": 100,
    }


def test_a_message_may_have_only_files_and_at_most_twenty(ana: Client, session: Session) -> None:
    chat = ana.chat()
    owner = Actor(UserId(ana.user["id"]), UserRole.USER)
    ids = [make_attachment(session, owner=owner, name=f"{number}.txt") for number in range(21)]
    session.commit()
    path = f"/chats/{chat['id']}/messages"
    too_many = ana.api("POST", path, json={"attachment_ids": ids, "reply": False}, expect=422)
    assert too_many["code"] == "too_many_attachments"
    sent = ana.api("POST", path, json={"attachment_ids": ids[:20], "reply": False}, expect=201)
    assert len(sent["message"]["parts"]) == 20
    assert sent["message"]["content"].split(" ")[:2] == ["0.txt", "1.txt"]


def test_foreign_deleted_and_missing_files_are_refused_alike(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    theirs = ready(ana, "a.txt", b"x")
    own = ready(bob, "b.txt", b"y")
    bob.api("DELETE", f"/attachments/{own['id']}", expect=204)
    chat = bob.chat()
    answers = [
        bob.api(
            "POST",
            f"/chats/{chat['id']}/messages",
            json={"content": "x", "reply": False, "attachment_ids": [attachment_id]},
            expect=422,
        )
        for attachment_id in (theirs["id"], own["id"], "00000000-0000-7000-8000-000000000000")
    ]
    parts = [{"type": "file", "attachment_id": theirs["id"], "file_name": "mine.txt"}]
    answers.append(bob.api("POST", f"/chats/{chat['id']}/messages", json={"parts": parts, "reply": False}, expect=422))
    assert {answer["code"] for answer in answers} == {"attachment_unknown"}
    assert bob.api("GET", f"/chats/{chat['id']}/messages")["items"] == []
    upload(bob, "c.txt", b"z", expect=404, chat_id=ana.chat()["id"])


def test_a_malformed_attachment_id_is_refused(ana: Client) -> None:
    parts = [{"type": "file", "attachment_id": "nonsense"}]
    ana.api("POST", f"/chats/{ana.chat()['id']}/messages", json={"parts": parts, "reply": False}, expect=422)


def test_long_files_are_cut_to_fit_the_window(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()
    long = ready(ana, "long.txt", b"word " * 200_000)
    for _ in range(3):
        ana.say(chat["id"], "More", attachment_ids=[long["id"]], reply=False)
    provider.play([Text("Yes."), Finish()])
    sent = ana.say(chat["id"], "And?", attachment_ids=[long["id"]])
    ana.finished(sent["run"]["id"])
    prompt = "".join(message["content"] for message in provider.requests[-1]["messages"])
    assert 4000 < len(prompt) < 40_000
    assert "characters left out" in prompt


def test_search_finds_the_text_of_files_until_they_are_deleted(ana: Client) -> None:
    chat = ana.chat()
    paper = ready(ana, "paper.pdf", samples.PDF)
    sent = ana.say(chat["id"], "Look", attachment_ids=[paper["id"]], reply=False)
    until(lambda: ana.api("GET", "/search", params={"q": "walrus"})["items"])
    (hit,) = ana.api("GET", "/search", params={"q": "walrus"})["items"]
    assert hit["message"]["id"] == sent["message"]["id"]
    assert hit["attachment"] == {"id": paper["id"], "file_name": "paper.pdf"}
    assert any(piece["is_hit"] and piece["text"] == "walrus" for piece in hit["snippet"])
    ana.api("DELETE", f"/attachments/{paper['id']}", expect=204)
    assert ana.api("GET", "/search", params={"q": "walrus"})["items"] == []
    ana.api("POST", f"/attachments/{paper['id']}/restore")
    until(lambda: ana.api("GET", "/search", params={"q": "walrus"})["items"])


def test_deleting_a_file_keeps_its_message_and_name(ana: Client) -> None:
    chat = ana.chat()
    file = ready(ana, "a.txt", b"x")
    sent = ana.say(chat["id"], "Look", attachment_ids=[file["id"]], reply=False)
    ana.api("DELETE", f"/attachments/{file['id']}", expect=204)
    assert ana.api("GET", f"/messages/{sent['message']['id']}")["parts"] == sent["message"]["parts"]
    assert ana.api("GET", f"/attachments/{file['id']}")["deleted_at"] is not None
    assert ana.api("GET", "/attachments")["items"] == []
    assert [item["id"] for item in ana.api("GET", "/attachments", params={"trash": "true"})["items"]] == [file["id"]]


def test_files_are_listed_by_chat_kind_and_order(ana: Client) -> None:
    chat = ana.chat()
    small = ready(ana, "b.txt", b"x")
    large = ready(ana, "a.txt", b"xxxxx")
    picture = ready(ana, "c.png", samples.picture())
    ana.say(chat["id"], "Look", attachment_ids=[small["id"]], reply=False)

    def names(**params: str) -> list[str]:
        file_names: list[str] = []
        cursor = None
        while True:
            page = ana.api(
                "GET", "/attachments", params={**params, "limit": "1", **({"cursor": cursor} if cursor else {})}
            )
            file_names += [file["file_name"] for file in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return file_names

    assert names() == ["c.png", "a.txt", "b.txt"]
    assert names(order="name") == ["a.txt", "b.txt", "c.png"]
    assert names(order="largest", kind="text") == ["a.txt", "b.txt"]
    assert names(chat_id=chat["id"]) == ["b.txt"]
    assert ana.api("GET", "/storage")["used_bytes"] == 6 + picture["file_size"]
    assert large["used_in"] is None


def test_a_byte_range_of_a_file_is_returned(ana: Client) -> None:
    file = ready(ana, "a.txt", b"0123456789")
    address = f"/attachments/{file['id']}/content"
    for wanted, status, content in (
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=0-99", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ):
        answer = ana.get(address, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (status, content)
    refused = ana.get(address, headers={"Range": "bytes=10-"})
    assert (refused.status_code, refused.json()["code"]) == (416, "range_not_satisfiable")


def test_thumbnails_are_small_pictures(ana: Client) -> None:
    picture = ready(ana, "wide.png", samples.picture(2000, 1000))
    assert picture["has_thumbnail"]
    thumbnail = ana.get(f"/attachments/{picture['id']}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/webp"
    assert len(thumbnail.content) < 10_000
    text = ready(ana, "a.txt", b"x")
    ana.api("GET", f"/attachments/{text['id']}/thumbnail", expect=404)


def test_processing_a_file_sends_an_event(ana: Client) -> None:
    listener = Listener(ana)
    file = ready(ana, "a.txt", b"x")
    listener.wait_for(lambda: ("attachment", "updated") in listener.changes)
    assert file["status"] == "ready"


def test_a_fork_has_its_own_files_that_share_the_bytes(ana: Client, session: Session) -> None:
    chat = ana.chat()
    file = ready(ana, "a.txt", b"x")
    sent = ana.say(chat["id"], "Look", attachment_ids=[file["id"]], reply=False)
    fork = ana.api("POST", f"/messages/{sent['message']['id']}/fork", expect=201)
    (copy,) = ana.api("GET", f"/chats/{fork['id']}/messages")["items"]
    copied = copy["parts"][1]["attachment_id"]
    assert copied != file["id"]
    ana.api("DELETE", f"/attachments/{file['id']}", expect=204)
    assert ana.get(f"/attachments/{copied}/content").content == b"x"
    assert session.scalar(sa.select(sa.func.count()).select_from(Blob)) == 1


def test_an_aborted_upload_leaves_nothing(ana: Client, server: LiveServer, session: Session) -> None:
    def part() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhalf'
        raise httpx.ReadError("gone")

    with pytest.raises(httpx.ReadError):
        ana.post("/attachments", content=part(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    folder = server.settings.data / "uploads"
    until(lambda: not [path for path in folder.glob("*") if path.is_file()], 5)
    assert ana.api("GET", "/attachments")["items"] == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Attachment)) == 0


def test_unfinished_uploads_are_hidden_and_deleted(ana: Client, session: Session, server: LiveServer) -> None:
    file = ready(ana, "a.txt", b"x")
    engine = plain_engine(server.settings)
    with Session(engine) as other, other.begin():
        other.execute(
            sa.update(Attachment).values(status=AttachmentStatus.UPLOADING, created_at=now() - timedelta(hours=2))
        )
    ana.api("GET", f"/attachments/{file['id']}", expect=404)
    assert ana.api("GET", "/attachments")["items"] == []
    paths: list[str] = []
    with Session(engine) as other, other.begin():
        sweep_files(other, timedelta(days=30))
        assert other.scalar(sa.select(sa.func.count()).select_from(Attachment)) == 0
        assert delete_unreferenced(other) == []  # bytes are kept for a day, in case of another upload
    with Session(engine) as other, other.begin():
        other.execute(sa.update(Blob).values(unreferenced_at=now() - timedelta(hours=25)))
        paths = delete_unreferenced(other)
    assert len(paths) == 1
    engine.dispose()


def test_bytes_in_use_are_not_deleted(ana: Client, server: LiveServer) -> None:
    file = ready(ana, "a.txt", b"x")
    engine = plain_engine(server.settings)
    with Session(engine) as other, other.begin():
        other.execute(sa.update(Blob).values(unreferenced_at=now() - timedelta(hours=25)))
        assert delete_unreferenced(other) == []
    upload(ana, "b.txt", b"x")
    with Session(engine) as other, other.begin():
        assert other.scalar(sa.select(Blob.unreferenced_at)) is None
    engine.dispose()
    assert file["status"] == "ready"


def test_two_readers_never_take_the_same_file(session: Session, ana: Client, server: LiveServer) -> None:
    engine = plain_engine(server.settings)
    ready(ana, "a.txt", b"x")
    with Session(engine) as other, other.begin():
        other.execute(
            sa.update(Attachment).values(status=AttachmentStatus.PROCESSING, held_until=now() + timedelta(minutes=1))
        )
    with Session(engine) as other, other.begin():
        assert take_file(other) is None
    engine.dispose()


def test_concurrent_uploads_are_all_stored(ana: Client) -> None:
    def one(number: int) -> None:
        upload(ana, f"{number}.txt", os.urandom(8).hex().encode())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ana.api("GET", "/storage")["files"] == 20
