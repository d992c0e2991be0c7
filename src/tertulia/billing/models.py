"""Tables of the ledger, its sums, the quotas on it, and the message counts that limits apply to."""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
from typing_extensions import TypedDict

from tertulia.accounts.models import UserRole
from tertulia.db import Base, CreatedAt, Id, JsonOf, Money, MoneySum, Timestamps, closed
from tertulia.ids import new_id


class UsageKind(StrEnum):
    MODEL = "model"
    TOOL = "tool"


class UsageStatus(StrEnum):
    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


class UsageLog(Timestamps, Base):
    """One row per model request and per tool call with a cost, paid by `user`. It outlives its chat."""

    __tablename__ = "usage_log"
    __table_args__ = (
        sa.Index(None, "user_id", "kind", "created_at"),
        sa.Index(None, "chat_id", "created_at"),
        sa.Index(None, "api_token_id", "created_at"),
        sa.Index(
            "ix_usage_log_project",
            "project_id",
            "created_at",
            sqlite_where=sa.text("project_id IS NOT NULL"),
            postgresql_where=sa.text("project_id IS NOT NULL"),
        ),
        sa.Index(None, "message_id"),
        sa.Index(None, "run_id"),
        sa.Index(None, "tool_execution_id"),
        sa.Index(None, "provider", "model_name", "created_at"),
        # The few open reservations of a payer.
        sa.Index(
            "ix_usage_log_reserved",
            "user_id",
            sqlite_where=sa.text("status = 'reserved'"),
            postgresql_where=sa.text("status = 'reserved'"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    chat_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="SET NULL"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))
    run_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("run.id", ondelete="SET NULL"))
    # The token by which a program asked. None: a person did. Tokens are revoked, and deleted only with their user.
    api_token_id: Mapped[str | None] = mapped_column(Id())
    # The project that the chat was in then. It may be deleted since.
    project_id: Mapped[str | None] = mapped_column(Id())
    # The tool call itself, or the call whose result a model request was made to read.
    tool_execution_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("tool_execution.id", ondelete="SET NULL"))
    kind: Mapped[UsageKind] = mapped_column(closed(UsageKind))
    status: Mapped[UsageStatus] = mapped_column(closed(UsageStatus))
    provider: Mapped[str] = mapped_column(sa.String(50))
    model_name: Mapped[str] = mapped_column(sa.String(100))
    input_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    cached_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)  # included in input_tokens
    cache_write_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")  # included, too
    thinking_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")  # included in output
    # What the cache saved, below 0 if writing to it cost more. None: unknown.
    cache_savings: Mapped[Decimal | None] = mapped_column(Money())
    # A request that compacts the context. It is not a reply.
    is_summary: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # True if the provider reported no usage, as for a reply that was cut off. Then the tokens are our own count.
    is_estimated: Mapped[bool] = mapped_column(default=False)
    cost: Mapped[Decimal | None] = mapped_column(Money())  # None: unknown, not 0
    # The most that it may take, while it is reserved.
    reserved_cost: Mapped[Decimal | None] = mapped_column(Money())
    reserved_input_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")
    reserved_output_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")
    # The difference to a provider's bill, instead of a request. Its cost may be below 0; the note says what it is for.
    is_correction: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    note: Mapped[str | None] = mapped_column(sa.String(200))
    # Whether a share of a limit may be reached when this reservation is settled. Otherwise no limit is read then.
    is_near_limit: Mapped[bool] = mapped_column(default=True, server_default=sa.true())


class SumScope(StrEnum):
    """What a sum is of: everybody, or one payer, in all, in one chat or one project, or by one API token."""

    EVERYONE = "everyone"
    USER = "user"
    CHAT = "chat"
    TOKEN = "token"  # noqa: S105 - a scope, not a secret
    PROJECT = "project"


class UsageSum(CreatedAt, Base):
    """The settled ledger by quarter of an hour and by day in UTC, changed in the transactions that change the ledger.

    Every offset from UTC is a multiple of a quarter of an hour, so that sums of local days are exact. `scope_id` is
    the user, chat, token or project; for everybody, it is one of several shards, so that payers rarely wait for each other.
    """

    __tablename__ = "usage_sum"
    __table_args__ = (
        # What a user paid in each chat, or by each token.
        sa.Index(None, "user_id", "scope", "span_minutes", "starts_at"),
        sa.Index(None, "scope", "span_minutes", "starts_at"),
        {"sqlite_with_rowid": False},
    )

    scope: Mapped[SumScope] = mapped_column(closed(SumScope), primary_key=True)
    scope_id: Mapped[str] = mapped_column(Id(), primary_key=True)
    span_minutes: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)  # 15 or 1440
    starts_at: Mapped[dt.datetime] = mapped_column(primary_key=True)
    # Who paid. For everybody, the scope's id again. No foreign key: sums of a deleted user are kept without a name.
    user_id: Mapped[str] = mapped_column(Id(), primary_key=True)
    kind: Mapped[UsageKind] = mapped_column(closed(UsageKind), primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(50), primary_key=True)
    model_name: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    requests: Mapped[int] = mapped_column(sa.BigInteger)
    replies: Mapped[int] = mapped_column(sa.BigInteger)
    input_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    output_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    cached_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    cache_write_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    thinking_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    cache_savings: Mapped[Decimal] = mapped_column(MoneySum())
    cost: Mapped[Decimal] = mapped_column(MoneySum())
    unknown_costs: Mapped[int] = mapped_column(sa.BigInteger)
    estimated: Mapped[int] = mapped_column(sa.BigInteger)


