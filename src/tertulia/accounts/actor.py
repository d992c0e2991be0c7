"""The actor: the user and credential of a call, from which every permission is decided."""

from dataclasses import dataclass

from tertulia.accounts.models import Scope, UserRole
from tertulia.errors import Forbidden
from tertulia.ids import UserId

# The operator at the server's command line, who may administer and owns nothing.
OPERATOR_ID = UserId("00000000-0000-0000-0000-000000000000")


class AdminOnly(Forbidden):
    code = "admin_only"

    def __init__(self) -> None:
        super().__init__("Only an administrator may do this.")


class ScopeMissing(Forbidden):
    code = "scope_missing"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This API token does not have the scope `{scope}`. Create one that has it.", scope=scope)


class SignInNeeded(Forbidden):
    code = "sign_in_needed"

    def __init__(self) -> None:
        super().__init__("An API token cannot do this. Sign in with your password to do it.")


@dataclass(frozen=True, slots=True)
class Actor:
    """A user signed in on a device (`session_id`), or by an API token (`token_id`) with its scopes."""

    user_id: UserId
    role: UserRole
    session_id: str | None = None
    token_id: str | None = None
    scopes: frozenset[Scope] | None = None  # None: everything that the user may do

    @property
    def is_admin(self) -> bool:
        return self.role is UserRole.ADMIN and self.has_scope(Scope.ADMIN)

    @property
    def is_operator(self) -> bool:
        return self.user_id == OPERATOR_ID

    def has_scope(self, scope: Scope) -> bool:
        return self.scopes is None or scope in self.scopes


def require_admin(actor: Actor) -> None:
    if not actor.is_admin:
        raise AdminOnly


def require_session(actor: Actor) -> None:
    """Raise SignInNeeded for an API token: only a person who signed in may widen what runs automatically."""
    if actor.token_id is not None:
        raise SignInNeeded


def require_scope(actor: Actor, scope: Scope) -> None:
    if not actor.has_scope(scope):
        raise ScopeMissing(scope)
