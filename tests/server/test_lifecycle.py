"""A part that fails at start closes the others, and leaves nothing that keeps the process alive."""

import subprocess
import sys
from pathlib import Path

import pytest

from tertulia.app import create_app
from tertulia.settings import Settings

SETTINGS = {"local_model": "none", "embedding_model": "none"}
PARTS = [
    type(part).__name__
    for part in create_app(Settings(secret_keys="A" * 43 + "=", **SETTINGS)).state.services.lifecycles()
]
# The process must end without being stopped: a thread that is no daemon would keep it alive.
SCRIPT = """
import asyncio, sys, threading
from pathlib import Path
from tertulia.app import create_app
from tertulia.clock import now
from tertulia.db.migrate import upgrade_schema
from tertulia.settings import Settings

settings = Settings(data=Path(sys.argv[1]), local_model="none", embedding_model="none")
upgrade_schema(settings, now=now())

async def fail():
    raise OSError("refused")

async def main(app):
    async with app.router.lifespan_context(app):
        print("started")

for name in sys.argv[2:]:
    app = create_app(settings)
    part = next(part for part in app.state.services.lifecycles() if type(part).__name__ == name)
    part.start = fail
    try:
        asyncio.run(main(app))
    except OSError as error:
        print(name, error, sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
"""


def test_every_part_that_starts_is_tried() -> None:
    assert len(PARTS) >= 12
    assert {"SqliteDatabase", "RunExecutor", "ChangeFeed", "Scheduler", "Importer"} <= set(PARTS)


# Several in a process, which takes longer to start than they do.
@pytest.mark.parametrize("parts", [PARTS[start::4] for start in range(4)])
def test_a_part_that_fails_at_start_ends_the_process_with_its_error(parts: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), *parts], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [f"{part} refused ['MainThread']" for part in parts]


def test_services_start_in_the_order_of_their_needs() -> None:
    assert PARTS.index("SqliteDatabase") == 0
    assert PARTS.index("RunExecutor") > PARTS.index("ModelCatalogue")
