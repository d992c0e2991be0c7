"""The entities of files: the kinds of objects whose changes are published."""

from tertulia.files.schemas import AttachmentRead
from tertulia.realtime.entities import Entity

ATTACHMENT = Entity("attachment", AttachmentRead)
ENTITIES = (ATTACHMENT,)
