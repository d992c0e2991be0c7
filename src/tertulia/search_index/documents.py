"""Write and read the rows of the full-text index."""

import sqlalchemy as sa

from tertulia.db import Prepared, table_of
from tertulia.search_index.models import SearchDocument
from tertulia.search_index.words import words_of

WORDS_A_ROW = 8000  # PostgreSQL stores word positions up to 16,383


INDEXED_OF_FILE = 300_000  # characters, about a book; more would block the writer


PARTS_A_FILE = 1000  # parts from here on belong to the first file, from twice this to the second


PARTS_OF_DRAFT = 1  # of rows without a message: part 0 is the title, later parts the draft


INSERT_DOCUMENT = Prepared(sa.insert(table_of(SearchDocument)))


def owner_word(user_id: str) -> str:
    return f"xu{user_id.replace('-', '')}"


def chat_word(chat_id: str) -> str:
    """Return the word that narrows a search to a chat or, by its own id, to a draft."""
    return f"xc{chat_id.replace('-', '')}"


def role_word(role: str) -> str:
    return f"xr{role}"


def split_rows(text: str) -> list[str]:
    """Split the words of a text into rows of a length that both databases accept; an empty list without words."""
    words = words_of(text)
    return [" ".join(words[start : start + WORDS_A_ROW]) for start in range(0, len(words), WORDS_A_ROW)]
