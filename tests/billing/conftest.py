"""Fixtures for the tests of money."""

from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tests.factories.accounts import make_user


@pytest.fixture
def admin(session: Session) -> Actor:
    return replace(make_user(session, username="admin"), role=UserRole.ADMIN)
