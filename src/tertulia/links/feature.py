"""What public links contribute to the app: their routes, their counts, and the titles of their pages."""

from collections.abc import Awaitable, Callable

from tertulia.db import Database
from tertulia.drafts.shared_drafts import read_preview
from tertulia.errors import AppError
from tertulia.features import Feature
from tertulia.http.web import LinkPreviews, PageHead
from tertulia.links import routes
from tertulia.links.counts import LinkOpenCounts
from tertulia.services import Provides, Services


def feature() -> Feature:
    return Feature(
        "links",
        (
            routes.routes,
            Provides(LinkOpenCounts, lambda services: LinkOpenCounts(services.get(Database))),
            Provides(LinkPreviews, lambda services: LinkPreviews(_previews(services))),
        ),
    )


def _previews(services: Services) -> Callable[[str], Awaitable[PageHead | None]]:
    db = services.get(Database)

    async def preview(token: str) -> PageHead | None:
        """Return what a public link shows in other programs. None if it opens nothing: the page says what is wrong."""
        try:
            head = await db.read_hot(read_preview, token)
        except AppError:
            return None
        return PageHead(*head) if head else None

    return preview
