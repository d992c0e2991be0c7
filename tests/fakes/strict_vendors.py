"""Vendors that refuse what their documentation says they refuse, over whole conversations.

Each gives thoughts, signatures and ids, remembers them, and checks that they come back where they must and
nowhere else. A message that ends with "call twice" is answered with two turns of tool calls, then with a text. The answer to one that
ends with "slowly" stops in the middle, until the caller leaves.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from typing import Any, ClassVar

from tertulia.settings import OperatorConfig

Body = dict[str, Any]
CALLS = "call twice"
SLOWLY = "slowly"
THOUGHT = "I consider it."


class Refused(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StrictVendor:
    """One vendor. `given` is what it gave with each turn, by the text of the turn's first call or by its answer."""

    name: ClassVar[str]
    path: ClassVar[str] = "/chat/completions"
    model: ClassVar[str] = "model-a"
    other_model: ClassVar[str | None] = None
    # The newest models, each with the efforts that it takes, in the vendor's words, as the vendor documents them.
    efforts: ClassVar[dict[str, str]] = {}
    sees: ClassVar[bool] = True
    reads_pdf: ClassVar[bool] = False
    is_lines: ClassVar[bool] = False  # of JSON, instead of events

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.returned = 0  # times that something given came back
        self.refusals: list[str] = []
        self.requests: list[Body] = []
        self._numbers = count(1)

    def model_of(self, path: str, body: Body) -> str | None:
        """Return the model that a request is for, or None if the path is not this vendor's."""
        return str(body["model"]) if path == self.path else None

    def answer(self, body: Body) -> list[Any]:
        """Return the events of a reply. Raises Refused."""
        self.check(body)
        self.check_effort(body, self.efforts.get(body["model"], "").split())
        self._check_files(json.dumps(body))
        step, is_calling = self.place(body)
        number = next(self._numbers)
        if is_calling and self.has_tools(body) and step < 2:
            texts = [f"{self.name} {number} {letter}" for letter in ("ab" if step == 0 else "c")]
            return self.calls(body, texts)
        return self.text(body, f"Answer {number} of {self.name}.")

    def has_tools(self, body: Body) -> bool:
        return bool(body.get("tools"))

    def place(self, body: Body) -> tuple[int, bool]:
        """Return the number of turns with calls since the last question, and whether it asks for calls."""
        messages = body["messages"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        step = sum(bool(message.get("tool_calls")) for message in messages[last:])
        return step, self.question(body).endswith(CALLS)

    def question(self, body: Body) -> str:
        """Return the text of the last question."""
        content = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
        return str(content if isinstance(content, str) else content[0]["text"])

    def check_effort(self, body: Body, words: list[str]) -> None:
        """Refuse an effort that is none of the words."""
        self.require_word(body.get("reasoning_effort"), words)

    @staticmethod
    def require_word(word: object, words: list[str]) -> None:
        if word is not None and word not in words:
            raise Refused(f"Unsupported value: '{word}' is not supported with this model. Supported values: {words}")

    def _check_files(self, body: str) -> None:
        if not self.sees and "data:image" in body:
            raise Refused("unknown variant `image_url`, expected `text`")
        if not self.reads_pdf and "application/pdf" in body:
            raise Refused("Invalid content type. PDF is not supported.")

    def check(self, body: Body) -> None:
        raise NotImplementedError

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        raise NotImplementedError

    def text(self, body: Body, text: str) -> list[Any]:
        raise NotImplementedError

    def error(self, message: str) -> Any:
        return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def function_call(index: int, call_id: str, text: str, **extra: Any) -> dict[str, Any]:
    function = {"name": "record", "arguments": json.dumps({"text": text})}
    return {"index": index, "id": call_id, "type": "function", "function": function, **extra}


def said(call: dict[str, Any]) -> str:
    """Return the text in a call's arguments, which names the turn that proposed it."""
    return str(json.loads(call["function"]["arguments"]).get("text"))


def with_calls(body: Body) -> Iterator[tuple[int, dict[str, Any]]]:
    for at, message in enumerate(body["messages"]):
        if message.get("tool_calls"):
            yield at, message


class ChatCompletions(StrictVendor):
    """The rules of chat completions that OpenAI documents for messages with `tool_calls`."""

    name = "custom"
    fields: ClassVar[frozenset[str]] = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
    call_fields: ClassVar[frozenset[str]] = frozenset({"id", "type", "function"})

    def check(self, body: Body) -> None:
        messages = body["messages"]
        open_ids: list[str] = []
        for at, message in enumerate(messages):
            if message["role"] == "tool":
                if message["tool_call_id"] not in open_ids:
                    raise Refused(
                        "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                    )
                open_ids.remove(message["tool_call_id"])
                continue
            if open_ids:
                raise Refused(
                    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                    f"'tool_call_id'. The following tool_call_ids did not have response messages: {open_ids}"
                )
            open_ids = [call["id"] for call in message.get("tool_calls", ())]
            if len(set(open_ids)) < len(open_ids):
                raise Refused(f"Duplicate tool call ids at messages[{at}]")
            self.check_message(at, message)
        if open_ids:
            raise Refused(f"No tool output found for {open_ids}")

    def check_message(self, at: int, message: dict[str, Any]) -> None:
        if isinstance(message.get("content"), list) and message["role"] != "user":
            raise Refused(f"messages[{at}]: pictures are only in user messages")
        unknown = message.keys() - self.fields
        if unknown:
            raise Refused(f"Unknown parameter: 'messages[{at}].{min(unknown)}'.")
        for call in message.get("tool_calls", ()):
            if call.keys() - self.call_fields:
                raise Refused(
                    f"Unknown parameter: 'messages[{at}].tool_calls[0].{min(call.keys() - self.call_fields)}'."
                )

    def ids(self, texts: list[str]) -> list[str]:
        return [f"call_{text.replace(' ', '')}" for text in texts]

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        calls = [
            chunk({"tool_calls": [function_call(index, call_id, text)]})
            for index, (call_id, text) in enumerate(zip(self.ids(texts), texts, strict=True))
        ]
        return [chunk({"role": "assistant", "content": "Let me see."}), *calls, chunk({}, "tool_calls"), "[DONE]"]

    def text(self, body: Body, text: str) -> list[Any]:
        return [chunk({"role": "assistant", "content": text}), chunk({}, "stop"), "[DONE]"]


class Mistral(ChatCompletions):
    """docs.mistral.ai: ids of nine letters or digits, no unknown field, no user message after a result."""

    name = "mistral"
    model = "mistral-large-latest"
    efforts: ClassVar[dict[str, str]] = {"mistral-medium-latest": "none high", "mistral-small-latest": "none high"}

    def check_message(self, at: int, message: dict[str, Any]) -> None:
        super().check_message(at, message)
        for call in message.get("tool_calls", ()):
            if not re.fullmatch("[a-zA-Z0-9]{9}", call["id"]):
                raise Refused(f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9.")

    def check(self, body: Body) -> None:
        super().check(body)
        for before, after in pairwise(message["role"] for message in body["messages"]):
            if (before, after) in (("tool", "user"), ("user", "user"), ("user", "system")):
                raise Refused(f"Unexpected role '{after}' after role '{before}'")

    def ids(self, texts: list[str]) -> list[str]:
        return [f"{abs(hash(text)) % 10**9:09d}" for text in texts]

    def error(self, message: str) -> Any:
        return {"object": "error", "message": message, "type": "invalid_request_error", "code": "3051"}


class Google(StrictVendor):
    """ai.google.dev/gemini-api/docs/thought-signatures and /function-calling.

    Roles alternate, and each call has its result in the next content. The first call of each turn since the last
    question must carry its signature, in its own part; a signature of another model is refused. Calls of other models
    may carry `skip_thought_signature_validator`. The level of thinking is one that the model has.
    """

    name = "google"
    model = "gemini-3-pro-preview"
    other_model = "gemini-3.5-flash"
    FOREIGN = "skip_thought_signature_validator"
    reads_pdf = True
    efforts: ClassVar[dict[str, str]] = {
        "gemini-3-pro-preview": "LOW HIGH",
        "gemini-3.5-flash": "MINIMAL LOW MEDIUM HIGH",
        "gemini-4-argon": "LOW MEDIUM HIGH",
        "gemini-2.5-pro": "",  # it takes a number of tokens
        "gemini-2.5-flash": "",
    }
    BUDGETS: ClassVar[dict[str, range]] = {"gemini-2.5-pro": range(128, 32769), "gemini-2.5-flash": range(24577)}

    def has_tools(self, body: Body) -> bool:
        return any("functionDeclarations" in tool for tool in body.get("tools", ()))

    def model_of(self, path: str, body: Body) -> str | None:
        match = re.fullmatch(r"/models/([^/:]+):streamGenerateContent\?alt=sse", path)
        return match[1] if match else None

    def place(self, body: Body) -> tuple[int, bool]:
        contents = body["contents"]
        last = max(
            at for at, content in enumerate(contents) if content["role"] == "user" and "text" in content["parts"][0]
        )
        turns = sum(content["role"] == "model" for content in contents[last:])
        return turns, self.question(body).endswith(CALLS)

    def question(self, body: Body) -> str:
        return next(
            str(content["parts"][0]["text"])
            for content in reversed(body["contents"])
            if content["role"] == "user" and "text" in content["parts"][0]
        )

    def check_effort(self, body: Body, words: list[str]) -> None:
        thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
        self.require_word(thinking.get("thinkingLevel"), words)
        budget = thinking.get("thinkingBudget")
        if budget is not None and budget not in self.BUDGETS.get(body["model"], ()):
            raise Refused(f"Budget {budget} is invalid. This model only works in thinking mode.")

    def check(self, body: Body) -> None:
        contents = body["contents"]
        kinds = {kind for tool in body.get("tools", ()) for kind in tool}
        if len(kinds) > 1 and body["model"].startswith("gemini-2"):
            raise Refused("Tool use with function calling is unsupported")
        if contents[0]["role"] != "user":
            raise Refused("Please ensure that the first content has the role 'user'.")
        for before, content in pairwise([*contents, {"role": "", "parts": []}]):
            if before["role"] == content["role"]:
                raise Refused("Please ensure that multiturn requests alternate between user and model.")
            called = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part]
            answered = [part["functionResponse"]["id"] for part in content["parts"] if "functionResponse" in part]
            if called != answered:
                raise Refused(
                    "Please ensure that the number of function response parts is equal to the number of function call "
                    "parts of the function call turn."
                )
        last = max(at for at, content in enumerate(contents) if "text" in content["parts"][0] and not at % 2)
        for at, content in enumerate(contents):
            if content["role"] == "model":
                self._check_signature(at > last, content["parts"], body["model"])

    def _check_signature(self, is_recent: bool, parts: list[dict[str, Any]], model: str) -> None:
        calls = [part for part in parts if "functionCall" in part]
        texts = [part["text"] for part in parts if part.get("text")]
        key = calls[0]["functionCall"]["args"].get("text") if calls else "".join(texts)
        signed = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
        mine = self.given.get(key)
        if calls and is_recent and "thoughtSignature" not in calls[0] and not model.startswith("gemini-2"):
            raise Refused("Function call is missing a thought_signature in functionCall parts. This is required.")
        if len(signed) > 1:
            raise Refused("Only the first of parallel calls has a signature.")
        if mine is not None and mine[0] == model:
            if signed != [mine[1]]:
                raise Refused("The signature that was given for this turn did not come back.")
            self.returned += 1
        elif signed not in ([], [self.FOREIGN]):
            raise Refused("Thought signature is not valid.")

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        signature = f"secret-of-google-{texts[0]}"
        self.given[texts[0]] = (body["model"], signature)
        parts = [
            {"functionCall": {"id": f"g{text.replace(' ', '')}", "name": "record", "args": {"text": text}}}
            for text in texts
        ]
        parts[0]["thoughtSignature"] = signature  # type: ignore[assignment]
        return [self._chunk({"text": "Let me see."}), self._chunk(*parts, finishReason="STOP")]

    def text(self, body: Body, text: str) -> list[Any]:
        signature = f"secret-of-google-{text}"
        self.given[text] = (body["model"], signature)
        pieces = [self._chunk({"text": piece}) for piece in re.findall(".{1,7}", text)]
        thought = self._chunk({"text": THOUGHT, "thought": True})
        return [thought, *pieces, self._chunk({"text": "", "thoughtSignature": signature}, finishReason="STOP")]

    @staticmethod
    def _chunk(*parts: dict[str, Any], **extra: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **extra}]}

    def error(self, message: str) -> Any:
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


