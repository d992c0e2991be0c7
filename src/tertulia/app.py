"""The ASGI app, built from Settings: every part is made here and handed to those that need it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated

import httpx
import sqlalchemy as sa
from fastapi import FastAPI, Header
from sqlalchemy.orm import Session
from starlette.responses import Response
from typing_extensions import TypedDict

import tertulia.tables  # noqa: F401 - every mapped class must be known before the first query
from tertulia.accounts.access import find_shared
from tertulia.accounts.admin_routes import admin_routes
from tertulia.accounts.api_tokens import touch_api_tokens
from tertulia.accounts.caller import CallerDep, Gate
from tertulia.accounts.idempotency import sweep_idempotency_keys
from tertulia.accounts.routes import account_routes
from tertulia.accounts.sessions import SessionLife, sweep_sessions, touch_sessions
from tertulia.accounts.sharing import count_accesses
from tertulia.accounts.streams import OpenStreams
from tertulia.accounts.tokens import hash_token
from tertulia.billing.routes import usage_routes
from tertulia.chat.branches import purge_messages
from tertulia.chat.file_changes import file_came_or_went
from tertulia.chat.routes import chat_routes
from tertulia.chat.search_index import build_index, has_unindexed_files, index_files
from tertulia.chat.service import purge_trash
from tertulia.chat.share_routes import share_routes
from tertulia.chat.tag_routes import tag_routes
from tertulia.chat.tags import purge_tags
from tertulia.chat.tools import ReadAttachment, ReadChat, ReadState, WriteState
from tertulia.clock import now
from tertulia.db import Database
from tertulia.db.opening import open_database
from tertulia.drafts.indexing import has_unindexed_drafts, index_next_draft
from tertulia.drafts.routes import draft_company_routes, draft_routes, version_routes
from tertulia.drafts.service import purge_drafts
from tertulia.drafts.shares import read_preview
from tertulia.drafts.tools import EditDraft, ListDrafts, ReadDraft
from tertulia.drafts.working_copies import has_unsettled, settle_working_copy
from tertulia.errors import AppError, SettingsError, Unavailable
from tertulia.files.reading import FileReader, sweep_files
from tertulia.files.routes import file_routes
from tertulia.files.store import FileStore
from tertulia.http.answers import json_response
from tertulia.http.middleware import Edge
from tertulia.http.outbound import Timeouts, guarded_client, operator_client
from tertulia.http.paging import Cursors
from tertulia.http.problems import install_problem_handlers
from tertulia.http.routing import Access, Routes, refuse_undeclared
from tertulia.http.sse import EventStream
from tertulia.http.web import PageHead, web_routes
from tertulia.ids import new_id
from tertulia.jobs.service import MORE, Job, Sweeper
from tertulia.keyring import KeyRing, open_keyring
from tertulia.links.routes import LinkCounts, shared_routes
from tertulia.openapi import build_openapi
from tertulia.providers.adapters import Access as ProviderAccess
from tertulia.providers.book import ModelBook, refresh_catalogue
from tertulia.providers.catalogue import ModelCatalogue, OperatorProvider, operator_provider
from tertulia.providers.local.supervisor import LocalModel
from tertulia.providers.prices import load_prices
from tertulia.providers.routes import provider_routes
from tertulia.providers.vendors import BY_ID
from tertulia.realtime.bus import Bus, open_bus
from tertulia.realtime.feed import ChangeFeed
from tertulia.realtime.queries import prune_changes
from tertulia.runs.calls.approvals import expire_approvals, has_expired
from tertulia.runs.calls.routes import tool_execution_routes, tool_routes
from tertulia.runs.calls.runner import ToolRunner
from tertulia.runs.compaction.routes import optimization_routes
from tertulia.runs.compaction.summaries import Summarizer
from tertulia.runs.draft_routes import proposal_routes
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.remote import RemoteRuns
from tertulia.runs.request.routes import context_routes
from tertulia.runs.routes import run_routes
from tertulia.search.meaning.search import MeaningSearch
from tertulia.search.routes import search_routes
from tertulia.search.tools import SearchChats
from tertulia.settings import Settings
from tertulia.tools.builtin.calculator import Calculate
from tertulia.tools.builtin.calendar import CurrentTime
from tertulia.tools.builtin.web_page import FetchPage
from tertulia.tools.catalogue import ToolCatalogue
from tertulia.tools.offered import installed_tools
from tertulia.tools.protocol import Tool
from tertulia.tools.servers.operator import OperatorServer
from tertulia.tools.servers.routes import tool_server_routes
from tertulia.tools.servers.sign_in_routes import tool_sign_in_routes
from tertulia.transfer.importer import Importer
from tertulia.transfer.routes import transfer_routes

LOCAL_TIMEOUTS = Timeouts(connect_s=5, first_byte_s=600, idle_s=300, whole_s=3600)
TOUCH_EVERY_S = 60.0
log = logging.getLogger(__name__)


@dataclass
class Parts:
    """Everything that lives as long as the app does."""

    settings: Settings
    db: Database
    gate: Gate
    feed: ChangeFeed
    streams: OpenStreams
    catalogue: ModelCatalogue
    local: LocalModel | None
    clients: list[httpx.AsyncClient]
    bus: Bus
    remote: RemoteRuns
    executor: RunExecutor
    tools: ToolRunner
    summarizer: Summarizer
    sweeper: Sweeper
    store: FileStore
    reader: FileReader
    link_counts: LinkCounts
    importer: Importer
    meanings: MeaningSearch | None


def create_app(
    settings: Settings,
    *,
    control_token: str | None = None,
    web_folder: Path | None = None,
    tools: Sequence[Tool] = (),
) -> FastAPI:
    """Build the app; nothing is opened before its lifespan begins. `control_token` is the command line's; `tools` come besides
    those that are built in or installed."""
    keyring = open_keyring(settings.secret_keys, settings.data)
    cursors = Cursors(keyring)
    parts = _build_parts(settings, keyring, control_token, tools)
    app = FastAPI(title="Tertulia", lifespan=_lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.gate, app.state.streams, app.state.parts = parts.gate, parts.streams, parts
    install_problem_handlers(app)
    app.state.routes = (
        account_routes(parts.gate, cursors),
        admin_routes(cursors),
        chat_routes(cursors, parts.catalogue, limit_bytes=settings.storage_per_user_mib * 2**20),
        search_routes(cursors, parts.meanings),
        draft_routes(cursors),
        version_routes(cursors),
        draft_company_routes(),
        proposal_routes(cursors, parts.catalogue, messages_per_day=settings.messages_per_day),
        tag_routes(),
        share_routes(parts.db, parts.feed),
        shared_routes(
            parts.db,
            parts.feed,
            parts.streams,
            parts.executor,
            parts.remote,
            parts.store,
            cursors,
            parts.link_counts,
        ),
        transfer_routes(parts.db, parts.store, settings.data / "imports"),
        context_routes(parts.catalogue, parts.tools.catalogue),
        optimization_routes(cursors, parts.catalogue, parts.tools.catalogue, parts.summarizer),
        tool_routes(cursors, parts.tools),
        tool_server_routes(parts.tools.catalogue),
        tool_sign_in_routes(parts.tools.catalogue, settings.public_url),
        tool_execution_routes(parts.db, cursors, parts.tools),
        run_routes(
            parts.db,
            parts.catalogue,
            parts.executor,
            parts.remote,
            parts.streams,
            messages_per_day=settings.messages_per_day,
        ),
        file_routes(
            parts.db,
            parts.store,
            cursors,
            limit_bytes=settings.storage_per_user_mib * 2**20,
            came_or_went=file_came_or_went,
        ),
        provider_routes(parts.catalogue, cursors),
        usage_routes(settings.messages_per_day),
        _event_routes(parts),
        _own_routes(app, parts),
        web_routes(web_folder or Path(str(resources.files("tertulia"))) / "web", _heads_of_shared(parts.db)),
    )
    for routes in app.state.routes:
        routes.add_to(app)
    refuse_undeclared(app)
    app.add_middleware(Edge, settings=settings)
    return app


def _build_parts(settings: Settings, keyring: KeyRing, control_token: str | None, more_tools: Sequence[Tool]) -> Parts:
    boot = new_id()[-12:]
    db = open_database(settings)
    life = SessionLife(timedelta(days=settings.session_idle_days), timedelta(days=settings.session_absolute_days))
    gate = Gate(
        db,
        life,
        keyring,
        is_behind_tls=bool(settings.public_url and settings.public_url.startswith("https://")),
        control_token_hash=hash_token(control_token) if control_token else None,
        calls_per_minute=settings.api_calls_per_minute,
    )
    timeouts = Timeouts(
        settings.provider_connect_s,
        settings.provider_first_byte_s,
        settings.provider_idle_s,
        settings.provider_whole_s,
    )
    local = None
    if settings.local_model != "none":
        local = LocalModel(settings.local_model, settings.data / "models", LOCAL_TIMEOUTS)
    # Addresses of people are guarded; the operator's own may lie inside the network.
    named, own = guarded_client(timeouts, settings.outbound_allow), operator_client(timeouts)
    catalogue = ModelCatalogue(
        db,
        keyring,
        ModelBook(db),
        local=local,
        operator=_operator_providers(settings, own, timeouts),
        client=named,
        timeouts=timeouts,
    )
    bus = open_bus(settings, db)
    offered = [*built_in_tools(), *installed_tools(), *more_tools]
    servers = [OperatorServer(one, own) for one in settings.tool_servers]
    tools = ToolRunner(db, ToolCatalogue(db, keyring, offered, servers, named), named)
    summarizer = Summarizer(db)
    executor = RunExecutor(db, catalogue, tools, summarizer, boot=boot, at_once=settings.runs_at_once)
    sweeper = Sweeper(
        db,
        boot,
        [
            Job("sweep-sessions", 60, lambda session: sweep_sessions(session, life)),
            Job("refresh-models", 24 * 3600, refresh_catalogue),
            Job("sweep-idempotency-keys", 600, sweep_idempotency_keys),
            Job("expire-approvals", 30, expire_approvals, has_expired),
            Job("build-search-index", 60, lambda session: None if build_index(session).is_built else MORE),
            Job("index-files", 2, lambda session: MORE if index_files(session) else None, has_unindexed_files),
            Job("index-drafts", 2, lambda session: MORE if index_next_draft(session) else None, has_unindexed_drafts),
            Job("purge-messages", 60, lambda session: purge_messages(session, timedelta(days=settings.trash_days))),
            Job("purge-tags", 3600, lambda session: purge_tags(session, timedelta(days=settings.trash_days))),
            Job("purge-drafts", 3600, lambda session: purge_drafts(session, timedelta(days=settings.trash_days))),
            Job("settle-drafts", 60, lambda session: MORE if settle_working_copy(session) else None, has_unsettled),
            Job("sweep-files", 3600, lambda session: sweep_files(session, timedelta(days=settings.trash_days))),
            Job("purge-trash", 60, lambda session: purge_trash(session, timedelta(days=settings.trash_days))),
            Job(
                "prune-changes",
                600,
                lambda session: prune_changes(session, now() - timedelta(days=settings.change_days)),
            ),
        ],
    )
    store = FileStore(settings)
    by_meaning = settings.embedding_model != "none"
    return Parts(
        meanings=MeaningSearch(db, settings.data / "models", boot) if by_meaning else None,
        store=store,
        reader=FileReader(db, store),
        link_counts=LinkCounts(),
        importer=Importer(db, store, settings.data / "imports", limit_bytes=settings.storage_per_user_mib * 2**20),
        settings=settings,
        db=db,
        gate=gate,
        feed=ChangeFeed(db, bus, find_shared),
        streams=OpenStreams(db, life),
        catalogue=catalogue,
        local=local,
        clients=[named, own],
        bus=bus,
        remote=RemoteRuns(bus, executor),
        executor=executor,
        tools=tools,
        summarizer=summarizer,
        sweeper=sweeper,
    )


def built_in_tools() -> list[Tool]:
    return [
        SearchChats(),
        ReadChat(),
        ReadAttachment(),
        ListDrafts(),
        ReadDraft(),
        EditDraft(),
        ReadState(),
        WriteState(),
        Calculate(),
        CurrentTime(),
        FetchPage(),
    ]


def _operator_providers(settings: Settings, client: httpx.AsyncClient, timeouts: Timeouts) -> list[OperatorProvider]:
    """Raises SettingsError with what is wrong with which."""
    found: dict[str, OperatorProvider] = {}
    for given in settings.operator_providers():
        vendor = BY_ID.get(given.provider)
        if vendor is None or given.provider in found:
            problem = "is named twice" if vendor else "is not a provider. docs/reference/providers.md lists them"
            raise SettingsError(f"TERTULIA_PROVIDERS: {given.provider} {problem}.")
        access = ProviderAccess(given.api_key, given.base_url, given.settings)
        try:
            found[given.provider] = operator_provider(vendor, access, client, timeouts, given.models)
        except AppError as error:
            raise SettingsError(f"The provider {given.provider}: {error.detail}") from None
    return list(found.values())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    await parts.db.start()
    await parts.bus.start()
    await parts.feed.start()
    await parts.executor.start()
    parts.streams.start()
    parts.sweeper.start()
    parts.reader.start()
    parts.importer.start()
    parts.catalogue.start()
    parts.tools.catalogue.start()
    if parts.local is not None:
        parts.local.start()
    if parts.meanings is not None:
        parts.meanings.start()
    touching = asyncio.create_task(_touch_forever(parts), name="touch-sessions")
    pricing = asyncio.create_task(asyncio.to_thread(load_prices), name="load-prices")
    try:
        yield
    finally:
        parts.streams.close_all()
        touching.cancel()
        await asyncio.gather(touching, pricing, return_exceptions=True)
        await parts.executor.drain()
        await parts.sweeper.close()
        await parts.reader.close()
        await parts.importer.close()
        if parts.meanings is not None:
            await parts.meanings.close()
        await parts.catalogue.close()
        await parts.tools.catalogue.close()
        await parts.streams.close()
        await parts.remote.close()
        await parts.feed.close()
        await parts.bus.close()
        if parts.local is not None:
            await parts.local.close()
        for client in parts.clients:
            await client.aclose()
        await _touch(parts)
        await parts.db.close()


async def _touch_forever(parts: Parts) -> None:
    while True:
        await asyncio.sleep(TOUCH_EVERY_S)
        await _touch(parts)


async def _touch(parts: Parts) -> None:
    """Write when sessions and tokens were last used. What fails is gathered again by the next use."""
    seen, seen_tokens, opened = parts.gate.take_seen(), parts.gate.take_seen_tokens(), parts.link_counts.take()
    try:
        if seen:
            await parts.db.write(touch_sessions, seen)
        if seen_tokens:
            await parts.db.write(touch_api_tokens, seen_tokens)
        if opened:
            await parts.db.write(count_accesses, opened)
    except Exception as error:
        log.warning("last uses cannot be written; trying again", exc_info=error)
        parts.link_counts.give_back(opened)
        parts.gate.seen = seen | parts.gate.seen
        parts.gate.seen_tokens = seen_tokens | parts.gate.seen_tokens


def _event_routes(parts: Parts) -> Routes:
    routes = Routes("events")

    @routes.add("GET", "/events", access=Access.SIGNED_IN, problems=(429,), stream="ServerEvent")
    async def get_events(
        caller: CallerDep,
        last_event_id: Annotated[
            str | None, Header(max_length=100, description="Catch up from after this event.")
        ] = None,
    ) -> EventStream:
        actor = await caller.actor()
        opened = ExitStack()
        closed = opened.enter_context(parts.streams.opened(actor))
        return EventStream(parts.feed.stream(actor.user_id, last_event_id, closed), closed, opened)

    return routes


def _heads_of_shared(db: Database) -> Callable[[str], Awaitable[PageHead | None]]:
    async def head_of(token: str) -> PageHead | None:
        try:
            preview = await db.read_hot(read_preview, token)
        except AppError:
            return None  # the page itself says what is wrong
        return PageHead(*preview) if preview else None

    return head_of


class Health(TypedDict):
    status: str


def _own_routes(app: FastAPI, parts: Parts) -> Routes:
    routes = Routes("server", prefix="")

    @routes.add("GET", "/healthz", access=Access.PUBLIC, gives=Health)
    async def get_health() -> Response:
        return json_response({"status": "ok"})

    @routes.add("GET", "/readyz", access=Access.PUBLIC, gives=Health)
    async def get_ready() -> Response:
        try:
            await parts.db.read(_answers)
        except AppError as error:
            raise Unavailable("The database does not answer.") from error
        if not parts.db.is_writing:
            raise Unavailable("The database cannot be written to.")
        return json_response({"status": "ready"})

    @routes.add("GET", "/api/v1/openapi.json", access=Access.PUBLIC, hidden=True)
    async def get_openapi_document() -> Response:
        return json_response(build_openapi(app))

    return routes


def _answers(session: Session) -> None:
    session.execute(sa.text("SELECT 1 FROM change LIMIT 1"))
