"""`tertulia models`: the model registry."""

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
import typer
from sqlalchemy.orm import Session

from tertulia.cli.running import write_or_ask
from tertulia.clock import now
from tertulia.errors import AppError, SettingsError
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.price_updates import MAX_BYTES, pack_prices, store_prices
from tertulia.providers.registry import refresh_catalogue
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Update the model registry.")
TIMEOUTS = Timeouts(connect_s=10, first_byte_s=30, idle_s=30, whole_s=120)


@app.callback()
def _group() -> None:
    """Update the model registry."""


@app.command("refresh")
def refresh_command(
    online: Annotated[
        bool, typer.Option("--online", help="Fetch the newest prices and models of genai-prices from the internet.")
    ] = False,
    path: Annotated[
        Path | None,
        typer.Option(
            "--from", exists=True, dir_okay=False, help="A data.json of genai-prices, for a machine without internet."
        ),
    ] = None,
) -> None:
    """Write models with their windows, prices and capabilities to the registry: those of this version, or newer ones.

    Costs are computed with the newer prices, too, until a newer version of genai-prices is installed. The server may run.
    """
    content = path.read_bytes() if path is not None else asyncio.run(_fetch()) if online else None
    try:
        prices = None if content is None else pack_prices(content, now())
    except AppError as error:
        raise SettingsError(error.detail) from None

    def refresh(session: Session) -> int:
        if prices is not None:
            store_prices(session, prices)
        return refresh_catalogue(session, is_forced=True, prices=prices)

    count = write_or_ask(
        load_settings(),
        refresh,
        "POST",
        "/operator/models/refresh",
        lambda answer: int(answer["models"]),
        body=None if prices is None else {"packed": prices.packed},
    )
    typer.echo(f"{count} models.")


async def _fetch() -> bytes:
    """Fetch the newest data of genai-prices from the address that the package names. Raises SettingsError."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL  # noqa: TID251 - one thread

    try:
        async with asyncio.timeout(TIMEOUTS.whole_s), operator_client(TIMEOUTS) as client:
            answer = await client.get(DEFAULT_UPDATE_URL)
            answer.raise_for_status()
            return answer.content[: MAX_BYTES + 1]
    except (httpx.HTTPError, TimeoutError) as error:
        raise SettingsError(
            f"{DEFAULT_UPDATE_URL} does not answer as expected ({error or 'no answer in time'}). Try again later, or load a "
            "file with --from. The prices are unchanged."
        ) from error
