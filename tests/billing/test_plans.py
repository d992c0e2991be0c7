"""Test plans: which one a person has, what it allows, and that its limits count each person alone."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.billing import plans
from tertulia.billing.errors import (
    PlanInUse,
    PlanIsDefault,
    PlanNameTaken,
    PlanNotFound,
    ProductTaken,
    QuotaReached,
    TooManyPlans,
)
from tertulia.billing.limits import Payer
from tertulia.billing.models import Plan, PlanFeature, PlanSource
from tertulia.billing.plans import (
    assign_plan,
    create_plan,
    delete_plan,
    find_allowed,
    find_plan_id,
    list_plans,
    set_user_plan,
    update_plan,
)
from tertulia.billing.quotas import delete_quota
from tertulia.billing.schemas import PlanCreate, PlanUpdate
from tertulia.errors import NotFound
from tertulia.ids import PlanId, QuotaId, UserId, new_id
from tests.conftest import SignIn
from tests.factories.accounts import make_admin
from tests.factories.quotas import limit, spend
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider


def plan(session: Session, admin: Actor, name: str, **values: Any) -> PlanId:
    return PlanId(create_plan(session, admin, PlanCreate(name=name, **values))["id"])


def test_a_subscription_counts_before_a_plan_by_hand_and_this_before_the_default(
    session: Session, admin: Actor, alice: Actor
) -> None:
    assert find_plan_id(session, alice.user_id) is None
    free, pro, team = (plan(session, admin, name, is_default=name == "Free") for name in ("Free", "Pro", "Team"))
    assert find_plan_id(session, alice.user_id) == free
    assign_plan(session, admin, alice.user_id, team)
    assert find_plan_id(session, alice.user_id) == team
    set_user_plan(session, alice.user_id, PlanSource.SUBSCRIPTION, pro, until=clock.now() + timedelta(days=1))
    assert find_plan_id(session, alice.user_id) == pro
    with clock.frozen(clock.now() + timedelta(days=1, seconds=1)):
        assert find_plan_id(session, alice.user_id) == team
    assert assign_plan(session, admin, alice.user_id, None)["source"] == "subscription"
    set_user_plan(session, alice.user_id, PlanSource.SUBSCRIPTION, None)
    assert find_plan_id(session, alice.user_id) == free


def test_there_is_one_default_plan(session: Session, admin: Actor) -> None:
    first = plan(session, admin, "Free", is_default=True)
    second = plan(session, admin, "Basic", is_default=True)
    assert session.scalars(sa.select(Plan.id).where(Plan.is_default)).all() == [second]
    update_plan(session, admin, first, PlanUpdate(is_default=True))
    assert session.scalars(sa.select(Plan.id).where(Plan.is_default)).all() == [first]


def test_a_plan_is_deleted_only_when_nothing_depends_on_it(session: Session, admin: Actor, alice: Actor) -> None:
    pro = plan(session, admin, "Pro")
    assign_plan(session, admin, alice.user_id, pro)
    quota_id = QuotaId(limit(session, admin, "plan", pro))
    with pytest.raises(PlanInUse) as refused:
        delete_plan(session, admin, pro)
    assert refused.value.fields == {"people": 1, "limits": 1}
    assign_plan(session, admin, alice.user_id, None)
    delete_quota(session, admin, quota_id)
    delete_plan(session, admin, pro)
    assert session.scalars(sa.select(Plan.id)).all() == []


@pytest.mark.parametrize(
    ("models", "allowed", "refused"),
    [
        (None, ["openai/gpt-4o", "x/y"], []),
        ([], [], ["openai/gpt-4o"]),
        (["openai/*"], ["openai/gpt-4o"], ["anthropic/claude"]),
        (["*/gpt-4o", "local/*"], ["openai/gpt-4o", "local/qwen"], ["openai/gpt-4o-mini"]),
    ],
)
def test_a_plan_includes_the_models_of_its_patterns(
    session: Session, admin: Actor, alice: Actor, models: list[str] | None, allowed: list[str], refused: list[str]
) -> None:
    plan(session, admin, "Free", is_default=True, models=models)
    by_plan = find_allowed(session, alice.user_id)
    assert [name for name in allowed if not by_plan.model(*name.split("/", 1))] == []
    assert [name for name in refused if by_plan.model(*name.split("/", 1))] == []


def test_a_plan_includes_features(session: Session, admin: Actor, alice: Actor) -> None:
    assert find_allowed(session, alice.user_id).feature(PlanFeature.TOOLS)
    plan(session, admin, "Free", is_default=True, features=["web_search"])
    by_plan = find_allowed(session, alice.user_id)
    assert [feature for feature in PlanFeature if by_plan.feature(feature)] == [PlanFeature.WEB_SEARCH]


def test_the_limits_of_a_plan_count_each_of_its_people_alone(
    session: Session, admin: Actor, alice: Actor, bob: Actor
) -> None:
    free = plan(session, admin, "Free", is_default=True)
    limit(session, admin, "plan", free)
    for actor in (alice, bob):
        spend(session, Payer(actor.user_id), "0.90")
        with pytest.raises(QuotaReached):
            spend(session, Payer(actor.user_id))
    assign_plan(session, admin, alice.user_id, plan(session, admin, "Pro"))
    spend(session, Payer(alice.user_id), "5.00")


def test_names_and_products_of_plans_are_unique(session: Session, admin: Actor) -> None:
    product = {"source": "polar", "product_id": "p1"}
    first = plan(session, admin, "Pro", products=[product])
    second = plan(session, admin, "Team")
    with pytest.raises(PlanNameTaken):
        plan(session, admin, "Pro")
    with pytest.raises(PlanNameTaken):
        update_plan(session, admin, second, PlanUpdate(name="Pro"))
    with pytest.raises(ProductTaken):
        update_plan(session, admin, second, PlanUpdate.model_validate({"products": [product]}))
    again = update_plan(session, admin, first, PlanUpdate.model_validate({"name": "Pro", "products": [product]}))
    assert again["products"] == [product]


def test_only_administrators_make_and_give_plans(session: Session, admin: Actor, alice: Actor) -> None:
    pro = plan(session, admin, "Pro")
    for forbidden in (
        lambda: create_plan(session, alice, PlanCreate(name="Mine")),
        lambda: update_plan(session, alice, pro, PlanUpdate(name="Mine")),
        lambda: delete_plan(session, alice, pro),
        lambda: assign_plan(session, alice, alice.user_id, pro),
    ):
        with pytest.raises(AdminOnly):
            forbidden()
    with pytest.raises(PlanNotFound):
        assign_plan(session, admin, alice.user_id, PlanId(new_id()))
    with pytest.raises(NotFound):
        assign_plan(session, admin, UserId(new_id()), pro)


def test_people_see_only_plans_on_offer(session: Session, admin: Actor, alice: Actor) -> None:
    assign_plan(session, admin, alice.user_id, plan(session, admin, "Pro", is_offered=True))
    plan(session, admin, "Staff")
    assert [(row["name"], row["people"]) for row in list_plans(session, alice)] == [("Pro", 0)]
    assert [(row["name"], row["people"]) for row in list_plans(session, admin)] == [("Pro", 1), ("Staff", 0)]


def test_there_are_at_most_the_plans_of_the_limit(
    session: Session, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MAX_PLANS", 2)
    plan(session, admin, "Free")
    plan(session, admin, "Pro")
    with pytest.raises(TooManyPlans):
        plan(session, admin, "Team")


def test_a_model_outside_the_plan_is_refused_and_marked(
    ana: Client, server: LiveServer, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    admin = make_admin(server, sign_in)
    body = {"name": "Free", "is_default": True, "models": ["openai/scripted-2"], "features": []}
    admin.api("POST", "/plans", json=body, expect=201)
    models = {model["model_name"]: model["is_in_plan"] for model in ana.api("GET", "/models")["items"]}
    assert models == {"scripted": False, "scripted-2": True}
    sent = ana.say(ana.chat()["id"], "hello")  # the first model of the plan
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert provider.requests[-1]["model"] == "scripted-2"
    other = {"provider": "openai", "model_name": "scripted"}
    assert ana.api("POST", "/chats", json=other, expect=422)["code"] == "model_not_in_plan"
    chat = ana.chat(settings={"tools": ["calculate"]})
    body = {"content": "hello", "models": [other]}
    refused = ana.api("POST", f"/chats/{chat['id']}/messages", json=body, expect=422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("model_not_in_plan", "model_name")
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 0
    # A feature outside of the plan is left out.
    ana.finished(ana.say(chat["id"], "hello")["run"]["id"])
    assert "tools" not in provider.requests[-1]


def test_an_administrator_sees_people_with_plan_use_and_nearest_limit(
    ana: Client, server: LiveServer, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    admin = make_admin(server, sign_in)
    pro = admin.api("POST", "/plans", json={"name": "Pro"}, expect=201)["id"]
    admin.api("PUT", f"/users/{ana.user['id']}/plan", json={"plan_id": pro})
    for most in (50, 4):
        quota = {"subject_kind": "plan", "subject_id": pro, "window": "month", "max_requests": most}
        admin.api("POST", "/quotas", json=quota, expect=201)
    for _ in range(2):
        ana.finished(ana.say(ana.chat()["id"], "hello")["run"]["id"])
    first = admin.api("GET", "/usage/people", params={"limit": 1})
    rest = admin.api("GET", "/usage/people", params={"cursor": first["next_cursor"]})
    people = {person["user_id"]: person for person in (*first["items"], *rest["items"])}
    assert [*people] == [user["id"] for user in admin.api("GET", "/users")["items"]]
    of_ana = people[ana.user["id"]]
    assert (of_ana["plan_name"], of_ana["plan_source"], of_ana["requests"]) == ("Pro", "hand", 2)
    assert (of_ana["nearest"]["measure"], of_ana["nearest"]["limit"], of_ana["nearest"]["used"]) == (
        "requests",
        "4",
        "2",
    )
    own = people[admin.user["id"]]
    assert (own["plan_name"], own["requests"], own["nearest"]) == (None, 0, None)
    assert ana.api("GET", "/usage/people", expect=403)["code"] == "admin_only"


def test_the_default_plan_is_not_deleted(session: Session, admin: Actor) -> None:
    plan_id = PlanId(create_plan(session, admin, PlanCreate(name="Free", is_default=True))["id"])
    with pytest.raises(PlanIsDefault):
        delete_plan(session, admin, plan_id)
    update_plan(session, admin, plan_id, PlanUpdate(is_default=False))
    delete_plan(session, admin, plan_id)
