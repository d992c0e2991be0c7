"""What a person's plan allows. Billing, a package above, provides it; without plans everything is allowed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Allowed:
    """What one person may use. None allows everything. `plan` is the name of the plan that decides it."""

    plan: str | None = None
    models: Collection[str] | None = None  # patterns of `provider/model_name`
    features: Collection[str] | None = None

    def model(self, provider: str, model_name: str) -> bool:
        name = f"{provider}/{model_name}"
        return self.models is None or any(fnmatchcase(name, pattern) for pattern in self.models)

    def feature(self, name: str) -> bool:
        return self.features is None or name in self.features


@dataclass(frozen=True)
class Allowances:
    """Service: what a user may use now, by id."""

    find: Callable[[Session, str], Allowed] = lambda _session, _user_id: Allowed()
