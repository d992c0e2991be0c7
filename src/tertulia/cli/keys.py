"""`tertulia keys`: the key ring that encrypts stored secrets."""

import base64
import secrets

import typer
from sqlalchemy.orm import Session

from tertulia.cli.running import upgrade
from tertulia.data_folder import locked_data_folder
from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.keyring import add_primary_key, keep_only_primary, open_keyring, ring_path
from tertulia.secret_rotation import list_key_ids, require_keys, rewrap_secrets
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Rotate the keys that encrypt stored secrets.")


@app.command("new")
def new_command() -> None:
    """Print a new key for TERTULIA_SECRET_KEYS. Nothing is stored."""
    typer.echo(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=") + "=")


@app.command("rotate")
def rotate_command() -> None:
    """Encrypt every stored secret with a new key. With TERTULIA_SECRET_KEYS, put the new key first yourself.

    It can be stopped at any point and run again: old keys decrypt what they encrypted until they are forgotten.
    """
    settings = load_settings()
    with locked_data_folder(settings):
        upgrade(settings)
        ring = open_keyring(settings.secret_keys, settings.data)
        engine = plain_engine(settings, while_serving=True)
        try:
            require_keys(engine, ring)
            if not settings.secret_keys:
                ring = add_primary_key(ring_path(settings.data))
            count = rewrap_secrets(engine, ring, lambda done: typer.echo(f"{done} secrets done"))
        finally:
            engine.dispose()
    typer.echo(f"Done: {count} secrets use the key {ring.key_ids[0]}.")
    typer.echo("Restart the servers of this database. Then `tertulia keys forget` drops the old keys.")


@app.command("forget")
def forget_command() -> None:
    """Drop the old keys of a ring in a file, once no secret uses them and every server was restarted."""
    settings = load_settings()
    with locked_data_folder(settings):
        if settings.secret_keys:
            raise SettingsError("The ring is in TERTULIA_SECRET_KEYS: remove the old keys there.")
        ring = open_keyring(None, settings.data)
        engine = plain_engine(settings, writes=False)
        try:
            with Session(engine) as session:
                old = list_key_ids(session) - {ring.key_ids[0]}
        finally:
            engine.dispose()
        if old:
            raise SettingsError("Some secrets still use an old key. Run `tertulia keys rotate` first.")
        keep_only_primary(ring_path(settings.data))
    typer.echo(f"The key ring now has one key: {ring.key_ids[0]}.")
