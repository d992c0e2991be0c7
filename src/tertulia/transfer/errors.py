"""How imports fail."""

from tertulia.errors import Conflict, NotFound, TooMany


class ImportNotFound(NotFound):
    code = "import_not_found"


class ImportStillRunning(Conflict):
    code = "import_still_running"

    def __init__(self) -> None:
        super().__init__("This import is still going on. Stop it first, then undo it.")


class TooManyImports(TooMany):
    code = "too_many_imports"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} imports wait already. Let them end first.", retry_after_s=30)
