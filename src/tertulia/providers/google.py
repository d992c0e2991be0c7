"""Call Google's own Gemini API: only it gives thoughts, files, search and pictures (docs/adr/0037)."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
from typing_extensions import override

from tertulia.providers.abilities import Effort, abilities_of
from tertulia.providers.echo import rebuild_turn
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE, MAX_DRAWN_BYTES
from tertulia.providers.models import Capabilities, ListedModel
from tertulia.providers.protocol import (
    Citation,
    FileOutput,
    Finish,
    FinishReason,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.reading import Reading, read_reply
from tertulia.providers.request_rules import ECHO, CallIds, alternating, repeat_without_refused
from tertulia.providers.values import arguments_text, count_of, list_of, part_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import END, MAX_LISTED, Wire

MAX_PAGES = 20
# Models whose calls must carry the signature of the thoughts before them, and what replaces a foreign one
# (ai.google.dev/gemini-api/docs/thought-signatures).
_SIGNING = re.compile(r"gemini-([3-9]|[1-9][0-9])")
FOREIGN_SIGNATURE = "skip_thought_signature_validator"
# Models that take a level of thinking; older ones take a budget of tokens.
_BUDGETS: dict[str, int] = {"none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 24_576}
_WITH_BUDGET = re.compile(r"gemini-2\.5")
_WITHOUT_THOUGHTS = re.compile(r"gemini-(1|2\.0)|gemini-2\.5-flash-image|gemma|learnlm")
# Models that charge each search, and not each request with searches.
_PAYS_EACH_SEARCH = re.compile(r"gemini-([3-9]|[1-9][0-9])")
# Listed models that do not chat.
_SILENT = re.compile(r"embed|-tts|aqa|imagen|veo|live|native-audio|robotics|computer-use|lyria")
_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}
_BAD_CALLS = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS")
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_CALL_IDS = CallIds()
SIGNATURE = "thoughtSignature"
# Parts that come back as they are: signatures without words, and what the model searched for. The signatures of texts
# and calls are with them.
KEPT_PARTS = {"part": ("part",)}


class Google(VendorAdapter):
    async def list_models(self) -> list[ListedModel]:
        """List the models that can chat, with their windows. Raises a ProviderError."""
        models: list[ListedModel] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._wire.get_json(f"/models?pageSize=1000{after}")
            if not isinstance(page, dict) or not isinstance(page.get("models"), list):
                raise MalformedReply(f"{self.name} does not list its models in Google's format.")
            models += filter(None, map(_listed, page["models"]))
            if not isinstance(page.get("nextPageToken"), str) or not page["nextPageToken"]:
                break
            after = f"&pageToken={quote(page['nextPageToken'])}"
        return models[:MAX_LISTED]

    async def count_tokens(self, model_name: str, text: str) -> int:
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        answer = await self._wire.post_json(f"{_path_of(model_name)}:countTokens", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("totalTokens"), int):
            raise MalformedReply(f"{self.name} does not count tokens in Google's format.")
        return int(answer["totalTokens"])

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        path = f"{_path_of(request.model_name)}:streamGenerateContent?alt=sse"
        draws = abilities_of("google", request.model_name).always_draws
        wire = replace(self._wire, most_event_bytes=MAX_DRAWN_BYTES) if draws else self._wire
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: self._body(request, refused),
            lambda body: read_reply(wire, path, body, _Reading(wire, request.model_name)),
            inner=lambda body: [
                *part_of(body, "generationConfig"),
                *(name for tool in list_of(body, "tools") for name in tool),
            ],
        )

    def _body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, object]:
        body: dict[str, object] = {"contents": _contents(request, with_echoes=ECHO not in refused)}
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        tools = _tools(request, refused)
        if tools:
            body["tools"] = tools
            body["toolConfig"] = _tool_config(request, has_search=len(tools) > 1)
        config = self._config(request, refused)
        return body | ({"generationConfig": config} if config else {})

    def _config(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, object]:
        values = {name: getattr(request, ours) for ours, name in _OPTIONS.items()}
        config = {name: value for name, value in values.items() if value is not None}
        if request.max_tokens is not None:
            longest = self._refused.longest_reply(self._wire.account, request.model_name, request.max_tokens)
            config["maxOutputTokens"] = longest
        if not _WITHOUT_THOUGHTS.search(request.model_name):
            config["thinkingConfig"] = {"includeThoughts": True} | _thinking(request.model_name, request.effort)
        if abilities_of("google", request.model_name).draws:
            config["responseModalities"] = ["TEXT", "IMAGE"]
        if request.response_schema is not None:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": request.response_schema}
        return {name: value for name, value in config.items() if name not in refused}


def _path_of(model_name: str) -> str:
    """Return the path of a model, whose name cannot leave it."""
    return f"/models/{quote(model_name.removeprefix('models/'), safe='')}"


def _listed(entry: object) -> ListedModel | None:
    """Parse an entry of the list. None if it is invalid or not a chat model."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return None
    name = entry["name"].removeprefix("models/")
    methods = entry.get("supportedGenerationMethods")
    if not 0 < len(name) <= 100 or _SILENT.search(name):
        return None
    if isinstance(methods, list) and "generateContent" not in methods:
        return None
    shown = entry.get("displayName")
    thinks = entry.get("thinking")
    return ListedModel(
        model_name=name,
        display_name=shown[:200] if isinstance(shown, str) and shown else None,
        context_window=count_of(entry.get("inputTokenLimit")) or None,
        capabilities=Capabilities(vision=True, tools="image" not in name, reasoning=thinks)
        if isinstance(thinks, bool)
        else None,
    )


