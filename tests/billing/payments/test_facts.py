"""Test signatures of webhooks, and that the order of deliveries does not matter. Pure."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tertulia.billing.payments.facts import EventFacts, access_until, fold_payment, fold_subscription, time_of
from tertulia.billing.payments.polar import parse_polar
from tertulia.billing.payments.signatures import BadSignature, verify_standard, verify_stripe
from tertulia.billing.payments.stripe import parse_stripe
from tests.factories.payments import SAMPLES
from tests.fakes.payment_servers import POLAR_SECRET, STRIPE_SECRET, sign_polar, sign_stripe

SUBSCRIPTION = "7c2b9e3d-8a4f-4d1c-9e0b-2a3b4c5d6e05"
NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
GRACE = timedelta(days=7)
OTHER_SECRET = "whsec_" + "b3RoZXI=" * 4
BODY = b'{"type": "subscription.active"}'


# ---- signatures


@pytest.mark.parametrize("secrets", [[POLAR_SECRET], [OTHER_SECRET, POLAR_SECRET]], ids=["one", "while rotating"])
@pytest.mark.parametrize("with_text_key", [False, True])
def test_a_signed_delivery_is_taken(secrets: list[str], with_text_key: bool) -> None:
    headers = sign_polar(BODY, sent_at=NOW.timestamp(), with_text_key=with_text_key)
    assert verify_standard(headers, BODY, secrets, NOW) == "msg_1"


def test_one_of_several_signatures_is_enough() -> None:
    ours, other = (sign_polar(BODY, secret=secret, sent_at=NOW.timestamp()) for secret in (POLAR_SECRET, OTHER_SECRET))
    both = ours | {"webhook-signature": f"v1a,x {other['webhook-signature']} {ours['webhook-signature']}"}
    assert verify_standard(both, BODY, [POLAR_SECRET], NOW) == "msg_1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook-id": ""}, "no_id"),
        ({"webhook-id": "msg_2"}, "wrong_signature"),
        ({"webhook-id": "x" * 256}, "no_id"),
        ({"webhook-timestamp": "soon"}, "no_timestamp"),
        ({"webhook-timestamp": ""}, "no_timestamp"),
        ({"webhook-timestamp": "9" * 13}, "no_timestamp"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, "wrong_signature"),
        ({"webhook-signature": ""}, "no_signature"),
        ({"webhook-signature": "v1,"}, "wrong_signature"),
        ({"webhook-signature": "v1,\u00e9"}, "wrong_signature"),
        ({"webhook-signature": "v2,AAAA"}, "no_signature"),
        ({"webhook-signature": " ".join(["v1,AAAA"] * 21)}, "no_signature"),
    ],
)
def test_a_delivery_that_is_not_signed_is_refused(changes: dict[str, str], reason: str) -> None:
    headers = sign_polar(BODY, sent_at=NOW.timestamp()) | changes
    with pytest.raises(BadSignature) as refused:
        verify_standard(headers, BODY, [POLAR_SECRET], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(("age_s", "reason"), [(300, None), (301, "too_old"), (-300, None), (-301, "too_new")])
def test_old_deliveries_are_refused(age_s: int, reason: str | None) -> None:
    polar = sign_polar(BODY, sent_at=NOW.timestamp() - age_s)
    stripe = sign_stripe(BODY, sent_at=NOW.timestamp() - age_s)
    if reason is None:
        verify_standard(polar, BODY, [POLAR_SECRET], NOW)
        verify_stripe(stripe, BODY, [STRIPE_SECRET], NOW)
        return
    for verify, headers, secret in ((verify_standard, polar, POLAR_SECRET), (verify_stripe, stripe, STRIPE_SECRET)):
        with pytest.raises(BadSignature) as refused:
            verify(headers, BODY, [secret], NOW)
        assert refused.value.reason == reason


def test_a_changed_body_and_another_secret_are_refused() -> None:
    moment = NOW.timestamp()
    for secret, body in (([POLAR_SECRET], BODY + b" "), ([OTHER_SECRET], BODY), ([], BODY)):
        with pytest.raises(BadSignature):
            verify_standard(sign_polar(BODY, sent_at=moment), body, secret, NOW)
        with pytest.raises(BadSignature):
            verify_stripe(sign_stripe(BODY, sent_at=moment), body, [OTHER_SECRET] if secret else [], NOW)
    for header in ("", "t=1", f"t={int(moment)}", f"t={int(moment)},v0=aa", "v1=aa"):
        with pytest.raises(BadSignature):
            verify_stripe({"stripe-signature": header}, BODY, [STRIPE_SECRET], NOW)


# ---- what samples say


def sample(number: int) -> EventFacts:
    return parse_polar(SAMPLES[number - 1].read_bytes())


def folded(*numbers: int) -> dict[str, Any]:
    result = fold_subscription(SUBSCRIPTION, [(sample(number), f"msg_{number}") for number in numbers])
    assert result is not None
    return result.values | {"modified_at": result.moment}


@pytest.mark.parametrize(
    ("numbers", "status", "has_access", "until"),
    [
        ((1,), "incomplete", False, None),
        ((1, 2), "active", True, None),
        ((2, 1), "active", True, None),
        ((4,), "active", True, None),  # the state of a customer, which Polar's own library cannot read
        ((1, 2, 4, 5, 6), "active", True, "2026-12-01T09:00:00+00:00"),
        ((6, 5, 4, 2, 1), "active", True, "2026-12-01T09:00:00+00:00"),
        ((1, 2, 4, 5, 6, 7), "canceled", False, "2026-12-01T09:00:00+00:00"),
        ((1, 2, 8), "canceled", False, "2026-12-01T09:00:03+00:00"),  # its end did not arrive
        ((1, 2, 4, 5, 10), "past_due", True, "2026-12-08T09:00:00+00:00"),
        ((8, 10, 2), "past_due", True, "2026-12-08T09:00:00+00:00"),
    ],
)
def test_samples_end_in_the_right_state(
    numbers: tuple[int, ...], status: str, has_access: bool, until: str | None
) -> None:
    values = folded(*numbers)
    assert values["status"] == status
    assert access_until(values, grace=GRACE) == (has_access, time_of(until))
    assert values["customer_external_id"] == "usr_8f2c1d"
    assert (values["amount"], values["currency"]) == (1200, "eur")


def test_the_samples_of_a_payment_end_refunded_in_any_order() -> None:
    for numbers in ((3, 9), (9, 3), (9,)):
        payment = fold_payment(
            "2f3e4d5c-6b7a-4809-9f1e-0d2c3b4a5f07", [(sample(number), str(number)) for number in numbers]
        )
        assert payment is not None
        values = payment.values
        assert (values["status"], values["total_amount"], values["refunded_amount"]) == ("refunded", 1452, 1452)
        assert values["billing"]["name"] == "Lucía Romero"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type": 5}',
        b'{"type": "subscription.active"}',
        b'{"type": "subscription.active", "data": {"id": "x", "status": "active"}}',
        b'{"type": "subscription.active", "data": {"id": 5, "status": ["active"]}, "timestamp": "soon"}',
        b'{"type": "order.paid", "timestamp": "2026-11-01T09:00:00Z", "data": {"id": "x", "total_amount": "12"}}',
        b'{"type": "customer.state_changed", "data": {"id": "c", "active_subscriptions": [null, 5, {"id": 7}]}}',
        b'{"type": "benefit_grant.created", "data": {"id": "b"}}',
        b"\xff\xfe",
        b"[" * 3000,
    ],
)
def test_a_body_of_another_shape_is_no_error(body: bytes) -> None:
    for parse in (parse_polar, parse_stripe):
        event = parse(body)
        assert event.payment is None
        assert all(facts.values.get("status") is None for facts in event.subscriptions)


def test_a_word_that_is_new_to_us_is_kept_and_gives_no_access() -> None:
    event = json.loads(SAMPLES[1].read_bytes())
    event["data"] |= {"status": "hibernating", "new_field": {"deep": 1}, "modified_at": "2026-11-05T00:00:00Z"}
    facts = parse_polar(json.dumps(event).encode())
    result = fold_subscription(SUBSCRIPTION, [(sample(2), "a"), (facts, "b")])
    assert result is not None
    assert result.values["status"] == "hibernating"
    assert access_until(result.values, grace=GRACE) == (False, None)


# ---- any order


def make_life(rng: random.Random, kind: str) -> list[tuple[EventFacts, str]]:
    """Make the events of a life of a subscription: each with its time, some at the same moment."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("created", {"status": "incomplete"}),
        ("active", {"status": rng.choice(["active", "trialing"])}),
        ("updated", {"status": "active"}),
        ("past_due", {"status": "past_due", "past_due_at": "2026-11-10T00:00:00Z"}),
        ("active", {"status": "active", "past_due_at": None}),
        ("updated", {"status": "active", "product_id": "team"}),  # another plan
        ("canceled", {"status": "active", "cancel_at_period_end": True, "ends_at": "2026-12-01T00:00:00Z"}),
        ("uncanceled", {"status": "active", "cancel_at_period_end": False, "ends_at": None}),
        ("updated", {"status": "paused", "paused_at": "2026-11-20T00:00:00Z"}),
        ("updated", {"status": "active", "paused_at": None}),
        ("canceled", {"status": "active", "cancel_at_period_end": True, "ends_at": "2026-12-01T00:00:00Z"}),
        ("revoked", {"status": "canceled", "ended_at": "2026-12-01T00:00:00Z"}),
    ]
    steps = steps[: rng.randint(2, len(steps))]
    moment, product = datetime(2026, 11, 1, tzinfo=UTC), "pro"
    events: list[tuple[EventFacts, str]] = []
    for number, (name, values) in enumerate(steps):
        moment += timedelta(seconds=rng.choice([0, 1, 3600]))
        sent_at = moment + timedelta(seconds=number)
        if kind == "polar":
            data = {"id": "s", "customer_id": "c", "product_id": "pro", "modified_at": moment.isoformat()} | values
            sent = {"type": f"subscription.{name}", "timestamp": sent_at.isoformat(), "data": data}
            events.append((parse_polar(json.dumps(sent).encode()), f"m{number}"))
        else:
            product = values.get("product_id", product)
            data = {
                "id": "s",
                "customer": "c",
                "status": values["status"],
                "items": {"data": [{"price": {"id": product}}]},
            }
            for field in ("cancel_at_period_end", "ended_at"):
                if field in values:
                    data[field] = values[field]
            word = {"created": "created", "revoked": "deleted"}.get(name, "updated")
            body: dict[str, Any] = {
                "id": f"evt_{number}",
                "type": f"customer.subscription.{word}",
                "created": int(sent_at.timestamp()),
                "data": {"object": data},
            }
            events.append((parse_stripe(json.dumps(body).encode()), f"evt_{number}"))
    if kind == "polar" and rng.random() < 0.5:
        active = values.get("status") in ("active", "trialing")
        listed = [{"id": "s", "status": values["status"], "modified_at": moment.isoformat()}] if active else []
        state = {
            "type": "customer.state_changed",
            "timestamp": (moment + timedelta(minutes=1)).isoformat(),
            "data": {"id": "c", "active_subscriptions": listed},
        }
        events.append((parse_polar(json.dumps(state).encode()), "state"))
    return events


