"""Tables for users, their credentials, the audit log, idempotency keys and shares."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia import clock
from tertulia.clock import is_zone
from tertulia.db import Base, CreatedAt, Id, JsonOf, Timestamps, closed
from tertulia.ids import new_id


class UserRole(StrEnum):
    USER = "user"
    ADMIN = "admin"


class UserStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    SUSPENDED = "suspended"


class Scope(StrEnum):
    """What an API token may do, never more than its owner."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class VerificationPurpose(StrEnum):
    EMAIL = "email"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a purpose, not a password


MAX_FAVOURITES = 100
MAX_MODEL_WINDOWS = 100
MAX_WINDOW = 10_000_000  # tokens


def _time_zone(value: str | None) -> str | None:
    if value is not None and not is_zone(value):
        raise ValueError("This is no time zone. Use a name such as Europe/Madrid.")
    return value


class Preferences(BaseModel):
    """A user's preferences. An absent one uses the default."""

    model_config = ConfigDict(extra="forbid")

    theme: Literal["light", "dark", "system"] | None = None
    language: str | None = Field(None, min_length=2, max_length=35, description="A BCP 47 tag, such as `pt-BR`.")
    default_model: str | None = Field(
        None, max_length=151, pattern=r"^[^/]+/[\s\S]+$", description="`provider/model_name`."
    )
    time_zone: Annotated[str | None, AfterValidator(_time_zone)] = Field(
        None, max_length=64, description="An IANA time zone, such as `Europe/Madrid`: when days and months begin."
    )
    enable_notifications: bool | None = None
    favourite_models: list[Annotated[str, Field(max_length=151, pattern=r"^[^/]+/[\s\S]+$")]] | None = Field(
        None, max_length=MAX_FAVOURITES, description="Shown first where a model is chosen, as `provider/model_name`."
    )
    model_windows: (
        dict[
            Annotated[str, Field(max_length=151, pattern=r"^[^/]+/[\s\S]+$")],
            Annotated[int, Field(ge=256, le=MAX_WINDOW)],
        ]
        | None
    ) = Field(
        None,
        max_length=MAX_MODEL_WINDOWS,
        description="Windows in tokens of models whose servers do not tell them, or tell them wrong.",
    )


class DeviceInfo(BaseModel):
    user_agent: str
    platform: str
    browser: str
    ip_address: str | None = None


