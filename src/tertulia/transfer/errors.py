"""Define errors of import and export."""

from tertulia.errors import Conflict, Invalid, NotFound, TooMany


class ImportNotFound(NotFound):
    code = "import_not_found"


class ImportStillRunning(Conflict):
    code = "import_still_running"

    def __init__(self) -> None:
        super().__init__("This import is still running. Stop it first, then undo it.")


class TooManyImports(TooMany):
    code = "too_many_imports"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} imports are already waiting. Wait until they finish.", retry_after_s=30)


class NotReadable(Invalid):
    """A file that cannot be read. The detail says why."""

    code = "file_not_readable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="file")


class DocumentNotMade(Invalid):
    code = "document_not_made"

    def __init__(self) -> None:
        super().__init__("This text is too complex for a Word document. Save it as Markdown or as a web page.")


class TooManyExports(TooMany):
    code = "too_many_exports"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} of your exports are still running. Wait until one ends, then try again.", retry_after_s=5
        )


class StillConverting(TooMany):
    code = "still_converting"

    def __init__(self) -> None:
        super().__init__("Another of your documents is being converted. Try again when it is done.", retry_after_s=5)
