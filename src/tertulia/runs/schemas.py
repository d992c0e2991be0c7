"""Wire shapes of runs, and the closed set of events of a run's stream."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, model_validator
from typing_extensions import TypedDict

from tertulia.chat.parts import ToolCallPart, WholePart
from tertulia.chat.schemas import MessageRead, ModelName, ProviderName, UsageRead, Written
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId
from tertulia.runs.models import ReplyOptions, RunStatus
from tertulia.tools.models import ToolStatus


class ModelRef(RequestModel):
    provider: ProviderName
    model_name: ModelName


def _each_once(models: list[ModelRef]) -> list[ModelRef]:
    if len({(model.provider, model.model_name) for model in models}) < len(models):
        raise ValueError("Name each model once.")
    return models


MAX_MODELS = 4
Models = Annotated[
    list[ModelRef],
    Field(min_length=1, max_length=MAX_MODELS, description="Each of these models replies, in parallel."),
    AfterValidator(_each_once),
]


Options = Annotated[
    ReplyOptions | None,
    Field(
        description="Settings of the request for this reply only. They take precedence over the settings of the chat."
    ),
]


class MessageCreate(Written):
    previous_message_id: AnyId | None = Field(None, description="The message before this one; else the chat's head.")
    parent_message_id: AnyId | None = Field(None, description="The message whose thread this one is appended to.")
    reply: bool = Field(True, description="Whether a model replies.")
    models: Models | None = None
    options: Options = None

    @model_validator(mode="after")
    def _models_answer(self) -> "MessageCreate":
        if self.models and not self.reply:
            raise ValueError("Models can only be named if `reply` is true.")
        return self


class MessageEdit(Written):
    in_place: bool = Field(False, description="Change the text in place and keep the old text. Starts no run.")
    reply: bool = Field(True, description="Whether a model replies to the edited message.")
    options: Options = None


class Regenerate(RequestModel):
    provider: ProviderName | None = None
    model_name: ModelName | None = None
    models: Models | None = None
    options: Options = None

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> "Regenerate":
        if self.models and (self.provider or self.model_name):
            raise ValueError("Name either one model or a list of models, not both.")
        return self


class RunErrorRead(TypedDict):
    code: str
    detail: str


class RunRead(TypedDict):
    id: str
    chat_id: str
    message_id: str
    status: RunStatus
    provider: str
    model_name: str
    error: RunErrorRead | None
    usage: UsageRead | None
    cost: Decimal | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Answer(TypedDict):
    reply: MessageRead
    run: RunRead


class Sent(TypedDict):
    """A message, the reply that is shown, and the replies that other models write in parallel."""

    message: MessageRead
    reply: MessageRead | None
    run: RunRead | None
    others: list[Answer]


class RunStarted(TypedDict):
    type: Literal["run.started"]
    run_id: str
    chat_id: str
    message_id: str


class MessageReset(TypedDict):
    """Discard the received text of this message: it is sent again from the beginning."""

    type: Literal["message.reset"]
    message_id: str


class TextDeltaEvent(TypedDict):
    """`text` is appended to the part."""

    type: Literal["text.delta"]
    message_id: str
    part_index: int
    text: str


class ReasoningDeltaEvent(TypedDict):
    type: Literal["reasoning.delta"]
    message_id: str
    part_index: int
    text: str


class PartAdded(TypedDict):
    """A part that came as a whole: a picture, a file, a source or a refusal."""

    type: Literal["part.added"]
    message_id: str
    part_index: int
    part: WholePart


class ToolRequested(TypedDict):
    """A tool call, as a part of the message. The tool execution has its arguments."""

    type: Literal["tool.requested"]
    message_id: str
    part_index: int
    part: ToolCallPart


class ApprovalRequested(TypedDict):
    """The run waits until the user has decided this call."""

    type: Literal["approval.requested"]
    message_id: str
    tool_execution_id: str


class ToolFinished(TypedDict):
    type: Literal["tool.finished"]
    message_id: str
    tool_execution_id: str
    status: ToolStatus


class MessageFinished(TypedDict):
    type: Literal["message.finished"]
    message: MessageRead


class RunFinished(TypedDict):
    type: Literal["run.finished"]
    status: Literal["completed", "cancelled", "interrupted"]
    usage: UsageRead | None
    cost: Decimal | None


class RunFailed(TypedDict):
    type: Literal["run.failed"]
    code: str
    detail: str


RunEvent = (
    RunStarted
    | MessageReset
    | TextDeltaEvent
    | ReasoningDeltaEvent
    | PartAdded
    | ToolRequested
    | ApprovalRequested
    | ToolFinished
    | MessageFinished
    | RunFinished
    | RunFailed
)
RUN_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)
# The events that a public link shows of a run: the text of its reply.
SharedRunEvent = MessageReset | TextDeltaEvent | ReasoningDeltaEvent | ToolRequested
SHARED_RUN_EVENT: TypeAdapter[SharedRunEvent] = TypeAdapter(SharedRunEvent)
