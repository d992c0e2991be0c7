"""Record when sessions and API tokens were last used."""

from tertulia.accounts.api_tokens import touch_api_tokens
from tertulia.accounts.caller import Authenticator
from tertulia.accounts.sessions import touch_sessions
from tertulia.db import Database
from tertulia.jobs.flusher import Flusher


class ActivityRecorder(Flusher):
    """Writes the last uses that the authenticator has seen since the last time."""

    def __init__(self, db: Database, authenticator: Authenticator) -> None:
        super().__init__("touch-sessions", self._write)
        self._db = db
        self._authenticator = authenticator

    async def _write(self) -> None:
        sessions, tokens = self._authenticator.drain_session_uses(), self._authenticator.drain_token_uses()
        try:
            if sessions:
                await self._db.write(touch_sessions, sessions)
            if tokens:
                await self._db.write(touch_api_tokens, tokens)
        except Exception:
            self._authenticator.seen = sessions | self._authenticator.seen
            self._authenticator.tokens_last_used = tokens | self._authenticator.tokens_last_used
            raise
