"""Connect to MCP servers of both protocol generations: list tools, call them, and answer their questions.

The client comes from the `mcp` package. Text from a server is untrusted. Failures become readable sentences.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tertulia import __version__
from tertulia.errors import AppError
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.protocol import OutcomeUnknown, Question, ToolFailed, ToolResult
from tertulia.tools.servers.bearer import Bearer, Tokens
from tertulia.tools.servers.definitions import MAX_TOGETHER, MAX_TOOLS, Definition, is_acceptable, size_of
from tertulia.tools.servers.guarded import GuardedTransport
from tertulia.tools.servers.port import Ask, Listing, ServerFailed, ServerSession
from tertulia.tools.servers.redaction import redact, redacted
from tertulia.tools.validation import MAX_DEPTH, check_plain, depth_of, is_modest_schema

CONNECT_S = 15.0  # to connect, and again to list the tools
IDLE_S = 60.0
# Codes that the package itself sets for an invalid response: the call may have taken effect.
_OF_THE_PACKAGE = (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT, types.PARSE_ERROR, types.INVALID_REQUEST)
CLOSE_S = 3.0
MAX_PAGES = 20
MAX_PICTURE = 180 * 1024  # bytes; as Base64 it still fits into a stored result
log = logging.getLogger(__name__)
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif")
_SIMPLE = ("string", "number", "integer", "boolean", "array")
_HINTS = {"read_only_hint": "read_only", "destructive_hint": "destructive", "open_world_hint": "open_world"}


def client_info() -> types.Implementation:
    return types.Implementation(name="tertulia", title="Tertulia", version=__version__)


@asynccontextmanager
async def connect(
    name: str,
    url: str,
    headers: Mapping[str, str],
    client: httpx.AsyncClient,
    ask: Ask | None,
    tokens: Tokens | None = None,
) -> AsyncIterator[ServerSession]:
    """Open an HTTP connection for one use. Raises ServerFailed and its subclasses, AddressRefused, OutcomeUnknown.

    `tokens` supplies the access tokens of a sign-in. Without it only `headers` authenticate.
    """
    secrets = list(headers.values())
    bearer = Bearer(name, tokens, secrets) if tokens is not None else None
    if bearer is not None:
        await bearer.renew(None)
    transport = GuardedTransport(client, headers, idle_s=IDLE_S)
    outgoing = httpx2.AsyncClient(
        transport=transport, auth=bearer, follow_redirects=False, trust_env=False, timeout=IDLE_S
    )
    opened = Client(
        streamable_http_client(url, http_client=outgoing),
        client_info=client_info(),
        elicitation_callback=elicitation(ask, secrets),
        cache=None,
    )
    session: Session | None = None
    try:
        async with outgoing:
            async with asyncio.timeout(CONNECT_S):
                mcp_client = await opened.__aenter__()
            session = Session(name, mcp_client, secrets, lambda: bearer.refused if bearer is not None else None)
            raised: BaseException | None = None
            try:
                yield session
            except BaseException as error:
                raised = error
            remaining = await _close(name, opened, raised)
            if remaining is not None:
                raise remaining
    except (ToolFailed, asyncio.CancelledError):
        raise
    except TimeoutError:
        if session is not None:
            raise  # the caller's own timeout
        raise ServerFailed(f"{name} did not answer within {CONNECT_S:.0f} seconds.") from None
    except Exception as error:
        if bearer is not None and bearer.refused is not None:
            raise bearer.refused from None
        if session is not None and session.has_called:
            raise OutcomeUnknown(_cut_off(name)) from error
        if transport.refused is not None:
            raise transport.refused from None
        raise ServerFailed(_sentence(name, transport.status, first_of(error), secrets)) from None


async def _close(name: str, opened: Client, raised: BaseException | None) -> BaseException | None:
    """Close a connection. Return the exception to raise, if any.

    An error while closing does not undo finished work, and closing takes at most CLOSE_S. When the connection breaks,
    the package cancels the caller and reports the cause only on closing.
    """
    try:
        async with asyncio.timeout(CLOSE_S):
            await opened.__aexit__(type(raised) if raised else None, raised, raised.__traceback__ if raised else None)
    except Exception as error:
        log.info("closing the connection to %s failed: %s", name, type(first_of(error)).__name__)
        return error if isinstance(raised, asyncio.CancelledError) and not isinstance(error, TimeoutError) else raised
    return raised


def _sentence(name: str, status: int | None, error: BaseException, secrets: Iterable[str]) -> str:
    match status:
        case 401 | 403:
            return f"{name} refused the credentials (status {status}). Check its headers."
        case 404 | 405:
            return f"{name} has no MCP server at this address (status {status})."
        case int():
            return f"{name} responded with status {status}."
    message = redact(str(error), secrets)
    return f"{name} cannot be reached, or is not an MCP server: {message[:300] or type(error).__name__}"


def first_of(error: BaseException) -> BaseException:
    """Return the first cause inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Session:
    """A ServerSession that redacts `secrets` from all text of the server."""

    def __init__(
        self,
        name: str,
        client: Client,
        secrets: Sequence[str] = (),
        refused: Callable[[], AppError | None] = lambda: None,
    ) -> None:
        """Keep a reference to `secrets`, which may grow. `refused` returns the refusal of the last request, or None."""
        self.has_called = False  # whether a call was sent that may have taken effect
        self._name = name
        self._client = client
        self._secrets = secrets
        self._refused = refused
        # The package validates results on the event loop with the server's schema. A pattern could block it forever.
        client.session.validate_tool_result = _check_nothing  # type: ignore[method-assign]

    async def list_tools(self) -> Listing:
        listing: list[tuple[str, Definition]] = []
        cursor: str | None = None
        room = MAX_TOGETHER
        try:
            async with asyncio.timeout(CONNECT_S):
                for _ in range(MAX_PAGES):
                    page = await self._client.list_tools(cursor=cursor)
                    for name, definition in await asyncio.to_thread(_definitions, page.tools, self._secrets):
                        room -= size_of(definition)
                        if room >= 0 and len(listing) < MAX_TOOLS:
                            listing.append((name, definition))
                    cursor = page.next_cursor
                    if cursor is None or room < 0 or len(listing) >= MAX_TOOLS:
                        break
        except TimeoutError:
            raise ServerFailed(f"{self._name} did not list its tools within {CONNECT_S:.0f} seconds.") from None
        except MCPError as error:
            if _is_of_transport(error) or self._refused() is not None:
                raise  # the HTTP status says more
            reason = redact(error.message, self._secrets)[:300]
            raise ServerFailed(f"{self._name} could not list its tools: {reason}") from None
        return listing

    async def call_tool(self, tool_name: str, arguments: Mapping[str, Any]) -> ToolResult:
        self.has_called = True
        try:
            result = await self._client.call_tool(tool_name, dict(arguments))
        except MCPError as error:
            self._raise_refusal()
            if error.code in _OF_THE_PACKAGE or _is_of_transport(error):
                raise OutcomeUnknown(_cut_off(self._name)) from None
            raise ToolFailed(f"{self._name} says: {redact(error.message, self._secrets)[:1500]}") from None
        except ToolFailed:
            raise
        except Exception as error:
            self._raise_refusal()
            raise OutcomeUnknown(_cut_off(self._name)) from error
        if result.is_error:
            message = redact("\n".join(_words(block) for block in result.content), self._secrets).strip()
            raise ToolFailed(message[:2000] or f"{self._name} reported a failure without a reason.")
        return self._redacted(as_result(result))

    def _raise_refusal(self) -> None:
        """Raise the refusal of the last request, if any. A refused call had no effect."""
        error = self._refused()
        if error is not None:
            raise error from None

    def _redacted(self, result: ToolResult) -> ToolResult:
        if depth_of(result.content) > MAX_DEPTH:
            return ToolResult("[The result is nested too deeply to be shown.]")
        return replace(result, content=redacted(result.content, self._secrets))


