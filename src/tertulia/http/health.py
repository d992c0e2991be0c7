"""Routes for monitors: whether the process is alive, and whether it can read and write."""

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response
from typing_extensions import TypedDict

from tertulia.db import Database
from tertulia.errors import AppError, Unavailable
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of

routes = Routes("server", prefix="")


class Health(TypedDict):
    status: str


@routes.add("GET", "/healthz", access=Access.PUBLIC, gives=Health)
async def get_health() -> Response:
    return json_response({"status": "ok"})


@routes.add("GET", "/readyz", access=Access.PUBLIC, gives=Health)
async def get_ready(request: Request) -> Response:
    db = service_of(request, Database)
    try:
        await db.read(_answers)
    except AppError as error:
        raise Unavailable("The database does not answer.") from error
    if not db.is_writing:
        raise Unavailable("The database cannot be written to.")
    return json_response({"status": "ready"})


def _answers(session: Session) -> None:
    session.execute(sa.text("SELECT 1"))