class Cohere(StrictVendor):
    """docs.cohere.com/v2/reference/chat-stream: each result follows its call, and the plan comes back with the calls."""

    name = "cohere"
    path = "/chat"
    model = "command-a-reasoning-08-2025"
    sees = False

    def check_effort(self, body: Body, words: list[str]) -> None:
        thinking = body.get("thinking", {"type": "disabled"})
        if thinking["type"] not in ("enabled", "disabled") or (thinking["type"] == "enabled") != (
            "token_budget" in thinking
        ):
            raise Refused(f"invalid request: thinking {thinking}")

    def check(self, body: Body) -> None:
        waiting: list[str] = []
        for at, message in enumerate(body["messages"]):
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    raise Refused(f"invalid request: tool message at messages[{at}] without its call")
                waiting.remove(message["tool_call_id"])
                continue
            if waiting:
                raise Refused(f"invalid request: tool calls {waiting} without results")
            waiting = [call["id"] for call in message.get("tool_calls", ())]
            if not waiting:
                continue
            mine = self.given.get(said(message["tool_calls"][0]))
            if mine is not None and message.get("tool_plan") != mine:
                raise Refused("The plan of this turn did not come back.")
            self.returned += mine is not None

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        self.given[texts[0]] = f"secret-of-cohere {texts[0]}"
        events: list[Any] = [
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
            for piece in re.findall(".{1,7}", self.given[texts[0]])
        ]
        for index, text in enumerate(texts):
            call = function_call(index, f"record_{text.replace(' ', '')}", text)
            del call["index"]
            events.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}})
            events.append({"type": "tool-call-end", "index": index})
        return [*events, {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}}]

    def text(self, body: Body, text: str) -> list[Any]:
        contents = [{"thinking": THOUGHT}, *({"text": piece} for piece in re.findall(".{1,7}", text))]
        events: list[Any] = [
            {"type": "content-delta", "index": "text" in content, "delta": {"message": {"content": content}}}
            for content in contents
        ]
        return [*events, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}]

    def error(self, message: str) -> Any:
        return {"id": "e", "message": message}