def _thinking(model_name: str, effort: Effort | None) -> dict[str, object]:
    word = abilities_of("google", model_name).word_for(effort)
    if word is None:
        return {}
    if _WITH_BUDGET.search(model_name):
        return {"thinkingBudget": _BUDGETS[word]}
    return {"thinkingLevel": word.upper()}


def _tools(request: ModelRequest, refused: frozenset[str]) -> list[dict[str, object]]:
    """Return our tools, and the search if the model can do both; without our tools it always can."""
    tools: list[dict[str, object]] = []
    if request.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
            for tool in request.tools
        ]
        tools.append({"functionDeclarations": declared})
    searches = request.web_search and "googleSearch" not in refused
    if searches and (not tools or not abilities_of("google", request.model_name).searches_alone):
        tools.append({"googleSearch": {}})
    return tools


def _tool_config(request: ModelRequest, *, has_search: bool) -> dict[str, object]:
    config: dict[str, object] = {}
    if request.tools:
        modes = {"none": "NONE", "required": "ANY"}
        config["functionCallingConfig"] = {"mode": modes.get(request.tool_choice or "", "AUTO")}
    if has_search:
        config["includeServerSideToolInvocations"] = True
    return config


def _contents(request: ModelRequest, *, with_echoes: bool) -> list[dict[str, object]]:
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    signs = bool(_SIGNING.search(request.model_name))
    contents: list[dict[str, Any]] = []
    for message in alternating(request.messages):
        if message.role == "system":
            continue
        if message.role == "assistant":
            contents.append({"role": "model", "parts": _turn(message, with_echoes=with_echoes, signs=signs)})
            continue
        parts = _results(message, names) if message.tool_call_id is not None else _user_parts(message)
        # The results of parallel calls are one content.
        if message.tool_call_id is not None and contents[-1]["role"] == "user":
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": "user", "parts": parts})
    return contents


def _results(message: RequestMessage, names: Mapping[str, str]) -> list[dict[str, object]]:
    assert message.tool_call_id is not None
    return [
        {
            "functionResponse": {
                "id": _CALL_IDS.fit(message.tool_call_id),
                "name": names.get(message.tool_call_id, ""),
                "response": {"result": message.content},
            }
        }
    ]


def _user_parts(message: RequestMessage) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [{"text": message.content}] if message.content else []
    parts += [_inline(url) for url in message.images]
    return parts + [_inline(file.url) for file in message.files]


