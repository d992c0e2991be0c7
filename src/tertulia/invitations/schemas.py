"""Request and response shapes of invitations."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.models import MemberRole, UserRole
from tertulia.accounts.schemas import AccountCreate, Email
from tertulia.http.body import RequestModel
from tertulia.http.times import UtcInput
from tertulia.ids import PlanId, ProjectId

LONGEST = timedelta(days=90)
USUAL = timedelta(days=7)


def _within_limits(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    if moment <= clock.now():
        raise ValueError("This time has passed. Choose a later one.")
    if moment > clock.now() + LONGEST:
        raise ValueError(f"An invitation is valid for at most {LONGEST.days} days.")
    return moment


class InvitationCreate(RequestModel):
    """An invitation into a project of yours, or into this server, which only administrators give."""

    role: UserRole = UserRole.USER
    email: Email | None = Field(None, description="The address that the new account starts with.")
    plan_id: PlanId | None = Field(None, description="The plan that the new account has.")
    project_id: ProjectId | None = Field(None, description="The project that the person joins.")
    project_role: Literal[MemberRole.MEMBER, MemberRole.VIEWER] | None = Field(
        None, description="The role in the project, `member` unless it is given."
    )
    expires_at: Annotated[UtcInput | None, AfterValidator(_within_limits)] = Field(
        None, description="In 7 days unless it is given, and at most in 90 days."
    )


class InvitationAccept(AccountCreate):
    """The account to make. Without `email` it has the one of the invitation, if any."""


class InvitationRead(TypedDict):
    """`plan_name` and `user_name` are null without a plan, and until the invitation is accepted."""

    id: str
    role: UserRole
    email: str | None
    plan_id: str | None
    plan_name: str | None
    project_id: str | None
    project_role: MemberRole | None
    expires_at: datetime
    accepted_at: datetime | None
    user_name: str | None
    created_at: datetime


class Joined(TypedDict):
    """The project that a person belongs to now."""

    project_id: str


class InvitationWithToken(InvitationRead):
    token: str | None


class InvitationCreated(InvitationWithToken):
    """`token` is returned only once. For a repeated call it is null, and `code` is `already_shown`."""

    code: NotRequired[Literal["already_shown"]]


class InvitationOffer(TypedDict):
    """What an invitation offers the person who has its link: an account, a place in a project, or both."""

    makes_account: bool
    role: UserRole
    email: str | None
    plan_name: str | None
    project_name: str | None
    project_role: MemberRole | None
    invited_by: str | None
    expires_at: datetime