class DeepSeek(ChatCompletions):
    """api-docs.deepseek.com/guides/thinking_mode: turns with calls must come back with their `reasoning_content`."""

    name = "deepseek"
    model = "deepseek-v4-pro"
    efforts: ClassVar[dict[str, str]] = {"deepseek-v4-pro": "high max", "deepseek-v4-flash": "high max"}
    sees = False
    fields = ChatCompletions.fields | {"reasoning_content"}

    def check_effort(self, body: Body, words: list[str]) -> None:
        super().check_effort(body, words)
        thinking = body.get("thinking", {"type": "enabled"})
        if thinking not in ({"type": "enabled"}, {"type": "disabled"}):
            raise Refused(f"Invalid thinking: {thinking}")
        if thinking["type"] == "disabled" and "reasoning_effort" in body:
            raise Refused("reasoning_effort is only for thinking.")

    def check(self, body: Body) -> None:
        super().check(body)
        for _, message in with_calls(body):
            thoughts = message.get("reasoning_content")
            if thoughts is None:
                raise Refused("The `reasoning_content` in the thinking mode must be passed back to the API.")
            mine = self.given.get(said(message["tool_calls"][0]), "")
            if thoughts != mine:
                raise Refused(f"Not the thoughts of this turn: {thoughts}")
            self.returned += bool(mine)

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        self.given[texts[0]] = f"secret-of-{self.name} before {texts[0]}"
        pieces = re.findall(".{1,9}", self.given[texts[0]])
        return [*(chunk({"reasoning_content": piece}) for piece in pieces), *super().calls(body, texts)]

    def text(self, body: Body, text: str) -> list[Any]:
        return [chunk({"reasoning_content": THOUGHT}), *super().text(body, text)]


