"""What the API takes and returns for notes."""

from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class NoteCreate(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    text: str = Field(max_length=10_000)


class NoteRead(TypedDict):
    id: str
    title: str
    text: str
