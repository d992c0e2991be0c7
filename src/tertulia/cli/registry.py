"""`tertulia models`: the model registry."""

import typer
from sqlalchemy.orm import Session

from tertulia.cli.running import write_or_ask
from tertulia.providers.registry import refresh_catalogue
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Update the model registry.")


@app.command("refresh")
def refresh_command() -> None:
    """Write the models of this version with their windows, prices and capabilities to the registry."""

    def refresh(session: Session) -> int:
        return refresh_catalogue(session, is_forced=True)

    count = write_or_ask(
        load_settings(), refresh, "POST", "/operator/models/refresh", lambda answer: int(answer["models"])
    )
    typer.echo(f"{count} models.")