async def _check_nothing(name: str, result: types.CallToolResult) -> None:
    pass


def _definitions(tools: Iterable[types.Tool], secrets: Sequence[str]) -> list[tuple[str, Definition]]:
    described = (
        (redact(tool.name, secrets), Definition.model_validate(redacted(_definition(tool).model_dump(), secrets)))
        for tool in tools
    )
    return [(name, definition) for name, definition in described if is_acceptable(name, definition)]


def _is_of_transport(error: MCPError) -> bool:
    """Return whether the package made this error from a response outside the protocol."""
    return error.code == types.INTERNAL_ERROR and error.message == "Server returned an error response"


def _definition(tool: types.Tool) -> Definition:
    hints = tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}
    title = tool.title or (tool.annotations.title if tool.annotations else None)
    return Definition(
        description=tool.description or "",
        parameters=tool.input_schema,
        title=title[:200] if title else None,
        hints={ours: bool(hints[theirs]) for theirs, ours in _HINTS.items() if theirs in hints},
    )


def _cut_off(name: str) -> str:
    return f"{name} disconnected or sent an invalid response. It is unknown whether the call took effect."


def as_result(result: types.CallToolResult) -> ToolResult:
    """Convert a result: images keep their type and the text around them, structured content is JSON, the rest text."""
    parts = [(block, _picture(block)) for block in result.content]
    if not any(picture for _, picture in parts):
        structured = result.structured_content
        if isinstance(structured, dict) and structured.keys() == {"result"}:
            structured = structured["result"]  # the Python package wraps plain values in it
        if isinstance(structured, str):
            return ToolResult(structured)
        text = "\n".join(_words(block) for block in result.content)
        return ToolResult(text) if structured is None else ToolResult(structured, "json")
    if len(parts) == 1:
        return ToolResult(parts[0][1], "image")
    shown = [
        {"kind": "image", "content": picture} if picture else {"kind": "text", "content": _words(block)}
        for block, picture in parts
    ]
    return ToolResult(shown, "mixed")


