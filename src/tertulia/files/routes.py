"""Routes for files: receive, list and serve them, with the precautions that untrusted bytes need."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Query, Request
from starlette.responses import Response, StreamingResponse

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.db import Database
from tertulia.errors import Invalid, RangeNotSatisfiable
from tertulia.files import service
from tertulia.files.downloads import DownloadCounts
from tertulia.files.errors import FileTooLarge
from tertulia.files.kinds import SHOWN_INLINE
from tertulia.files.models import MAX_FILE_BYTES
from tertulia.files.schemas import AttachmentRead, FileKind, FileOrder, StorageRead
from tertulia.files.service import StoredFile
from tertulia.files.store import FileStore
from tertulia.files.uploads import receive_form, store_upload
from tertulia.files.uses import FileUses
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, AttachmentId, parse_id

FORM_OVERHEAD = 64 * 1024
# A file that a browser shows has an opaque origin and cannot run scripts.
NOBODYS_PAGE = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}
RangeHeader = Annotated[str | None, Header(max_length=100)]


routes = Routes("attachments")


@routes.add(
    "POST",
    "/attachments",
    access=Access.SIGNED_IN,
    gives=AttachmentRead,
    status=201,
    form={"chat_id": "The chat that the file is for."},
    problems=(404,),
)
async def post_attachment(caller: CallerDep, request: Request) -> Response:
    """Upload one file of at most 100 MiB. It is `processing` while it is read, then `ready` or `error`."""
    store = caller.service(FileStore)
    actor = await caller.actor()
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_FILE_BYTES + FORM_OVERHEAD:
        raise FileTooLarge
    form = receive_form(request.stream(), request.headers.get("content-type", ""), store.uploads)
    async with form as received:
        chat_id = _chat_id(received.fields.get("chat_id"))
        attachment = await store_upload(
            caller.service(Database),
            store,
            received,
            caller.service(FileUses),
            caller.service(RowLimits),
            actor=actor,
            storage=caller.service(StorageLimit),
            chat_id=chat_id,
        )
    return json_response(attachment, 201)


@routes.add("GET", "/attachments", access=Access.SIGNED_IN, gives=Page[AttachmentRead])
async def get_attachments(
    caller: CallerDep,
    chat_id: Annotated[AnyId | None, Query(description="Files of one chat. Default: your own files.")] = None,
    kind: FileKind | None = None,
    order: FileOrder = "newest",
    trash: bool = False,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    cursors = caller.service(Cursors)
    scope = f"attachments.{order}.{kind or ''}.{trash}.{chat_id or ''}"
    key = cursors.decode(scope, cursor)
    attachments = await caller.read(
        service.list_attachments,
        caller.service(FileUses),
        chat_id=chat_id,
        kind=kind,
        order=order,
        in_trash=trash,
        after=(key[0], str(key[1])) if key else None,
        limit=limit + 1,
    )
    items = attachments[:limit]
    next_cursor = cursors.encode(scope, service.file_key(items[-1], order)) if len(attachments) > limit else None
    return json_response({"items": items, "next_cursor": next_cursor})


@routes.add("GET", "/storage", access=Access.SIGNED_IN, gives=StorageRead)
async def get_storage(caller: CallerDep) -> Response:
    return json_response(await caller.read(service.get_storage, storage=caller.service(StorageLimit)))


@routes.add("GET", "/attachments/{attachment_id}", access=Access.SIGNED_IN, gives=AttachmentRead, problems=(404,))
async def get_attachment(caller: CallerDep, attachment_id: AttachmentId) -> Response:
    return json_response(await caller.read(service.get_attachment, attachment_id, caller.service(FileUses)))


@routes.add("GET", "/attachments/{attachment_id}/content", access=Access.SIGNED_IN, problems=(404, 416))
async def get_content(
    caller: CallerDep,
    attachment_id: AttachmentId,
    range: RangeHeader = None,
    download: Annotated[bool, Query(description="Save the file, even if the browser could show it.")] = False,
) -> Response:
    """Return the original bytes, or the part of them given by `Range`."""
    stored = await caller.read(service.find_stored, attachment_id, caller.service(FileUses))
    counts = caller.service(DownloadCounts)
    return await send_file(caller.service(FileStore), counts, stored, range, download=download)


@routes.add("GET", "/attachments/{attachment_id}/thumbnail", access=Access.SIGNED_IN, problems=(404,))
async def get_thumbnail(caller: CallerDep, attachment_id: AttachmentId) -> Response:
    """Return a WebP image of at most 320 pixels, or 404 if there is none."""
    content = await caller.read(service.find_thumbnail, attachment_id, caller.service(FileUses))
    return send_thumbnail(content)


@routes.add("DELETE", "/attachments/{attachment_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_attachment(caller: CommandDep, attachment_id: AttachmentId) -> Response:
    return await caller.command(204, service.delete_attachment, attachment_id, caller.service(FileUses))


@routes.add(
    "POST", "/attachments/{attachment_id}/restore", access=Access.SIGNED_IN, gives=AttachmentRead, problems=(404,)
)
async def restore_attachment(caller: CommandDep, attachment_id: AttachmentId) -> Response:
    return await caller.command(200, service.restore_attachment, attachment_id, caller.service(FileUses))


def _chat_id(text: str | None) -> str | None:
    try:
        return parse_id(text) if text else None
    except ValueError:
        raise Invalid("chat_id is not a valid id.", field="chat_id") from None


async def send_file(
    store: FileStore,
    counts: DownloadCounts,
    stored: StoredFile,
    range_header: str | None,
    *,
    download: bool = False,
) -> Response:
    """Stream a file, or the requested part of it. A missing object is reported before anything is sent.

    It counts as a download once its first byte is sent.
    """
    start, end = _range(range_header, stored.size_bytes)
    if start >= end:
        raise RangeNotSatisfiable(stored.size_bytes)
    pieces = store.stream(stored.storage_path, start, end)
    sent = _all(await anext(pieces), pieces, (lambda: counts.add(stored.attachment_id)) if start == 0 else None)
    inline = stored.mime_type in SHOWN_INLINE and not download
    headers = {
        **NOBODYS_PAGE,
        "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(stored.file_name, safe='')}",
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
    }
    if range_header is not None and (start, end) != (0, stored.size_bytes):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size_bytes}"
        return StreamingResponse(sent, 206, headers, _shown_type(stored))
    return StreamingResponse(sent, 200, headers, _shown_type(stored))


def send_thumbnail(content: bytes) -> Response:
    return Response(content, media_type="image/webp", headers=NOBODYS_PAGE)


def _shown_type(stored: StoredFile) -> str:
    """Return the media type to serve. HTML, SVG and XML are served as plain text."""
    if stored.mime_type in ("text/html", "image/svg+xml", "application/xml"):
        return "text/plain; charset=utf-8"
    return stored.mime_type


async def _all(first: bytes, rest: AsyncIterator[bytes], when_sent: Callable[[], None] | None) -> AsyncIterator[bytes]:
    yield first
    if when_sent is not None:
        when_sent()
    async for piece in rest:
        yield piece


def _range(range_header: str | None, size: int) -> tuple[int, int]:
    """Parse a byte range (RFC 9110, section 14). Several ranges or an invalid one give the whole file."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", range_header.strip()) if range_header else None
    if match is None or match[0] == "bytes=-":
        return 0, size
    if not match[1]:
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
