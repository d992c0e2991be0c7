"""The table of invitations."""

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.accounts.models import MemberRole, UserRole
from tertulia.db import Base, Id, Timestamps
from tertulia.db.types import closed
from tertulia.ids import new_id


class Invitation(Timestamps, Base):
    """A link that lets one person in: into this server, into a project, or both.

    Its token is shown once and stored as a hash. An account is made only if an administrator invited.
    """

    __tablename__ = "invitation"
    __table_args__ = (
        sa.Index(None, "plan_id"),
        sa.Index(None, "created_by"),
        sa.Index(None, "user_id"),
        sa.Index(None, "project_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    role: Mapped[UserRole] = mapped_column(closed(UserRole), default=UserRole.USER)
    # The address that the new account starts with. It is deleted here when the invitation is accepted.
    email: Mapped[str | None] = mapped_column(sa.String(254))
    # None also after the plan was deleted: the person then has the default plan.
    plan_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("plan.id", ondelete="SET NULL"))
    project_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("project.id", ondelete="CASCADE"))
    project_role: Mapped[MemberRole | None] = mapped_column(closed(MemberRole))
    # Whether an administrator or the operator invited.
    makes_account: Mapped[bool] = mapped_column(default=True, server_default=sa.true())
    # None: the operator. It lets people in only while the person who made it is an administrator.
    created_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    expires_at: Mapped[dt.datetime]
    accepted_at: Mapped[dt.datetime | None]
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
