"""Compare user names and e-mail addresses."""

import unicodedata


def name_key(text: str) -> str:
    """Return the form in which user names and e-mail addresses are compared and unique."""
    return unicodedata.normalize("NFKC", text).casefold()
