"""Wire shapes of accounts."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.models import Preferences, Scope, UserRole, UserStatus
from tertulia.http.moments import Moment
from tertulia.ids import AnyId

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


class Confirmation(Request):
    password: str = Field(max_length=1000, description="One's own, entered again.")


class PasswordChange(Request):
    password: str = Field(max_length=1000, description="The one of now.")
    new_password: str = Field(max_length=1000)


class UserUpdate(Request):
    """What is absent stays. Someone whose role changes, or who is deactivated, is signed out everywhere."""

    name: PersonName | None = None
    role: UserRole | None = None
    status: UserStatus | None = None


class PasswordReset(Request):
    password: str = Field(max_length=1000)


def _in_the_future(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("Say the time zone, such as 2027-01-01T00:00:00Z.")
    if value <= clock.now():
        raise ValueError("This moment has passed.")
    return value.astimezone(UTC)


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("A name is one line with at least one letter.")
    return value.strip()


class ApiTokenCreate(Request):
    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    scopes: Annotated[set[Scope], Field(min_length=1)] = Field(
        default_factory=lambda: {Scope.READ, Scope.WRITE}, description="`read`, `write`, `admin`."
    )
    expires_at: Annotated[datetime, AfterValidator(_in_the_future)] | None = Field(
        None, description="When it ends; null: when it is revoked."
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


class SessionRead(TypedDict):
    """One sign-in on one device; `is_current` is the one that asks."""

    id: str
    platform: str | None
    browser: str | None
    user_agent: str | None
    ip_address: str | None
    is_current: bool
    started_at: datetime
    last_active_at: datetime
    expires_at: datetime


class ApiTokenRead(TypedDict):
    """`prefix` is how the token begins, to tell it from others."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    last_used_at: datetime | None
    expires_at: datetime | None
    created_at: datetime


class ApiTokenCreated(ApiTokenRead):
    """`token` is shown this once. The repetition of a call has null there, and `code` is `already_shown`."""

    token: str | None
    code: NotRequired[Literal["already_shown"]]


class AuthorRead(TypedDict):
    id: str
    name: str


class PermissionsRead(TypedDict):
    can_read: bool
    can_write: bool
    can_share: bool


class Permissions(Request):
    """Reading is always given."""

    can_read: Literal[True] = True
    can_write: bool = False
    can_share: bool = False


class ShareCreate(Request):
    """With one person, by id or by name; with neither it is a link, which is for reading."""

    permissions: Permissions = Field(default_factory=Permissions)
    shared_with_user_id: AnyId | None = None
    shared_with_username: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _one_way_to_name(self) -> "ShareCreate":
        if self.shared_with_user_id and self.shared_with_username:
            raise ValueError("Name the person either by id or by name.")
        return self


class ShareRead(TypedDict):
    """Of a chat or of a draft; `shared_with` is null for a link."""

    id: str
    chat_id: str | None
    draft_id: str | None
    shared_with: AuthorRead | None
    permissions: PermissionsRead
    expires_at: datetime | None
    is_active: bool
    access_count: int
    created_at: datetime


class ShareMade(ShareRead):
    """`token` is shown once: the link ends in it."""

    token: str | None
