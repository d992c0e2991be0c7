"""What billing contributes to the app: the pages of usage."""

from tertulia.billing import routes
from tertulia.features import Feature


def feature() -> Feature:
    return Feature("billing", (routes.routes,))
