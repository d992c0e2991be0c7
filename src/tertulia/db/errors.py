"""What to tell an operator whose database cannot be reached."""

from sqlalchemy import exc


def describe_unreachable(error: exc.DBAPIError) -> str:
    """Return one sentence with the reason and what to do."""
    reason = next(iter(str(error.orig).splitlines()), "").strip()
    if "database is locked" in reason or "database table is locked" in reason:
        return "The database is locked by another program. Stop that program, then try again."
    if "unable to open database file" in reason:
        return "The database file cannot be opened. Check TERTULIA_DATA and its permissions."
    return f"The database cannot be reached: {reason}. Check TERTULIA_DATABASE_URL and that the database server runs."
