"""Read drafts of our own export with every version."""

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
            "versions": [{**version, "created_at": seconds(version["created_at"])} for version in item["versions"]],
        }
    )