class Moonshot(DeepSeek):
    """platform.kimi.ai/docs: the same rule, with another sentence."""

    name = "moonshot"
    model = "kimi-k2.6"
    efforts: ClassVar[dict[str, str]] = {"kimi-k2.6": "", "kimi-k3": "low high max"}
    sees = True

    def check(self, body: Body) -> None:
        for at, message in with_calls(body):
            if message.get("reasoning_content") is None:
                raise Refused(
                    f"thinking is enabled but reasoning_content is missing in assistant tool call message at index {at}"
                )
        super().check(body)


class OpenRouter(ChatCompletions):
    """openrouter.ai/docs: `reasoning_details` come back in full and in order, or not at all."""

    name = "openrouter"
    model = "anthropic/claude-opus-5"
    other_model = "google/gemini-3-pro"
    efforts: ClassVar[dict[str, str]] = {
        "anthropic/claude-opus-5": "none low medium high xhigh max",
        "google/gemini-3-pro": "low high",
        "openai/gpt-5.5": "none low medium high xhigh",
    }
    reads_pdf = True
    fields = ChatCompletions.fields | {"reasoning_details"}

    def check(self, body: Body) -> None:
        super().check(body)
        for message in body["messages"]:
            calls = message.get("tool_calls")
            mine = self.given.get(said(calls[0]) if calls else str(message["content"]))
            details = message.get("reasoning_details")
            if mine is not None and mine[0] == body["model"]:
                if details != mine[1]:
                    raise Refused(f"The reasoning_details were changed: {details}")
                self.returned += 1
            elif details is not None:
                raise Refused("Invalid `signature` in `thinking` block")

    def check_effort(self, body: Body, words: list[str]) -> None:
        if "reasoning_effort" in body:
            raise Refused("Unrecognized key: reasoning_effort")
        self.require_word(body.get("reasoning", {}).get("effort"), words)

    def _with_details(self, body: Body, key: str, events: list[Any]) -> list[Any]:
        first = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
        second = {"type": "reasoning.encrypted", "data": f"secret-of-openrouter {key}", "index": 1, "id": "r1"}
        self.given[key] = (body["model"], [first | {"text": "I consider it.", "signature": f"S {key}"}, second])
        return [
            chunk(
                {"role": "assistant", "content": "", "reasoning": "I ", "reasoning_details": [first | {"text": "I "}]}
            ),
            chunk({"reasoning": "consider it.", "reasoning_details": [first | {"text": "consider it."}]}),
            chunk({"reasoning_details": [first | {"text": "", "signature": f"S {key}"}]}),
            chunk({"reasoning_details": [second]}),
            *events,
        ]

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        return self._with_details(body, texts[0], super().calls(body, texts))

    def text(self, body: Body, text: str) -> list[Any]:
        return self._with_details(body, text, super().text(body, text))


