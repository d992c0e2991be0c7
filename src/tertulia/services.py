"""Build the long-lived objects of an app on first use, start them in that order, and close them in reverse."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Lifecycle(Protocol):
    """An object that runs while the app does. `close` also cleans up after a `start` that failed half-way."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...


@runtime_checkable
class Stoppable(Protocol):
    """An object that takes on new work until it is told to stop."""

    def stop(self) -> None:
        """Take on no new work, and let what waits for it go. Called on all services before the first is closed."""
        ...


@dataclass(frozen=True)
class Provides:
    """Contribution of a feature: how to build the service of a class. `build` may return None: it is turned off."""

    kind: type[Any]
    build: Callable[["Services"], Any]


class Services:
    """The services of one app, by class. Dependencies are built first, so they start first and close last."""

    def __init__(self) -> None:
        self._builders: dict[type[Any], Callable[[Services], Any]] = {}
        self._built: dict[type[Any], Any] = {}
        self._under_way: list[type[Any]] = []

    def provide(self, kind: type[T], build: Callable[["Services"], T | None]) -> None:
        """Register how to build a service. Raises ValueError if the class has a builder."""
        if kind in self._builders:
            raise ValueError(f"two features provide {kind.__name__}")
        self._builders[kind] = build

    def get(self, kind: type[T]) -> T:
        """Return a service, building it on first use. Raises LookupError if no feature provides it or it is turned off."""
        service = self.find(kind)
        if service is None:
            raise LookupError(f"{kind.__name__} is turned off, or no feature provides it")
        return service

    def find(self, kind: type[T]) -> T | None:
        """Return a service, or None if it is turned off or no feature provides it."""
        if kind not in self._built:
            if kind not in self._builders:
                return None
            if kind in self._under_way:
                circle = " → ".join(item.__name__ for item in [*self._under_way, kind])
                raise RuntimeError(f"services need one another: {circle}")
            self._under_way.append(kind)
            try:
                self._built[kind] = self._builders[kind](self)
            finally:
                self._under_way.pop()
        service_or_none: T | None = self._built[kind]
        return service_or_none

    def build_all(self) -> None:
        """Build every service that a feature provides."""
        for kind in self._builders:
            self.find(kind)

    def lifecycles(self) -> list[Lifecycle]:
        """Return the services that start and close, in the order in which they start.

        Raises TypeError for a service that has only one of the two methods: it would never be closed.
        """
        services = [
            service for service in self._built.values() if hasattr(service, "start") or hasattr(service, "close")
        ]
        for service in services:
            if not isinstance(service, Lifecycle):
                raise TypeError(f"{type(service).__name__} needs both start and close")
        return services

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start every built service. At the end, stop all and then close them in reverse.

        If one fails to start, those that were started are closed, and the error is raised.
        """
        async with AsyncExitStack() as stack:
            for service in self.lifecycles():
                stack.push_async_callback(service.close)
                await service.start()
            stack.callback(self.stop)
            yield

    def stop(self) -> None:
        """Tell every service to take on no new work."""
        for service in self._built.values():
            if isinstance(service, Stoppable):
                service.stop()
