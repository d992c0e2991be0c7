"""Features: what each domain contributes to the app, found by the `feature` module in its package."""

import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, util
from typing import TypeVar

import tertulia

T = TypeVar("T")


@dataclass(frozen=True)
class Feature:
    """A domain's contributions: routes, services, jobs, tools, entities, and what it adds to search, sharing and export.

    The class of a contribution says what it is, and is defined where it is used: `Routes` in http, `Jobs` in jobs,
    `Entity` in realtime, `Shareable` in accounts and so on.
    """

    name: str
    contributions: tuple[object, ...]


class Features:
    """The features of one app."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self._features = tuple(features)

    def __iter__(self) -> Iterator[Feature]:
        return iter(self._features)

    def contributed(self, kind: type[T]) -> list[T]:
        """Return all contributions of a class, in the order of the features."""
        return [item for feature in self._features for item in feature.contributions if isinstance(item, kind)]


def discover_features() -> list[Feature]:
    """Return the feature of every package of tertulia that has a `feature` module, by name."""
    features = []
    for module in pkgutil.iter_modules(tertulia.__path__, "tertulia."):
        if module.ispkg and util.find_spec(f"{module.name}.feature") is not None:
            features.append(import_module(f"{module.name}.feature").feature())
    return features
