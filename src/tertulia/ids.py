"""Identifiers: UUIDv7 as canonical text, with a type for each kind of object.

The wire needs text, so hot paths never build a UUID object. The database stores 16 bytes (SQLite) or a native uuid
(PostgreSQL): see db/types.py.
"""

import secrets
import threading
import time
from functools import lru_cache
from typing import Annotated, NewType
from uuid import UUID

from pydantic import AfterValidator, Field

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Create a UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 bits of sequence, then random bits.

    Ids only increase within a process, even if the clock goes back, because pages are ordered by id.
    """
    global _last
    stamp = (time.time_ns() // 1_000_000) << 12 | secrets.randbits(11)
    with _lock:
        _last = stamp = stamp if stamp > _last else _last + 1
    high = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xFFF)
    low = 0x8000_0000_0000_0000 | secrets.randbits(62)
    return format_id(high.to_bytes(8, "big") + low.to_bytes(8, "big"))


def id_after(earlier: str) -> str:
    """Return the id that follows another one in order."""
    return str(UUID(int=min(UUID(earlier).int + 1, (1 << 128) - 1)))


@lru_cache(maxsize=8192)
def format_id(raw: bytes) -> str:
    """Format 16 bytes as canonical text. Cached, because a page repeats the same ids."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_id(text: str) -> str:
    """Return the canonical text of an id in any UUID spelling. Raises ValueError."""
    return str(UUID(text))


# An id as a request gives it. The types below are checked the same way in paths, queries and bodies.
AnyId = Annotated[str, AfterValidator(parse_id), Field(json_schema_extra={"format": "uuid"})]
UserId = NewType("UserId", AnyId)
InvitationId = NewType("InvitationId", AnyId)
SessionId = NewType("SessionId", AnyId)
ApiTokenId = NewType("ApiTokenId", AnyId)
ProjectId = NewType("ProjectId", AnyId)
ChannelId = NewType("ChannelId", AnyId)
ChatId = NewType("ChatId", AnyId)
MessageId = NewType("MessageId", AnyId)
RunId = NewType("RunId", AnyId)
TagId = NewType("TagId", AnyId)
AttachmentId = NewType("AttachmentId", AnyId)
ShareId = NewType("ShareId", AnyId)
DraftId = NewType("DraftId", AnyId)
ProposalId = NewType("ProposalId", AnyId)
ImportJobId = NewType("ImportJobId", AnyId)
ToolExecutionId = NewType("ToolExecutionId", AnyId)
ContextOptimizationId = NewType("ContextOptimizationId", AnyId)
ToolServerId = NewType("ToolServerId", AnyId)
ProviderConfigId = NewType("ProviderConfigId", AnyId)
QuotaId = NewType("QuotaId", AnyId)
QuotaNoticeId = NewType("QuotaNoticeId", AnyId)
PlanId = NewType("PlanId", AnyId)
WebhookEventId = NewType("WebhookEventId", AnyId)
ModelPriceId = NewType("ModelPriceId", AnyId)
ReconciliationId = NewType("ReconciliationId", AnyId)