class QuotaWindow(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class QuotaSubject(StrEnum):
    """Whose use a quota limits. For a role or a plan, each of its people alone; for a chat or a project, all together."""

    USER = "user"
    ROLE = "role"
    PLAN = "plan"
    CHAT = "chat"
    TOKEN = "token"  # noqa: S105 - a subject, not a secret
    PROJECT = "project"

    @property
    def is_shared(self) -> bool:
        """Return whether several people spend together under one quota."""
        return self in (QuotaSubject.CHAT, QuotaSubject.PROJECT)


class QuotaSetBy(StrEnum):
    ADMIN = "admin"
    PERSON = "person"


class ApiQuota(Timestamps, Base):
    """Limits on use in a window of time. Everything that applies to a request counts, so the tightest limit decides."""

    __tablename__ = "api_quota"
    __table_args__ = (
        sa.Index(None, "user_id"),
        sa.Index(None, "role"),
        sa.Index(None, "plan_id"),
        sa.Index(None, "chat_id"),
        sa.Index(None, "api_token_id"),
        sa.Index(None, "project_id"),
        sa.Index(None, "owner_id"),
        sa.CheckConstraint(
            "(CASE WHEN user_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN role IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN plan_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN chat_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN api_token_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN project_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="one_subject",
        ),
        sa.CheckConstraint(
            "coalesce(max_requests, max_messages, max_tokens, max_input_tokens, max_output_tokens, max_storage_bytes) IS"
            " NOT NULL OR max_cost IS NOT NULL",
            name="some_limit",
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    role: Mapped[UserRole | None] = mapped_column(closed(UserRole))
    plan_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("plan.id", ondelete="CASCADE"))
    chat_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    api_token_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("api_token.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("project.id", ondelete="CASCADE"))
    # The person who limits themselves or what is theirs. None: an administrator set it, and only they may change it.
    owner_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    window: Mapped[QuotaWindow] = mapped_column(closed(QuotaWindow))
    # The window ends now and begins a minute, an hour, a day or 30 days ago. Otherwise it is the current one of the calendar.
    is_sliding: Mapped[bool] = mapped_column(default=False)
    max_requests: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_messages: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_tokens: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_input_tokens: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_output_tokens: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_cost: Mapped[Decimal | None] = mapped_column(Money())
    max_storage_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)

    @property
    def set_by(self) -> QuotaSetBy:
        return QuotaSetBy.ADMIN if self.owner_id is None else QuotaSetBy.PERSON

    @property
    def subject(self) -> tuple[QuotaSubject, str]:
        """Return whose use it limits: the kind, and the id or the role."""
        return subject_of(self.user_id, self.role, self.plan_id, self.chat_id, self.api_token_id, self.project_id)


def subject_of(*columns: str | None) -> tuple[QuotaSubject, str]:
    """Return the subject of a quota by its columns for them, of which one has a value."""
    return next((kind, value) for kind, value in zip(QuotaSubject, columns, strict=True) if value is not None)


Measure = Literal["requests", "messages", "tokens", "input_tokens", "output_tokens", "cost", "storage"]


class LimitRead(TypedDict):
    """A limit that applies to you. Amounts are in dollars, tokens, bytes or counts, according to `measure`.

    `resets_at` is null for a sliding window, where use leaves one by one, and for storage.
    """

    quota_id: str | None
    subject_kind: QuotaSubject
    subject_id: str | None
    subject_name: str | None
    set_by: QuotaSetBy
    window: QuotaWindow
    is_sliding: bool
    measure: Measure
    limit: Decimal
    used: Decimal
    reserved: Decimal
    left: Decimal
    starts_at: dt.datetime | None
    resets_at: dt.datetime | None


class QuotaNotice(Timestamps, Base):
    """A share of a limit that a person reached in a window, of which they are notified once, until they have seen it."""

    __tablename__ = "quota_notice"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "limit_key", "measure", "starts_at", "percent"),
        sa.Index(None, "quota_id"),
        sa.Index(
            "ix_quota_notice_unseen",
            "user_id",
            "id",
            sqlite_where=sa.text("seen_at IS NULL"),
            postgresql_where=sa.text("seen_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    limit_key: Mapped[str] = mapped_column(sa.String(36))  # the quota's id, or `server` for a setting of the operator
    quota_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("api_quota.id", ondelete="CASCADE"))
    measure: Mapped[str] = mapped_column(sa.String(20))
    starts_at: Mapped[dt.datetime]  # 1970 for storage, which has no window
    ends_at: Mapped[dt.datetime | None]
    percent: Mapped[int] = mapped_column(sa.SmallInteger)
    limit: Mapped[LimitRead] = mapped_column(JsonOf(LimitRead, keeps_none=True))  # as it was then
    seen_at: Mapped[dt.datetime | None]


class PlanFeature(StrEnum):
    """What a plan may include or not."""

    TOOLS = "tools"
    WEB_SEARCH = "web_search"
    PICTURES = "pictures"


class Plan(Timestamps, Base):
    """What its people may use: models, features, and the quotas whose subject it is."""

    __tablename__ = "plan"
    __table_args__ = (
        sa.Index(
            "ix_plan_default",
            "is_default",
            unique=True,
            sqlite_where=sa.text("is_default"),
            postgresql_where=sa.text("is_default"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    description: Mapped[str | None] = mapped_column(sa.String(1000))
    # The price that is shown, in minor units. What is charged is set at the payment provider.
    price_minor: Mapped[int | None] = mapped_column(sa.BigInteger)
    currency: Mapped[str | None] = mapped_column(sa.String(3))
    interval: Mapped[str | None] = mapped_column(sa.String(10))
    is_default: Mapped[bool] = mapped_column(default=False)
    is_offered: Mapped[bool] = mapped_column(default=False)  # people can buy it
    # Patterns of `provider/model_name`, in which * is anything. None: every model.
    models: Mapped[list[str] | None] = mapped_column(JsonOf(list[str]))
    features: Mapped[list[PlanFeature] | None] = mapped_column(JsonOf(list[PlanFeature]))  # None: all of them


class PlanProduct(Timestamps, Base):
    """A product of a payment provider that is sold as a plan."""

    __tablename__ = "plan_product"
    __table_args__ = (sa.Index(None, "plan_id"),)

    source: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    product_id: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    plan_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("plan.id", ondelete="CASCADE"))


class PlanSource(StrEnum):
    SUBSCRIPTION = "subscription"
    HAND = "hand"


class UserPlan(Timestamps, Base):
    """The plan that a person has by hand, and the one by subscription, which counts first while it lasts."""

    __tablename__ = "user_plan"
    __table_args__ = (sa.Index(None, "plan_id"), sa.Index(None, "until"))

    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[PlanSource] = mapped_column(closed(PlanSource), primary_key=True)
    plan_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("plan.id", ondelete="CASCADE"))
    until: Mapped[dt.datetime | None]


class MessageUsage(Timestamps, Base):
    """The number of messages a user sent in a period (a day where they are), and the start of the next period."""

    __tablename__ = "message_usage"
    __table_args__ = (sa.UniqueConstraint("user_id", "date"), sa.CheckConstraint("message_count >= 0", name="count"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    date: Mapped[dt.date] = mapped_column(sa.Date)
    message_count: Mapped[int] = mapped_column(default=0)
    reset_at: Mapped[dt.datetime]


class ReconciliationLine(TypedDict):
    """A model on a day (UTC): theirs, ours, the difference, and the likely reason."""

    day: str
    model_name: str
    their_cost: Decimal | None
    is_cost_computed: bool  # from their tokens, with our prices
    our_cost: Decimal
    difference: Decimal
    their_input_tokens: int | None
    our_input_tokens: int
    their_output_tokens: int | None
    our_output_tokens: int
    reason: str
    is_corrected: bool


class UsageReconciliation(Timestamps, Base):
    """A provider's bill compared with the ledger, by day and model."""

    __tablename__ = "usage_reconciliation"
    __table_args__ = (sa.Index(None, "user_id", "created_at"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(sa.String(50))
    is_everyone: Mapped[bool]  # compared with the ledger of all people, not only of this user
    since: Mapped[dt.date] = mapped_column(sa.Date)
    until: Mapped[dt.date] = mapped_column(sa.Date)  # the day after the last
    lines: Mapped[str] = mapped_column(sa.Text)  # a JSON list of `ReconciliationLine`, written once
    corrected: Mapped[list[int]] = mapped_column(JsonOf(list[int]))  # places of lines that were entered
    their_cost: Mapped[Decimal] = mapped_column(MoneySum())
    our_cost: Mapped[Decimal] = mapped_column(MoneySum())
    corrected_at: Mapped[dt.datetime | None]
