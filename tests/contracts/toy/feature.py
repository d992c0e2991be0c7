"""What notes contribute to the app."""

from tertulia.notes import routes, service

from tertulia.features import Feature


def feature() -> Feature:
    return Feature(
        "notes",
        (routes.routes, service.NOTE, service.SEARCHABLE, service.EXPORTABLE, service.SHAREABLE),
    )
