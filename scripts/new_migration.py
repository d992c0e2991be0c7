"""Write the next migration from the difference between models and migrations. Review it by hand."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from alembic import command

from tertulia.db.migrate import _config, upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings


def main(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder))
        upgrade_schema(settings, now=datetime.now(UTC))
        engine = plain_engine(settings)
        with engine.connect() as connection:
            number = len(list(Path("src/tertulia/db/migrations/versions").glob("*.py"))) + 1
            command.revision(_config(connection), message=message, autogenerate=True, rev_id=f"{number:04d}")


if __name__ == "__main__":
    main(sys.argv[1])
