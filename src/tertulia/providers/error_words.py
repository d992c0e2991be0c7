"""Find out what a vendor's error says, in any of the known forms, and what it is about."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tertulia.providers.event_stream import MARK
from tertulia.providers.values import list_of, load_loosely, part_of

TOO_MANY = 429
_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded")
_TOO_LONG_WORDS = re.compile(
    r"(?<!search )context (length|window|size)|maximum context|context limit|(prompt|input|request) is too long|"
    r"too many (input |prompt )?tokens|input token count.{0,40}exceeds|maximum prompt length|model token limit|"
    r"inputs?.{0,3} tokens \+ .?max_new_tokens|range of input length|exceeds? (the )?(maximum|max) (input|prompt)|"
    r"must have less than \d+ tokens|超长|request too large for model|prompt token count.{0,20}exceeds|exceeds max context|"
    r"sequence length exceeded|reduce the length of the (messages|prompt|input)|(prompt|input) (tokens|length).{0,40}(exceed|limit)",
    re.IGNORECASE,
)
_NO_TOOLS = re.compile(
    r"no endpoints found that support tool|(not|n't) support (\w+ ){0,2}(tool|function)|"
    r"\b(tools?|functions?|tool (use|calls?|calling)|function calling)( \w+){0,3} (is|are|has|have) not (been )?(supported|enabled|available)|"
    r"enable-auto-tool-choice|tools param requires|(unsupported param|argument supplied|not permitted): tools\b|"
    r"\btool_calls: not supported",
    re.IGNORECASE,
)
_NO_PICTURES = re.compile(
    r"no endpoints found that support image|(not|n't) support (\w+ ){0,3}(image|vision|picture|multimodal)|"
    r"images?( \w+){0,3} (is|are )?not (supported|enabled|allowed)|unknown variant .?image_url|"
    r"image_url is only supported by|image_url.{0,40}not supported|content (part )?type:? .?image_url|not a (multimodal|vision) model|"
    r"at most 0 image|content must be a string|missing data required for image|only supports text|"
    r"image content, which the model cannot",
    re.IGNORECASE,
)
_QUOTES = str.maketrans("", "", "'\"`*‘’“”")


def is_error(event: dict[str, Any]) -> bool:
    """Return whether an event, or an answer, is an error in any of the known forms."""
    if event.get("error") or event.get("object") == "error" or event.get("type") == "error":
        return True
    if event.get("choices"):
        return False
    state = event.get("base_resp")  # MiniMax
    if isinstance(state, dict) and state.get("status_code"):
        return True
    is_told = any(isinstance(event.get(name), str) for name in _SAID) or isinstance(event.get("detail"), list | dict)
    is_failed = event.get("success") is False or bool(list_of(event, "errors"))
    return (is_told or is_failed) and "choices" not in event and "content" not in event


# Where vendors say what is wrong, and what codes are called.
_SAID = ("message", "detail", "Message", "error_msg", "error_message", "status_msg", "msg", "faultstring")
_GENERIC = re.compile(r"provider returned error|bad request|error|internal server error", re.IGNORECASE)


def error_words(body: object) -> tuple[str, str]:
    """Extract the provider's message and code from any vendor's error format. Either may be empty."""
    if isinstance(body, bytes):
        text = body.strip().removeprefix(MARK).removeprefix(b"data:").strip()
        try:
            body = load_loosely(text)
        except ValueError:
            return ("" if text.startswith(b"<") else text.decode("utf-8", "replace")), ""
    if isinstance(body, list):  # Google wraps its error in a list
        body = body[0] if body else {}
    if isinstance(body, str):
        return body, ""
    if not isinstance(body, dict):
        return "", ""
    parts = [body]
    for name in ("error", "errors", "fault", "base_resp", "detail"):
        inner = body.get(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict):
            parts.insert(0, inner)
    message = next((said for part in parts if (said := _said_in(part))), "")
    raw = part_of(parts[0], "metadata").get("raw")  # OpenRouter quotes its provider
    if raw and (not message or _GENERIC.fullmatch(message.strip())):
        message = error_words(raw.encode() if isinstance(raw, str) else raw)[0] or message
    if not message and (body.get("error") or body.get("errors") or parts[0] is not body):
        message = json.dumps(body.get("error") or body.get("errors") or parts[0], ensure_ascii=False)
    named = [part[name] for part in parts for name in ("code", "type", "status") if isinstance(part.get(name), str)]
    code = next(iter(named), "")
    number = next((part["code"] for part in parts if isinstance(part.get("code"), int)), None)
    if number is not None and (not code or number == TOO_MANY):
        code = str(number)
    return message, code


def _said_in(part: Mapping[str, Any]) -> str:
    """Return what a part of an error says. Some servers give a short name as `error`, and the reason in another field."""
    values = (part[name] for name in _SAID if part.get(name))
    value = next((value for value in values if not (isinstance(value, dict) and "role" in value)), None)
    said = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    name = part.get("error")
    name = name if isinstance(name, str) else ""
    return f"{name}: {said}" if name and said and name not in said else said or name or str(part.get("title") or "")


_WRONG_KEY = re.compile(
    r"api key not valid|(incorrect|invalid|expired|missing) api.?key|api.?key (is )?(invalid|expired|missing)",
    re.IGNORECASE,
)
_ABOUT_KEY = re.compile(r"api.?key|access token|credential|authenticat|unauthori[sz]ed", re.IGNORECASE)


def names_key(status: int, message: str) -> bool:
    """Recognise a wrong key: Google and xAI answer it with status 400."""
    return bool((_ABOUT_KEY if status == 403 else _WRONG_KEY).search(message))


def is_too_long(message: str, code: str = "") -> bool:
    return code in _TOO_LONG_CODES or bool(_TOO_LONG_WORDS.search(message))


def refuses_tools(said: str) -> bool:
    return bool(_NO_TOOLS.search(said.translate(_QUOTES)))


def refuses_pictures(said: str) -> bool:
    return bool(_NO_PICTURES.search(said.translate(_QUOTES)))