class User(Timestamps, Base):
    __tablename__ = "user"
    __table_args__ = (sa.Index(None, "status", "created_at"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    username: Mapped[str] = mapped_column(sa.String(50))
    username_key: Mapped[str] = mapped_column(
        sa.String(50), unique=True
    )  # NFKC and casefold: SQLite's lower() knows only ASCII
    name: Mapped[str] = mapped_column(sa.String(100))
    email: Mapped[str | None] = mapped_column(sa.String(254))
    email_key: Mapped[str | None] = mapped_column(sa.String(254), unique=True)
    email_verified: Mapped[bool] = mapped_column(default=False)
    image: Mapped[str | None] = mapped_column(sa.Text)
    password_hash: Mapped[str | None] = mapped_column(sa.String(255))  # null: only signs in through an identity
    role: Mapped[UserRole] = mapped_column(closed(UserRole), default=UserRole.USER)
    token_identifier: Mapped[str | None] = mapped_column(sa.String(255), unique=True)
    preferences: Mapped[Preferences] = mapped_column(JsonOf(Preferences), default=Preferences)
    status: Mapped[UserStatus] = mapped_column(closed(UserStatus), default=UserStatus.ACTIVE)
    last_active_at: Mapped[datetime | None]
    # The time zone that the user changed, and until when limits of administrators still follow it: to the next month.
    former_zone: Mapped[str | None] = mapped_column(sa.String(64))
    former_zone_until: Mapped[datetime | None]
    deletes_at: Mapped[datetime | None] = mapped_column(
        index=True
    )  # the owner asked for it; until then it can be undone


class DeletedUser(CreatedAt, Base):
    """The id of an account that was deleted, by which `tertulia db check` proves that nothing names it any more."""

    __tablename__ = "deleted_user"

    id: Mapped[str] = mapped_column(Id(), primary_key=True)


class Identity(Timestamps, Base):
    """An external account that signs this user in. Its tokens must be stored sealed, never as plain text."""

    __tablename__ = "identity"
    __table_args__ = (sa.UniqueConstraint("provider", "provider_account_id"), sa.Index(None, "user_id"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(sa.String(50))
    provider_account_id: Mapped[str] = mapped_column(sa.String(255))
    access_token: Mapped[str | None] = mapped_column(sa.Text)
    refresh_token: Mapped[str | None] = mapped_column(sa.Text)
    id_token: Mapped[str | None] = mapped_column(sa.Text)
    access_token_expires_at: Mapped[datetime | None]
    refresh_token_expires_at: Mapped[datetime | None]
    scope: Mapped[str | None] = mapped_column(sa.Text)


class Session(Timestamps, Base):
    """A session on one device. The token itself is only in the cookie."""

    __tablename__ = "session"
    __table_args__ = (
        sa.Index(None, "user_id", "is_active"),
        sa.Index(None, "expires_at"),
        sa.Index(None, "is_active", "last_active_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    expires_at: Mapped[datetime]
    device_info: Mapped[DeviceInfo | None] = mapped_column(JsonOf(DeviceInfo))
    started_at: Mapped[datetime] = mapped_column(default=clock.now)
    last_active_at: Mapped[datetime] = mapped_column(default=clock.now)
    # When the password was last entered again in this session. Sensitive actions need a recent one.
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(default=True)


class Verification(Timestamps, Base):
    __tablename__ = "verification"
    __table_args__ = (sa.Index(None, "identifier"), sa.Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    identifier: Mapped[str] = mapped_column(sa.String(255))
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    purpose: Mapped[VerificationPurpose] = mapped_column(closed(VerificationPurpose))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiToken(Timestamps, Base):
    __tablename__ = "api_token"
    __table_args__ = (sa.Index(None, "user_id"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(100))
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    prefix: Mapped[str] = mapped_column(sa.String(12))
    scopes: Mapped[list[Scope]] = mapped_column(JsonOf(list[Scope]), default=list)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditLog(CreatedAt, Base):
    """A record of who did what to which object, when, and from which address."""

    __tablename__ = "audit_log"
    __table_args__ = (
        sa.Index(None, "user_id", "created_at"),
        sa.Index(None, "created_at"),
        sa.Index(None, "action", "created_at"),
        sa.Index(None, "ip_address", "created_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    action: Mapped[str] = mapped_column(sa.String(60))
    entity: Mapped[str | None] = mapped_column(sa.String(40))
    entity_id: Mapped[str | None] = mapped_column(Id())
    ip_address: Mapped[str | None] = mapped_column(sa.String(45))
    details: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))


class IdempotencyKey(Timestamps, Base):
    """The first answer to an unsafe call, committed with its effect and returned again for 24 hours."""

    __tablename__ = "idempotency_key"
    __table_args__ = (sa.Index(None, "created_at"),)

    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    method: Mapped[str] = mapped_column(sa.String(10))
    path: Mapped[str] = mapped_column(sa.String(500))
    body_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32))
    status: Mapped[int | None]
    answer: Mapped[str | None] = mapped_column(sa.Text)


class MemberRole(StrEnum):
    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"


class MemberAccess(StrEnum):
    """What a member may do now, by the role and the status of the project."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


class Membership(Timestamps, Base):
    """Who belongs to which project, so that every package above can ask what they may do without knowing projects."""

    __tablename__ = "membership"
    __table_args__ = (sa.Index(None, "user_id", "access"),)

    project_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[MemberRole] = mapped_column(closed(MemberRole))
    access: Mapped[MemberAccess] = mapped_column(closed(MemberAccess))
    # Made when the person joined: what was written before has a smaller id, and is not new to them.
    joined_id: Mapped[str] = mapped_column(Id(), default=new_id)


class Share(Timestamps, Base):
    """Permission to read a chat or a draft, and perhaps more, for one user or for everyone with the link.

    A share of a draft includes its chats.
    """

    __tablename__ = "share"
    __table_args__ = (
        sa.Index(None, "chat_id", "is_active"),
        sa.Index(None, "draft_id", "is_active"),
        sa.Index(None, "owner_id", "is_active"),
        sa.Index(None, "shared_with_user_id", "is_active"),
        sa.Index(None, "expires_at", "is_active"),
        sa.CheckConstraint("shared_with_user_id IS NOT NULL OR NOT (can_write OR can_share)", name="links_read_only"),
        sa.CheckConstraint("(chat_id IS NULL) <> (draft_id IS NULL)", name="one_thing"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    draft_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"))
    owner_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))  # who shared it
    shared_with_user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    can_read: Mapped[bool] = mapped_column(default=True)
    can_write: Mapped[bool] = mapped_column(default=False)
    can_share: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(default=True)
    access_count: Mapped[int] = mapped_column(default=0)
