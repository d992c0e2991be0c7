"""Wire shapes of usage, quotas and plans."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from tertulia.billing.models import (
    ApiQuota,
    LimitRead,
    PlanFeature,
    QuotaSetBy,
    QuotaSubject,
    QuotaWindow,
    ReconciliationLine,
)
from tertulia.errors import Invalid
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId, parse_id


class UsageSum(TypedDict):
    """`cost` is the known cost in dollars. `unknown_cost_replies` is the number of requests that it leaves out.

    Tokens read from a vendor's cache and written to it are included in the input tokens, and thinking in the output tokens. `cache_savings` is what the
    cache saved in dollars where the price is known, below 0 if writing cost more than reading saved. For estimated replies the provider reported no usage.
    """

    replies: int
    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    thinking_tokens: int
    cache_savings: Decimal
    cost: Decimal
    unknown_cost_replies: int
    estimated_replies: int


class UsageGroup(UsageSum):
    """Sums of one group. Fields that are not grouped by are null, and a permanently deleted chat is null."""

    day: str | None
    provider: str | None
    model_name: str | None
    tool_name: str | None
    chat_id: str | None
    chat_title: str | None
    project_id: str | None
    project_name: str | None
    token_id: str | None
    token_name: str | None
    user_id: str | None
    username: str | None


class MessageCount(TypedDict):
    """Messages sent today, in the person's time zone. `limit` is null if there is none."""

    count: int
    limit: int | None
    reset_at: datetime


class UsageReport(TypedDict):
    items: list[UsageGroup]
    total: UsageSum
    since: datetime
    until: datetime
    messages_today: MessageCount | None


Count = Annotated[int, Field(ge=0, le=10**15)]
Dollars = Annotated[Decimal, Field(ge=0, le=Decimal("999999.999999"), decimal_places=6, allow_inf_nan=False)]
MAXIMA = (
    "max_requests",
    "max_messages",
    "max_tokens",
    "max_input_tokens",
    "max_output_tokens",
    "max_cost",
    "max_storage_bytes",
)


def _check(window: QuotaWindow, is_sliding: bool, maxima: dict[str, object], subject: QuotaSubject | None) -> None:
    if all(value is None for value in maxima.values()):
        raise ValueError("Set at least one limit, such as `max_cost`.")
    if maxima["max_messages"] is not None and (window is not QuotaWindow.DAY or is_sliding):
        raise ValueError("Messages are counted by calendar day. Choose the window `day`, not sliding.")
    if subject in (QuotaSubject.CHAT, QuotaSubject.TOKEN, QuotaSubject.PROJECT) and (
        maxima["max_messages"] is not None or maxima["max_storage_bytes"] is not None
    ):
        raise ValueError("Messages and storage are counted for people, not for a chat, a project or a token.")


class QuotaLimits(RequestModel):
    is_sliding: bool = Field(
        False, description="The window ends now, instead of being the current one of the calendar."
    )
    max_requests: Count | None = Field(None, description="Requests to models.")
    max_messages: Count | None = Field(None, description="Messages sent, by day only.")
    max_tokens: Count | None = Field(None, description="Tokens in and out together.")
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    max_cost: Dollars | None = Field(None, description="Dollars.")
    max_storage_bytes: Count | None = Field(None, description="Bytes of stored files, in any window.")