class Anthropic(StrictVendor):
    """platform.claude.com/docs: roles alternate, results follow their calls, thinking blocks stay as they were."""

    name = "anthropic"
    path = "/messages"
    model = "claude-opus-5"
    other_model = "claude-sonnet-5"
    reads_pdf = True
    # The forms of `thinking` and the efforts of each model; those without efforts take a number of tokens.
    UNFORCED: ClassVar[re.Pattern[str]] = re.compile("(fable|mythos)-5-[12]|(opus|sonnet)-5-5")
    THINKING: ClassVar[dict[str, str]] = {
        "claude-opus-5": "adaptive disabled",
        "claude-sonnet-5": "adaptive disabled",
        "claude-opus-5-5": "adaptive",
        "claude-sonnet-5-5": "adaptive between_tools",
        "claude-haiku-5-5": "adaptive disabled",
        "claude-fable-5-2": "adaptive",
        "claude-opus-4-8": "adaptive disabled",
        "claude-sonnet-4-5": "enabled disabled",
    }
    efforts: ClassVar[dict[str, str]] = {
        name: "low medium high xhigh max" if "adaptive" in forms else "" for name, forms in THINKING.items()
    }

    def check_effort(self, body: Body, words: list[str]) -> None:
        thinking = body.get("thinking", {})
        if thinking and thinking["type"] not in self.THINKING[body["model"]].split():
            raise Refused(f"thinking.type.{thinking['type']} is not supported for this model.")
        self.require_word(body.get("output_config", {}).get("effort"), words)
        if thinking.get("type") == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if (thinking.get("type") == "enabled" or words) and body.keys() & {"temperature", "top_p"}:
            raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
        if body.get("tool_choice", {}).get("type") == "any" and self.UNFORCED.search(body["model"]):
            raise Refused("tool_choice: type `any` is not supported for this model.")

    def _texts(self, body: Body) -> list[tuple[int, str]]:
        return [
            (at, block["text"])
            for at, message in enumerate(body["messages"])
            for block in message["content"]
            if message["role"] == "user" and block["type"] == "text"
        ]

    def question(self, body: Body) -> str:
        return self._texts(body)[-1][1]

    def place(self, body: Body) -> tuple[int, bool]:
        last, text = self._texts(body)[-1]
        return sum(message["role"] == "assistant" for message in body["messages"][last:]), text.endswith(CALLS)

    def check(self, body: Body) -> None:
        messages = body["messages"]
        blocks = [*body.get("system", ()), *body.get("tools", ()), *(b for m in messages for b in m["content"])]
        marked = [block for block in blocks if block.pop("cache_control", None)]
        if len(marked) > 4:
            raise Refused(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marked)}.")
        if any("thinking" in block.get("type", "") for block in marked):
            raise Refused("cache_control cannot be set on thinking blocks")
        if messages[0]["role"] != "user":
            raise Refused('messages: first message must use the "user" role')
        for at, (before, message) in enumerate(pairwise([{"role": "assistant", "content": []}, *messages])):
            if before["role"] == message["role"]:
                raise Refused('messages: roles must alternate between "user" and "assistant"')
            used = [block["id"] for block in before["content"] if block["type"] == "tool_use"]
            answered = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
            if used != answered:
                raise Refused(
                    f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {used}"
                )
            kinds = [block["type"] for block in message["content"]]
            if message["role"] == "assistant" and {"image", "document"} & set(kinds):
                raise Refused(f"messages.{at}: pictures and documents are only in user messages")
            if sorted(kinds, key=lambda kind: kind != "tool_result") != kinds and answered:
                raise Refused(f"messages.{at}: tool_result blocks must come first")
            if message["role"] == "assistant":
                self._check_thoughts(at, message["content"], body["model"])
            if any(block["type"] == "text" and not block["text"].strip() for block in message["content"]):
                raise Refused(f"messages.{at}: text content blocks must contain non-whitespace text")

    def _check_thoughts(self, at: int, content: list[dict[str, Any]], model: str) -> None:
        uses = [block["input"].get("text") for block in content if block["type"] == "tool_use"]
        texts = [block["text"] for block in content if block["type"] == "text"]
        key = uses[0] if uses else texts[-1]
        mine = self.given.get(key)
        shape = [block if "thinking" in block["type"] else block["type"] for block in content]
        if mine is not None and mine[0] == model:
            if shape != mine[1]:
                raise Refused(
                    f"messages.{at}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot "
                    f"be modified: {shape} instead of {mine[1]}"
                )
            self.returned += 1
        elif any(isinstance(block, dict) for block in shape):
            raise Refused(f"messages.{at}: Invalid `signature` in `thinking` block")

    def _blocks(self, body: Body, key: str, blocks: list[dict[str, Any]], reason: str) -> list[Any]:
        self.given[key] = (
            body["model"],
            [block if "thinking" in block["type"] else block["type"] for block in blocks],
        )
        usage = {"input_tokens": 10, "output_tokens": 1}
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage}
        events: list[Any] = [{"type": "message_start", "message": message}]
        for index, block in enumerate(blocks):
            events.append({"type": "content_block_start", "index": index, "content_block": self._empty(block)})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in self._deltas(block)]
            events.append({"type": "content_block_stop", "index": index})
        return [
            *events,
            {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
            {"type": "message_stop"},
        ]

    @staticmethod
    def _empty(block: dict[str, Any]) -> dict[str, Any]:
        emptied: dict[str, dict[str, Any]] = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }
        return block | emptied.get(block["type"], {})

    @staticmethod
    def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
        match block["type"]:
            case "thinking":
                thoughts = [
                    {"type": "thinking_delta", "thinking": piece} for piece in re.findall(".{1,7}", block["thinking"])
                ]
                return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
            case "text":
                return [{"type": "text_delta", "text": piece} for piece in re.findall(".{1,7}", block["text"])]
            case "tool_use":
                return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        return []

    def _thinking(self, key: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": THOUGHT, "signature": f"secret-of-anthropic {key}"}

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        blocks = [
            self._thinking(texts[0]),
            {"type": "redacted_thinking", "data": f"secret-of-anthropic-too {texts[0]}"},
            {"type": "text", "text": "Let me see."},
            self._thinking(texts[0] + " again"),
            *(
                {"type": "tool_use", "id": f"toolu_{text.replace(' ', '')}", "name": "record", "input": {"text": text}}
                for text in texts
            ),
        ]
        return self._blocks(body, texts[0], blocks, "tool_use")

    def text(self, body: Body, text: str) -> list[Any]:
        return self._blocks(body, text, [self._thinking(text), {"type": "text", "text": text}], "end_turn")

    def error(self, message: str) -> Any:
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


class Responses(StrictVendor):
    """platform.openai.com/docs/guides/reasoning, docs.x.ai: without state on the server.

    Each call has its output. Reasoning must be followed by the item that it led to, and be whole. Nothing is stored, so
    an item cannot be named by its id alone. Thinking models have no temperature.
    """

    path = "/responses"
    model = "gpt-5.5"
    reads_pdf = True
    efforts: ClassVar[dict[str, str]] = {
        "gpt-5.5": "none low medium high xhigh",
        "gpt-6-astra": "low medium high xhigh max",
        "gpt-6.1-terra": "none low medium high xhigh max",
        "gpt-5.5-pro": "medium high xhigh",
        "o4-mini": "low medium high",
    }
    PLAIN: ClassVar[frozenset[str]] = frozenset(
        {
            "model",
            "input",
            "stream",
            "store",
            "tools",
            "include",
            "reasoning",
            "max_output_tokens",
            "prompt_cache_key",
            "tool_choice",
            "parallel_tool_calls",
            "text",
        }
    )

    def place(self, body: Body) -> tuple[int, bool]:
        items = body["input"]
        last = max(at for at, item in enumerate(items) if item.get("role") == "user")
        kinds = [item["type"] for item in items[last:]]
        turns = sum(
            kind == "function_call" and before != "function_call" for before, kind in pairwise(["message", *kinds])
        )
        return turns, self.question(body).endswith(CALLS)

    def question(self, body: Body) -> str:
        item = next(item for item in reversed(body["input"]) if item.get("role") == "user")
        return str(item["content"][0]["text"])

    def check_effort(self, body: Body, words: list[str]) -> None:
        self.require_word(body.get("reasoning", {}).get("effort"), words)

    def check(self, body: Body) -> None:
        if body["store"] is not False or body.get("include") != ["reasoning.encrypted_content"]:
            raise Refused("Conversations are not to be stored here.")
        if unknown := body.keys() - self.PLAIN:
            raise Refused(f"Unsupported parameter: '{min(unknown)}' is not supported with this model.")
        items = body["input"]
        called = [item["call_id"] for item in items if item["type"] == "function_call"]
        answered = [item["call_id"] for item in items if item["type"] == "function_call_output"]
        if called != answered:
            raise Refused(f"No tool output found for function call {set(called) - set(answered)}.")
        for at, item in enumerate(items):
            if item["type"] == "reasoning":
                self._check_thoughts(item, items[at + 1] if at + 1 < len(items) else {}, body["model"])
        own_turns = [self.given[key] for key in self._keys(items)]
        expected = [thoughts for model, thoughts in own_turns if model == body["model"]]
        if expected != [item for item in items if item["type"] == "reasoning"]:
            raise Refused("Thoughts that were given did not come back.")
        self.returned += len(expected)

    def _keys(self, items: list[dict[str, Any]]) -> list[str]:
        """Return what names each turn that this vendor gave: its first call, or its text if there is none."""
        texts = [
            json.loads(item["arguments"]).get("text") if item["type"] == "function_call" else item["content"][0]["text"]
            for item in items
            if item["type"] == "function_call" or item.get("role") == "assistant"
        ]
        return [text for text in texts if text in self.given]

    def _check_thoughts(self, item: dict[str, Any], following: dict[str, Any], model: str) -> None:
        if not item.get("encrypted_content"):
            raise Refused(f"Item with id '{item['id']}' not found. Items are not persisted when `store` is false.", 404)
        if following.get("type") not in ("message", "function_call") or following.get("role") == "user":
            raise Refused(f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.")
        if (model, item) not in self.given.values():
            raise Refused("The encrypted content could not be verified.")

    def _events(self, body: Body, key: str, items: list[dict[str, Any]]) -> list[Any]:
        thoughts = {
            "type": "reasoning",
            "id": f"rs_{len(self.given)}",
            "summary": [{"type": "summary_text", "text": THOUGHT}],
            "encrypted_content": f"secret-of-{self.name} {key}",
        }
        self.given[key] = (body["model"], thoughts)
        events: list[Any] = [{"type": "response.created", "response": {"object": "response", "error": None}}]
        for index, item in enumerate([thoughts, *items]):
            events.append({"type": "response.output_item.added", "output_index": index, "item": {"type": item["type"]}})
            if item["type"] == "message":
                text = item["content"][0]["text"]
                events += [
                    {"type": "response.output_text.delta", "output_index": index, "delta": piece}
                    for piece in re.findall(".{1,7}", text)
                ]
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        return [*events, {"type": "response.completed", "response": {"status": "completed", "output": []}}]

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        calls = [
            {
                "type": "function_call",
                "id": f"fc_{text.replace(' ', '')}",
                "call_id": f"call_{text.replace(' ', '')}",
                "name": "record",
                "arguments": json.dumps({"text": text}),
            }
            for text in texts
        ]
        return self._events(body, texts[0], calls)

    def text(self, body: Body, text: str) -> list[Any]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return self._events(body, text, [{"type": "message", "id": "msg_1", "role": "assistant", "content": content}])

    def error(self, message: str) -> Any:
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


class Azure(Responses):
    name = "azure"


class XAI(Responses):
    name = "xai"
    model = "grok-4.3"
    other_model = "grok-4.7"
    efforts: ClassVar[dict[str, str]] = {
        "grok-4.3": "none low medium high",
        "grok-4.6": "low medium high",
        "grok-4.7": "low medium high xhigh",
    }
    reads_pdf = False


class Ollama(StrictVendor):
    """docs.ollama.com/capabilities: calls and results without ids, thoughts of a turn come back with its calls.

    A request without `num_ctx` would be cut to 4,096 tokens silently.
    """

    name = "ollama"
    path = "/api/chat"
    model = "qwen3.5"
    efforts: ClassVar[dict[str, str]] = {"qwen3.5": "", "gpt-oss:20b": "low medium high", "llama3.3": ""}
    is_lines = True
    fields: ClassVar[frozenset[str]] = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name"})

    def check_effort(self, body: Body, words: list[str]) -> None:
        think = body.get("think")
        if body["model"] == "llama3.3" and think:
            raise Refused('"llama3.3" does not support thinking')
        if isinstance(think, str):
            self.require_word(think, words)

    def check(self, body: Body) -> None:
        if not body["options"].get("num_ctx"):
            raise Refused("The window is not named.")
        waiting: list[str] = []
        for at, message in enumerate(body["messages"]):
            if unknown := message.keys() - self.fields:
                raise Refused(f"json: unknown field {min(unknown)}")
            if message["role"] == "tool":
                if not waiting or message["tool_name"] != waiting.pop(0):
                    raise Refused(f"A result at {at} without its call")
                continue
            if waiting:
                raise Refused(f"A call before {at} without its result")
            calls = message.get("tool_calls", ())
            waiting = [call["function"]["name"] for call in calls]
            key = calls[0]["function"]["arguments"].get("text") if calls else message["content"]
            if message.get("thinking") != self.given.get(key):
                raise Refused(f"Not the thoughts of the turn at {at}")
            self.returned += key in self.given

    def _lines(self, key: str, *messages: dict[str, Any]) -> list[Any]:
        self.given[key] = f"secret-of-ollama {key}"
        thoughts = [{"thinking": piece} for piece in re.findall(".{1,7}", self.given[key])]
        lines = [{"message": {"role": "assistant", "content": "", **message}} for message in (*thoughts, *messages)]
        return [*lines, {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}]

    def calls(self, body: Body, texts: list[str]) -> list[Any]:
        calls = [{"tool_calls": [{"function": {"name": "record", "arguments": {"text": text}}}]} for text in texts]
        return self._lines(texts[0], {"content": "Let me see."}, *calls)

    def text(self, body: Body, text: str) -> list[Any]:
        return self._lines(text, *({"content": piece} for piece in re.findall(".{1,7}", text)))

    def error(self, message: str) -> Any:
        return {"error": message}


VENDORS: tuple[Callable[[], StrictVendor], ...] = (
    ChatCompletions,
    Mistral,
    Google,
    DeepSeek,
    Moonshot,
    OpenRouter,
    Anthropic,
    Azure,
    XAI,
    Cohere,
    Ollama,
)


class StrictVendors:
    """All of them on one port, each below its name."""

    def __init__(self) -> None:
        self.vendors = {vendor.name: vendor for vendor in (make() for make in VENDORS)}
        vendors = self.vendors

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(ConnectionError):
                    _serve(self, vendors, raw)

            def do_GET(self) -> None:
                _send(self, 200, "application/json", b'{"data": [], "models": [], "has_more": false}')

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def configs(self) -> list[OperatorConfig]:
        """Return the settings of an operator who offers all of them."""
        return [
            OperatorConfig(
                provider=name,
                api_key=f"key-of-{name}",
                base_url=f"{self.origin}/{name}",
                models=tuple(dict.fromkeys(filter(None, (vendor.model, vendor.other_model, *vendor.efforts)))),
            )
            for name, vendor in self.vendors.items()
        ]

    @property
    def refusals(self) -> dict[str, list[str]]:
        return {name: vendor.refusals for name, vendor in self.vendors.items() if vendor.refusals}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _serve(handler: BaseHTTPRequestHandler, vendors: dict[str, StrictVendor], raw: bytes) -> None:
    name, _, path = handler.path.removeprefix("/").partition("/")
    vendor = vendors[name]
    body = json.loads(raw)
    model = vendor.model_of(f"/{path}", body)
    if model is None:
        _send(handler, 404, "application/json", json.dumps(vendor.error("Unknown route")).encode())
        return
    body["model"] = model
    vendor.requests.append(body)
    try:
        foreign = [other for other in vendors if other != name and f"secret-of-{other}" in raw.decode()]
        if foreign:
            raise Refused(f"This was given by {foreign}, and is not for {name}.")
        before = dict(vendor.given)
        events = vendor.answer(body)
    except Refused as refusal:
        vendor.refusals.append(str(refusal))
        _send(handler, refusal.status, "application/json", json.dumps(vendor.error(str(refusal))).encode())
        return
    kind = "application/x-ndjson" if vendor.is_lines else "text/event-stream"
    pieces = [
        f"{json.dumps(event)}\n"
        if vendor.is_lines
        else f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
        for event in events
    ]
    if vendor.question(body).endswith(SLOWLY):
        vendor.given = before  # the reply does not end
        _send_slowly(handler, kind, pieces)
    else:
        _send(handler, 200, kind, "".join(pieces).encode())


def _send_slowly(handler: BaseHTTPRequestHandler, kind: str, pieces: list[str]) -> None:
    """Send a reply without its last two events, then wait until the caller closes the connection."""
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write("".join(pieces[:-2]).encode())
    handler.wfile.flush()
    handler.connection.settimeout(30)
    while handler.connection.recv(1024):
        continue
    handler.close_connection = True


def _send(handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Connection", "close")
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True
