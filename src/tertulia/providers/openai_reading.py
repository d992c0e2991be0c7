"""Read a streamed reply of chat completions, also from servers that deviate from OpenAI's form."""

import base64
import io
import wave
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from tertulia.providers.charges import charge_of
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply, ProviderError, ProviderUnavailable
from tertulia.providers.event_stream import DONE, MAX_DRAWN_BYTES, is_whole
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
from tertulia.providers.reading import Reading
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.values import arguments_text, count_of, list_of, load_loosely
from tertulia.providers.wire import END, Wire

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "stop_token", "completed", "done", "finished"), "stop"),
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    **dict.fromkeys(("safety", "sensitive", "content_policy", "moderation"), "content_filter"),
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
}
# The server failed, and says so only here.
_FAILED = frozenset({"error", "abort", "aborted", "network_error", "insufficient_system_resource", "server_error"})

# Servers whose templates may open the thoughts, so that the text has the closing tag only.
SELF_HOSTED = frozenset({"custom", "openai", "vllm", "lmstudio", "huggingface", "nvidia", "together"})


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    echo: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the arguments are whole, so that another piece is another call, or a repetition."""
        return is_whole("".join(self.arguments).strip().encode("utf-8", "replace"))

    @property
    def whole_arguments(self) -> str:
        """Return the arguments as JSON text, which some servers encode twice."""
        text = "".join(self.arguments)
        if text.startswith('"'):
            with suppress(ValueError):
                inner = load_loosely(text.encode("utf-8", "replace"))
                text = inner if isinstance(inner, str) else text
        return text.encode("utf-8", "replace").decode() or "{}"

    def is_followed_by(self, call_id: str, name: str, arguments: str) -> bool:
        """Return whether a piece with the same index is another call. Ids may change from piece to piece."""
        if not name or not self.name:
            return False
        is_other_id = bool(call_id and self.id and call_id != self.id)
        if is_other_id and name != self.name and not self.arguments:
            return True
        return bool(arguments or is_other_id) and self.is_complete and (is_other_id or not call_id)

    def add(self, arguments: str, *, is_whole: bool) -> None:
        """Add a piece of the arguments. What is whole replaces what came before; a repetition is left out."""
        before = "".join(self.arguments).strip() if is_whole or arguments.startswith("{") else ""
        if is_whole or before == "{}":
            self.arguments[:] = [arguments]
        elif arguments and not (before and before == arguments.strip() and self.is_complete):
            self.arguments.append(arguments)


class ChatReading(Reading):
    """The state of one reply. `echoes` are the fields of its message that must come back."""

    def __init__(self, wire: Wire, echoes: frozenset[str]) -> None:
        super().__init__(wire)
        self._echoes = echoes
        self._echo: dict[str, Any] = {}
        self._has_end_mark = False
        self._calls: list[_Call] = []
        self._at_index: dict[int, _Call] = {}  # the call begun last at each index
        self._announces_calls = False
        self._failure = ""  # a reason to finish that is an error
        self._thoughts = ThoughtReader(may_lack_opening=wire.vendor_id in SELF_HOSTED)
        self._has_text = self._has_thoughts = False
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
            self.is_finished = self.is_finished or self._has_output or bool(self._calls)
            return []
        if payload == DONE:
            self.is_finished = self._has_end_mark = True
        if self._has_end_mark:
            return []
        chunk = self._wire.parse(payload)
        if is_error(chunk):
            raise self._wire.told_error(chunk)
        events: list[ProviderEvent] = []
        choices = chunk.get("choices")
        self.is_known = self.is_known or isinstance(choices, list)
        choices = [choices] if isinstance(choices, dict) else choices
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if choice.get("error"):  # OpenRouter reports what its provider said
            raise self._wire.told_error(choice)
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict):
            events += self._take(delta)
        elif isinstance(choice.get("text"), str) and not isinstance(message, dict):  # the form of old completions
            events += self._take({"content": choice["text"]})
        if isinstance(message, dict):  # a whole reply, or a summary at the end of a stream
            missing = {"content"} if self._has_text else set[str]()
            missing |= {*_THOUGHTS, *self._echoes} if self._has_thoughts or self._has_text else set()
            if self._calls:
                missing |= {"tool_calls", "function_call"}
                self._complete_calls(message.get("tool_calls"))
            missing |= {"refusal"} if self._refusal else set()
            missing |= {"audio"} if self._sound else set()
            missing |= {"images"} if self._has_images else set()
            events += self._take({name: value for name, value in message.items() if name not in missing})
        # Groq reports usage in `x_groq`, Moonshot in the choice.
        x_groq = chunk.get("x_groq")
        usage = chunk.get("usage") or choice.get("usage") or (x_groq.get("usage") if isinstance(x_groq, dict) else None)
        if isinstance(usage, dict) and (counted := _usage(usage, self._wire.vendor_id)):
            events.append(counted)
        events += self._pages(chunk)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason.lower() not in ("", "null", "none"):
            self.is_finished = True
            kind = _FINISH.get(reason.lower(), "other")
            self._failure = reason if reason.lower() in _FAILED else ""
            self._announces_calls = kind == "tool_calls"
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
        for index, call in enumerate(call for call in self._calls if call.name):
            call_id = plain(call.id) if call.id and call.id not in ids else f"{plain(call.id) or 'call'}_{index}"
            ids.add(call_id)
            events.append(ToolCall(call_id, plain(call.name), call.whole_arguments, call.echo))
        kept = {name: value for name, value in self._echo.items() if value}
        return [*events, TurnEcho(kept)] if kept else events

    @override
    def rest(self) -> list[ProviderEvent]:
        words = self._thoughts.end()
        return [*words, Refusal("".join(self._refusal))] if self._refusal else words

    @override
    def problem(self) -> ProviderError | None:
        if self._failure:
            return ProviderUnavailable(
                f"{self._wire.name} stopped with an error: it says {self._wire.redact(self._failure)}. Its text is kept."
            )
        if self._announces_calls and not any(call.name for call in self._calls):
            return MalformedReply(f"{self._wire.name} announced a tool call that cannot be read. Try again.")
        return None

    @property
    def _has_output(self) -> bool:
        return self._has_text or self._has_thoughts or self._has_images or bool(self._sound)

    def _take(self, delta: dict[str, Any]) -> list[ProviderEvent]:
        """Return the words of a delta, and keep its calls."""
        events: list[ProviderEvent] = []
        for event in _words(delta):
            if isinstance(event, TextDelta):
                self._has_text = True
                events += self._thoughts.feed(event.text)
            else:
                self._has_thoughts = True
                self._thoughts.end_thoughts()
                events.append(event)
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            self._refusal.append(delta["refusal"])
        for piece in list_of(delta, "content"):
            if isinstance(piece, dict) and isinstance(piece.get("refusal"), str):
                self._refusal.append(piece["refusal"])
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
                elif isinstance(piece, dict) and isinstance(piece.get("b64_json"), str):
                    self._has_images = True
                    events.append(FileOutput("image/png", piece["b64_json"]))
                elif isinstance(url, str) and url.startswith("https://") and not any(map(str.isspace, url)):
                    self._has_images = True
                    events.append(TextDelta(f"[picture](<{url.replace('<', '').replace('>', '')}>)"))
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
                self._has_text = True
                events.append(TextDelta(audio["transcript"]))
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
        """Collect the pieces of calls, also where indexes or ids are missing, repeated or changed."""
        for delta in deltas if isinstance(deltas, list) else [deltas]:
            if not isinstance(delta, dict):
                continue
            name, arguments = _read_call(delta)
            call_id = delta["id"] if isinstance(delta.get("id"), str) else ""
            call = self._call_of(delta.get("index"), call_id, name, arguments)
            call.id = call.id or call_id
            if isinstance(delta.get("extra_content"), dict):  # Google's signature of the thoughts before the call
                call.echo = {"extra_content": delta["extra_content"]}
            if name and name != call.name:
                call.name += name  # some servers split it
            self.hold(arguments)
            call.add(arguments, is_whole=isinstance(_arguments_of(delta), dict | list))

    def _call_of(self, index: object, call_id: str, name: str, arguments: str) -> _Call:
        """Return the call that a piece belongs to, which may be a new one."""
        if isinstance(index, str) and index.isascii() and index.isdigit():
            index = int(index)
        if isinstance(index, int):
            call = self._at_index.get(index)
            if call is None or call.is_followed_by(call_id, name, arguments):
                call = self._at_index[index] = self._begin()
            return call
        last = self._calls[-1] if self._calls else None
        if call_id:
            same = next((call for call in reversed(self._calls) if call.id == call_id), None)
            is_other = same is not None and bool(name and same.name) and (same.name != name or same.is_complete)
            return same if same is not None and not is_other else self._begin()
        return last if last is not None and not (name and last.name) else self._begin()

    def _begin(self) -> _Call:
        self._calls.append(_Call())
        return self._calls[-1]

    def _complete_calls(self, whole: object) -> None:
        """Take the arguments of a summary at the end for calls that were streamed without theirs."""
        for position, entry in enumerate(whole if isinstance(whole, list) else []):
            if not isinstance(entry, dict):
                continue
            same = [call for call in self._calls if call.id and call.id == entry.get("id")]
            call = same[0] if same else self._calls[position] if position < len(self._calls) else None
            if call is not None and not "".join(call.arguments).strip("{} "):
                call.arguments[:] = [_read_call(entry)[1]]


def _function_of(delta: dict[str, Any]) -> dict[str, Any]:
    function = delta.get("function")
    return function if isinstance(function, dict) else delta  # some servers send name and arguments flat


def _arguments_of(delta: dict[str, Any]) -> object:
    function = _function_of(delta)
    return next(
        (function[name] for name in ("arguments", "parameters", "input") if function.get(name) is not None), None
    )


def plain(text: str) -> str:
    """Return a name without halves of surrogate pairs and control characters, which cannot be stored."""
    return "".join(filter(str.isprintable, text.encode("utf-8", "replace").decode()))


def _read_call(delta: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the arguments of a piece of a call; either may be empty."""
    name = _function_of(delta).get("name")
    return name if isinstance(name, str) else "", arguments_text(_arguments_of(delta))


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


