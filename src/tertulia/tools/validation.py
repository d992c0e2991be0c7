"""Validate tool arguments and chat state against a JSON Schema. External references are never fetched."""

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from tertulia.tools.errors import ArgumentsInvalid

MAX_ARGUMENTS = 64 * 1024  # bytes of JSON
MAX_DEPTH = 32
MIN_INT, MAX_INT = -(2**63), 2**64 - 1
_ELSEWHERE = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords whose cost can exceed the schema's length. Untrusted schemas with them are not checked here.
_DEAR = {*_ELSEWHERE, "pattern", "patternProperties", "uniqueItems", "unevaluatedProperties", "unevaluatedItems"}
_CHOICES = {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "contains", "const"}
# Values times schema alternatives: about half a second of work, the longest that others may wait.
MAX_COMPARISONS = 500_000
_NAMED = {
    "properties",
    "$defs",
    "definitions",
    "dependentSchemas",
}  # their keys are names chosen by the schema's author
_VALUES = {"enum", "const", "default", "examples", "required", "title", "description"}


def parse_arguments(text: str) -> dict[str, Any]:
    """Parse a model's arguments, exactly.

    Raises ArgumentsInvalid if they are not a JSON object, are too long or too deep, give a key twice, or have a number
    that cannot be kept exactly.
    """
    if len(text.encode("utf-8", "replace")) > MAX_ARGUMENTS:
        raise _too_long(MAX_ARGUMENTS)
    try:
        orjson.loads(text or "{}")  # stricter than json: no NaN, no lone surrogates, limited depth
        arguments = json.loads(
            text or "{}", object_pairs_hook=_without_repeats, parse_int=_exact_int, parse_float=_exact_float
        )
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise ArgumentsInvalid(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise ArgumentsInvalid("The arguments must be a JSON object.")
    check_plain(arguments)
    return arguments


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ArgumentsInvalid(f"The key {repeated[:100]!r} is given twice. Give it once.")
    return values


def _exact_int(text: str) -> int:
    """Parse an integer that JSON readers keep exactly. Raises ArgumentsInvalid beyond 64 bits."""
    if len(text) > 20 or not MIN_INT <= (number := int(text)) <= MAX_INT:
        raise _inexact(text)
    return number


def _exact_float(text: str) -> float:
    """Parse a decimal number. Raises ArgumentsInvalid if the nearest float has another value."""
    number = float(text)
    if not math.isfinite(number) or Decimal(text) != Decimal(repr(number)):
        raise _inexact(text)
    return number


def _inexact(text: str) -> ArgumentsInvalid:
    return ArgumentsInvalid(f"The number {text[:40]} cannot be kept exactly. Give it as a string.")


def check_plain(value: object) -> None:
    """Check that a value can be stored. Raises ArgumentsInvalid if it is nested too deeply or contains U+0000."""
    for depth, item in _walk(value):
        if depth > MAX_DEPTH:
            raise ArgumentsInvalid(f"The values are nested deeper than {MAX_DEPTH} levels.")
        if isinstance(item, str) and "\x00" in item:
            raise ArgumentsInvalid("The values contain the character U+0000, which cannot be stored. Remove it.")


def check_arguments(
    parameters: Mapping[str, Any], arguments: Mapping[str, Any], *, limit_bytes: int = MAX_ARGUMENTS
) -> None:
    """Validate arguments against the schema. Raises ArgumentsInvalid with the first problem and its path."""
    check_plain(arguments)
    if len(orjson.dumps(arguments)) > limit_bytes:
        raise _too_long(limit_bytes)
    if _alternatives(parameters) * sum(1 for _ in _walk(arguments)) > MAX_COMPARISONS:
        raise ArgumentsInvalid("There are too many values to compare with the alternatives in the schema.")
    try:
        # An empty registry, so that external references are not fetched.
        validator = Draft202012Validator(dict(parameters), registry=Registry())
        problem = best_match(validator.iter_errors(dict(arguments)))
    except (Unresolvable, RecursionError):
        raise ArgumentsInvalid(
            "The schema has a reference that cannot be resolved, or refers to itself endlessly."
        ) from None
    if problem is not None:
        where = "/".join(str(step) for step in problem.absolute_path)
        raise ArgumentsInvalid((f"{where}: {problem.message}" if where else problem.message)[:1000])


def is_schema(parameters: object) -> bool:
    """Return whether this is a valid JSON Schema of type object, as tool parameters must be."""
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        return False
    try:
        return _is_valid(orjson.dumps(parameters))
    except orjson.JSONEncodeError:
        return False


@lru_cache(maxsize=256)
def _is_valid(schema: bytes) -> bool:
    try:
        Draft202012Validator.check_schema(orjson.loads(schema))
    except (SchemaError, RecursionError):
        return False
    return True


def is_modest_schema(schema: object) -> bool:
    """Return whether an untrusted schema is cheap to check: small, without references or expensive keywords."""
    if not isinstance(schema, dict) or any(depth > MAX_DEPTH for depth, _ in _walk(schema)):
        return False
    if len(orjson.dumps(schema)) > MAX_ARGUMENTS:
        return False
    return is_schema(schema) and not _is_dear(schema)


def _is_dear(schema: object) -> bool:
    """Return whether the schema uses an expensive keyword. The caller has checked its depth."""
    if isinstance(schema, list):
        return any(map(_is_dear, schema))
    if not isinstance(schema, dict):
        return False
    for keyword, value in schema.items():
        if keyword in _DEAR:
            return True
        inner = list(value.values()) if keyword in _NAMED and isinstance(value, dict) else value
        if keyword not in _VALUES and _is_dear(inner):
            return True
    return False


def _alternatives(schema: object) -> int:
    """Count the schema parts that one value may be compared with, such as enum values and members of a choice."""
    if isinstance(schema, list):
        return sum(map(_alternatives, schema))
    if not isinstance(schema, dict):
        return 0
    count = 1
    for keyword, value in schema.items():
        if keyword == "enum" or keyword in _CHOICES:
            count += sum(1 for _ in _walk(value))
        elif keyword not in _VALUES:
            count += _alternatives(list(value.values()) if keyword in _NAMED and isinstance(value, dict) else value)
    return count


def depth_of(value: object) -> int:
    """Return how deep a value is nested, at most MAX_DEPTH + 1."""
    return max(depth for depth, _ in _walk(value))


def _walk(value: object) -> Iterator[tuple[int, object]]:
    """Yield each value and field name with its depth. Stops one level below MAX_DEPTH."""
    waiting: list[tuple[int, object]] = [(0, value)]
    while waiting:
        depth, item = waiting.pop()
        yield depth, item
        if depth > MAX_DEPTH:
            continue
        if isinstance(item, Mapping):
            waiting += [(depth + 1, key) for key in item]
            waiting += [(depth + 1, inner) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(depth + 1, inner) for inner in item]


def _too_long(limit: int) -> ArgumentsInvalid:
    return ArgumentsInvalid(f"The arguments are longer than {limit:,} bytes. Shorten them.")
