"""Read an export: `python -m tertulia.transfer.reader FILE FOLDER`.

Prints a FoundLine on each line. Unpacks files to FOLDER.
"""

import resource
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import ijson

from tertulia.transfer.found import FoundChat, FoundDraft, FoundFile, FoundLine
from tertulia.transfer.reader import chatgpt, claude, librechat, native, native_draft, openwebui

MEMORY_BYTES = 2 * 1024 * 1024 * 1024
MAX_ENTRIES = 100_000
MAX_UNPACKED = 2 * 1024 * 1024 * 1024
MAX_RATIO = 100
FREE_RATIO_BYTES = 10 * 1024 * 1024  # below this size the ratio is not checked
MAX_ITEMS = 100_000  # chats and drafts of one file
# Beyond this number of entries that are empty or unknown, and more of them than usable ones, the file is no export.
MAX_UNUSABLE = 1_000
READERS = (native, native_draft, chatgpt, claude, openwebui, librechat)


class Unreadable(Exception):
    """A file that cannot be read. The message is a sentence for the user."""


def main(path: Path, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        for line in read_export(path, folder):
            print(line.model_dump_json(exclude_defaults=True), flush=True)
    except Unreadable as error:
        print(FoundLine(problem=str(error), is_fatal=True).model_dump_json())
    except (ijson.JSONError, UnicodeDecodeError):
        print(FoundLine(problem="The file is damaged, or is not JSON.", is_fatal=True).model_dump_json())
    except zipfile.BadZipFile:
        print(FoundLine(problem="The zip file is damaged.", is_fatal=True).model_dump_json())
    except (MemoryError, RecursionError):
        print(FoundLine(problem="A chat in the file is too large to read.", is_fatal=True).model_dump_json())


def read_export(path: Path, folder: Path, *, max_items: int = MAX_ITEMS) -> Iterator[FoundLine]:
    if not zipfile.is_zipfile(path):
        size = max(1, path.stat().st_size)
        with path.open("rb") as file:
            yield from _read_json(file, folder, None, lambda: file.tell() / size, max_items)
        return
    with zipfile.ZipFile(path) as archive:
        package = Package(archive)
        # Drafts come after the chats about them.
        members = sorted(filter(_holds_chats, archive.namelist()), key=lambda name: name.startswith("drafts/"))
        if not members:
            raise Unreadable("This zip file contains no chats: neither conversations.json nor chats of Tertulia.")
        total = max(1, sum(archive.getinfo(name).file_size for name in members))
        before = 0
        for name in members:
            with package.open(name) as member:
                start = before
                yield from _read_json(
                    member,
                    folder,
                    package,
                    lambda start=start, member=member: (start + member.count) / total,
                    max_items,
                )
            before += archive.getinfo(name).file_size


def _holds_chats(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    is_of_others = last.startswith("conversations") and last.endswith(".json")
    return is_of_others or (name.startswith(("chats/", "drafts/")) and name.endswith(".json"))


def _read_json(file: Any, folder: Path, package: "Package | None", done: Any, max_items: int) -> Iterator[FoundLine]:
    understood = unusable = 0
    for number, item in enumerate(_items(file), start=1):
        if number > max_items:
            raise Unreadable(
                f"The file has more than {max_items:,} entries. The first {max_items:,} were read. Split the file to import the rest."
            )
        if unusable > max(MAX_UNUSABLE, number - unusable):
            raise Unreadable(f"Reading stopped: {unusable:,} of the first {number:,} entries are empty or unknown.")
        reader = next((candidate for candidate in READERS if isinstance(item, dict) and candidate.knows(item)), None)
        if reader is None:
            unusable += 1
            yield FoundLine(problem="An item in the file is not a chat in a known format.", done=done())
            continue
        understood += 1
        try:
            chat = reader.read(item)
            if isinstance(chat, FoundChat) and not chat.messages:
                unusable += 1
            if isinstance(chat, FoundDraft):
                yield FoundLine(draft=chat, done=done())
                continue
            if chat.files and package is not None:
                package.unpack(chat.files, folder)
            yield FoundLine(chat=chat, done=done())
        except Unreadable:
            raise
        except Exception:
            # Old exports contain many irregularities. Each one costs only its chat, and is reported.
            unusable += 1
            yield FoundLine(problem=f"“{_title(item)}” could not be read.", done=done())
    if understood == 0:
        raise Unreadable(
            "No chat could be read. You can import exports of ChatGPT, Claude, Open WebUI, LibreChat and Tertulia."
        )


def _items(file: IO[bytes]) -> Iterable[Any]:
    """Iterate over the chats of a list, or the single chat, with only one in memory."""
    first = b""
    while not first.strip():
        first = file.read(1)
        if not first:
            raise Unreadable("The file is empty.")
    rest = _Rejoined(first, file)
    if first == b"[":
        return ijson.items(rest, "item", use_float=True)  # type: ignore[no-any-return]
    if first == b"{":
        return ijson.items(rest, "", use_float=True)  # type: ignore[no-any-return]
    raise Unreadable("The file is not JSON: it does not begin with a list or an object.")


def _title(item: dict[str, Any]) -> str:
    title = item.get("title") or item.get("name")
    return str(title)[:80] if title else "A chat without a title"


class _Rejoined:
    """A file whose first byte has already been read."""

    def __init__(self, first: bytes, file: IO[bytes]) -> None:
        self._first, self._file = first, file

    def read(self, size: int = -1) -> bytes:
        if self._first and size != 0:
            taken, self._first = self._first, b""
            return taken
        return self._file.read(size)


class Package:
    """A zip whose unpacked bytes are counted, regardless of the sizes that it declares."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MAX_UNPACKED
        self._names = set(archive.namelist())
        if len(self._names) > MAX_ENTRIES:
            raise Unreadable(f"The zip file has more than {MAX_ENTRIES:,} entries.")

    def open(self, name: str) -> "Counted":
        info = self._archive.getinfo(name)
        return Counted(self._archive.open(name), self, info.compress_size)

    def count(self, size: int, so_far: int, packed: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Unreadable("The zip file unpacks to more than 2 GiB.")
        if so_far > FREE_RATIO_BYTES and so_far > MAX_RATIO * max(1, packed):
            raise Unreadable("An entry of the zip file unpacks to more than a hundred times its size.")

    def unpack(self, files: list[FoundFile], folder: Path) -> None:
        for file in files:
            name = f"files/{file.content}"
            if name not in self._names or not native.HASH.fullmatch(file.content):
                continue
            with self.open(name) as source, (folder / file.content).open("wb") as target:
                while piece := source.read(1024 * 1024):
                    target.write(piece)


class Counted:
    def __init__(self, file: IO[bytes], package: Package, packed: int) -> None:
        self._file, self._package, self._packed = file, package, packed
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size if size >= 0 else 1024 * 1024)
        self.count += len(piece)
        self._package.count(len(piece), self.count, self._packed)
        return piece

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
