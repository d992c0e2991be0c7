"""`tertulia audit`: print the audit log. The server may run."""

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from tertulia.accounts.audit import (
    EXPORT_PAGE,
    After,
    AuditFilter,
    as_csv,
    as_json_lines,
    as_text,
    list_audit_log,
    next_after,
)
from tertulia.cli.running import OPERATOR, find_user_id
from tertulia.db.opening import plain_engine
from tertulia.settings import load_settings


class Format(StrEnum):
    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"


def audit_command(
    user: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    action: Annotated[str | None, typer.Option(help="An action, or a group of actions such as `share`.")] = None,
    address: Annotated[str | None, typer.Option(help="Only what came from this IP address.")] = None,
    since: Annotated[datetime | None, typer.Option(help="From this time on, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this time, in UTC.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many entries.")] = None,
    format: Annotated[Format, typer.Option(help="How entries are written.")] = Format.TEXT,
) -> None:
    """Print who did what on this server, newest first."""
    wanted = AuditFilter(user, action, address, _in_utc(since), _in_utc(until))
    engine = plain_engine(load_settings(), writes=False)
    with Session(engine) as session:
        if user is not None:
            find_user_id(session, user)  # a mistyped name is not an empty log
        after: After | None = None
        left = sys.maxsize if limit is None else limit
        while True:
            most = min(EXPORT_PAGE, left)
            entries = list_audit_log(session, OPERATOR, wanted, after=after, limit=most)
            match format:
                case Format.TEXT:
                    written = as_text(entries)
                case Format.CSV:
                    written = as_csv(entries, with_head=after is None)
                case Format.JSONL:
                    written = as_json_lines(entries)
            sys.stdout.buffer.write(written)
            left -= len(entries)
            after = next_after(entries, most)
            if after is None or left == 0:
                break
    engine.dispose()


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None else None
