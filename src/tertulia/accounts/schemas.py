"""Request and response shapes of accounts."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.models import Preferences, Scope, UserRole, UserStatus
from tertulia.http.body import RequestModel, at_most
from tertulia.http.times import UtcInput
from tertulia.ids import AnyId

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def _person_name(value: str) -> str:
    """Accept letters of any script, marks, digits, spaces, hyphens, apostrophes and full stops, as in real names."""
    for character in value:
        if unicodedata.category(character)[0] not in "LMN" and character not in " -.'’":
            raise ValueError(f"A name cannot contain {character!r}. Letters, digits, spaces and - . ' are fine.")
    if not value.strip():
        raise ValueError("Enter a name.")
    return value.strip()


def _email(value: str) -> str:
    folded = unicodedata.normalize("NFKC", value).casefold()
    if max(len(value), len(folded)) > 254 or not _EMAIL.fullmatch(value):
        raise ValueError("This is not an e-mail address.")
    return value


Username = Annotated[
    str, Field(pattern=r"^[a-z0-9._-]{1,50}$", description="1 to 50 characters: a-z, 0-9, dot, underscore, hyphen.")
]
PersonName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_person_name)]
Email = Annotated[str, AfterValidator(_email)]


class AccountCreate(RequestModel):
    username: Username
    name: PersonName
    password: str = Field(max_length=1000)
    email: Email | None = None


class UserCreate(AccountCreate):
    role: UserRole = UserRole.USER


class SignIn(RequestModel):
    username: str = Field(max_length=254, description="The user name or the e-mail address.")
    password: str = Field(max_length=1000)


class PreferencesUpdate(Preferences):
    """The preferences to change. `null` resets one to its default."""


class MeUpdate(RequestModel):
    name: PersonName | None = None
    email: Email | None = None
    preferences: PreferencesUpdate | None = None


class Confirmation(RequestModel):
    password: str = Field(max_length=1000, description="Your current password.")


class PasswordChange(RequestModel):
    password: str = Field(max_length=1000, description="Your current password.")
    new_password: str = Field(max_length=1000)


class UserUpdate(RequestModel):
    """The fields to change. A user whose role or status changes is signed out everywhere."""

    name: PersonName | None = None
    role: UserRole | None = None
    status: UserStatus | None = None


class PasswordReset(RequestModel):
    password: str = Field(max_length=1000)


def _in_the_future(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("Add the time zone, such as 2027-01-01T00:00:00Z.")
    if value <= clock.now():
        raise ValueError("This time is in the past. Choose a later one.")
    return value.astimezone(UTC)


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("Enter a name of one line.")
    return value.strip()


class ApiTokenCreate(RequestModel):
    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    scopes: Annotated[set[Scope], Field(min_length=1), *at_most(len(Scope))] = Field(
        default_factory=lambda: {Scope.READ, Scope.WRITE},
        description="What the token may do: `read`, `write`, `admin`.",
    )
    expires_at: Annotated[datetime, AfterValidator(_in_the_future)] | None = Field(
        None, description="When the token expires. `null`: never."
    )


class PreferencesRead(TypedDict):
    theme: Literal["light", "dark", "system"]
    language: str | None
    default_model: str | None
    enable_notifications: bool
    time_zone: str | None
    favourite_models: list[str]
    model_windows: dict[str, int]


class AuditUser(TypedDict):
    id: str
    username: str
    name: str


class AuditEntry(TypedDict):
    """An entry of the audit log. `user` is null for the command line, and for an account that was deleted since.

    `entity_name` is the user name of whom it was done to, if it was a user. Refused sign-ins name the account if there is one.
    """

    id: str
    created_at: datetime
    user: AuditUser | None
    action: str
    entity: str | None
    entity_id: str | None
    entity_name: str | None
    ip_address: str | None


class AuditActions(TypedDict):
    items: list[str]


class UserRead(TypedDict):
    id: str
    username: str
    name: str
    email: str | None
    image: str | None
    role: UserRole
    status: UserStatus
    deletes_at: datetime | None  # when the account is deleted, because its owner asked for it
    preferences: PreferencesRead
    created_at: datetime
    updated_at: datetime


class SetupRead(TypedDict):
    required: bool


class SessionRead(TypedDict):
    """A session on one device. `is_current` marks the session of the caller."""

    id: str
    platform: str | None
    browser: str | None
    user_agent: str | None
    ip_address: str | None
    is_current: bool
    started_at: datetime
    last_active_at: datetime
    expires_at: datetime


class FailedSignIns(TypedDict):
    """Wrong passwords for an account in the last 30 days. `count` is at most 1,000."""

    count: int
    last_at: datetime | None
    last_address: str | None


class ApiTokenRead(TypedDict):
    """An API token without its secret. `prefix` is its beginning, to recognise it."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    last_used_at: datetime | None
    expires_at: datetime | None
    created_at: datetime


class ApiTokenCreated(ApiTokenRead):
    """`token` is returned only once. For a repeated call it is null, and `code` is `already_shown`."""

    token: str | None
    code: NotRequired[Literal["already_shown"]]


class AuthorRead(TypedDict):
    id: str
    name: str


class PermissionsRead(TypedDict):
    can_read: bool
    can_write: bool
    can_share: bool


class Permissions(RequestModel):
    """Reading is always included."""

    can_read: Literal[True] = True
    can_write: bool = False
    can_share: bool = False


class ShareCreate(RequestModel):
    """A share with one user, by id or by name. With neither it is a public link, which only allows reading."""

    permissions: Permissions = Field(default_factory=Permissions)
    shared_with_user_id: AnyId | None = None
    shared_with_username: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    expires_at: UtcInput | None = None

    @model_validator(mode="after")
    def _one_way_to_name(self) -> "ShareCreate":
        if self.shared_with_user_id and self.shared_with_username:
            raise ValueError("Name the user either by id or by name.")
        return self


class ShareRead(TypedDict):
    """A share of a chat or a draft. `shared_with` is null for a public link."""

    id: str
    chat_id: str | None
    draft_id: str | None
    shared_with: AuthorRead | None
    permissions: PermissionsRead
    expires_at: datetime | None
    is_active: bool
    access_count: int
    created_at: datetime


class ShareCreated(ShareRead):
    """`token` is returned only once. It is the last part of the link."""

    token: str | None
