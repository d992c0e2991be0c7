"""Create, list, share, search and export notes."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session
from tertulia.notes.models import Note
from tertulia.notes.schemas import NoteCreate, NoteRead

from tertulia.accounts import sharing
from tertulia.accounts.access import actor_id, is_granted
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Share
from tertulia.accounts.schemas import ShareCreate, ShareCreated
from tertulia.accounts.sharing import Shareable, ShareTarget
from tertulia.errors import NotFound
from tertulia.exports import Exportable, ExportedObject
from tertulia.http.responses import encode
from tertulia.realtime.entities import Entity
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.search_index.searchable import FoundObject, Searchable

NOTE = Entity("note", NoteRead, is_shared=True)


def _may_read() -> sa.ColumnElement[bool]:
    return (Note.user_id == actor_id()) | is_granted(Share.note_id == Note.id, Share.can_read)


def create_note(session: Session, actor: Actor, new: NoteCreate) -> NoteRead:
    note = Note(user_id=actor.user_id, title=new.title, text=new.text)
    session.add(note)
    session.flush()
    read = _read(note)
    publish(
        session,
        owner_id=actor.user_id,
        topic=f"user:{actor.user_id}",
        entity=NOTE,
        entity_id=note.id,
        operation=Operation.CREATED,
        payload=read,
        shared_id=note.id,
    )
    return read


def list_notes(session: Session, actor: Actor) -> list[NoteRead]:
    """Return the actor's notes and those shared with them, oldest first."""
    query = sa.select(Note).where(_may_read()).order_by(Note.id)
    return [_read(note) for note in session.scalars(query, {"actor_id": actor.user_id})]


def share_note(session: Session, actor: Actor, note_id: str, new: ShareCreate) -> ShareCreated:
    shared = lock_note(session, note_id)
    if shared.owner_id != actor.user_id:
        raise NotFound
    return sharing.create_share(session, actor, shared, new)


def lock_note(session: Session, note_id: str) -> ShareTarget:
    owner_id = session.scalar(sa.select(Note.user_id).where(Note.id == note_id).with_for_update())
    if owner_id is None:
        raise NotFound
    return ShareTarget(Share.note_id, note_id, owner_id)


def _find(session: Session, actor: Actor, words: Sequence[str], limit: int) -> list[FoundObject]:
    matches = [sa.func.lower(Note.title + " " + Note.text).contains(word) for word in words]
    rows = session.scalars(sa.select(Note).where(_may_read(), *matches).limit(limit), {"actor_id": actor.user_id})
    return [{"kind": "note", "id": note.id, "title": note.title, "excerpt": note.text[:100]} for note in rows]


def _list_ids(session: Session, user_id: str, after: str | None) -> list[str]:
    query = sa.select(Note.id).where(Note.user_id == user_id).order_by(Note.id).limit(50)
    return list(session.scalars(query.where(Note.id > after) if after else query))


def _encode(session: Session, note_id: str) -> ExportedObject:
    return ExportedObject(note_id, encode(_read(session.get_one(Note, note_id))))


def _read(note: Note) -> NoteRead:
    return {"id": note.id, "title": note.title, "text": note.text}


SEARCHABLE = Searchable("note", _find)
EXPORTABLE = Exportable("notes", _list_ids, _encode)
SHAREABLE = Shareable(
    Share.note_id,
    lock_note,
    (sa.select(Share.shared_with_user_id, Share.note_id, Share.expires_at).where(Share.note_id.is_not(None)),),
)
