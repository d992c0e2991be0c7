"""Whether values fit a JSON Schema: the arguments of a tool, the state of a chat. Nothing is fetched to find out."""

from collections.abc import Iterator, Mapping
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
_ELSEWHERE = ("$ref", "$dynamicRef", "$recursiveRef")
# In a schema that anybody may give: what can cost more time than the schema is long.
_DEAR = {*_ELSEWHERE, "pattern", "patternProperties", "uniqueItems", "unevaluatedProperties", "unevaluatedItems"}
_CHOICES = {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "contains", "const"}
# Of alternatives with values: about half a second of work, which nothing else should wait for longer.
MAX_COMPARISONS = 500_000
_NAMED = {"properties", "$defs", "definitions", "dependentSchemas"}  # whose own keys are names that anybody may choose
_VALUES = {"enum", "const", "default", "examples", "required", "title", "description"}


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments as a model wrote them. Raises ArgumentsInvalid for what is no JSON object, too long or too deep."""
    if len(text.encode("utf-8", "replace")) > MAX_ARGUMENTS:
        raise _too_long(MAX_ARGUMENTS)
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise ArgumentsInvalid(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ArgumentsInvalid("The arguments must be a JSON object.")
    check_plain(found)
    return found


def check_plain(value: object) -> None:
    """Raises ArgumentsInvalid for what cannot be stored: nested too deep, or with the character U+0000 in it."""
    for depth, one in _walk(value):
        if depth > MAX_DEPTH:
            raise ArgumentsInvalid(f"The values are nested deeper than {MAX_DEPTH} levels.")
        if isinstance(one, str) and "\x00" in one:
            raise ArgumentsInvalid("The values hold the character U+0000, which cannot be stored.")


def check_arguments(
    parameters: Mapping[str, Any], arguments: Mapping[str, Any], *, limit_bytes: int = MAX_ARGUMENTS
) -> None:
    """Raises ArgumentsInvalid with what is wrong, and where."""
    check_plain(arguments)
    if len(orjson.dumps(arguments)) > limit_bytes:
        raise _too_long(limit_bytes)
    if _alternatives(parameters) * sum(1 for _ in _walk(arguments)) > MAX_COMPARISONS:
        raise ArgumentsInvalid("The values are too many to be compared with so many alternatives of the schema.")
    try:
        # A registry of nothing, so that a reference to elsewhere is not followed.
        validator = Draft202012Validator(dict(parameters), registry=Registry())
        wrong = best_match(validator.iter_errors(dict(arguments)))
    except (Unresolvable, RecursionError):
        raise ArgumentsInvalid("The schema refers to something that is not in it, or to itself without end.") from None
    if wrong is not None:
        where = "/".join(str(step) for step in wrong.absolute_path)
        raise ArgumentsInvalid((f"{where}: {wrong.message}" if where else wrong.message)[:1000])


def is_schema(parameters: object) -> bool:
    """Whether it is a JSON Schema of an object, as the arguments of a tool are."""
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
    """Whether a schema that anybody may give costs no more to check than it is long for each value, and refers to nothing."""
    if not isinstance(schema, dict) or any(depth > MAX_DEPTH for depth, _ in _walk(schema)):
        return False
    if len(orjson.dumps(schema)) > MAX_ARGUMENTS:
        return False
    return is_schema(schema) and not _is_dear(schema)


def _is_dear(schema: object) -> bool:
    """Whether a word of it costs more than it is long. How deep it is was looked at before."""
    if isinstance(schema, list):
        return any(map(_is_dear, schema))
    if not isinstance(schema, dict):
        return False
    for word, value in schema.items():
        if word in _DEAR:
            return True
        inner = list(value.values()) if word in _NAMED and isinstance(value, dict) else value
        if word not in _VALUES and _is_dear(inner):
            return True
    return False


def _alternatives(schema: object) -> int:
    """With how much of a schema one value may be compared besides what names it: the values of an enum, the members of a choice."""
    if isinstance(schema, list):
        return sum(map(_alternatives, schema))
    if not isinstance(schema, dict):
        return 0
    count = 1
    for word, value in schema.items():
        if word == "enum" or word in _CHOICES:
            count += sum(1 for _ in _walk(value))
        elif word not in _VALUES:
            count += _alternatives(list(value.values()) if word in _NAMED and isinstance(value, dict) else value)
    return count


def depth_of(value: object) -> int:
    """How deep a value is nested; MAX_DEPTH + 1 for what is deeper."""
    return max(depth for depth, _ in _walk(value))


def _walk(value: object) -> Iterator[tuple[int, object]]:
    """Every value with how deep it lies, the names of fields among them; no deeper than one more than is allowed."""
    waiting: list[tuple[int, object]] = [(0, value)]
    while waiting:
        depth, one = waiting.pop()
        yield depth, one
        if depth > MAX_DEPTH:
            continue
        if isinstance(one, Mapping):
            waiting += [(depth + 1, key) for key in one]
            waiting += [(depth + 1, inner) for inner in one.values()]
        elif isinstance(one, list):
            waiting += [(depth + 1, inner) for inner in one]


def _too_long(limit: int) -> ArgumentsInvalid:
    return ArgumentsInvalid(f"The arguments are longer than {limit:,} bytes. Say it shorter.")
