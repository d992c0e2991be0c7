"""Test the built-in tools, and checks of arguments and results."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from tertulia.tools.builtin.calculator import evaluate
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.protocol import OfferedTool, Tool, ToolContext, ToolFailed, ToolResult
from tertulia.tools.results import MAX_RESULT, as_cost, result_text, store_result
from tertulia.tools.tool_set import check_tools
from tertulia.tools.validation import MAX_ARGUMENTS, MAX_DEPTH, check_arguments, is_modest_schema, parse_arguments


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("(19.99 * 3) / 1.21", "49.56198347107438016528925619834710743801652892562"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("2^10", "1024"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("round(2.675, 2)", "2.68"),
        ("max(1, 2, sqrt(9))", "3"),
        ("1e3 + 1", "1001"),
        ("0 * -1", "0"),
    ],
)
def test_arithmetic_is_exact(expression: str, value: str) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "1 / 0",
        "sqrt(-1)",
        "__import__('os')",
        "(1).__class__",
        "a",
        "1 +",
        "9 ** 9 ** 9 ** 9",
        "2 ** 99999",
        "[1]",
        "'a' * 3",
    ],
)
def test_an_invalid_expression_is_an_error(expression: str) -> None:
    with pytest.raises(ToolFailed):
        evaluate(expression)


def test_arguments_are_a_json_object_within_limits() -> None:
    assert parse_arguments("") == {}
    assert parse_arguments('{"a": 1}') == {"a": 1}
    for wrong in ("{", "[]", "1", '{"a": "\\u0000"}'):
        with pytest.raises(ArgumentsInvalid):
            parse_arguments(wrong)
    most = '{"a": "' + "x" * (MAX_ARGUMENTS - 9) + '"}'
    assert len(most) == MAX_ARGUMENTS
    assert parse_arguments(most)
    with pytest.raises(ArgumentsInvalid, match="65,536"):
        parse_arguments(most + " ")


def test_arguments_that_do_not_fit_the_schema_name_the_field() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    check_arguments(schema, {"a": 1})
    with pytest.raises(ArgumentsInvalid, match=r"^a: 'x' is not of type 'integer'"):
        check_arguments(schema, {"a": "x"})
    with pytest.raises(ArgumentsInvalid, match="'a' is a required property"):
        check_arguments(schema, {})


def test_a_result_is_stored_whole_up_to_the_limit() -> None:
    whole = store_result(ToolResult("x" * (MAX_RESULT - 2)))
    assert (whole.is_cut, whole.size_bytes, len(whole.content)) == (False, MAX_RESULT, MAX_RESULT - 2)
    cut = store_result(ToolResult("é" * MAX_RESULT))
    assert cut.is_cut
    assert cut.size_bytes == 2 * MAX_RESULT + 2
    assert len(cut.content.encode()) <= MAX_RESULT
    table = store_result(ToolResult({"columns": ["a", "b"], "rows": [[1, None]]}, "table"))
    assert result_text(table) == "a | b\n1 | "
    assert store_result(ToolResult({"a": "\x00"}, "json")).content == {"a": "�"}
    assert store_result(ToolResult(object(), "json")).content.startswith("<object")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 9007199254740993),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0.1", 0.1),
        ("1e3", 1000.0),
        ("123456.789", 123456.789),
    ],
)
def test_numbers_in_arguments_stay_exact(text: str, value: float) -> None:
    assert parse_arguments(f'{{"x": {text}}}') == {"x": value}


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1000000000000000000001",
        "12345678901234567.8",
        "1e400",
        "9" * 5000,
    ],
)
def test_a_number_that_cannot_be_kept_exactly_is_refused(text: str) -> None:
    with pytest.raises(ArgumentsInvalid):
        parse_arguments(f'{{"x": [{text}]}}')


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"text": "x", "to": "ana", "to": "eve"}', "to"),
        ('{"a": [{"b": 1, "b": 1}]}', "b"),
        ('{"a": 1, "\\u0061": 2}', "a"),
    ],
)
def test_a_key_given_twice_is_refused(text: str, key: str) -> None:
    with pytest.raises(ArgumentsInvalid, match=f"The key '{key}' is given twice"):
        parse_arguments(text)


@pytest.mark.parametrize("text", ["\x01" * 300_000, "\n" * 200_000, "é" * 200_000, "x" * 262_143])
def test_a_result_is_cut_to_the_limit_in_its_stored_form(text: str) -> None:
    result = store_result(ToolResult(text))
    assert result.is_cut
    assert MAX_RESULT - 8 <= len(orjson.dumps(result.content)) <= MAX_RESULT
    assert len(result.content) < len(text)


def test_a_lone_surrogate_is_replaced() -> None:
    assert store_result(ToolResult("a\ud800b")).content == "a?b"


def test_checking_too_many_values_against_a_large_enum_is_refused() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"enum": [3] * 4000}}}}
    check_arguments(schema, {"a": [3] * 100})
    with pytest.raises(ArgumentsInvalid, match="too many"):
        check_arguments(schema, {"a": [2] * 4000})


class Echo(Tool):
    name = "echo"
    description = "Say it again."
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}  # noqa: RUF012

    async def call(self, arguments: Any, context: ToolContext) -> ToolResult:
        return ToolResult(arguments["text"])


def test_a_tool_without_declarations_has_strict_defaults() -> None:
    tool = Echo()
    assert (tool.risk, tool.sends_out, tool.is_trusted) == ("high", True, False)
    assert tool.estimate_cost({}) == Decimal(0)


def test_the_digest_changes_with_the_description_and_server() -> None:
    class Other(Echo):
        description = "Say it again, and send it to others."

    assert OfferedTool(Echo()).digest == OfferedTool(Echo()).digest != OfferedTool(Other()).digest
    assert OfferedTool(Echo(), "server").digest != OfferedTool(Echo()).digest


def test_invalid_tools_are_refused_at_the_start() -> None:
    class Nameless(Echo):
        name = "no spaces"

    class Shapeless(Echo):
        parameters = {"type": "string"}  # noqa: RUF012

    for wrong in ([Echo(), Echo()], [Nameless()], [Shapeless()]):
        with pytest.raises(ValueError, match=r"tool|parameters"):
            check_tools(wrong)


def test_arguments_are_at_most_32_levels_deep() -> None:
    deepest = '{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
    assert parse_arguments(deepest)
    with pytest.raises(ArgumentsInvalid, match="32 levels"):
        parse_arguments('{"a": ' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}")
    with pytest.raises(ArgumentsInvalid):
        parse_arguments('{"a": ' + "[" * 300 + "]" * 300 + "}")
    assert parse_arguments('{"a": "\\\\u0000"}') == {"a": "\\u0000"}  # an escaped backslash, not a null character


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1/inside"}}},
        {"type": "object", "properties": {"x": {"$ref": "file:///etc/hostname"}}},
        {"type": "object", "$ref": "#"},
        {"type": "object", "properties": {"x": {"pattern": "^(a+)+$"}}},
        {"type": "object", "properties": {"x": {"uniqueItems": True}}},
        {"type": "string"},
        {"type": "object", "properties": 1},
    ],
)
def test_a_schema_with_references_or_expensive_checks_is_not_modest(schema: dict[str, Any]) -> None:
    assert not is_modest_schema(schema)


@pytest.mark.parametrize(("size", "is_modest"), [(MAX_ARGUMENTS, True), (MAX_ARGUMENTS + 1, False)])
def test_a_schema_has_at_most_the_size_of_arguments(size: int, is_modest: bool) -> None:
    empty = len(orjson.dumps({"type": "object", "description": ""}))
    assert is_modest_schema({"type": "object", "description": "x" * (size - empty)}) is is_modest


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/inside", "file:///etc/hostname", "#"])
def test_a_schema_reference_is_refused_without_fetching(reference: str) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"x": {"$ref": reference}}}
    if reference == "#":
        schema = {"type": "object", "allOf": [{"$ref": "#"}]}
    with pytest.raises(ArgumentsInvalid, match="has a reference"):
        check_arguments(schema, {"x": "y"})


@pytest.mark.parametrize(
    ("cost", "amount"),
    [
        (None, None),
        (0, "0"),
        (0.01, "0.01"),
        ("0.25", "0.25"),
        (Decimal("-1"), None),
        (float("nan"), None),
        ("much", None),
        (10**30, "999999"),
    ],
)
def test_a_cost_reported_by_a_tool_is_parsed_or_ignored(cost: object, amount: str | None) -> None:
    assert as_cost(cost) == (None if amount is None else Decimal(amount))
