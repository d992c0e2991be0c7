"""What search contributes to the app."""

from tertulia.db import Database
from tertulia.features import Feature
from tertulia.jobs.service import ProcessId
from tertulia.runs.request.excerpts import MeaningOfFiles
from tertulia.search import routes
from tertulia.search.meaning.search import MeaningSearch
from tertulia.search.search_tools import SearchChats
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.tools.protocol import OffersTools


def feature() -> Feature:
    return Feature(
        "search",
        (
            routes.routes,
            OffersTools(SearchChats()),
            Provides(MeaningSearch, _meaning_search),
            Provides(MeaningOfFiles, _meaning_of_files),
        ),
    )


def _meaning_of_files(services: Services) -> MeaningOfFiles | None:
    search = services.find(MeaningSearch)
    return search.of_files if search is not None else None


def _meaning_search(services: Services) -> MeaningSearch | None:
    settings = services.get(Settings)
    if settings.embedding_model == "none":
        return None
    return MeaningSearch(services.get(Database), settings.models_folder, services.get(ProcessId), settings.model_mirror)
