"""The entity of invitations."""

from tertulia.invitations.schemas import InvitationRead
from tertulia.realtime.entities import Entity

INVITATION = Entity("invitation", InvitationRead)
ENTITIES = (INVITATION,)
