"""What a domain adds to the export of everything that a user has."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session


def no_files(session: Session, object_id: str) -> dict[str, str]:
    """Return no files, for objects that have none."""
    del session, object_id
    return {}


# Texts that begin like this are formulas to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(value: object) -> object:
    """Return a cell of CSV. A text that a spreadsheet would run as a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@dataclass(frozen=True)
class ExportedObject:
    """One entry of the zip. `known_as` is the id that the object had in its first instance."""

    known_as: str
    content: bytes  # JSON


@dataclass(frozen=True)
class Exportable:
    """Contribution of a feature: a kind of object that is exported, one JSON file each.

    `list_ids(session, user_id, after)` returns the next ids in order. `encode(session, id)` returns the entry. `files` maps the
    SHA-256 of each file that the object needs to its path in the store.
    """

    folder: str
    list_ids: Callable[[Session, str, str | None], list[str]]
    encode: Callable[[Session, str], ExportedObject]
    files: Callable[[Session, str], dict[str, str]] = no_files
