"""`tertulia health`: for container and service monitors."""

import httpx
import typer

from tertulia.data_folder import read_running
from tertulia.settings import load_settings

TIMEOUT_S = 4


def health_command() -> None:
    """Check that the server with this data folder answers and its database works. Exits with 1 if not."""
    running = read_running(load_settings())
    if running is None:
        typer.echo("No server is running with this data folder.", err=True)
        raise typer.Exit(1)
    try:
        answer = httpx.get(f"{running.address}/readyz", trust_env=False, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        typer.echo(f"The server at {running.address} does not answer ({type(error).__name__}).", err=True)
        raise typer.Exit(1) from None
    if answer.status_code != httpx.codes.OK:
        typer.echo(answer.json().get("detail", f"The server answers with status {answer.status_code}."), err=True)
        raise typer.Exit(1)
    typer.echo("The server is ready.")
