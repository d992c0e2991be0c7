"""Build parts and parse times for all readers."""

import math
import re
from datetime import datetime
from typing import Any

Part = dict[str, Any]
_FENCE = re.compile(r"[^\w+#.-]")


def text_part(text: object) -> list[Part]:
    return [{"type": "text", "text": text}] if isinstance(text, str) and text.strip() else []


def code_part(code: object, language: object = "text") -> list[Part]:
    shown = _FENCE.sub("", str(language or "text"))[:50] or "text"
    return [{"type": "code", "language": shown, "code": code}] if isinstance(code, str) and code.strip() else []


def reasoning_part(text: object, duration_ms: object = None) -> list[Part]:
    if not isinstance(text, str) or not text.strip():
        return []
    took = {"duration_ms": int(duration_ms)} if isinstance(duration_ms, int | float) and duration_ms >= 0 else {}
    return [{"type": "reasoning", "text": text, **took}]


def source_part(url: object, title: object = None) -> list[Part]:
    if not isinstance(url, str) or not re.match(r"^https?://\S+$", url) or len(url) > 2000:
        return []
    return [{"type": "source", "url": url, **({"title": str(title)[:500]} if title else {})}]


def seconds(value: object) -> float | None:
    """Parse a time as seconds since 1970: from seconds, milliseconds or nanoseconds, or from ISO 8601."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        moment = float(value)
        if not math.isfinite(moment):
            return None
        while moment > 100_000_000_000:  # beyond the year 5138: a finer unit
            moment /= 1000
        return moment if moment > 0 else None
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        except (ValueError, OverflowError):
            return None
    return None


def listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def mapped(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
