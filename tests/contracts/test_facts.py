"""Tests that the facts about columns, keys, indexes and closed sets are true on both databases.

`facts.json` maps a fact of docs/internal/conformance.md to what it claims. Each claim is read from the migrated database, not
from the models, so a claim that becomes false fails here.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tertulia.db.opening import plain_engine
from tertulia.settings import Settings

FACTS: dict[str, dict[str, Any] | list[dict[str, Any]]] = json.loads(Path(__file__).with_name("facts.json").read_text())
KEYS = {
    "table",
    "column",
    "type",
    "nullable",
    "default",
    "references",
    "on_delete",
    "index",
    "unique",
    "values",
    "primary_key",
    "check",
    "partial",
}


@pytest.fixture
def inspector(settings: Settings) -> Any:
    engine = plain_engine(settings)
    yield sa.inspect(engine)
    engine.dispose()


def test_every_fact_is_true_of_the_migrated_database(inspector: sa.Inspector) -> None:
    database = _Database(inspector)
    claims = [(fact, claim) for fact, of_fact in FACTS.items() for claim in _listed(of_fact)]
    false = [(fact, problem) for fact, claim in claims if (problem := database.problem_of(claim))]
    assert false == []


@pytest.mark.parametrize(
    "claim",
    [
        {"table": "no_such_table"},
        {"table": "chat", "column": "no_such_column"},
        {"table": "chat", "column": "title", "nullable": True},
        {"table": "chat", "column": "title", "type": "string(100)"},
        {"table": "chat", "column": "user_id", "references": "user.id", "on_delete": "SET NULL"},
        {"table": "chat", "index": ["title"]},
        {"table": "tag", "unique": ["name"]},
        {"table": "message", "column": "role", "values": ["user", "assistant"]},
        {"table": "chat", "primary_key": ["user_id"]},
        {"table": "chat", "check": "no such text"},
        {"table": "provider_config", "unique": ["user_id"]},
    ],
    ids=lambda claim: next(reversed(claim)),
)
def test_a_false_claim_is_noticed(inspector: sa.Inspector, claim: dict[str, Any]) -> None:
    assert _Database(inspector).problem_of(claim) is not None


def test_every_claim_says_something() -> None:
    for fact, of_fact in FACTS.items():
        assert re.fullmatch(r"S\d{3}-\d{3}", fact)
        assert of_fact, fact
        for claim in _listed(of_fact):
            assert claim.keys() <= KEYS, fact
            assert "table" in claim, fact


def _listed(of_fact: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return of_fact if isinstance(of_fact, list) else [of_fact]


class _Database:
    def __init__(self, inspector: sa.Inspector) -> None:
        self._inspector = inspector
        self._tables = set(inspector.get_table_names())
        self._is_sqlite = inspector.bind.dialect.name == "sqlite"

    def problem_of(self, claim: dict[str, Any]) -> str | None:
        """Return what is false about a claim, or None."""
        table = claim["table"]
        if table not in self._tables:
            return f"there is no table {table}"
        column = None
        if "column" in claim:
            columns = {item["name"]: item for item in self._inspector.get_columns(table)}
            column = columns.get(claim["column"])
            if column is None:
                return f"there is no column {table}.{claim['column']}"
            if "nullable" in claim and column["nullable"] != claim["nullable"]:
                return f"nullable is {column['nullable']}"
            if "type" in claim and _type_name(column["type"]) != self._stored(claim["type"]):
                return f"the type is {_type_name(column['type'])}"
            if "default" in claim and claim["default"] not in str(column["default"]):
                return f"the default is {column['default']}"
        for key, check in (
            ("references", self._refers),
            ("index", self._has_index),
            ("unique", self._is_unique),
            ("values", self._has_values),
            ("check", self._has_check),
            ("primary_key", self._has_primary_key),
        ):
            if key in claim and not check(table, claim):
                return f"{key} is not {claim[key]}"
        return None

    def _stored(self, name: str) -> str:
        """Return the type in SQLite: moments and money are integers, JSON is text, and ids are 16 bytes."""
        if not self._is_sqlite:
            return name
        stored = {"moment": "integer", "json": "text", "id": "bytes", "numeric": "integer"}
        return stored.get(name.partition("(")[0], name)

    def _indexes(self, table: str, claim: dict[str, Any]) -> list[Any]:
        """Return the indexes of all rows, or with `partial` those of some rows."""
        wanted = claim.get("partial", False)
        return [item for item in self._inspector.get_indexes(table) if _is_partial(item) == wanted]

    def _refers(self, table: str, claim: dict[str, Any]) -> bool:
        target, target_column = claim["references"].split(".")
        return any(
            claim["column"] in key["constrained_columns"]
            and key["referred_table"] == target
            and target_column in key["referred_columns"]
            and (key["options"].get("ondelete") or "NO ACTION") == claim.get("on_delete", "NO ACTION")
            for key in self._inspector.get_foreign_keys(table)
        )

    def _has_index(self, table: str, claim: dict[str, Any]) -> bool:
        wanted = claim["index"]
        indexed: list[list[str | None]] = [item["column_names"] for item in self._indexes(table, claim)]
        indexed += [list(item["column_names"]) for item in self._inspector.get_unique_constraints(table)]
        indexed.append(list(self._inspector.get_pk_constraint(table)["constrained_columns"]))
        return any(columns[: len(wanted)] == wanted for columns in indexed)

    def _is_unique(self, table: str, claim: dict[str, Any]) -> bool:
        unique: list[list[str | None]] = [
            list(item["column_names"]) for item in self._inspector.get_unique_constraints(table)
        ]
        unique += [item["column_names"] for item in self._indexes(table, claim) if item["unique"]]
        unique.append(list(self._inspector.get_pk_constraint(table)["constrained_columns"]))
        wanted = sorted(claim["unique"])
        return any(sorted(filter(None, columns)) == wanted for columns in unique)

    def _has_values(self, table: str, claim: dict[str, Any]) -> bool:
        """Return whether the CHECK of a column allows exactly these values."""
        for check in self._inspector.get_check_constraints(table):
            text = str(check["sqltext"])
            if re.search(rf"\b{claim['column']}\b", text):
                values = set(re.findall(r"'([^']*)'", text))
                if values == set(claim["values"]):
                    return True
        return False

    def _has_check(self, table: str, claim: dict[str, Any]) -> bool:
        checks = (str(check["sqltext"]) for check in self._inspector.get_check_constraints(table))
        return any(claim["check"] in re.sub(r"[()\s]|::\w+", "", text) for text in checks)

    def _has_primary_key(self, table: str, claim: dict[str, Any]) -> bool:
        key: list[str] = self._inspector.get_pk_constraint(table)["constrained_columns"]
        return bool(key == claim["primary_key"])


def _type_name(kind: sa.types.TypeEngine[Any]) -> str:
    """Return a type as the facts name it: string(200), text, integer, boolean, moment, json, id, bytes, numeric(12,6)."""
    match kind:
        case sa.String(length=int() as length):
            return f"string({length})"
        case sa.Text() | sa.String():
            return "text"
        case sa.Boolean():
            return "boolean"
        case sa.Numeric(precision=int() as precision, scale=scale) if not isinstance(kind, sa.Float):
            return f"numeric({precision},{scale})"
        case sa.Integer():
            return "integer"
        case sa.DateTime(timezone=True):
            return "moment"
        case sa.Uuid():
            return "id"
        case sa.LargeBinary():
            return "bytes"
        case sa.JSON():
            return "json"
        case sa.Float():
            return "float"
    return str(kind).lower()


def _is_partial(index: Any) -> bool:
    return any(option.endswith("_where") for option in index.get("dialect_options", {}))