@pytest.mark.parametrize("kind", ["polar", "stripe"])
def test_every_order_and_repetition_ends_in_the_same_state(kind: str) -> None:
    """Fold 2,000 permutations of lives, with repeated events and events that are late."""
    rng = random.Random(7)
    for _ in range(200):
        life = make_life(rng, kind)
        expected = fold_subscription("s", life)
        assert expected is not None
        last = next(facts for event, _ in reversed(life) for facts in event.subscriptions if facts.id == "s")
        assert expected.values["status"] == last.values["status"]
        for _ in range(10):
            shuffled = rng.sample(life, len(life))
            shuffled += rng.choices(life, k=rng.randint(0, 3))
            assert fold_subscription("s", shuffled) == expected


def test_every_order_of_the_events_of_a_payment_ends_in_the_same_state() -> None:
    """Fold 2,000 permutations of what happens to an order: it is paid, and refunded in part and in full."""
    rng = random.Random(8)
    steps: list[tuple[str, dict[str, Any]]] = [
        ("created", {"status": "pending", "paid": False}),
        ("paid", {"status": "paid", "paid": True}),
        ("updated", {"status": "paid", "paid": True, "invoice_number": "T-1"}),
        ("refunded", {"status": "partially_refunded", "refunded_amount": 500, "refunded_tax_amount": 105}),
        ("updated", {"status": "partially_refunded"}),
        ("refunded", {"status": "refunded", "refunded_amount": 1200, "refunded_tax_amount": 252}),
    ]
    for _ in range(200):
        data: dict[str, Any] = {"id": "o", "total_amount": 1452, "currency": "eur", "customer_id": "c"}
        moment = datetime(2026, 11, 1, tzinfo=UTC)
        life: list[tuple[EventFacts, str]] = []
        for number, (name, values) in enumerate(steps[: rng.randint(1, len(steps))]):
            moment += timedelta(seconds=rng.choice([1, 60, 3600]))
            data = data | values | {"modified_at": moment.isoformat()}
            sent = {"type": f"order.{name}", "timestamp": moment.isoformat(), "data": data}
            life.append((parse_polar(json.dumps(sent).encode()), f"m{number}"))
        expected = fold_payment("o", life)
        assert expected is not None
        assert (expected.values["status"], expected.values["refunded_amount"]) == (
            data["status"],
            data.get("refunded_amount", 0) + data.get("refunded_tax_amount", 0),
        )
        for _ in range(10):
            shuffled = rng.sample(life, len(life)) + rng.choices(life, k=rng.randint(0, 3))
            assert fold_payment("o", shuffled) == expected
