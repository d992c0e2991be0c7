"""The entities of accounts: the kinds of objects whose changes are published."""

from collections.abc import Mapping
from typing import Any

from tertulia.accounts.schemas import ApiTokenRead, ShareRead, UserRead
from tertulia.realtime.entities import Entity

USER = Entity("user", UserRead)
SESSION: Entity[Mapping[str, Any]] = Entity("session")
API_TOKEN = Entity("api_token", ApiTokenRead)
SHARE = Entity("share", ShareRead)
ENTITIES = (
    USER,
    SESSION,
    API_TOKEN,
    SHARE,
)
