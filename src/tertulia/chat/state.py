"""State that tools and agents keep for a chat between turns: a JSON object, checked against its schema."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import StateInvalid, StateTooLarge
from tertulia.chat.events import CHAT_STATE
from tertulia.chat.messages import lock_chat
from tertulia.chat.models import Chat, ChatState
from tertulia.chat.schemas import StateRead
from tertulia.chat.service import get_chat
from tertulia.db import insert_if_absent
from tertulia.http.body import RequestModel, at_most
from tertulia.ids import ChatId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.validation import check_arguments, check_plain, is_modest_schema

MAX_STATE = 256 * 1024
MAX_FIELDS = 10_000


class StateWrite(RequestModel):
    """A new state. An absent `schema` stays unchanged; null removes it."""

    state: Annotated[dict[str, Any], *at_most(MAX_FIELDS)]
    json_schema: Annotated[dict[str, Any], *at_most(MAX_FIELDS)] | None = Field(
        None, alias="schema", description="JSON Schema of an object."
    )


def get_state(session: Session, actor: Actor, chat_id: ChatId) -> StateRead:
    """Return the state of a chat, empty if none is stored. Raises ChatNotFound."""
    get_chat(session, actor, chat_id)
    row = session.scalars(sa.select(ChatState).where(ChatState.chat_id == chat_id)).one_or_none()
    return _read(chat_id, row)


def put_state(session: Session, actor: Actor, chat_id: ChatId, write: StateWrite) -> StateRead:
    """Replace the state of a chat. Raises StateInvalid if the schema or the state is not valid, StateTooLarge."""
    row = _locked(session, actor, chat_id)
    if "json_schema" in write.model_fields_set:
        if write.json_schema is not None and not is_modest_schema(write.json_schema):
            raise StateInvalid(
                "The schema must be a JSON Schema of an object with at most 64 KiB and 32 levels, without references, "
                "patterns and uniqueItems.",
                field="schema",
            )
        row.state_schema = write.json_schema
    return _store(session, row, write.state)


def merge_state(session: Session, actor: Actor, chat_id: ChatId, write: StateWrite) -> StateRead:
    """Replace the named fields of the state and remove those that are null. Raises StateInvalid, StateTooLarge."""
    row = _locked(session, actor, chat_id)
    merged = {**row.state, **write.state}
    return _store(session, row, {name: value for name, value in merged.items() if value is not None})


def may_declare(session: Session, chat_id: str, schema: Mapping[str, Any]) -> bool:
    """Return whether a tool of the chat may declare a schema: none is stored, and the stored state matches it."""
    row = session.execute(
        sa.select(ChatState.state, ChatState.state_schema).where(ChatState.chat_id == chat_id)
    ).one_or_none()
    state, stored_schema = row or ({}, None)
    if stored_schema is not None or not is_modest_schema(dict(schema)):
        return False
    try:
        check_arguments(schema, state, limit_bytes=MAX_STATE)
    except ArgumentsInvalid:
        return False
    return True


def declare_schema(session: Session, actor: Actor, chat_id: ChatId, schema: Mapping[str, Any]) -> None:
    """Store the schema of a tool that the chat offers, if `may_declare` allows it."""
    row = _locked(session, actor, chat_id)
    if may_declare(session, chat_id, schema):
        row.state_schema = dict(schema)
        _store(session, row, row.state)


def _locked(session: Session, actor: Actor, chat_id: ChatId) -> ChatState:
    lock_chat(session, actor, chat_id)
    now = clock.now()
    insert_if_absent(session, ChatState, id=new_id(), chat_id=chat_id, state={}, created_at=now, updated_at=now)
    return session.scalars(
        sa.select(ChatState).where(ChatState.chat_id == chat_id).execution_options(populate_existing=True)
    ).one()


def _store(session: Session, row: ChatState, state: dict[str, Any]) -> StateRead:
    try:
        check_plain(state)
        if len(orjson.dumps(state)) > MAX_STATE:
            raise StateTooLarge(MAX_STATE)
        if row.state_schema is not None:
            check_arguments(row.state_schema, state, limit_bytes=MAX_STATE)
    except ArgumentsInvalid as error:
        raise StateInvalid(f"The state cannot be stored: {error.detail}", field="state") from None
    row.state, row.updated_at = state, clock.now()
    session.flush()
    read = _read(row.chat_id, row)
    owner_id = session.scalars(sa.select(Chat.user_id).where(Chat.id == row.chat_id)).one()
    publish(
        session,
        owner_id=owner_id,
        topic=f"chat:{row.chat_id}",
        entity=CHAT_STATE,
        entity_id=row.chat_id,
        operation=Operation.UPDATED,
        payload=read,
        shared_id=row.chat_id,
    )
    return read


def _read(chat_id: str, row: ChatState | None) -> StateRead:
    return {
        "chat_id": chat_id,
        "state": row.state if row else {},
        "schema": row.state_schema if row else None,
        "updated_at": row.updated_at if row else None,
    }
