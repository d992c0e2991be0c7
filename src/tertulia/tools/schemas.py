"""Wire shapes of tools, their calls, and the rules about them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead
from tertulia.tools.models import DecidedBy, Key, Plain, ToolRules, ToolStatus
from tertulia.tools.protocol import Environment, ResultKind, Risk
from tertulia.tools.validation import MAX_ARGUMENTS

MAX_RULES = 200
Cost = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=12, decimal_places=6, allow_inf_nan=False)]
Rules = Annotated[ToolRules, Field(max_length=MAX_RULES)]


class DefinitionRead(TypedDict):
    description: str
    parameters: dict[str, Any]


class ToolRead(TypedDict):
    """`key` is what a chat's settings and rules name it by. `hints` are its server's own word, and decide nothing.

    `changed` is how its server describes it now, where that is not what was accepted.
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
    """`content` is null where it is long: the call itself, asked for by its id, has it. `excerpt` is its beginning as text."""

    kind: ResultKind
    size_bytes: int
    is_cut: bool
    excerpt: str
    content: Any


class QuestionRead(TypedDict):
    """What a call that runs wants to know before it goes on: a form by a flat JSON Schema, or a page to open."""

    id: str
    message: str
    form: dict[str, Any] | None
    url: str | None
    asked_at: datetime


class ToolExecutionRead(TypedDict):
    """`reason` says which rule ran, asked about or refused it; `untrusted_sources` whose words its arguments carry.

    `arguments_json`: the arguments that count, as JSON text with a line for each value, for whoever reads numbers less exactly than they
    are.
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
    untrusted_sources: list[str]
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
    """What the calls of one tool came to. Durations are of those that ran, in milliseconds."""

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
    """What a call would do, in words; null where the tool cannot tell."""

    would: str | None


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Approve(_Request):
    remember: Literal["none", "chat", "always"] = "none"
    parameters: dict[str, Any] | None = Field(
        None, description="The arguments as you want them, instead of the model's."
    )
    arguments_json: str | None = Field(
        None, max_length=MAX_ARGUMENTS, description="The same as JSON text, which keeps long numbers as they are."
    )


class DryRunWish(_Request):
    arguments_json: str | None = Field(
        None, max_length=MAX_ARGUMENTS, description="Other arguments than the call's, as JSON text."
    )


class Deny(_Request):
    note: Plain | None = Field(None, max_length=1000, description="A word to the model: why not, or what instead.")


class AnswerQuestion(_Request):
    """`accept` with what was filled in, `decline`: no, `cancel`: neither."""

    question_id: str = Field(max_length=40)
    action: Literal["accept", "decline", "cancel"]
    content: dict[Key, Plain | float | int | bool | list[Plain] | None] | None = Field(None, max_length=100)


class AutoApprovalRead(TypedDict):
    """Amounts are US dollars."""

    read_only_operations: bool
    low_risk_operations: bool
    specific_tools: dict[str, list[dict[str, Any]]]
    max_cost_per_tool: Decimal
    max_cost_per_hour: Decimal
    require_approval_for_new_tools: bool
    spent_this_hour: Decimal
    updated_at: datetime | None


class AutoApprovalUpdate(_Request):
    """What a person lets tools do unasked, whole."""

    read_only_operations: bool = False
    low_risk_operations: bool = False
    specific_tools: Rules = Field(default_factory=dict)
    max_cost_per_tool: Cost = Decimal("1.00")
    max_cost_per_hour: Cost = Decimal("10.00")
    require_approval_for_new_tools: bool = True


class ChatApprovalRead(TypedDict):
    """What is null is as everywhere. `max_cost_per_tool` counts where it is less than the person's own."""

    read_only_operations: bool | None
    low_risk_operations: bool | None
    require_approval_for_new_tools: bool | None
    max_cost_per_tool: Decimal | None
    specific_tools: dict[str, list[dict[str, Any]]]
