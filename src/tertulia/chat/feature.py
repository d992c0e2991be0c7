"""What chats contribute to the app."""

from datetime import timedelta

from tertulia.accounts.deletion import OwnedData
from tertulia.billing.quotas import ChatOwnership
from tertulia.billing.usage import ChatTitles
from tertulia.chat import events, routes, share_routes, shared_chats, tag_routes
from tertulia.chat.branches import purge_messages
from tertulia.chat.chat_tools import ReadAttachment, ReadChat, ReadState, WriteState
from tertulia.chat.file_uses import MessageFileUses
from tertulia.chat.indexing import build_index, has_unindexed_files, index_files
from tertulia.chat.service import delete_chat_of, find_titles, is_own_chat, purge_trash
from tertulia.chat.tags import purge_tags
from tertulia.features import Feature
from tertulia.files.uses import FileUses
from tertulia.jobs.service import MORE, Job, Jobs
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.tools.protocol import OffersTools


def feature() -> Feature:
    return Feature(
        "chat",
        (
            *events.ENTITIES,
            routes.routes,
            share_routes.routes,
            tag_routes.routes,
            shared_chats.SHAREABLE,
            shared_chats.OPEN,
            Jobs(_jobs),
            OffersTools(ReadChat(), ReadAttachment(), ReadState(), WriteState()),
            Provides(FileUses, lambda _: MessageFileUses()),
            OwnedData(delete_chat_of),
            Provides(ChatOwnership, lambda _: ChatOwnership(is_own_chat)),
            Provides(ChatTitles, lambda _: ChatTitles(find_titles)),
        ),
    )


def _jobs(services: Services) -> list[Job]:
    kept = timedelta(days=services.get(Settings).trash_days)
    return [
        Job("build-search-index", 60, lambda session: None if build_index(session).is_built else MORE),
        Job("index-files", 2, lambda session: MORE if index_files(session) else None, has_unindexed_files),
        Job("purge-messages", 60, lambda session: purge_messages(session, kept)),
        Job("purge-tags", 3600, lambda session: purge_tags(session, kept)),
        Job("purge-trash", 60, lambda session: purge_trash(session, kept)),
    ]
