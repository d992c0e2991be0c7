"""Services are built on first use, started after what they need, and closed in reverse."""

import asyncio

import pytest

from tertulia.services import Services


class Part:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, events: list[str], fails: bool = False) -> None:
        self.name, self.events, self.fails = name, events, fails

    async def start(self) -> None:
        self.events.append(f"start {self.name}")
        if self.fails:
            raise OSError(self.name)

    async def close(self) -> None:
        self.events.append(f"close {self.name}")

    def stop(self) -> None:
        self.events.append(f"stop {self.name}")


class OnlyClose:
    async def close(self) -> None: ...


class First(Part): ...


class Second(Part): ...


class Third(Part): ...


def make_services(events: list[str], failing: type[Part] | None = None) -> Services:
    services = Services()
    services.provide(Third, lambda own: Third("third", events, failing is Third) if own.get(Second) else None)
    services.provide(Second, lambda own: Second("second", events, failing is Second) if own.get(First) else None)
    services.provide(First, lambda _: First("first", events, failing is First))
    services.build_all()
    return services


async def run(services: Services) -> None:
    async with services.running():
        pass


def test_services_start_after_what_they_need_and_close_in_reverse():
    events: list[str] = []
    asyncio.run(run(make_services(events)))
    assert events[:3] == ["start first", "start second", "start third"]
    assert sorted(events[3:6]) == ["stop first", "stop second", "stop third"]  # all before the first is closed
    assert events[6:] == ["close third", "close second", "close first"]


@pytest.mark.parametrize(
    ("failing", "name", "closed"),
    [
        (First, "first", ["close first"]),
        (Second, "second", ["close second", "close first"]),
        (Third, "third", ["close third", "close second", "close first"]),
    ],
)
def test_a_service_that_fails_to_start_closes_itself_and_those_before_it(failing, name, closed):
    events: list[str] = []
    with pytest.raises(OSError, match=name):
        asyncio.run(run(make_services(events, failing)))
    assert [event for event in events if event.startswith("close")] == closed


def test_a_service_is_built_once():
    services = make_services([])
    assert services.get(First) is services.get(First)


def test_a_service_that_is_turned_off_is_none_and_an_error_for_those_who_need_it():
    services = Services()
    services.provide(First, lambda _: None)
    assert services.find(First) is None
    with pytest.raises(LookupError, match="First"):
        services.get(First)


def test_services_that_need_one_another_are_refused_by_name():
    services = Services()
    services.provide(First, lambda own: First("first", [own.get(Second).name]))
    services.provide(Second, lambda own: Second("second", [own.get(First).name]))
    with pytest.raises(RuntimeError, match="First → Second → First"):
        services.get(First)


def test_two_features_cannot_provide_the_same_service():
    services = Services()
    services.provide(First, lambda _: None)
    with pytest.raises(ValueError, match="First"):
        services.provide(First, lambda _: None)


def test_a_service_that_can_close_but_not_start_is_refused():
    services = Services()
    services.provide(OnlyClose, lambda _: OnlyClose())
    services.build_all()
    with pytest.raises(TypeError, match="OnlyClose needs both"):
        services.lifecycles()


def test_a_builder_that_fails_is_not_taken_for_a_circle():
    services = Services()

    def fail(_: Services) -> First:
        raise OSError("refused")

    services.provide(First, fail)
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            services.get(First)
