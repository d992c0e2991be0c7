"""Read a streamed reply of chat completions, also from servers that deviate from OpenAI's form."""

import base64
import io
import wave
from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from tertulia.providers.charges import charge_of
from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE, MAX_DRAWN_BYTES
from tertulia.providers.protocol import (
    Citation,
    FileOutput,
    Finish,
    FinishReason,
    ProviderEvent,
    ReasoningDelta,
    Refusal,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.wire import END, Reading, Wire, count_of, is_error, list_of

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
}


# Servers whose templates may open the thoughts, so that the text has the closing tag only.
SELF_HOSTED = frozenset({"custom", "openai", "vllm", "lmstudio", "huggingface", "nvidia", "together"})


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    echo: dict[str, Any] | None = None


class ChatReading(Reading):
    """The state of one reply. `echoes` are the fields of its message that must come back."""

    def __init__(self, wire: Wire, echoes: frozenset[str]) -> None:
        super().__init__(wire)
        self._echoes = echoes
        self._echo: dict[str, Any] = {}
        self._has_end_mark = False
        self._calls: dict[int, _Call] = {}
        self._thoughts = ThoughtReader(may_lack_opening=wire.vendor_id in SELF_HOSTED)
        self._has_words = False
        self._refusal: list[str] = []
        self._sound: list[bytes] = []
        self._sound_bytes = 0
        self._has_images = False
        self._cited: set[str] = set()

    @property
    @override
    def is_done(self) -> bool:
        return self._has_end_mark

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if payload == END:
            # The answer ended as its length says. Some servers send neither a finish reason nor an end mark.
            self.is_finished = self.is_finished or self._has_words or bool(self._calls)
            return []
        self.has_begun = True
        if payload == DONE:
            self.is_finished = self._has_end_mark = True
        if self._has_end_mark:
            return []
        chunk = self._wire.parse(payload)
        if is_error(chunk):
            raise self._wire.told_error(chunk)
        events: list[ProviderEvent] = []
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if isinstance(choice.get("error"), dict):  # OpenRouter reports what its provider said
            raise self._wire.told_error(choice)
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict):
            events += self._take(delta)
        if isinstance(message, dict):  # a whole reply, or a summary at the end of a stream
            missing = {"content", "reasoning", *self._echoes} if self._has_words else set[str]()
            missing |= {"reasoning_content"} if self._has_words else set()
            missing |= {"tool_calls", "function_call"} if self._calls else set()
            missing |= {"refusal"} if self._refusal else set()
            missing |= {"audio"} if self._sound else set()
            missing |= {"images"} if self._has_images else set()
            events += self._take({name: value for name, value in message.items() if name not in missing})
        # Groq reports usage in `x_groq`, Moonshot in the choice.
        x_groq = chunk.get("x_groq")
        usage = chunk.get("usage") or choice.get("usage") or (x_groq.get("usage") if isinstance(x_groq, dict) else None)
        if isinstance(usage, dict):
            events.append(_usage(usage, self._wire.vendor_id))
        events += self._pages(chunk)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.is_finished = True
            kind = _FINISH.get(reason.lower(), "other")
            if kind == "stop" and (self._calls or self._refusal):
                kind = "tool_calls" if self._calls else "content_filter"
            events.append(Finish(kind))
        return events

    def end(self) -> list[ProviderEvent]:
        """Return the rest of the text and the tool calls, whose ids are made unique."""
        events = self._thoughts.end()
        if self._sound:
            events.append(FileOutput("audio/wav", _as_wav(b"".join(self._sound))))
        if self._refusal:
            events.append(Refusal("".join(self._refusal)))
        ids = set[str]()
        for index, call in sorted(self._calls.items()):
            if not call.name:
                continue
            call_id = call.id if call.id and call.id not in ids else f"{call.id or 'call'}_{index}"
            ids.add(call_id)
            events.append(ToolCall(call_id, call.name, "".join(call.arguments) or "{}", call.echo))
        kept = {name: value for name, value in self._echo.items() if value}
        return [*events, TurnEcho(kept)] if kept else events

    def _take(self, delta: dict[str, Any]) -> list[ProviderEvent]:
        """Return the words of a delta, and keep its calls."""
        events: list[ProviderEvent] = []
        for event in _words(delta):
            self._has_words = True
            if isinstance(event, TextDelta):
                events += self._thoughts.feed(event.text)
            else:
                self._thoughts.end_thoughts()
                events.append(event)
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            self._refusal.append(delta["refusal"])
        events += self._files(delta)
        for note in list_of(delta, "annotations"):
            if isinstance(note, dict):
                events += self._cite(note.get("url_citation", note))
        if self._echoes:
            self._keep_echoes(delta)
        calls = delta.get("tool_calls")
        if not calls and isinstance(delta.get("function_call"), dict):  # the form before tool calls
            calls = [{"index": 0, "function": delta["function_call"]}]
        self._gather_calls(calls)
        return events

    def _files(self, delta: dict[str, Any]) -> list[ProviderEvent]:
        """Return the pictures of a delta, and keep its sound, which is whole at the end only."""
        events: list[ProviderEvent] = []
        content, images = delta.get("content"), delta.get("images")
        for pieces in (content, images):
            for piece in pieces if isinstance(pieces, list) else ():
                url = piece.get("image_url") if isinstance(piece, dict) else None
                url = url.get("url") if isinstance(url, dict) else url
                if isinstance(url, str) and url.startswith("data:"):
                    head, _, encoded = url.removeprefix("data:").partition(",")
                    self._has_images = True
                    events.append(FileOutput(head.partition(";")[0], encoded))
        audio = delta.get("audio")
        if isinstance(audio, dict):
            if isinstance(audio.get("data"), str) and audio["data"]:
                try:
                    piece = base64.b64decode(audio["data"], validate=True)
                except ValueError as error:
                    raise MalformedReply(f"{self._wire.name} sent sound that cannot be read.") from error
                self._sound_bytes += len(piece)
                if self._sound_bytes > MAX_DRAWN_BYTES:
                    raise MalformedReply(f"{self._wire.name} sent more than {MAX_DRAWN_BYTES} bytes of sound.")
                self._sound.append(piece)
            if isinstance(audio.get("transcript"), str) and audio["transcript"]:
                events.append(TextDelta(audio["transcript"]))
        self._has_words = self._has_words or bool(events)
        return events

    def _pages(self, chunk: dict[str, Any]) -> list[ProviderEvent]:
        """Return the pages that Perplexity names with the reply; its text has their numbers in brackets."""
        pages = list_of(chunk, "search_results") or [{"url": url} for url in list_of(chunk, "citations")]
        return [event for page in pages for event in self._cite(page)]

    def _cite(self, page: object) -> list[ProviderEvent]:
        url = page.get("url") if isinstance(page, dict) else None
        if not isinstance(page, dict) or not isinstance(url, str) or url in self._cited:
            return []
        self._cited.add(url)
        return [Citation(url, page["title"] if isinstance(page.get("title"), str) else None)]

    def _keep_echoes(self, delta: dict[str, Any]) -> None:
        for name in self._echoes & delta.keys():
            value = delta[name]
            before = self._echo.setdefault(name, "" if isinstance(value, str) else [])
            if isinstance(value, str) and isinstance(before, str):
                self._echo[name] = before + value
            elif isinstance(value, list) and isinstance(before, list):
                join_details(before, value)

    def _gather_calls(self, deltas: object) -> None:
        """Collect pieces of calls by their index. If it is missing or always 0, a new id begins a new call."""
        for delta in deltas if isinstance(deltas, list) else []:
            if not isinstance(delta, dict):
                continue
            function = delta.get("function")
            function = function if isinstance(function, dict) else {}
            name, arguments = function.get("name"), function.get("arguments")
            call_id = str(delta["id"]) if isinstance(delta.get("id"), str) else ""
            call = self._calls.setdefault(self._index_of(delta, call_id, begins=isinstance(name, str)), _Call())
            call.id = call_id or call.id
            if isinstance(delta.get("extra_content"), dict):  # Google's signature of the thoughts before the call
                call.echo = {"extra_content": delta["extra_content"]}
            if isinstance(name, str):
                call.name = call.name or name
            if isinstance(arguments, str):
                call.arguments.append(arguments)
            elif isinstance(arguments, dict):  # an object instead of its text
                call.arguments[:] = [orjson.dumps(arguments).decode()]

    def _index_of(self, delta: dict[str, Any], call_id: str, *, begins: bool) -> int:
        """Return which call a piece belongs to. `begins`: it has a name, as the first piece of a call has."""
        index = delta.get("index")
        last = max(self._calls, default=-1)
        if not isinstance(index, int):
            same = [at for at, call in self._calls.items() if call_id and call.id == call_id]
            if same and not (begins and _is_complete(self._calls[same[-1]])):
                return same[-1]
            return last + 1 if call_id or last < 0 or (begins and self._calls[last].name) else last
        is_other = index in self._calls and self._calls[index].id not in ("", call_id)
        return last + 1 if call_id and is_other else index


