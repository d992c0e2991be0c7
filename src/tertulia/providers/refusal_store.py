"""Keep what models refuse (refusals.py) over restarts, and share it between processes."""

import asyncio
import logging
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database
from tertulia.db.upsert import insert_if_absent
from tertulia.errors import AppError
from tertulia.ids import new_id
from tertulia.providers.models import ModelRefusal
from tertulia.providers.refusals import KEPT, MAX_REMEMBERED, Key, Refusals, RefusedParameters

READ_AGAIN_S = 300.0
log = logging.getLogger(__name__)


class RefusalStore:
    """Service: writes what is learned soon, and reads what other processes have learned now and then."""

    def __init__(self, db: Database, refused: RefusedParameters) -> None:
        self.refused = refused
        self._db = db
        self._changed: set[Key] = set()
        self._wake = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        refused.on_learned = self._note

    async def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name="keep-refusals")

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._save()

    def _note(self, key: Key) -> None:
        self._changed.add(key)
        self._wake.set()

    async def _keep(self) -> None:
        while True:
            await self._load()
            try:
                async with asyncio.timeout(READ_AGAIN_S):
                    while True:
                        await self._wake.wait()
                        self._wake.clear()
                        await self._save()
            except TimeoutError:
                await self._save()  # again, if it failed before

    async def _load(self) -> None:
        try:
            self.refused.load(await self._db.read(_read_refusals))
        except AppError as error:
            log.warning("cannot read what models refuse: %s", error.detail)

    async def _save(self) -> None:
        """Write what changed. What cannot be written now is written later: until then it is only in memory."""
        changed, self._changed = self._changed, set()
        if not changed:
            return
        try:
            await self._db.write(_write_refusals, {key: self.refused.get(key) for key in changed})
            changed = set()
        except AppError as error:
            log.warning("cannot store what models refuse: %s", error.detail)
        except Exception:
            log.exception("storing what models refuse failed; trying again later")
        finally:
            self._changed |= changed  # also if it was stopped in the middle


def _read_refusals(session: Session) -> list[tuple[Key, Refusals]]:
    rows = session.scalars(
        sa.select(ModelRefusal)
        .where(ModelRefusal.learned_at > clock.now() - KEPT)
        .order_by(ModelRefusal.learned_at.desc())
        .limit(MAX_REMEMBERED)
    )
    return [((row.account, row.model_name), _read(row)) for row in reversed(rows.all())]


def _write_refusals(session: Session, learned: Mapping[Key, Refusals]) -> None:
    session.execute(sa.delete(ModelRefusal).where(ModelRefusal.learned_at < clock.now() - KEPT))
    for (account, model_name), refusals in learned.items():
        values: dict[str, object] = {
            "names": dict(refusals.names),
            "longest_reply": refusals.longest,
        }
        values["learned_at"] = refusals.learned_at
        if insert_if_absent(session, ModelRefusal, id=new_id(), account=account, model_name=model_name, **values):
            continue
        row = session.scalars(
            sa.select(ModelRefusal)
            .where(ModelRefusal.account == account, ModelRefusal.model_name == model_name)
            .with_for_update()
        ).one()
        joined = refusals.joined(_read(row)).fresh()
        row.names, row.longest_reply, row.learned_at = dict(joined.names), joined.longest, joined.learned_at


def _read(row: ModelRefusal) -> Refusals:
    return Refusals(row.names, row.longest_reply)
