"""Errors of billing."""

from datetime import datetime
from decimal import Decimal
from math import ceil

from tertulia import clock
from tertulia.errors import Conflict, Invalid, NotFound, TooMany


class TooManyGroups(Invalid):
    code = "too_many_groups"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The result has more than {limit} groups. Choose a shorter period, or group by fewer fields.",
            field="group_by",
            limit=limit,
        )


class MessageLimitReached(TooMany):
    code = "message_limit_reached"

    def __init__(self, limit: int, reset_at: datetime, *, can_raise: str = "administrator") -> None:
        super().__init__(
            f"You have sent {limit} messages today, which is your limit. This message was not saved. "
            f"The count starts again at midnight. {_raise_words(can_raise)}",
            retry_after_s=seconds_until(reset_at),
            measure="messages",
            window="day",
            limit=limit,
            left="0",
            can_raise=can_raise,
            resets_at=reset_at.isoformat().replace("+00:00", "Z"),
        )


def _raise_words(can_raise: str) -> str:
    if can_raise == "person":
        return "Raise it under Settings, Limits."
    return "An administrator of this server can raise it."


def seconds_until(moment: datetime) -> int:
    return max(1, ceil((moment - clock.now()).total_seconds()))


class QuotaReached(TooMany):
    """A limit of a quota leaves no room. The field `can_raise` says who can change it."""

    code = "quota_reached"


class LimitReached(QuotaReached):
    """A limit that the person may know about: which it is, and how much is left."""

    def __init__(
        self,
        *,
        quota_id: str,
        subject: str,
        measure: str,
        window: str,
        limit: Decimal,
        left: Decimal,
        needed: Decimal,
        can_raise: str,
        resets_at: datetime | None,
        retry_at: datetime | None,
    ) -> None:
        when = f" It resets at {resets_at:%Y-%m-%d %H:%M} UTC." if resets_at else ""
        if needed > limit:
            when = " It is more than the whole limit."
        super().__init__(
            f"This would pass {_words_of(subject)} limit of {written(measure, limit)} {WINDOWS[window]}: "
            f"{written(measure, left)} left, up to {written(measure, needed)} needed.{when} {_raise_words(can_raise)}",
            retry_after_s=seconds_until(retry_at) if retry_at else None,
            quota_id=quota_id,
            subject_kind=subject,
            measure=measure,
            window=window,
            limit=plain(limit),
            left=plain(left),
            needed=plain(needed),
            can_raise=can_raise,
            resets_at=resets_at.isoformat().replace("+00:00", "Z") if resets_at else None,
        )


class OthersLimitReached(QuotaReached):
    """A limit of another person's chat or project. What is left of it is only for its owner to know.

    `can_raise` is `owner` or `administrator`.
    """

    def __init__(self, quota_id: str, subject: str, window: str, can_raise: str) -> None:
        super().__init__(
            f"The limit of this {subject} {WINDOWS[window]} is reached. Ask {_whom(can_raise)} to raise it.",
            quota_id=quota_id,
            subject_kind=subject,
            window=window,
            can_raise=can_raise,
        )


def words_at_end(
    subject: str,
    measure: str,
    window: str,
    limit: Decimal,
    can_raise: str,
    resets_at: datetime | None,
) -> str:
    """Return why an answer stopped within a limit, and what to do. `can_raise`: `person` or `administrator`."""
    when = f" or wait until {resets_at:%Y-%m-%d %H:%M} UTC," if resets_at else ""
    who = "Raise it under Settings, Limits," if can_raise == "person" else "Ask an administrator to raise it,"
    return (
        f"The answer stopped at {_words_of(subject)} limit of {written(measure, limit)} {WINDOWS[window]}. Its text is kept. "
        f"{who}{when} and continue."
    )


def words_at_others_end(subject: str, can_raise: str) -> str:
    """Return why an answer stopped within a limit of another person's chat or project, and what to do."""
    return (
        f"The answer stopped at the limit of this {subject}. Its text is kept. Ask {_whom(can_raise)} to raise the limit, "
        f"and continue."
    )


def _whom(can_raise: str) -> str:
    return "the owner" if can_raise == "owner" else "an administrator"


WINDOWS = {"minute": "a minute", "hour": "an hour", "day": "a day", "month": "a month"}
_UNITS = {
    "requests": "requests",
    "messages": "messages",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "storage": "bytes of files",
}


def _words_of(subject: str) -> str:
    return {"chat": "this chat's", "project": "this project's", "token": "this API token's"}.get(subject, "your")


def written(measure: str, amount: Decimal) -> str:
    """Return an amount as people read it: dollars to the cent or finer, or a number with its unit."""
    if measure == "cost":
        return f"${amount:.2f}" if amount == amount.quantize(Decimal("0.01")) else f"${amount.normalize():f}"
    return f"{int(amount):,} {_UNITS[measure]}"


def plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"


class QuotaNotFound(NotFound):
    code = "quota_not_found"


class QuotaSubjectUnknown(Invalid):
    code = "quota_subject_unknown"

    def __init__(self) -> None:
        super().__init__(
            "There is no such user, role, plan, chat, project or token that you may limit. People can limit themselves, "
            "and their own chats, projects and API tokens.",
            field="subject_id",
        )


class TooManyQuotas(Conflict):
    code = "too_many_quotas"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are already {limit} limits. Delete one first.", limit=limit)


class PlanNotFound(NotFound):
    code = "plan_not_found"


class PlanNameTaken(Conflict):
    code = "plan_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already a plan called {name}. Choose another name.")


class PlanInUse(Conflict):
    """Deleting a plan would silently change what people may use."""

    code = "plan_in_use"

    def __init__(self, name: str, *, people: int, limits: int) -> None:
        super().__init__(
            f"{people} people and {limits} limits depend on {name}. Give these people another plan, and delete the "
            f"limits of the plan first.",
            people=people,
            limits=limits,
        )


class PlanIsDefault(Conflict):
    """Without the default plan, people without another plan could use everything."""

    code = "plan_is_default"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is the plan of everyone without another one. Make another plan the default first, or none."
        )


class ProductTaken(Conflict):
    code = "product_taken"

    def __init__(self, product_id: str) -> None:
        super().__init__(f"The product {product_id} already belongs to another plan. Remove it there first.")


class TooManyPlans(Conflict):
    code = "too_many_plans"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are already {limit} plans. Delete one first.", limit=limit)


class BillUnreadable(Invalid):
    """An export of a provider that cannot be read."""

    code = "bill_unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This export cannot be read. {reason}", field="content")


class ReconciliationNotFound(NotFound):
    code = "reconciliation_not_found"


class AlreadyCorrected(Conflict):
    code = "already_corrected"

    def __init__(self) -> None:
        super().__init__("The ledger was already corrected by this bill.")
