"""Use the generated Python client against a server: `use_python.py URL TOKEN`. Run by tests/contracts/test_clients.py.

The environment of the generator runs this, not the one of the tests.
"""

import importlib
import pkgutil
import sys
from http import HTTPStatus
from uuid import uuid4

import tertulia_client
from tertulia_client import AuthenticatedClient
from tertulia_client.api.chats import get_chat, get_chats, get_messages, patch_chat, post_chat
from tertulia_client.api.runs import post_message
from tertulia_client.models import ChatCreate, ChatRead, ChatReadPage, ChatUpdate, MessageCreate, Problem
from tertulia_client.types import UNSET


def main(url: str, token: str) -> None:
    names = [module.name for module in pkgutil.walk_packages(tertulia_client.__path__, "tertulia_client.")]
    for name in names:
        importlib.import_module(name)
    with AuthenticatedClient(base_url=url, token=token) as client:
        chat = post_chat.sync(client=client, body=ChatCreate(title="From Python"))
        assert isinstance(chat, ChatRead)
        assert chat.title == "From Python"
        assert chat.created_at.tzinfo is not None
        chat = patch_chat.sync(chat.id, client=client, body=ChatUpdate(title="Renamed"))
        assert isinstance(chat, ChatRead)
        assert chat.title == "Renamed"
        sent = post_message.sync(chat.id, client=client, body=MessageCreate(content="Hello", reply=False))
        assert sent is not None
        messages = get_messages.sync(chat.id, client=client)
        assert messages is not None
        assert [message.content for message in messages.items] == ["Hello"]
        page = get_chats.sync(client=client, limit=1)
        titles = []
        while isinstance(page, ChatReadPage):
            titles += [item.title for item in page.items]
            if page.next_cursor is None:
                break
            page = get_chats.sync(client=client, limit=1, cursor=page.next_cursor or UNSET)
        assert titles == ["Renamed", "First"], titles
        answer = get_chat.sync_detailed(uuid4(), client=client)
        assert answer.status_code == HTTPStatus.NOT_FOUND
        assert isinstance(answer.parsed, Problem)
        assert answer.parsed.code == "chat_not_found"
        refused = post_chat.sync(client=client, body=ChatCreate(title="x" * 201))
        assert isinstance(refused, Problem)
        assert refused.status == HTTPStatus.UNPROCESSABLE_ENTITY
    print(f"used {len(names)} modules")


main(*sys.argv[1:])
