"""What invitations contribute to the app: their routes, and the sweep of old ones."""

from tertulia.features import Feature
from tertulia.invitations import events, routes
from tertulia.invitations.service import sweep_invitations
from tertulia.jobs.service import Job, Jobs


def feature() -> Feature:
    return Feature(
        "invitations",
        (routes.routes, *events.ENTITIES, Jobs(lambda _: [Job("sweep-invitations", 3600, sweep_invitations)])),
    )
