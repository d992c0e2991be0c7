"""Test the limits of JSON bodies: number of values, levels, characters, and the order of the checks."""

import json
from typing import Annotated

import pytest
from pydantic import BeforeValidator, ValidationError

from tertulia.errors import Invalid
from tertulia.http.body import MAX_ERRORS, MAX_VALUES, RequestModel, TooManyValues, ValueCounter, at_most, parse_json


def count(text: bytes, *, piece_bytes: int) -> int:
    counter = ValueCounter()
    for start in range(0, len(text), piece_bytes):
        counter.feed(text[start : start + piece_bytes])
    return counter.count


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("value", "values"),
    [
        (0, 1),
        ([1, 2, 3], 4),
        ({"a": [1, {"b": 2}]}, 5),
        ("commas, [brackets] and {braces} in a text", 1),
        (['a quotation mark: " [1,2,3]', "a backslash: \\", 'both: \\"[,'], 4),
        ({'"[,{': '\\\\"[,', "\\": "\\"}, 3),
    ],
)
def test_values_are_counted_however_the_body_is_split(value: object, values: int, piece_bytes: int) -> None:
    assert count(json.dumps(value).encode(), piece_bytes=piece_bytes) == values


def test_a_body_holds_at_most_50000_values() -> None:
    ValueCounter().feed(json.dumps([0] * (MAX_VALUES - 1)).encode())
    with pytest.raises(TooManyValues):
        ValueCounter().feed(json.dumps([0] * MAX_VALUES).encode())


class _Body(RequestModel):
    numbers: list[int]


def test_a_list_that_is_too_long_is_refused_before_its_entries_are_read() -> None:
    read = list[int]()

    class Body(RequestModel):
        entries: Annotated[
            list[Annotated[int, BeforeValidator(lambda value: read.append(value) or value)]], *at_most(2)
        ]

    Body.model_validate({"entries": [1, 2]})
    assert read == [1, 2]
    with pytest.raises(ValidationError, match="at most 2 entries"):
        Body.model_validate({"entries": [1, 2, 3]})
    assert read == [1, 2]


@pytest.mark.parametrize("count", [MAX_ERRORS, MAX_ERRORS + 1])
def test_many_errors_of_a_body_are_counted_and_not_listed(count: int) -> None:
    with pytest.raises(ValidationError) as raised:
        _Body.model_validate({"numbers": ["x"] * count})
    if count == MAX_ERRORS:
        assert raised.value.error_count() == MAX_ERRORS
    else:
        assert raised.value.error_count() == 1
        assert f"It has {count} errors" in str(raised.value)


@pytest.mark.parametrize("count", [MAX_ERRORS, MAX_ERRORS + 1])
def test_many_unknown_fields_are_counted_and_not_listed(count: int) -> None:
    with pytest.raises(ValidationError) as raised:
        _Body.model_validate({"numbers": [1]} | {f"x{index}": 0 for index in range(count)})
    if count == MAX_ERRORS:
        assert raised.value.error_count() == MAX_ERRORS
    else:
        assert raised.value.error_count() == 1
        assert f"It has {count + 1} fields" in str(raised.value)


@pytest.mark.parametrize("text", [b'["a\\u0000b"]', b'{"a": {"\\u0000": 1}}'])
def test_the_null_character_is_refused_at_any_depth(text: bytes) -> None:
    with pytest.raises(Invalid, match=r"U\+0000"):
        parse_json(text)