def join_details(details: list[Any], pieces: list[Any]) -> None:
    """Add the streamed pieces of `reasoning_details`: a piece with the index and type of the last one continues it."""
    for piece in pieces:
        last = details[-1] if details else None
        if not isinstance(piece, dict):
            continue
        is_other = last is None or any(last.get(name) != piece.get(name) for name in ("type", "index"))
        if last is None or is_other or (last.get("id") and piece.get("id") and last["id"] != piece["id"]):
            details.append(dict(piece))
            continue
        for name, value in piece.items():
            before = last.get(name) or ""
            is_text = name in ("text", "summary", "data") and isinstance(value, str) and isinstance(before, str)
            if value is not None:
                last[name] = before + value if is_text else value


def _is_complete(call: _Call) -> bool:
    """Return whether the arguments of a call are whole, so that another piece with its id is another call."""
    try:
        return isinstance(orjson.loads("".join(call.arguments)), dict)
    except orjson.JSONDecodeError:
        return False


def _words(delta: dict[str, Any]) -> list[ProviderEvent]:
    events: list[ProviderEvent] = []
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        events.append(ReasoningDelta(reasoning))
    content = delta.get("content")
    if isinstance(content, str) and content:
        events.append(TextDelta(content))
    elif isinstance(content, list):  # Mistral's reasoning models send typed pieces
        for piece in content:
            if isinstance(piece, dict) and isinstance(piece.get("text"), str) and piece["text"]:
                events.append(TextDelta(piece["text"]))
            elif isinstance(piece, dict) and isinstance(piece.get("thinking"), list):
                thought = "".join(str(part.get("text", "")) for part in piece["thinking"] if isinstance(part, dict))
                events += [ReasoningDelta(thought)] if thought else []
    return events


def _usage(usage: dict[str, Any], vendor_id: str) -> Usage:
    """Convert a vendor's usage. Reasoning tokens that only its total includes count as output, as they are charged."""
    details = usage.get("prompt_tokens_details")
    cached = count_of(details.get("cached_tokens")) if isinstance(details, dict) else 0
    cached = cached or count_of(usage.get("prompt_cache_hit_tokens")) or count_of(usage.get("cached_tokens"))
    prompt = count_of(usage.get("prompt_tokens"))
    completion = max(count_of(usage.get("completion_tokens")), count_of(usage.get("total_tokens")) - prompt)
    searches = count_of(usage.get("num_search_queries"))  # Perplexity
    tools = usage.get("server_tool_use")
    searches = searches or count_of(tools.get("web_search_requests") if isinstance(tools, dict) else 0)  # OpenRouter
    return Usage(prompt, completion, min(cached, prompt), web_searches=searches, cost=charge_of(usage, vendor_id))


def _as_wav(samples: bytes) -> bytes:
    """Return streamed sound, 16 bits at 24 kHz as OpenAI documents it, as a file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(24_000)
        sound.writeframes(samples)
    return buffer.getvalue()
