"""Sources of imports. Separate from the tables, because the process that parses a file needs nothing else of them."""

from enum import StrEnum


class ImportSource(StrEnum):
    TERTULIA = "tertulia"
    CHATGPT = "chatgpt"
    CLAUDE = "claude"
    OPENWEBUI = "openwebui"
    LIBRECHAT = "librechat"