# Where servers put thoughts; the first that has text counts.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thinking_blocks", "reasoning_details")


def _words(delta: dict[str, Any]) -> list[ProviderEvent]:
    thought = next((text for name in _THOUGHTS if delta.get(name) and (text := _text_of(delta[name]))), "")
    events: list[ProviderEvent] = [ReasoningDelta(thought)] if thought else []
    content = delta.get("content")
    if isinstance(content, str):
        events += [TextDelta(content)] if content else []
    else:  # Mistral's reasoning models send typed pieces
        for piece in content if isinstance(content, list) else [content]:
            kind = piece.get("type") if isinstance(piece, dict) else None
            text = "" if kind == "refusal" else _text_of(piece)
            is_thought = kind in ("reasoning", "thinking") or (isinstance(piece, dict) and "thinking" in piece)
            events += [ReasoningDelta(text) if is_thought else TextDelta(text)] if text else []
    return events


def _text_of(value: object) -> str:
    """Return the text of a piece that may be text, an object with it, or a list of such."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text_of, value))
    if isinstance(value, dict):
        return next(
            (text for name in ("text", "thinking", "summary", "content") if (text := _text_of(value.get(name)))), ""
        )
    return ""


def _usage(usage: dict[str, Any], vendor_id: str) -> Usage | None:
    """Convert a vendor's usage; None if it counts nothing. Reasoning tokens that only its total includes count as output, as they are charged."""
    details = usage.get("prompt_tokens_details")
    cached = count_of(details.get("cached_tokens")) if isinstance(details, dict) else 0
    cached = cached or count_of(usage.get("prompt_cache_hit_tokens")) or count_of(usage.get("cached_tokens"))
    prompt = count_of(usage.get("prompt_tokens")) or count_of(usage.get("input_tokens"))
    written = count_of(usage.get("completion_tokens")) or count_of(usage.get("output_tokens"))
    completion = max(written, count_of(usage.get("total_tokens")) - prompt)
    if not prompt and not completion:
        return None
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