def _inline(url: str) -> dict[str, object]:
    if url.startswith("data:"):
        head, _, encoded = url.removeprefix("data:").partition(",")
        return {"inlineData": {"mimeType": head.partition(";")[0], "data": encoded}}
    return {"fileData": {"fileUri": url}}


def _turn(message: RequestMessage, *, with_echoes: bool, signs: bool) -> list[dict[str, object]]:
    """Return the parts of a model's turn, with the signatures in their places."""
    calls: list[dict[str, object]] = []
    for call in message.tool_calls:
        part: dict[str, object] = {
            "functionCall": {
                "id": _CALL_IDS.fit(call.id),
                "name": call.name,
                "args": orjson.loads(call.arguments),
            }
        }
        if with_echoes and isinstance(call.echo, dict) and isinstance(call.echo.get(SIGNATURE), str):
            part[SIGNATURE] = call.echo[SIGNATURE]
        calls.append(part)
    if signs and calls and not any(SIGNATURE in call for call in calls):
        calls[0][SIGNATURE] = FOREIGN_SIGNATURE
    echo = message.echo if with_echoes else None
    turn = rebuild_turn(echo, message.content, calls, as_text=_text_part, kept=KEPT_PARTS)
    return [_whole(part["part"]) if part.get("type") == "part" else part for part in turn]


def _whole(part: object) -> dict[str, object]:
    return part if isinstance(part, dict) else {"text": ""}


def _text_part(text: str, place: Mapping[str, Any]) -> dict[str, object]:
    signature = place.get(SIGNATURE)
    return {"text": text, SIGNATURE: signature} if isinstance(signature, str) else {"text": text}


