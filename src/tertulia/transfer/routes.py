"""Routes for export and import: a chat or draft as a file, everything as a zip, and other products' exports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC
from typing import Annotated

from fastapi import Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.audit import write_audit
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.confirmation import require_confirmed
from tertulia.accounts.row_limits import RowLimits
from tertulia.db import Database
from tertulia.drafts.schemas import DraftRead
from tertulia.drafts.service import create_draft, get_draft
from tertulia.exports import Exportable
from tertulia.features import Features
from tertulia.files.errors import FileTooLarge
from tertulia.files.kinds import safe_name
from tertulia.files.store import FileStore
from tertulia.files.uploads import receive_form
from tertulia.http.paging import Page
from tertulia.http.responses import HeldStream, json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import ChatId, DraftId, ImportJobId, new_id
from tertulia.settings import Settings
from tertulia.transfer import imports, one_draft
from tertulia.transfer.everything import export_everything
from tertulia.transfer.exporting import Exporting
from tertulia.transfer.one_chat import ChatFormat, export_chat
from tertulia.transfer.one_draft import (
    MEDIA,
    Converting,
    DraftFormat,
    RichText,
    as_page,
    as_word,
    named,
    read_file,
    read_rich_text,
)
from tertulia.transfer.pages import download
from tertulia.transfer.schemas import ImportJobRead

MAX_IMPORT_BYTES = 2 * 1024 * 1024 * 1024
FORM_OVERHEAD = 64 * 1024


routes = Routes("transfer")


converting = Converting()


@routes.add("GET", "/chats/{chat_id}/export", access=Access.SIGNED_IN, problems=(404, 429))
async def get_export(
    caller: CallerDep,
    chat_id: ChatId,
    format: Annotated[
        ChatFormat, Query(description="The current branch to read, or the whole chat as JSON.")
    ] = "markdown",
) -> Response:
    """Download a chat as a file."""
    with caller.service(Exporting).of(await caller.actor()):
        exported = await caller.read_long(export_chat, chat_id, format)
    return download(exported.file_name, exported.media_type, exported.content)


@routes.add("GET", "/drafts/{draft_id}/export", access=Access.SIGNED_IN, problems=(404, 422, 429))
async def get_draft_export(
    caller: CallerDep,
    draft_id: DraftId,
    format: Annotated[DraftFormat, Query(description="The format of the current text.")] = "markdown",
) -> Response:
    actor = await caller.actor()
    with caller.service(Exporting).of(actor):
        draft = await caller.read(get_draft, draft_id)
        match format:
            case "markdown":
                content = draft["current_version"]["content"].encode("utf-8", "replace")
            case "html":
                content = await asyncio.to_thread(as_page, draft)
            case "docx":
                async with converting.of(actor):
                    content = await as_word(draft, caller.service(FileStore).uploads)
    return download(named(draft, format), MEDIA[format][1], content)


@routes.add("GET", "/drafts/{draft_id}/rich-text", access=Access.SIGNED_IN, gives=RichText, problems=(404,))
async def get_rich_text(caller: CallerDep, draft_id: DraftId) -> Response:
    """Return the current text for a clipboard."""
    return json_response(await caller.read_long(read_rich_text, draft_id))


@routes.add("POST", "/draft-imports", access=Access.SIGNED_IN, gives=DraftRead, status=201, form={}, problems=(429,))
async def post_draft_import(caller: CallerDep, request: Request) -> Response:
    """Create a draft from a file of at most 20 MiB: Markdown, text, Word, PDF, OpenDocument or other text."""
    store = caller.service(FileStore)
    actor = await caller.actor()
    form = receive_form(
        request.stream(), request.headers.get("content-type", ""), store.uploads, most_bytes=one_draft.MAX_IMPORT_BYTES
    )
    async with form as received, converting.of(actor):
        new = await read_file(received, store.uploads)
    return json_response(await caller.service(Database).write(create_draft, actor, new, caller.service(RowLimits)), 201)


@routes.add("POST", "/export/confirm", access=Access.SIGNED_IN, status=204)
async def confirm_export(caller: CallerDep) -> Response:
    """Check that the password was entered recently, as `GET /export` requires. A download cannot ask for it."""
    await caller.read(require_confirmed)
    return Response(status_code=204)


@routes.add("GET", "/export", access=Access.SIGNED_IN, problems=(403, 429))
async def get_everything(caller: CallerDep) -> Response:
    """Download all your chats and drafts as a zip that Tertulia can import. Requires a recent password entry."""
    db = caller.service(Database)
    await caller.read(require_confirmed)
    actor = await caller.actor()
    exportables = caller.service(Features).contributed(Exportable)
    name = f"tertulia-{clock.now().astimezone(UTC):%Y-%m-%d}.zip"
    with ExitStack() as held:
        held.enter_context(caller.service(Exporting).of(actor))
        await db.write(_note_export, actor)
        return HeldStream(
            _pieces(export_everything(db.read, caller.service(FileStore), exportables, actor=actor)),
            held.pop_all(),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


@routes.add("POST", "/imports", access=Access.SIGNED_IN, gives=ImportJobRead, status=201, form={}, problems=(429,))
async def post_import(caller: CallerDep, request: Request) -> Response:
    """Import an export of ChatGPT, Claude, Open WebUI, LibreChat or Tertulia: JSON or zip of at most 2 GiB."""
    settings = caller.service(Settings)
    actor = await caller.actor()
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_IMPORT_BYTES + FORM_OVERHEAD:
        raise FileTooLarge(MAX_IMPORT_BYTES)
    form = receive_form(
        request.stream(),
        request.headers.get("content-type", ""),
        caller.service(FileStore).uploads,
        most_bytes=MAX_IMPORT_BYTES,
    )
    async with form as received:
        job_id, name = new_id(), safe_name(received.name)
        await asyncio.to_thread(settings.imports_folder.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(received.path.rename, settings.imports_folder / job_id)
        try:
            job = await caller.service(Database).write(
                imports.create_import, actor, job_id, file_name=name, path=job_id, size=received.size_bytes
            )
        except BaseException:
            await asyncio.to_thread((settings.imports_folder / job_id).unlink, missing_ok=True)
            raise
    return json_response(job, 201)


@routes.add("GET", "/imports", access=Access.SIGNED_IN, gives=Page[ImportJobRead])
async def get_imports(caller: CallerDep) -> Response:
    jobs = await caller.read(imports.list_imports)
    return json_response({"items": jobs, "next_cursor": None})


@routes.add("GET", "/imports/{import_id}", access=Access.SIGNED_IN, gives=ImportJobRead, problems=(404,))
async def get_import(caller: CallerDep, import_id: ImportJobId) -> Response:
    return json_response(await caller.read(imports.get_import, import_id))


@routes.add("POST", "/imports/{import_id}/cancel", access=Access.SIGNED_IN, gives=ImportJobRead, problems=(404,))
async def cancel_import(caller: CommandDep, import_id: ImportJobId) -> Response:
    """Stop after the current chat. Imported chats stay until the import is undone."""
    return await caller.command(200, imports.cancel_import, import_id)


@routes.add("POST", "/imports/{import_id}/undo", access=Access.SIGNED_IN, gives=ImportJobRead, problems=(404, 409))
async def undo_import(caller: CommandDep, import_id: ImportJobId) -> Response:
    """Delete what an import created, except chats and drafts changed since."""
    actor = await caller.actor()
    while True:
        job, more = await caller.service(Database).write(imports.undo_import, actor, import_id)
        if not more:
            return json_response(job)


def _note_export(session: Session, actor: Actor) -> None:
    write_audit(session, actor.user_id, "export.everything")


async def _pieces(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part:
            yield part