def _picture(block: types.ContentBlock) -> str | None:
    """Return an image as a data URL. None if the block is no image, or its type or size cannot be shown."""
    if not isinstance(block, types.ImageContent) or block.mime_type not in _PICTURES:
        return None
    if len(block.data) > MAX_PICTURE * 4 // 3:
        return None
    return f"data:{block.mime_type};base64,{block.data}"


def _words(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.mime_type}, {len(block.data) * 3 // 4:,} bytes]"
        case types.ResourceLink():
            return f"[{block.title or block.name}: {block.uri}]"
        case types.EmbeddedResource():
            inner = block.resource
            text = inner.text if isinstance(inner, types.TextResourceContents) else f"[{inner.mime_type or 'binary'}]"
            return f"{inner.uri}\n{text}"
    return ""


# ---- questions from servers


def elicitation(ask: Ask | None, secrets: Sequence[str] = ()) -> Any:
    """Return the package's elicitation callback. None without `ask`, so that servers know. Redacts `secrets`."""
    if ask is None:
        return None

    async def answer(_context: object, params: types.ElicitRequestParams) -> types.ElicitResult | types.ErrorData:
        question = as_question(params)
        if question is None:
            return types.ErrorData(code=types.INVALID_PARAMS, message="This client cannot show this form or page.")
        reply = await ask(Question(**redacted(vars(question), secrets)))
        return types.ElicitResult(action=reply.action, content=cast(Any, reply.content))

    return answer


def as_question(params: types.ElicitRequestParams) -> Question | None:
    """Convert a request to a question. Return None for a form that is not flat and a page that is not http(s)."""
    message = params.message.replace("\x00", "\ufffd")[:4000]
    if isinstance(params, types.ElicitRequestURLParams):
        parts = urlsplit(params.url)
        fits = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and len(params.url) <= 2000
            and params.url.isprintable()
        )
        return Question(message, url=params.url) if fits else None
    form = dict(params.requested_schema)
    try:
        check_plain(form)
    except ArgumentsInvalid:
        return None
    fields = form.get("properties")
    if form.get("type") != "object" or not isinstance(fields, dict) or not is_modest_schema(form):
        return None
    if not all(isinstance(field, dict) and _is_simple(field) for field in fields.values()):
        return None
    return Question(message, form=form)


def _is_simple(field: Mapping[str, Any]) -> bool:
    if field.get("type") not in _SIMPLE:
        return False
    return field["type"] != "array" or bool(_choices(field.get("items")))


def _choices(items: object) -> Sequence[object]:
    if not isinstance(items, dict):
        return ()
    choices = items.get("enum") or items.get("anyOf") or items.get("oneOf")
    return choices if isinstance(choices, list) else ()
