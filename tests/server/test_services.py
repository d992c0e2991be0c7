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
    starts, closes = events[:3], events[3:]
    assert starts == ["start first", "start second", "start third"]
    assert closes == ["close third", "close second", "close first"]


@pytest.mark.parametrize(
    ("failing", "closed"),
    [
        (First, ["close first"]),
        (Second, ["close second", "close first"]),
        (Third, ["close third", "close second", "close first"]),
    ],
)
def test_a_service_that_fails_to_start_closes_itself_and_those_before_it(failing, closed):
    events: list[str] = []
    with pytest.raises(OSError, match=r"first|second|third"):
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
