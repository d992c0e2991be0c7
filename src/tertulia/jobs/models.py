"""Tables for leases and facts about the instance."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Timestamps


class Lease(Timestamps, Base):
    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    owner: Mapped[str] = mapped_column(sa.String(60))
    expires_at: Mapped[datetime]


class InstanceSetting(Timestamps, Base):
    """A fact about this instance that a job stores, such as the edition of the model catalogue that was loaded."""

    __tablename__ = "instance_setting"

    name: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)
