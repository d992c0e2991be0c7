"""What projects contribute to the app: their routes, live updates, and the end of what is in the trash."""

from datetime import timedelta

import sqlalchemy as sa

from tertulia.accounts.deletion import OwnedData
from tertulia.accounts.models import Membership
from tertulia.accounts.sharing import OpenToMembers
from tertulia.chat.message_hooks import MessageHooks
from tertulia.features import Feature
from tertulia.jobs.service import MORE, Job, Jobs
from tertulia.projects import events, routes
from tertulia.projects.channels import forget_mentions, note_post, renew_mentions
from tertulia.projects.members import leave_all
from tertulia.projects.service import purge_projects
from tertulia.services import Services
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "projects",
        (
            *events.ENTITIES,
            routes.routes,
            MessageHooks(posted=note_post, changed=renew_mentions),
            OpenToMembers(sa.select(Membership.user_id, Membership.project_id)),
            OwnedData(leave_all, gives_away=True),
            OwnedData(forget_mentions),
            Jobs(_jobs),
        ),
    )


def _jobs(services: Services) -> list[Job]:
    kept = timedelta(days=services.get(Settings).trash_days)
    return [Job("purge-projects", 60, lambda session: MORE if purge_projects(session, kept) else None)]
