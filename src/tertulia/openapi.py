"""Build the OpenAPI document: the routes, and the shapes they only refer to (problems and stream events)."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.responses import Response

from tertulia import __version__
from tertulia.features import Features
from tertulia.http.problems import Problem
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.realtime.entities import Entity, build_change_adapter
from tertulia.realtime.schemas import SHARED_EVENT, PresenceEvent, Reload
from tertulia.runs.schemas import RUN_EVENT, SHARED_RUN_EVENT
from tertulia.services import Services


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """Build the document once. web/src/api/generated is generated from it, and `make check` compares them."""
    if app.openapi_schema is None:
        described = FastAPI(openapi_url=None, generate_unique_id_function=lambda route: route.name)
        services: Services = app.state.services
        for routes in services.get(Features).contributed(Routes):
            routes.describe_in(described)
        document = get_openapi(
            title="Tertulia",
            version=__version__,
            description="Errors are RFC 9457 problem documents with a stable `code`; docs/reference/errors.md lists them.",
            routes=described.routes,
        )
        schemas = document["components"]["schemas"]
        named: dict[str, TypeAdapter[Any]] = {
            "Problem": TypeAdapter(Problem),
            "RunEvent": RUN_EVENT,
            "ChangeEvent": build_change_adapter(services.get(Features).contributed(Entity)),
            "PresenceEvent": TypeAdapter(PresenceEvent),
            "Reload": TypeAdapter(Reload),
            "SharedEvent": SHARED_EVENT,
            "SharedRunEvent": SHARED_RUN_EVENT,
        }
        for name, adapter in named.items():
            schema = adapter.json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
            schemas |= {key: value for key, value in schema.pop("$defs", {}).items() if key not in schemas}
            schemas[name] = schema
        schemas["ServerEvent"] = {
            "anyOf": [
                {"$ref": f"#/components/schemas/{name}"} for name in ("Ready", "Reload", "ChangeEvent", "PresenceEvent")
            ]
        }
        document["components"]["securitySchemes"] = {
            "session": {"type": "apiKey", "in": "cookie", "name": "tertulia_session"},
            "token": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"session": []}, {"token": []}]
        app.openapi_schema = _with_plain_names(document)
    return app.openapi_schema


def _with_plain_names(document: dict[str, Any]) -> dict[str, Any]:
    """Name shapes such as `Page_ChatRead_` like `ChatReadPage`, and title all by their names, as generators need it."""
    schemas = document["components"]["schemas"]
    new_names = {name: _GENERIC.sub(r"\2\1", name) for name in schemas}
    document["components"]["schemas"] = {
        new_names[name]: schema | {"title": new_names[name]} for name, schema in schemas.items()
    }
    for part in _parts(document):
        if isinstance(part.get("$ref"), str):
            prefix, _, name = part["$ref"].rpartition("/")
            part["$ref"] = f"{prefix}/{new_names.get(name, name)}"
    return document


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a document."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


_GENERIC = re.compile(r"([A-Za-z]+)_([A-Za-z]+)_")
routes = Routes("server", prefix="")


@routes.add("GET", "/api/v1/openapi.json", access=Access.PUBLIC, hidden=True)
async def get_openapi_document(request: Request) -> Response:
    return json_response(build_openapi(request.app))
