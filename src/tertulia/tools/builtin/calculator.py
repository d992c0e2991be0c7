"""A calculator with exact decimals and a few functions. Models often get arithmetic wrong."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, localcontext
from typing import Any

from typing_extensions import override

from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult

MAX_EXPRESSION = 1000
MAX_EXPONENT = 10_000
DIGITS = 50
_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: (left / right).to_integral_value(rounding="ROUND_FLOOR"),
    ast.Mod: lambda left, right: left - right * (left / right).to_integral_value(rounding="ROUND_FLOOR"),
}
_FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "sqrt": lambda value: value.sqrt(),
    "abs": abs,
    "exp": lambda value: value.exp(),
    "ln": lambda value: value.ln(),
    "log10": lambda value: value.log10(),
    "round": lambda value, places=Decimal(0): round(value, int(places)),
    "floor": lambda value: value.to_integral_value(rounding="ROUND_FLOOR"),
    "ceil": lambda value: value.to_integral_value(rounding="ROUND_CEILING"),
    "min": min,
    "max": max,
    "sin": lambda value: Decimal(repr(math.sin(value))),
    "cos": lambda value: Decimal(repr(math.cos(value))),
    "tan": lambda value: Decimal(repr(math.tan(value))),
}
_CONSTANTS = {"pi": Decimal(repr(math.pi)), "e": Decimal(repr(math.e))}


class Calculate(Tool):
    name = "calculate"
    description = (
        "Work out an arithmetic expression exactly: + - * / // % **, parentheses, sqrt, abs, exp, ln, log10, round, floor, ceil, min, "
        "max, sin, cos, tan (radians), pi, e. Use it for any sum that matters."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "expression": {"type": "string", "maxLength": MAX_EXPRESSION, "examples": ["(19.99 * 3) / 1.21"]}
        },
        "required": ["expression"],
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 5.0
    sends_out = False
    is_trusted = True

    @override
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult(evaluate(arguments["expression"]))


def evaluate(expression: str) -> str:
    """Evaluate an expression and return its value as text, to 50 digits. Raises ToolFailed."""
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
        with localcontext(Context(prec=DIGITS, Emax=MAX_EXPONENT * 10, Emin=-MAX_EXPONENT * 10)):
            value = _value(tree.body).normalize()
    except ToolFailed:
        raise
    except (SyntaxError, RecursionError, MemoryError):
        raise ToolFailed("This is not a valid arithmetic expression.") from None
    except (DecimalException, ArithmeticError, ValueError, TypeError):
        raise ToolFailed(
            "The expression has no value: division by zero, root of a negative number, or too large a number."
        ) from None
    text = format(value, "f") if -30 < value.adjusted() < 40 else str(value)
    return "0" if text == "-0" else text


def _value(node: ast.expr) -> Decimal:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return Decimal(repr(number))
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            exponent = _value(right)
            if abs(exponent) > MAX_EXPONENT:
                raise ToolFailed(f"An exponent can be at most {MAX_EXPONENT:,}.")
            return _value(left) ** exponent
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(argument) for argument in args))
    raise ToolFailed(f"{ast.unparse(node)[:60]} is not supported in an expression.")
