"""Test that requests at the same time, of several people and processes, never pass a limit."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.billing.models import ApiQuota, Plan, QuotaWindow, UsageLog, UsageStatus
from tertulia.billing.recounts import find_wrong_sums
from tertulia.billing.windows import window_at
from tertulia.ids import new_id
from tertulia.settings import Settings
from tests.factories.projects import add_to, make_project, put_new_chat
from tests.factories.quotas import limit, make_token

SPENDER = Path(__file__).parents[1] / "fakes" / "spender.py"


def _limit_all(session: Session, setters: dict[tuple[str, str], Actor], rng: random.Random) -> None:
    """Set limits with every window, on every level, at once."""
    for (kind, subject_id), setter in setters.items():
        for window in QuotaWindow:
            for measure, most in (
                ("max_requests", rng.randint(5, 60)),
                ("max_cost", Decimal(rng.randint(200, 1500)) / 100),
                ("max_tokens", rng.randint(400, 2500)),
            ):
                values = {"max_cost": None, measure: most, "is_sliding": rng.random() < 0.5, "window": window}
                limit(session, setter, kind, subject_id, **values)


def _most_in_a_window(quota: ApiQuota, entries: list[UsageLog]) -> tuple[int, Decimal, int]:
    """Return the most requests, dollars and tokens of these entries in one window of a quota."""
    windows: list[list[UsageLog]] = []
    for entry in entries:
        window = window_at(quota.window, entry.created_at, ZoneInfo("UTC"), is_sliding=quota.is_sliding)
        end = entry.created_at if window.resets_at is None else window.resets_at - timedelta(microseconds=1)
        windows.append([other for other in entries if window.starts_at <= other.created_at <= end])
    return (
        max((len(window) for window in windows), default=0),
        max(
            (sum((entry.cost or Decimal(0) for entry in window), Decimal(0)) for window in windows), default=Decimal(0)
        ),
        max((sum(entry.input_tokens + entry.output_tokens for entry in window) for window in windows), default=0),
    )


def _spend_at_once(
    settings: Settings, payers: Sequence[tuple[str, str, str | None]], seed: int, *, processes: int
) -> list[dict[str, int]]:
    """Let 32 requests of payers (user, chat and token) run at once, and return how many were settled and refused."""
    running = [
        subprocess.Popen([sys.executable, str(SPENDER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for number, process in enumerate(running):
        work = {
            "data": str(settings.data),
            "database_url": settings.database_url,
            "payers": payers,
            "parallel": 32 // processes,
            "each": 4,
            "seed": seed * 10 + number,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(work) + "\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return answers


@pytest.mark.parametrize("seed", range(3))
def test_parallel_requests_in_two_processes_pass_no_limit(
    settings: Settings, session: Session, alice: Actor, bob: Actor, admin: Actor, seed: int
) -> None:
    """Let 32 requests of two people in one project reserve and settle at once, with limits of every kind and window.

    SQLite has one process, which does all of them.
    """
    rng = random.Random(seed)
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chats = {actor.user_id: put_new_chat(session, actor, project_id) for actor in (alice, bob)}
    token_id = make_token(session, alice)
    plan = Plan(id=new_id(), name="Team", is_default=True)
    session.add(plan)
    session.flush()
    of_payer = {
        ("user", alice.user_id): admin,
        ("role", "user"): admin,
        ("plan", plan.id): admin,
        ("chat", chats[alice.user_id]): alice,
        ("token", token_id): alice,
        ("project", project_id): alice,
    }
    _limit_all(session, of_payer, rng)
    session.commit()
    payers = [
        (alice.user_id, chats[alice.user_id], token_id),
        (bob.user_id, chats[bob.user_id], None),
        (alice.user_id, chats[alice.user_id], None),
    ]
    answers = _spend_at_once(settings, payers, seed, processes=2 if settings.database_url else 1)
    session.expire_all()
    entries = list(session.scalars(sa.select(UsageLog).where(UsageLog.status == UsageStatus.SETTLED)))
    assert len(entries) == sum(answer["settled"] for answer in answers) > 0
    assert sum(answer["refused"] for answer in answers) > 0
    assert {entry.user_id for entry in entries} == {alice.user_id, bob.user_id}
    assert {entry.project_id for entry in entries} == {project_id}
    by_payer = [[entry for entry in entries if entry.user_id == actor.user_id] for actor in (alice, bob)]
    of_subject = {
        "user": by_payer[:1],
        "role": by_payer,
        "plan": by_payer,
        "chat": [[entry for entry in entries if entry.chat_id == chats[alice.user_id]]],
        "token": [[entry for entry in entries if entry.api_token_id == token_id]],
        "project": [entries],
    }
    for quota in session.scalars(sa.select(ApiQuota)):
        for counted in of_subject[quota.subject[0].value]:
            requests, cost, tokens = _most_in_a_window(quota, counted)
            assert requests <= (quota.max_requests or 10**9)
            assert cost <= (quota.max_cost or 10**9)
            assert tokens <= (quota.max_tokens or 10**9)
    assert find_wrong_sums(session) == []
