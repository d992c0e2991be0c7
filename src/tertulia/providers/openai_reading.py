"""Read a streamed reply of chat completions, also from servers that deviate from OpenAI's form."""

import base64
import io
import wave
from typing import Any

from typing_extensions import override

from tertulia.providers.charges import charge_of
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply, ProviderError, ProviderUnavailable
from tertulia.providers.event_stream import DONE, MAX_DRAWN_BYTES
from tertulia.providers.openai_calls import StreamedCalls
from tertulia.providers.protocol import (
    Citation,
    FileOutput,
    Finish,
    FinishReason,
    ProviderEvent,
    ReasoningDelta,
    Refusal,
    TextDelta,
    TurnEcho,
    Usage,
)
from tertulia.providers.reading import Reading
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.values import count_of, list_of
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


class ChatReading(Reading):
    """The state of one reply. `echoes` are the fields of its message that must come back."""

    def __init__(self, wire: Wire, echoes: frozenset[str]) -> None:
        super().__init__(wire)
        self._echoes = echoes
        self._echo: dict[str, Any] = {}
        self._has_end_mark = False
        self._calls = StreamedCalls(self.hold)
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
                self._calls.complete(message.get("tool_calls"))
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
        events += self._calls.events()
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
        if self._announces_calls and not self._calls.events():
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
        self._calls.take(calls)
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
    thought = usage.get("completion_tokens_details")
    thinking = count_of(thought.get("reasoning_tokens")) if isinstance(thought, dict) else 0
    return Usage(
        prompt,
        completion,
        min(cached, prompt),
        web_searches=searches,
        cost=charge_of(usage, vendor_id),
        thinking_tokens=min(thinking, completion),
    )


def _as_wav(samples: bytes) -> bytes:
    """Return streamed sound, 16 bits at 24 kHz as OpenAI documents it, as a file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(24_000)
        sound.writeframes(samples)
    return buffer.getvalue()
