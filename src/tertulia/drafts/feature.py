"""What drafts contribute to the app."""

from datetime import timedelta

from tertulia.accounts.deletion import OwnedData
from tertulia.drafts import events, routes, shared_drafts
from tertulia.drafts.draft_tools import EditDraft, ListDrafts, ReadDraft
from tertulia.drafts.indexing import has_unindexed_drafts, index_next_draft
from tertulia.drafts.service import delete_draft_of, purge_drafts
from tertulia.drafts.working_copies import has_unsettled, settle_working_copy
from tertulia.features import Feature
from tertulia.jobs.service import MORE, Job, Jobs
from tertulia.services import Services
from tertulia.settings import Settings
from tertulia.tools.protocol import OffersTools


def feature() -> Feature:
    return Feature(
        "drafts",
        (
            *events.ENTITIES,
            routes.draft_routes,
            routes.version_routes,
            routes.draft_sharing_routes,
            shared_drafts.SHAREABLE,
            Jobs(_jobs),
            OwnedData(delete_draft_of),
            OffersTools(ListDrafts(), ReadDraft(), EditDraft()),
        ),
    )


def _jobs(services: Services) -> list[Job]:
    kept = timedelta(days=services.get(Settings).trash_days)
    return [
        Job("index-drafts", 2, lambda session: MORE if index_next_draft(session) else None, has_unindexed_drafts),
        Job("purge-drafts", 3600, lambda session: purge_drafts(session, kept)),
        Job("settle-drafts", 60, lambda session: MORE if settle_working_copy(session) else None, has_unsettled),
    ]
