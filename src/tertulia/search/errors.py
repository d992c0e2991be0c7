"""Errors of search."""

from tertulia.errors import Invalid


class SearchTooSlow(Invalid):
    code = "search_too_slow"

    def __init__(self) -> None:
        super().__init__(
            "This search takes longer than 2 seconds. Add a word, or limit it to a chat or a time range.", field="q"
        )
