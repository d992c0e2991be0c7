"""What the database contributes to the app."""

from tertulia.db.database import Database
from tertulia.db.opening import open_database
from tertulia.features import Feature
from tertulia.services import Provides
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature("db", (Provides(Database, lambda services: open_database(services.get(Settings))),))