class _Reading(Reading):
    """The state of one reply. The last chunk has the usage and the sources; earlier ones may name a reason to end too."""

    def __init__(self, wire: Wire, model_name: str) -> None:
        super().__init__(wire)
        self._pays_each_search = bool(_PAYS_EACH_SEARCH.search(model_name))
        self._places: list[dict[str, Any]] = []
        self._calls = 0
        self._searches = 0
        self._is_counted = self._has_files = False
        self._reason: FinishReason = "other"
        self._cited: set[tuple[str, str]] = set()

    @property
    @override
    def is_done(self) -> bool:
        return False  # the end of the body ends the reply

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if payload == DONE and not self.is_finished and (self._places or self._has_files):
            self.is_finished, self._reason = True, "stop"  # a gateway adds it, and may leave out the reason
        if payload in (END, DONE):
            return []
        chunk = self._wire.parse(payload)
        if "candidates" not in chunk and isinstance(chunk.get("response"), dict):
            chunk = chunk["response"]  # of a gateway
        if is_error(chunk):
            raise self._wire.told_error(chunk)
        candidates = list_of(chunk, "candidates")
        candidate = candidates[0] if candidates else {}
        candidate = candidate if isinstance(candidate, dict) else {}
        events: list[ProviderEvent] = []
        for part in list_of(part_of(candidate, "content"), "parts"):
            if isinstance(part, dict):
                events += self._part(part)
        events += self._citations(part_of(candidate, "groundingMetadata"))
        usage = chunk.get("usageMetadata")
        reason = candidate.get("finishReason")
        blocked = part_of(chunk, "promptFeedback").get("blockReason")
        if isinstance(usage, dict):
            is_final = isinstance(reason, str) or isinstance(blocked, str)
            if is_final or not self._is_counted:  # each chunk repeats it
                events.append(_usage(usage, searches=self._searches, is_final=is_final))
            self._is_counted = True
        if isinstance(reason, str) and reason:
            reason = reason.upper()
            if reason in _BAD_CALLS:
                raise MalformedReply(f"{self._wire.name}: the model wrote a tool call that cannot be read. Try again.")
            self.is_finished, self._reason = True, _FINISH.get(reason, "other")
        elif isinstance(blocked, str) and not candidates:
            self.is_finished, self._reason = True, "content_filter"
        return events

    @override
    def end(self) -> list[ProviderEvent]:
        """Return why the reply ended, and what must come back with it."""
        if not self.is_finished:
            return []
        reason = "tool_calls" if self._reason == "stop" and self._calls else self._reason
        is_needed = any(SIGNATURE in place or place["type"] == "part" for place in self._places)
        return [Finish(reason), *([TurnEcho(self._places)] if is_needed else [])]

    def _part(self, part: dict[str, Any]) -> list[ProviderEvent]:
        signature = part.get(SIGNATURE)
        signed = {SIGNATURE: signature} if isinstance(signature, str) and signature else {}
        text = part.get("text")
        if part.get("thought") is True:
            return [ReasoningDelta(text)] if isinstance(text, str) and text else []
        if isinstance(part.get("functionCall"), dict):
            return self._call(part["functionCall"], signed)
        if "toolCall" in part or "toolResponse" in part:  # of the vendor's own search
            self._places.append({"type": "part", "part": part})
            return []
        if isinstance(part.get("inlineData"), dict):
            return self._file(part["inlineData"])
        if not isinstance(text, str) or not (text or signed):
            return []
        if not text:
            self._places.append({"type": "part", "part": {"text": "", **signed}})
            return []
        last = self._places[-1] if self._places else {}
        # A part with a signature must not be joined with another.
        if last.get("type") == "text" and SIGNATURE not in last and not signed:
            last["length"] += len(text)
        else:
            self._places.append({"type": "text", "length": len(text), **signed})
        return [TextDelta(text)]

    def _call(self, call: dict[str, Any], signed: dict[str, str]) -> list[ProviderEvent]:
        name, arguments = call.get("name"), call.get("args")
        if not isinstance(name, str) or not name:
            return []
        self._calls += 1
        self._places.append({"type": "call"})
        call_id = call["id"] if isinstance(call.get("id"), str) and call["id"] else f"call_{self._calls}"
        return [ToolCall(call_id, name, arguments_text(arguments) or "{}", signed or None)]

    def _file(self, data: dict[str, Any]) -> list[ProviderEvent]:
        encoded, kind = str(data.get("data") or ""), str(data.get("mimeType") or "application/octet-stream")
        self._has_files = self._has_files or bool(encoded)
        return [FileOutput(kind, encoded)] if encoded else []

    def _citations(self, grounding: dict[str, Any]) -> Iterable[ProviderEvent]:
        """Yield the passages with the pages that they cite, then the pages that no passage names."""
        searches = len(list_of(grounding, "webSearchQueries"))
        # Models before Gemini 3 charge a request once, for all of its searches.
        self._searches = max(self._searches, searches if self._pays_each_search else min(searches, 1))
        chunks = list_of(grounding, "groundingChunks")
        pages = [part_of(chunk, "web") if isinstance(chunk, dict) else {} for chunk in chunks]
        for support in list_of(grounding, "groundingSupports"):
            if isinstance(support, dict):
                text = part_of(support, "segment").get("text")
                indices = list_of(support, "groundingChunkIndices")
                named = [index for index in indices if isinstance(index, int) and 0 <= index < len(pages)]
                for index in named:
                    yield from self._cite(pages[index], text if isinstance(text, str) else "")
        cited = {url for url, _ in self._cited}
        for page in pages:
            if isinstance(page.get("uri"), str) and page["uri"] not in cited:
                yield from self._cite(page, "")

    def _cite(self, page: Mapping[str, Any], text: str) -> Iterable[ProviderEvent]:
        url, title = page.get("uri"), page.get("title")
        if isinstance(url, str) and isinstance(text, str) and (url, text) not in self._cited:
            self._cited.add((url, text))
            yield Citation(url, title if isinstance(title, str) else None, text)


def _usage(usage: dict[str, Any], *, searches: int, is_final: bool) -> Usage:
    """Convert the counts. Thoughts and what searches add to the input are counted separately."""
    sent = count_of(usage.get("promptTokenCount")) + count_of(usage.get("toolUsePromptTokenCount"))
    thinking = count_of(usage.get("thoughtsTokenCount"))
    written = count_of(usage.get("candidatesTokenCount")) + thinking
    cached = min(count_of(usage.get("cachedContentTokenCount")), sent)
    return Usage(sent, written, cached, is_final=is_final, web_searches=searches, thinking_tokens=thinking)
