"""What notes contribute to the app."""

from tertulia.features import Feature
from tertulia.notes import routes, service


def feature() -> Feature:
    return Feature(
        "notes",
        (routes.routes, service.NOTE, service.SEARCHABLE, service.EXPORTABLE, service.SHAREABLE),
    )
