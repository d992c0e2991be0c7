"""Test the limits of arguments and schemas at n and n + 1, and which keywords are expensive."""

from typing import Any

import pytest

from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.validation import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    check_arguments,
    is_modest_schema,
    is_schema,
)

OBJECT = {"type": "object"}


def nested(depth: int) -> dict[str, Any]:
    """Return a schema whose deepest value is at this depth."""
    schema: dict[str, Any] = {"type": "object"}  # its values are at depth 1
    while depth > 2:
        schema, depth = {"type": "object", "not": schema}, depth - 1
    return schema if depth == 1 else {"type": "object", "not": schema}


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
def test_arguments_have_at_most_the_bytes_of_the_limit(more: int, is_refused: bool) -> None:
    arguments = {"a": "x" * (100 - len('{"a":""}') + more)}
    if is_refused:
        with pytest.raises(ArgumentsInvalid, match="longer than 100 bytes"):
            check_arguments(OBJECT, arguments, limit_bytes=100)
    else:
        check_arguments(OBJECT, arguments, limit_bytes=100)


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
def test_values_are_compared_with_alternatives_up_to_a_limit(more: int, is_refused: bool) -> None:
    # The schema and its property are two alternatives; the mapping, the key and the list are three values.
    schema = {"type": "object", "properties": {"a": {"type": "array"}}}
    arguments = {"a": [0] * (MAX_COMPARISONS // 2 - 3 + more)}
    if is_refused:
        with pytest.raises(ArgumentsInvalid, match="too many values"):
            check_arguments(schema, arguments, limit_bytes=10_000_000)
    else:
        check_arguments(schema, arguments, limit_bytes=10_000_000)


@pytest.mark.parametrize(
    ("choices", "is_refused"),
    [
        ({"enum": list(range(100))}, True),
        ({"anyOf": [{"const": number} for number in range(40)]}, True),
        ({"type": "array", "items": {"enum": list(range(100))}}, True),
        ({"properties": {"enum": {"type": "integer"}}}, False),  # a property of this name
        ({"title": "x" * 1000, "description": "y" * 1000}, False),
    ],
)
def test_choices_count_as_alternatives(choices: dict[str, Any], is_refused: bool) -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": choices}}
    arguments = {"a": [0] * 10_000}
    if is_refused:
        with pytest.raises(ArgumentsInvalid, match="too many values"):
            check_arguments(schema, arguments, limit_bytes=10_000_000)
    else:
        check_arguments(schema, arguments, limit_bytes=10_000_000)


@pytest.mark.parametrize("schema", [None, [], "object", {}, {"type": "string"}, {"type": "object", "required": 1}])
def test_what_is_no_schema_of_an_object_is_refused(schema: object) -> None:
    assert not is_schema(schema)
    assert not is_modest_schema(schema)


@pytest.mark.parametrize(
    ("inner", "is_modest"),
    [
        ({"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}}, True),  # names of properties
        ({"properties": {"a": {"pattern": "x"}}}, False),
        ({"items": {"pattern": "x"}}, False),
        ({"items": {"items": {"uniqueItems": True}}}, False),
        ({"anyOf": [{"type": "object"}, {"pattern": "x"}]}, False),
        ({"$defs": {"a": {"$ref": "#"}}}, False),
        ({"default": {"pattern": "x"}, "enum": [{"pattern": "x"}], "examples": [{"$ref": "x"}]}, True),  # values
        ({"description": "pattern"}, True),
    ],
)
def test_expensive_keywords_are_found_wherever_they_are_keywords(inner: dict[str, Any], is_modest: bool) -> None:
    assert is_modest_schema(OBJECT | inner) is is_modest


@pytest.mark.parametrize(("depth", "is_modest"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_a_modest_schema_has_at_most_32_levels(depth: int, is_modest: bool) -> None:
    assert is_modest_schema(nested(depth)) is is_modest