class QuotaCreate(QuotaLimits):
    subject_kind: QuotaSubject
    subject_id: str = Field(min_length=1, max_length=36, description="An id; for `role`, `user` or `admin`.")
    window: QuotaWindow
    is_own: bool | None = Field(
        None, description="`true`: an administrator limits themselves as any person does, and not as an administrator."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.subject_kind is not QuotaSubject.ROLE:
            self.subject_id = parse_id(self.subject_id)
        _check(self.window, self.is_sliding, {name: getattr(self, name) for name in MAXIMA}, self.subject_kind)
        return self


class QuotaUpdate(QuotaLimits):
    """The fields to change. `null` removes a limit."""

    window: QuotaWindow = QuotaWindow.MONTH

    def check_whole(self, quota: ApiQuota) -> None:
        """Raise Invalid if the quota, with these changes, would limit nothing or something that cannot be counted."""
        try:
            _check(quota.window, quota.is_sliding, {name: getattr(quota, name) for name in MAXIMA}, quota.subject[0])
        except ValueError as error:
            raise Invalid(str(error)) from None


class QuotaRead(TypedDict):
    id: str
    subject_kind: QuotaSubject
    subject_id: str
    subject_name: str | None
    set_by: QuotaSetBy
    window: QuotaWindow
    is_sliding: bool
    max_requests: int | None
    max_messages: int | None
    max_tokens: int | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    max_cost: Decimal | None
    max_storage_bytes: int | None
    created_at: datetime
    updated_at: datetime


class PersonUse(TypedDict):
    """What a person used this month, with the cost in dollars, and the limit of which the least is left, if any."""

    user_id: str
    plan_name: str | None
    plan_source: str | None
    since: datetime
    requests: int
    tokens: int
    cost: Decimal
    nearest: LimitRead | None


class ProjectUse(TypedDict):
    """What everyone together used in a project this month, with the known cost in dollars."""

    project_id: str
    since: datetime
    requests: int
    tokens: int
    cost: Decimal


class Limits(TypedDict):
    items: list[LimitRead]


class QuotaNoticeRead(TypedDict):
    """A person reached 50, 80 or 100 % of a limit in its current window."""

    id: str
    percent: int
    limit: LimitRead
    created_at: datetime


class ProductRef(RequestModel):
    source: Literal["polar", "stripe"]
    product_id: str = Field(min_length=1, max_length=100)


class PlanFields(RequestModel):
    description: str | None = Field(None, max_length=1000)
    price_minor: int | None = Field(
        None, ge=0, le=10**12, description="The price that is shown, such as 1200 for 12.00."
    )
    currency: str | None = Field(None, pattern=r"^[a-z]{3}$", description="An ISO code in lower case, such as `eur`.")
    interval: Literal["day", "week", "month", "year"] | None = None
    is_default: bool = Field(False, description="People without another plan have this one.")
    is_offered: bool = Field(False, description="People see it and can buy it.")
    models: list[Annotated[str, Field(min_length=1, max_length=151)]] | None = Field(
        None, max_length=200, description="Patterns of `provider/model_name`, such as `openai/*`. `null`: every model."
    )
    features: list[PlanFeature] | None = Field(None, max_length=10, description="`null`: all of them.")


class PlanCreate(PlanFields):
    name: str = Field(min_length=1, max_length=100)
    products: list[ProductRef] = Field(default_factory=list, max_length=20)


class PlanUpdate(PlanFields):
    """The fields to change."""

    name: str = Field("", min_length=1, max_length=100)
    products: list[ProductRef] | None = Field(None, max_length=20)


class ProductRead(TypedDict):
    source: str
    product_id: str


class PlanRead(TypedDict):
    """`people` counts who has it by hand or by subscription; 0 for those who may not know."""

    id: str
    name: str
    description: str | None
    price_minor: int | None
    currency: str | None
    interval: str | None
    is_default: bool
    is_offered: bool
    models: list[str] | None
    features: list[PlanFeature] | None
    products: list[ProductRead]
    people: int
    created_at: datetime
    updated_at: datetime


class PlanList(TypedDict):
    items: list[PlanRead]


class PlanAssignment(RequestModel):
    plan_id: AnyId | None = Field(description="`null`: the default plan.")


class UserPlanRead(TypedDict):
    """The plan that a user has. `source`: `subscription`, `hand` or `default`; null without a plan.

    `hand_plan_id` is the plan given by hand, which counts after a subscription.
    """

    user_id: str
    hand_plan_id: str | None
    plan_id: str | None
    plan_name: str | None
    source: str | None
    features: list[PlanFeature]


class ReconciliationCreate(RequestModel):
    """A provider's export of usage or cost. Amounts are dollars."""

    provider: str = Field(min_length=1, max_length=50, description="The vendor, such as `openai`.")
    content: str = Field(min_length=1, max_length=3_000_000, description="The export, as CSV or JSON.")
    of: Literal["me", "everyone"] = Field("me", description="`everyone`: the ledger of all people, for administrators.")


class BilledModel(RequestModel):
    """A model on a day of a bill."""

    day: date
    model_name: str = Field(min_length=1, max_length=100)


class CorrectionCreate(RequestModel):
    """Which differences to enter: those of these days and models."""

    lines: list[BilledModel] = Field(min_length=1, max_length=25)


class ReconciliationRead(TypedDict):
    """A bill compared with the ledger. `until` is the day after the last. Days are in UTC.

    `items` has all lines, or after entering differences only those that were sent.
    """

    id: str
    provider: str
    of: str
    since: str
    until: str
    items: list[ReconciliationLine]
    their_cost: Decimal
    our_cost: Decimal
    corrected_at: datetime | None
    created_at: datetime
