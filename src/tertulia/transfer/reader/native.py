"""Read our own export without loss."""

import re
from typing import Any

from tertulia.chat.import_sources import ImportSource
from tertulia.transfer.found import FoundChat, FoundFile, FoundMessage
from tertulia.transfer.reader.shapes import seconds

FORMAT = "tertulia.chat/1"
HASH = re.compile(r"[0-9a-f]{64}")


def knows(item: dict[str, Any]) -> bool:
    return item.get("format") == FORMAT


def read(item: dict[str, Any]) -> FoundChat:
    chat = item["chat"]
    return FoundChat(
        source=ImportSource.TERTULIA,
        id=chat["id"],
        title=chat["title"],
        created_at=seconds(chat["created_at"]),
        updated_at=seconds(chat["last_message_at"]),
        head=chat["head_message_id"],
        is_archived=chat["is_archived"],
        is_pinned=chat["pinned_at"] is not None,
        system_prompt=chat["system_prompt"],
        model=chat["model_name"],
        tags=[tag["name"] for tag in chat["tags"]],
        messages=[
            FoundMessage(
                id=message["id"],
                parent=message["previous_message_id"],
                thread_of=message["parent_message_id"],
                role=message["role"],
                parts=message["parts"],
                created_at=seconds(message["created_at"]),
                native=message,
            )
            for message in item["messages"]
        ],
        files=[
            FoundFile(
                id=file["id"], file_name=file["file_name"], content=file["sha256"], message_ids=file["message_ids"]
            )
            for file in item.get("files", [])
        ],
        native=chat,
    )
