"""Tests for the file store: a folder, and a bucket over real HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tertulia.errors import SettingsError
from tertulia.files.errors import AttachmentNotFound, FileStoreUnavailable
from tertulia.files.processing import look_into
from tertulia.files.store import FileStore
from tertulia.files.uploads import receive_form
from tertulia.settings import Settings
from tests.fakes.bucket import Bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    bucket = Bucket()
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.close()


@pytest.fixture(params=["folder", "named folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return FileStore(Settings(data=tmp_path, files_url="s3://bucket/files"))
    return FileStore(
        Settings(data=tmp_path, files_url=f"file://{tmp_path}/elsewhere" if "named" in request.param else None)
    )


def test_stored_bytes_are_read_whole_and_in_part_and_deleted(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 100_000)

    async def part() -> bytes:
        return b"".join([piece async for piece in store.stream("ab/hash-1", 5, 500_005)])

    async def whole() -> bytes:
        return b"".join([piece async for piece in store.stream_all("ab/hash-1")])

    asyncio.run(store.put("ab/hash-1", source))
    assert asyncio.run(store.read("ab/hash-1")) == source.read_bytes() == asyncio.run(whole())
    assert asyncio.run(part()) == source.read_bytes()[5:500_005]
    store.write_file("cd/hash-2", io.BytesIO(b"x"))
    assert sorted(store.list_paths()) == ["ab/hash-1", "cd/hash-2"]
    assert b"".join(store.read_pieces("cd/hash-2")) == b"x"
    asyncio.run(store.delete("ab/hash-1"))
    asyncio.run(store.delete("ab/hash-1"))  # deleting it again is no error
    with pytest.raises(AttachmentNotFound):
        asyncio.run(store.read("ab/hash-1"))
    assert list(store.list_paths()) == ["cd/hash-2"]


def test_a_failing_store_raises_file_store_unavailable(tmp_path: Path) -> None:
    store = FileStore(Settings(data=tmp_path))
    source = tmp_path / "source"
    source.write_bytes(b"x")
    (tmp_path / "files" / "ab").write_text("a file where a folder should be")
    with pytest.raises(FileStoreUnavailable):
        asyncio.run(store.put("ab/hash", source))


def test_an_unusable_store_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file where a folder should be")
    with pytest.raises(SettingsError, match="TERTULIA_FILES_URL"):
        FileStore(Settings(data=tmp_path))


def test_files_are_read_from_a_relative_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().data == tmp_path / "data"
    uploads = Settings(data=Path("here")).data / "uploads"
    uploads.mkdir(parents=True)
    (uploads / "file").write_text("words")
    assert asyncio.run(look_into(uploads, "text/plain")).text == "words"


async def _chunks() -> AsyncIterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nHello\r\n--b--\r\n'


def test_a_folder_that_cannot_be_made_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")

    async def receive() -> None:
        async with receive_form(_chunks(), "multipart/form-data; boundary=b", tmp_path / "uploads" / "new"):
            pytest.fail("nothing can be received")

    with pytest.raises(FileStoreUnavailable):
        asyncio.run(receive())
