"""Wire shapes of tools, their calls, and the rules about them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead
from tertulia.http.body import RequestModel, at_most
from tertulia.tools.models import DecidedBy, Key, Plain, ToolRules, ToolStatus
from tertulia.tools.protocol import Environment, ResultKind, Risk
from tertulia.tools.provenance import SourceGroup
from tertulia.tools.validation import MAX_ARGUMENTS

MAX_RULES = 200
Cost = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=12, decimal_places=6, allow_inf_nan=False)]
Rules = Annotated[ToolRules, *at_most(MAX_RULES)]
FormValue = Plain | float | int | bool | Annotated[list[Plain], Field(max_length=1000)] | None


class DefinitionRead(TypedDict):
    description: str
    parameters: dict[str, Any]


class ToolRead(TypedDict):
    """A tool. Chat settings and rules refer to it by `key`. `hints` are claims of its server and decide nothing.

    `changed` is the server's current definition, if it differs from the accepted one.
    """

    key: str
    name: str
    server: str | None
    description: str
    parameters: dict[str, Any]
    risk: Risk
    sends_out: bool
    definition_digest: str
    can_dry_run: bool
    title: str | None
    hints: dict[str, bool]
    changed: DefinitionRead | None


class ToolResultRead(TypedDict):
    """A tool result. `content` is null if it is long: get the call by its id. `excerpt` is its beginning as text."""

    kind: ResultKind
    size_bytes: int
    is_cut: bool
    excerpt: str
    content: Any


class QuestionRead(TypedDict):
    """A question from a running call: a form as a flat JSON Schema, or a page to open."""

    id: str
    message: str
    form: dict[str, Any] | None
    url: str | None
    asked_at: datetime


class ToolExecutionRead(TypedDict):
    """A tool call. `reason` names the rule that decided. `sources`: what its run had read before.

    `arguments_json` is the effective arguments as JSON text, one line per value. It keeps numbers exact that a client's
    JSON parser would round.
    """

    id: str
    chat_id: str
    message_id: str
    run_id: str | None
    step: int
    requested_by: str | None
    tool_call_id: str
    tool_name: str
    server: str | None
    environment: Environment | None
    tool_key: str
    risk: Risk
    parameters: dict[str, Any]
    edited_parameters: dict[str, Any] | None
    arguments_json: str
    status: ToolStatus
    decision: DecidedBy | None
    reason: str
    sources: list[SourceGroup]
    decided_by: AuthorRead | None
    deny_note: str | None
    approval_requested_at: datetime | None
    approved_at: datetime | None
    decided_at: datetime | None
    expires_at: datetime | None
    executed_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    estimated_cost: Decimal
    cost: Decimal | None
    result: ToolResultRead | None
    error_code: str | None
    error_message: str | None
    question: QuestionRead | None
    created_at: datetime
    updated_at: datetime


class PendingToolExecution(ToolExecutionRead):
    chat_title: str


class ToolUsage(TypedDict):
    """Usage of one tool. Durations are in milliseconds and cover only calls that ran."""

    tool_name: str
    server: str | None
    calls: int
    completed: int
    failed: int
    denied: int
    average_ms: int | None
    longest_ms: int | None
    cost: Decimal
    last_used_at: datetime


class DryRunRead(TypedDict):
    """A description of what a call would do; null if the tool cannot give one."""

    effect: str | None


class Approve(RequestModel):
    remember: Literal["none", "chat", "always"] = "none"
    arguments_json: str | None = Field(
        None,
        max_length=MAX_ARGUMENTS,
        description="Arguments to use instead of the model's, as JSON text, which keeps numbers exact.",
    )


class DryRunCreate(RequestModel):
    arguments_json: str | None = Field(
        None, max_length=MAX_ARGUMENTS, description="Arguments to use instead of the call's, as JSON text."
    )


class Deny(RequestModel):
    note: Plain | None = Field(
        None, max_length=1000, description="A note to the model: the reason, or what to do instead."
    )


class AnswerQuestion(RequestModel):
    """A reply: `accept` with the form's content, `decline` to refuse, `cancel` to dismiss the question."""

    question_id: str = Field(max_length=40)
    action: Literal["accept", "decline", "cancel"]
    content: Annotated[dict[Key, FormValue], *at_most(100)] | None = None


class AutoApprovalRead(TypedDict):
    """Automatic approval settings. Amounts are in US dollars."""

    read_only_operations: bool
    low_risk_operations: bool
    specific_tools: dict[str, list[dict[str, Any]]]
    max_cost_per_tool: Decimal
    max_cost_per_hour: Decimal
    require_approval_for_new_tools: bool
    spent_this_hour: Decimal
    updated_at: datetime | None


class AutoApprovalUpdate(RequestModel):
    """The complete automatic approval settings. Absent fields take their defaults."""

    read_only_operations: bool = False
    low_risk_operations: bool = False
    specific_tools: Rules = Field(default_factory=dict)
    max_cost_per_tool: Cost = Decimal("1.00")
    max_cost_per_hour: Cost = Decimal("10.00")
    require_approval_for_new_tools: bool = True


class ChatApprovalRead(TypedDict):
    """Approval settings of a chat. `null` inherits the account setting. `max_cost_per_tool` can only lower it."""

    read_only_operations: bool | None
    low_risk_operations: bool | None
    require_approval_for_new_tools: bool | None
    max_cost_per_tool: Decimal | None
    specific_tools: dict[str, list[dict[str, Any]]]
