"""Wire shapes of accounts."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from tertulia.accounts.models import Preferences, UserRole, UserStatus

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def _person_name(value: str) -> str:
    """Letters of any script, marks, digits, spaces and hyphens; apostrophe and full stop, because real names have them."""
    for character in value:
        if unicodedata.category(character)[0] not in "LMN" and character not in " -.'’":
            raise ValueError(f"A name cannot contain {character!r}. Letters, digits, spaces and - . ' are fine.")
    if not value.strip():
        raise ValueError("Say what you would like to be called.")
    return value.strip()


def _email(value: str) -> str:
    folded = unicodedata.normalize("NFKC", value).casefold()
    if max(len(value), len(folded)) > 254 or not _EMAIL.fullmatch(value):
        raise ValueError("This is not an e-mail address.")
    return value


Username = Annotated[
    str, Field(pattern=r"^[a-z0-9._-]{1,50}$", description="1 to 50 of a-z, 0-9, dot, underscore, hyphen.")
]
PersonName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_person_name)]
Email = Annotated[str, AfterValidator(_email)]


class Request(BaseModel):
    """A body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class AccountCreate(Request):
    username: Username
    name: PersonName
    password: str = Field(max_length=1000)
    email: Email | None = None


class UserCreate(AccountCreate):
    role: UserRole = UserRole.USER


class SignIn(Request):
    username: str = Field(max_length=254, description="The user name, or the e-mail address.")
    password: str = Field(max_length=1000)


class PreferencesUpdate(Preferences):
    """A field that is given replaces; null goes back to the default."""


class MeUpdate(Request):
    name: PersonName | None = None
    email: Email | None = None
    preferences: PreferencesUpdate | None = None
    password: str | None = Field(
        None,
        max_length=1000,
        description="One's own, to change the e-mail address later than 10 minutes after signing in.",
    )


class PreferencesRead(TypedDict):
    theme: Literal["light", "dark", "system"]
    language: str | None
    default_model: str | None
    enable_notifications: bool


class UserRead(TypedDict):
    id: str
    username: str
    name: str
    email: str | None
    image: str | None
    role: UserRole
    status: UserStatus
    preferences: PreferencesRead
    created_at: datetime
    updated_at: datetime


class SetupRead(TypedDict):
    required: bool
