"""Test that downloads are counted where bytes are sent, and that no count is lost."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.errors import StorageUnavailable
from tertulia.files.downloads import DownloadCounts, count_downloads
from tertulia.files.models import Attachment
from tertulia.ids import new_id
from tests.conftest import SignIn
from tests.factories.files import make_attachment
from tests.fakes.live_server import Client, LiveServer
from tests.files.test_files import ready


def flushed(server: LiveServer) -> None:
    server.call(server.app.state.services.get(DownloadCounts).flush())


def test_a_download_counts_once_and_its_parts_do_not(ana: Client, sign_in: SignIn, server: LiveServer) -> None:
    file = ready(ana, "notes.txt", b"0123456789")
    path = f"/attachments/{file['id']}"
    for value in (None, "bytes=0-3", "bytes=4-9", "bytes=-2", "bytes=20-"):
        ana.get(f"{path}/content", headers={} if value is None else {"Range": value})
    ana.get(f"{path}/thumbnail")
    sign_in("bob").api("GET", f"{path}/content", expect=404)
    flushed(server)
    assert ana.api("GET", path)["download_count"] == 2  # the whole, and the first part
    updated = ana.api("GET", path)["updated_at"]
    ana.get(f"{path}/content")
    flushed(server)
    assert ana.api("GET", path)["download_count"] == 3
    assert ana.api("GET", path)["updated_at"] == updated  # reading changes nothing else


def test_visitors_of_a_public_link_count_too(ana: Client, server: LiveServer) -> None:
    file = ready(ana, "notes.txt", b"0123456789")
    chat = ana.chat()["id"]
    ana.say(chat, "Read this", attachment_ids=[file["id"]], reply=False)
    link = ana.api("POST", f"/chats/{chat}/shares", json={}, expect=201)
    visitor = Client(server.url)
    assert visitor.get(f"/shared/{link['token']}/attachments/{file['id']}/content").content == b"0123456789"
    visitor.close()
    flushed(server)
    assert ana.api("GET", f"/attachments/{file['id']}")["download_count"] == 1


def test_counts_that_cannot_be_written_are_kept() -> None:
    written: list[dict[str, int]] = []

    class Failing:
        fails = True

        async def write(self, _work: object, counts: dict[str, int]) -> None:
            if self.fails:
                raise StorageUnavailable
            written.append(counts)

    async def main() -> None:
        db = Failing()
        counts = DownloadCounts(db)  # type: ignore[arg-type]
        counts.add("a")
        with pytest.raises(StorageUnavailable):
            await counts.flush()
        counts.add("a")
        db.fails = False
        await counts.flush()
        await counts.flush()

    asyncio.run(main())
    assert written == [{"a": 2}]


def test_a_file_that_is_gone_is_skipped(session: Session, alice: Actor) -> None:
    file = make_attachment(session, owner=alice)
    count_downloads(session, {new_id(): 3, file: 2})
    count_downloads(session, {file: 1})
    assert session.scalars(sa.select(Attachment.download_count).where(Attachment.id == file)).one() == 3
