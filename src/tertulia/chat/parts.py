"""Typed parts of a message. A new kind of part needs a class here and a component in the web app."""

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
    """An uploaded image, or an external one, which is shown as a link."""

    type: Literal["image"] = "image"
    url: str | None = Field(None, max_length=2000, pattern=r"^https?://")
    attachment_id: AnyId | None = None
    alt: str | None = Field(None, max_length=1000)
    width: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_a_source(self) -> "ImagePart":
        if (self.url is None) == (self.attachment_id is None):
            raise ValueError("An image part needs either `url` or `attachment_id`.")
        return self


class FilePart(_Part):
    """An attached file. Its name stays after the file is deleted. Only the id is taken from the client."""

    type: Literal["file"] = "file"
    attachment_id: AnyId
    file_name: str = Field("", max_length=255)
    file_type: str = Field("", max_length=127)
    file_size: int = Field(0, ge=0)


class ReasoningPart(_Part):
    """Reasoning that a model produced before its answer; shown collapsed, never sent back, not searched."""

    type: Literal["reasoning"] = "reasoning"
    text: str
    duration_ms: int | None = Field(None, ge=0)


MAX_PASSAGES = 100


class SourcePart(_Part):
    """A page that a reply cites. `passages` are the texts of the reply that cite it, if its vendor names them."""

    type: Literal["source"] = "source"
    url: str = Field(max_length=2000, pattern=r"^https?://")
    title: str | None = Field(None, max_length=500)
    passages: list[str] = Field(default_factory=list, max_length=MAX_PASSAGES)


class RefusalPart(_Part):
    """The words with which a model refused to answer; empty if it gave none."""

    type: Literal["refusal"] = "refusal"
    text: str


class ToolCallPart(_Part):
    """The place of a tool call. Its arguments, approval and result are in the tool execution (docs/adr/0024)."""

    type: Literal["tool_call"] = "tool_call"
    tool_execution_id: AnyId
    tool_name: str = Field(max_length=100)
    server: str | None = Field(None, max_length=100)


Part = Annotated[
    TextPart | CodePart | ImagePart | FilePart | ReasoningPart | SourcePart | RefusalPart | ToolCallPart,
    Field(discriminator="type"),
]
# The kinds that come to a reply as a whole, and are shown at once.
WholePart = Annotated[ImagePart | FilePart | SourcePart | RefusalPart, Field(discriminator="type")]
# The kinds that a person may send; the others come from models and tools.
WrittenPart = Annotated[TextPart | CodePart | ImagePart | FilePart, Field(discriminator="type")]


def storable(text: str) -> str:
    """Return a text of a server that every database takes: no U+0000, and no half of a surrogate pair."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def flatten(parts: list[Part]) -> str:
    """Join the texts of the parts with spaces, code included, for search, lists and models."""
    return " ".join(text for part in parts if (text := _words(part)))


def _words(part: Part) -> str:
    match part:
        case TextPart() | RefusalPart():
            return part.text
        case CodePart():
            return part.code
        case ImagePart():
            return part.alt or ""
        case FilePart():
            return part.file_name
        # A model that cited pages receives its own words back exactly.
        case SourcePart() | ReasoningPart() | ToolCallPart():
            return ""


def written_text(parts: list[Part]) -> str:
    """Join the text and reasoning of a reply, to estimate output tokens that a provider does not report."""
    return "".join(part.text for part in parts if isinstance(part, TextPart | ReasoningPart))


def attachments_in(parts: list[Part]) -> list[str]:
    """Return the ids of the files that the parts name, in order."""
    return [part.attachment_id for part in parts if isinstance(part, ImagePart | FilePart) and part.attachment_id]


def with_other_calls(parts: list[Part], ids: Mapping[str, str]) -> list[Part]:
    """Replace the tool execution ids in the parts."""
    return [
        part.model_copy(update={"tool_execution_id": ids.get(part.tool_execution_id, part.tool_execution_id)})
        if isinstance(part, ToolCallPart)
        else part
        for part in parts
    ]


def with_other_files(parts: list[Part], ids: Mapping[str, str]) -> list[Part]:
    """Replace the file ids in the parts; a file without a replacement stays unchanged."""
    return [
        part.model_copy(update={"attachment_id": ids.get(part.attachment_id, part.attachment_id)})
        if isinstance(part, ImagePart | FilePart) and part.attachment_id
        else part
        for part in parts
    ]
