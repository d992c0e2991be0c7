"""Drafts of our own export: every version as it was."""

from typing import Any

from tertulia.transfer.found import FoundDraft
from tertulia.transfer.reader.shapes import seconds

FORMAT = "tertulia.draft/1"


def knows(item: dict[str, Any]) -> bool:
    return item.get("format") == FORMAT


def read(item: dict[str, Any]) -> FoundDraft:
    draft = item["draft"]
    return FoundDraft.model_validate(
        {
            **draft,
            "created_at": seconds(draft["created_at"]),
            "updated_at": seconds(draft["updated_at"]),
            "versions": [{**one, "created_at": seconds(one["created_at"])} for one in item["versions"]],
        }
    )
