"""What runs contribute to the app: asking for replies, executing runs, tool calls, and compaction."""

from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.billing.reconciling import TokenPrices
from tertulia.db import Database
from tertulia.features import Feature
from tertulia.files.store import FileStore
from tertulia.files.uses import FileUses
from tertulia.http.clients import OutboundClients
from tertulia.jobs.service import Job, Jobs, ProcessId
from tertulia.providers.model_catalogue import ModelCatalogue
from tertulia.realtime.bus import Bus
from tertulia.runs import draft_routes, events, routes
from tertulia.runs.calls import routes as call_routes
from tertulia.runs.calls.approvals import expire_approvals, has_expired
from tertulia.runs.calls.runner import ToolRunner
from tertulia.runs.compaction import routes as compaction_routes
from tertulia.runs.compaction.summarizer import Summarizer
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.remote import RemoteRuns
from tertulia.runs.engine.reply_files import ReplyFiles
from tertulia.runs.request import routes as request_routes
from tertulia.runs.request.excerpts import ExcerptFinder, MeaningOfFiles
from tertulia.runs.spending import price_tokens
from tertulia.services import Provides, Services
from tertulia.settings import Settings
from tertulia.tools.tool_catalogue import ToolCatalogue


def feature() -> Feature:
    return Feature(
        "runs",
        (
            *events.ENTITIES,
            routes.routes,
            draft_routes.routes,
            request_routes.routes,
            compaction_routes.routes,
            call_routes.tool_routes,
            call_routes.tool_execution_routes,
            Provides(ToolRunner, _tool_runner),
            Provides(Summarizer, lambda services: Summarizer(services.get(Database))),
            Provides(ReplyFiles, _reply_files),
            Provides(TokenPrices, lambda _: TokenPrices(price_tokens)),
            Provides(ExcerptFinder, _excerpt_finder),
            Provides(RunExecutor, _executor),
            Provides(RemoteRuns, lambda services: RemoteRuns(services.get(Bus), services.get(RunExecutor))),
            Jobs(lambda _: [Job("expire-approvals", 30, expire_approvals, has_expired)]),
        ),
    )


def _tool_runner(services: Services) -> ToolRunner:
    return ToolRunner(services.get(Database), services.get(ToolCatalogue), services.get(OutboundClients).guarded)


def _reply_files(services: Services) -> ReplyFiles:
    return ReplyFiles(
        services.get(Database),
        services.get(FileStore),
        services.get(FileUses),
        services.get(RowLimits),
        storage=services.get(StorageLimit),
    )


def _excerpt_finder(services: Services) -> ExcerptFinder:
    return ExcerptFinder(services.get(Database), services.find(MeaningOfFiles))


def _executor(services: Services) -> RunExecutor:
    return RunExecutor(
        services.get(Database),
        services.get(ModelCatalogue),
        services.get(ToolRunner),
        services.get(Summarizer),
        services.get(ReplyFiles),
        services.get(ExcerptFinder),
        process_id=services.get(ProcessId),
        at_once=services.get(Settings).runs_at_once,
    )
