"""Where imports come from; apart, because the process that reads a file needs nothing else of the database's."""

from enum import StrEnum


class ImportSource(StrEnum):
    TERTULIA = "tertulia"
    CHATGPT = "chatgpt"
    CLAUDE = "claude"
    OPENWEBUI = "openwebui"
    LIBRECHAT = "librechat"
