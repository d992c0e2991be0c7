"""What import and export contribute to the app."""

from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.db import Database
from tertulia.features import Feature
from tertulia.files.store import FileStore
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.transfer import events, routes
from tertulia.transfer.everything import CHATS, DRAFTS
from tertulia.transfer.exporting import Exporting
from tertulia.transfer.importer import Importer


def feature() -> Feature:
    return Feature(
        "transfer",
        (
            *events.ENTITIES,
            routes.routes,
            CHATS,
            DRAFTS,
            Provides(Importer, _importer),
            Provides(Exporting, lambda own: Exporting(own.get(Settings).exports_at_once)),
        ),
    )


def _importer(services: Services) -> Importer:
    settings = services.get(Settings)
    return Importer(
        services.get(Database),
        services.get(FileStore),
        settings.imports_folder,
        services.get(RowLimits),
        storage=services.get(StorageLimit),
    )
