"""What a message is made of. A new kind of part is one class here, and one component in the web."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
    type: Literal["image"] = "image"
    url: str | None = Field(None, max_length=2000, pattern=r"^https?://")
    alt: str | None = Field(None, max_length=1000)
    width: int | None = Field(None, ge=1)
    height: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_a_source(self) -> "ImagePart":
        if self.url is None:
            raise ValueError("A picture needs its url.")
        return self


class ReasoningPart(_Part):
    """What a model thought before it answered; shown folded, never sent back, not searched."""

    type: Literal["reasoning"] = "reasoning"
    text: str
    duration_ms: int | None = Field(None, ge=0)


class SourcePart(_Part):
    type: Literal["source"] = "source"
    url: str = Field(max_length=2000, pattern=r"^https?://")
    title: str | None = Field(None, max_length=500)


Part = Annotated[TextPart | CodePart | ImagePart | ReasoningPart | SourcePart, Field(discriminator="type")]
# What a person may put into a message; the other kinds come from models and tools.
WrittenPart = Annotated[TextPart | CodePart | ImagePart, Field(discriminator="type")]


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
        case SourcePart():
            return part.title or ""
        case ReasoningPart():
            return ""


def written_text(parts: list[Part]) -> str:
    """All that a model wrote, its thinking included: what its output is counted by where it does not say."""
    return "".join(part.text for part in parts if isinstance(part, TextPart | ReasoningPart))
