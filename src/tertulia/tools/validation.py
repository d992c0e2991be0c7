"""Whether arguments fit what a tool says it takes."""

from collections.abc import Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from tertulia.tools.errors import ArgumentsInvalid

MAX_ARGUMENTS = 64 * 1024  # bytes of JSON


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments as a model wrote them. Raises ArgumentsInvalid for what is no JSON object, or too long."""
    if len(text.encode("utf-8", "replace")) > MAX_ARGUMENTS:
        raise ArgumentsInvalid(f"The arguments are longer than {MAX_ARGUMENTS:,} bytes. Say it shorter.")
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise ArgumentsInvalid(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ArgumentsInvalid("The arguments must be a JSON object.")
    if "\\u0000" in orjson.dumps(found).decode():
        raise ArgumentsInvalid("The arguments hold the character U+0000, which cannot be stored.")
    return found


def check_arguments(
    parameters: Mapping[str, Any], arguments: Mapping[str, Any], *, limit_bytes: int = MAX_ARGUMENTS
) -> None:
    """Raises ArgumentsInvalid with what is wrong, and where."""
    if len(orjson.dumps(arguments)) > limit_bytes:
        raise ArgumentsInvalid(f"The arguments are longer than {limit_bytes:,} bytes. Say it shorter.")
    wrong = best_match(Draft202012Validator(dict(parameters)).iter_errors(dict(arguments)))
    if wrong is not None:
        where = "/".join(str(step) for step in wrong.absolute_path)
        raise ArgumentsInvalid(f"{where}: {wrong.message}" if where else wrong.message)


def is_schema(parameters: object) -> bool:
    """Whether it is a JSON Schema of an object, as the arguments of a tool are."""
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        return False
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError:
        return False
    return True
