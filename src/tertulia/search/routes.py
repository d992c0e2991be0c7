"""Routes for search."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep
from tertulia.chat.models import MessageRole
from tertulia.features import Features
from tertulia.http.paging import Cursors, CursorText, Limit
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.http.times import UtcInput
from tertulia.ids import AnyId
from tertulia.search.meaning.builder import MeaningState
from tertulia.search.meaning.search import MeaningSearch
from tertulia.search.service import Order, SearchFilters, SearchPage, search, search_objects
from tertulia.search_index.searchable import Searchable

MAX_TYPED = 500


routes = Routes("search")


@routes.add("GET", "/search", access=Access.SIGNED_IN, gives=SearchPage)
async def get_search(
    caller: CallerDep,
    q: Annotated[
        str,
        Query(
            max_length=MAX_TYPED, description='Words, "phrases", -without, from:me, in:title, before:2026-11, has:code.'
        ),
    ] = "",
    chat_id: AnyId | None = None,
    role: MessageRole | None = None,
    since: UtcInput | None = None,
    until: UtcInput | None = None,
    archived: Annotated[bool | None, Query(description="Only archived chats, or only others. Default: both.")] = None,
    order: Order = "relevance",
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    """Search by words and, if available, by meaning.

    By relevance: one page with the best of the thousand newest matches. With `order=newest`: all matches by words,
    page by page.
    """
    cursors = caller.service(Cursors)
    meanings = caller.find_service(MeaningSearch)
    key = cursors.decode("search", cursor)
    narrowed = SearchFilters(chat_id, role, since, until, archived)
    meaning = await meanings.meaning_of(q) if meanings is not None and order == "relevance" else None
    hits, next_id = await caller.read_long(
        search, q, narrowed, order=order, after=int(key[0]) if key else None, limit=limit, meaning=meaning
    )
    kinds = caller.service(Features).contributed(Searchable)
    is_narrowed = key is not None or narrowed != SearchFilters()
    objects = [] if is_narrowed or not kinds else await caller.read_long(search_objects, q, kinds, limit=limit)
    next_cursor = cursors.encode("search", [next_id]) if next_id else None
    return json_response({"items": hits, "next_cursor": next_cursor, "objects": objects})


@routes.add("GET", "/search/meaning", access=Access.SIGNED_IN, gives=MeaningState)
async def get_meaning_state(caller: CallerDep) -> Response:
    """Return the progress of the meaning index."""
    meanings = caller.find_service(MeaningSearch)
    await caller.actor()
    return json_response(meanings.state() if meanings is not None else {"phase": "off", "progress": None})
