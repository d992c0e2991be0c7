"""The entities of drafts: the kinds of objects whose changes are published."""

from collections.abc import Mapping
from typing import Any

from tertulia.drafts.schemas import DraftListed, VersionListed, WorkingCopyMoved
from tertulia.realtime.entities import Entity

DRAFT = Entity("draft", DraftListed, is_shared=True)
DRAFT_VERSION = Entity("draft_version", VersionListed, is_shared=True)
DRAFT_WORKING_COPY = Entity("draft_working_copy", WorkingCopyMoved)
PROPOSAL: Entity[Mapping[str, Any]] = Entity("proposal", is_shared=True)
ATTACHED_DRAFT: Entity[Mapping[str, Any]] = Entity("attached_draft", is_shared=True)
ENTITIES = (
    DRAFT,
    DRAFT_VERSION,
    DRAFT_WORKING_COPY,
    PROPOSAL,
    ATTACHED_DRAFT,
)
