"""What a message is made of. A new kind of part is one class here, and one component in the web."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tertulia.ids import AnyId


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Part):
    type: Literal["text"] = "text"
    text: str


class CodePart(_Part):
    type: Literal["code"] = "code"
    language: str = Field(max_length=50)
    code: str
    filename: str | None = Field(None, max_length=255)


class ImagePart(_Part):
    """A picture of ours, or one elsewhere, which is shown as a link."""

    type: Literal["image"] = "image"
    url: str | None = Field(None, max_length=2000, pattern=r"^https?://")
    attachment_id: AnyId | None = None
    alt: str | None = Field(None, max_length=1000)
    width: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_a_source(self) -> "ImagePart":
        if (self.url is None) == (self.attachment_id is None):
            raise ValueError("A picture needs its url, or the id of its attachment.")
        return self


class FilePart(_Part):
    """What was attached; the name stays when the file is deleted. What a client says of it beside the id is not believed."""

    type: Literal["file"] = "file"
    attachment_id: AnyId
    file_name: str = Field("", max_length=255)
    file_type: str = Field("", max_length=127)
    file_size: int = Field(0, ge=0)


class ReasoningPart(_Part):
    """What a model thought before it answered; shown folded, never sent back, not searched."""

    type: Literal["reasoning"] = "reasoning"
    text: str
    duration_ms: int | None = Field(None, ge=0)


class SourcePart(_Part):
    type: Literal["source"] = "source"
    url: str = Field(max_length=2000, pattern=r"^https?://")
    title: str | None = Field(None, max_length=500)


class ToolCallPart(_Part):
    """Where a model called a tool; what it asked, what was decided and what came of it is in the execution (docs/adr/0024)."""

    type: Literal["tool_call"] = "tool_call"
    tool_execution_id: AnyId
    tool_name: str = Field(max_length=100)
    server: str | None = Field(None, max_length=100)


Part = Annotated[
    TextPart | CodePart | ImagePart | FilePart | ReasoningPart | SourcePart | ToolCallPart, Field(discriminator="type")
]
# What a person may put into a message; the other kinds come from models and tools.
WrittenPart = Annotated[TextPart | CodePart | ImagePart | FilePart, Field(discriminator="type")]


def flatten(parts: list[Part]) -> str:
    """The text of a message for search, lists and models: the parts' words, code included, joined by spaces."""
    return " ".join(text for part in parts if (text := _words(part)))


def _words(part: Part) -> str:
    match part:
        case TextPart():
            return part.text
        case CodePart():
            return part.code
        case ImagePart():
            return part.alt or ""
        case FilePart():
            return part.file_name
        case SourcePart():
            return part.title or ""
        case ReasoningPart() | ToolCallPart():
            return ""


def written_text(parts: list[Part]) -> str:
    """All that a model wrote, its thinking included: what its output is counted by where it does not say."""
    return "".join(part.text for part in parts if isinstance(part, TextPart | ReasoningPart))


def attachments_in(parts: list[Part]) -> list[str]:
    """The ids of the files that parts name, in their order."""
    return [part.attachment_id for part in parts if isinstance(part, ImagePart | FilePart) and part.attachment_id]


def with_other_calls(parts: list[Part], ids: Mapping[str, str]) -> list[Part]:
    """The parts with the ids of their calls replaced."""
    return [
        part.model_copy(update={"tool_execution_id": ids.get(part.tool_execution_id, part.tool_execution_id)})
        if isinstance(part, ToolCallPart)
        else part
        for part in parts
    ]


def with_other_files(parts: list[Part], ids: Mapping[str, str]) -> list[Part]:
    """The parts with their files' ids replaced; a file that has no other keeps what is said of it."""
    return [
        part.model_copy(update={"attachment_id": ids.get(part.attachment_id, part.attachment_id)})
        if isinstance(part, ImagePart | FilePart) and part.attachment_id
        else part
        for part in parts
    ]
