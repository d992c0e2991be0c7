"""What files contribute to the app: uploads, the blob store, and the process that reads documents."""

from datetime import timedelta

from tertulia.accounts.deletion import OwnedData
from tertulia.accounts.row_limits import StorageLimit, StorageQuota
from tertulia.db import Database
from tertulia.features import Feature
from tertulia.files import events, routes
from tertulia.files.downloads import DownloadCounts
from tertulia.files.processing import FileReader, delete_files_of, sweep_files
from tertulia.files.queries import used_bytes
from tertulia.files.store import FileStore
from tertulia.files.uses import FileUses
from tertulia.jobs.service import Job, Jobs
from tertulia.services import Provides, Services
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "files",
        (
            *events.ENTITIES,
            routes.routes,
            Provides(FileStore, lambda services: FileStore(services.get(Settings))),
            Provides(FileReader, _reader),
            OwnedData(delete_files_of),
            Provides(StorageLimit, _storage_limit),
            Provides(DownloadCounts, lambda services: DownloadCounts(services.get(Database))),
            Jobs(_jobs),
        ),
    )


def _reader(services: Services) -> FileReader:
    return FileReader(services.get(Database), services.get(FileStore), services.get(FileUses))


def _jobs(services: Services) -> list[Job]:
    kept = timedelta(days=services.get(Settings).trash_days)
    return [Job("sweep-files", 3600, lambda session: sweep_files(session, kept))]


def _storage_limit(services: Services) -> StorageLimit:
    return StorageLimit(services.get(Settings).storage_per_user_bytes, used_bytes, services.get(StorageQuota))
