"""A process that reserves and settles requests in parallel, as a server does. It reads its work from standard input."""

import asyncio
import json
import random
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from tertulia.billing.errors import QuotaReached
from tertulia.billing.ledger import Granted, Reason, RequestUsage, lock_payer, record_usage, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.db import Database
from tertulia.db.opening import open_database
from tertulia.settings import Settings
from tertulia.tables import metadata


async def main(work: dict[str, Any]) -> None:
    assert metadata.tables
    db = open_database(Settings(data=Path(work["data"]), database_url=work["database_url"]))
    await db.start()
    counts = {"settled": 0, "refused": 0}
    payers = [Payer(*names) for names in work["payers"]]
    spenders = [
        _spend(db, payers[number % len(payers)], random.Random(work["seed"] * 100 + number), work["each"], counts)
        for number in range(work["parallel"])
    ]
    await asyncio.gather(*spenders)
    await db.close()
    sys.stdout.write(json.dumps(counts))


async def _spend(db: Database, payer: Payer, rng: random.Random, each: int, counts: dict[str, int]) -> None:
    """Reserve requests at up to 1 cent a token, wait as for a provider, and settle less than was granted."""
    for _ in range(each):
        sent = rng.randint(1, 20)
        need = Need(sent, rng.randint(1, 20), price=lambda sent, answer: Decimal(sent + answer) / 100)
        try:
            granted: Granted = await db.write(
                reserve_request, payer, Reason(), need, provider="p", model_name="m", longest_answer=30
            )
        except QuotaReached:
            counts["refused"] += 1
            continue
        await asyncio.sleep(rng.random() * 0.02)
        assert granted.output_tokens is not None
        answer = rng.randint(0, granted.output_tokens)
        cost = Decimal(sent + answer) / 100
        used = RequestUsage("p", "m", sent, answer, 0, is_estimated=False, cost=cost)
        await db.write(_settle, used, payer, granted.reservation_id)
        counts["settled"] += 1


def _settle(session: Any, used: RequestUsage, payer: Payer, reservation_id: str) -> None:
    lock_payer(session, payer.user_id)
    record_usage(session, used, payer, Reason(), reservation_id=reservation_id)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
